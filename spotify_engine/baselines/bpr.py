"""Matrix factorisation by pairwise ranking (Rendle et al., BPR, UAI 2009)."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from spotify_engine.baselines.scorer import playlist_matrix
from spotify_engine.learning.losses import bpr_loss
from spotify_engine.ragged import Ragged

BATCH = 4096  # pairs a step
FOLD_IN_STEPS = 30
FOLD_IN_NEGATIVES = 500


class BPRConfig(BaseModel):
    """Settings of BPR."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: int = Field(default=64, ge=1)
    """Length of a vector."""
    learning_rate: float = Field(default=0.01, gt=0, le=1)
    """Of sparse Adam."""
    regularisation: float = Field(default=0.01, ge=0)
    """L2 on the vectors that a pair touches."""
    epochs: int = Field(default=30, ge=1)
    """Passes over the pairs."""
    seed: int = Field(default=0, ge=0)
    """Of first vectors, order and negatives."""


class BPR:
    """Minimises -log sigmoid(w_p . (h_t - h_s) + b_t - b_s) + regularisation over pairs (p, t).

    The negative s is drawn evenly from all tracks. A playlist is folded in by minimising the same
    loss over its vector alone, its tracks against a fixed draw of others: known and new playlists
    alike, so that a score depends on the seeds only.
    """

    name = "bpr"

    def __init__(self, config: BPRConfig | None = None) -> None:
        self.config = config or BPRConfig()

    def fit(self, train: Ragged, n_tracks: int) -> Self:
        """Learn the factors from training playlists by gradient descent; returns itself."""
        config = self.config
        rng = np.random.default_rng(config.seed)
        generator = torch.Generator().manual_seed(config.seed)

        def table(rows: int, width: int, std: float) -> torch.nn.Embedding:
            first = torch.randn(rows, width, generator=generator) * std
            return torch.nn.Embedding.from_pretrained(first, freeze=False, sparse=True)

        playlists = table(len(train), config.factors, 0.1)
        tracks, bias = table(n_tracks, config.factors, 0.1), table(n_tracks, 1, 0.0)
        optimizer = torch.optim.SparseAdam(
            [playlists.weight, tracks.weight, bias.weight], config.learning_rate
        )
        rows, positive = train.rows, train.values.astype(np.int64)
        for _ in range(config.epochs):
            order = rng.permutation(len(rows))
            for start in range(0, len(order), BATCH):
                pairs = order[start : start + BATCH]
                drawn = rng.integers(0, n_tracks, len(pairs))
                p = playlists(torch.from_numpy(rows[pairs]))
                t, s = torch.from_numpy(positive[pairs]), torch.from_numpy(drawn)
                vectors = tracks(t), tracks(s)
                scores = [
                    (p * v).sum(1) + bias(ids)[:, 0] for v, ids in zip(vectors, (t, s), strict=True)
                ]
                size = (p.square().sum() + sum(v.square().sum() for v in vectors)) / len(pairs)
                loss = bpr_loss(scores[0], scores[1]) + config.regularisation * size
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.tracks, self.bias = tracks.weight.detach(), bias.weight.detach()[:, 0]
        return self

    def score(self, seeds: Ragged) -> np.ndarray:
        """Score all tracks for playlists that are folded in from their seeds."""
        scores: np.ndarray = (self._fold_in(seeds) @ self.tracks.T + self.bias).numpy()
        return scores

    def _fold_in(self, seeds: Ragged) -> Tensor:
        """Vectors ``[playlists, factors]``; without seeds zero, which leaves the biases."""
        rng = np.random.default_rng(self.config.seed)
        drawn = torch.from_numpy(rng.integers(0, len(self.tracks), FOLD_IN_NEGATIVES))
        negative, negative_bias = self.tracks[drawn], self.bias[drawn]
        rows = torch.from_numpy(seeds.rows)
        ids = torch.from_numpy(seeds.values.astype(np.int64))
        share = 1 / torch.from_numpy(np.maximum(seeds.lengths, 1)).float()
        # From the direction of its tracks' mean; a convex loss ends up in one place anyway.
        contained = playlist_matrix(seeds, len(self.tracks))
        vectors = torch.from_numpy(contained @ self.tracks.numpy()) * share[:, None]
        vectors.requires_grad_()
        optimizer = torch.optim.Adam([vectors], 10 * self.config.learning_rate)
        for _ in range(FOLD_IN_STEPS if len(rows) else 0):
            positive = (vectors[rows] * self.tracks[ids]).sum(1) + self.bias[ids]
            others = vectors @ negative.T + negative_bias
            margin = positive[:, None] - others[rows]
            loss = (-torch.nn.functional.logsigmoid(margin).mean(1) * share[rows]).sum()
            loss = loss + self.config.regularisation * vectors.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = vectors.detach()
        found[torch.from_numpy(seeds.lengths == 0)] = 0
        return found

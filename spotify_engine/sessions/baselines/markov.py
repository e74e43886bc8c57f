"""A baseline that predicts the next song by a Markov chain from item to item."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from spotify_engine.sessions.queries import Queries


class MarkovConfig(BaseModel):
    """Settings of the chain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shrink: float = Field(10.0, ge=0)
    """Plays of popularity mixed into every song's successors."""
    decay: float = Field(0.5, ge=0, le=1)
    """Weight of the song before, to the power of how many songs back; 0: the last song alone."""
    memory: int = Field(4, ge=1)
    """Songs back, at most."""


class Markov:
    """score(t) = sum over recent songs r_j of decay^j (n_rt + shrink p_t) / (n_r + shrink).

    n_rt counts how often t came right after r in training, n_r = sum_t n_rt, and p_t is t's part of
    all plays. Without a recent song the score is p.
    """

    name = "markov"

    def __init__(self, config: MarkovConfig | None = None) -> None:
        self.config = config or MarkovConfig()

    def fit(self, queries: Queries, song: np.ndarray, n_songs: int) -> Self:
        """Count the training plays: the moments before them, and what was played."""
        last = queries.recent[:, 0]
        after = last >= 0
        pairs = (np.ones(int(after.sum()), np.float32), (last[after], song[after]))
        counts = sparse.csr_array(pairs, shape=(n_songs, n_songs))
        counts.sum_duplicates()
        plays = np.bincount(song, minlength=n_songs).astype(np.float32)
        self.popularity = plays / max(plays.sum(), 1)
        self.total = np.asarray(counts.sum(axis=1)).ravel() + self.config.shrink
        self.counts = counts
        return self

    def score(self, queries: Queries) -> np.ndarray:
        """float32 ``[n, songs]``."""
        config, n = self.config, len(queries)
        recent = queries.recent[:, : config.memory]
        row, back = np.nonzero(recent >= 0)
        source = recent[row, back]
        weight = config.decay**back / np.maximum(self.total[source], 1e-9)
        mixing = sparse.csr_array(
            (weight.astype(np.float32), (row, source)), shape=(n, len(self.popularity))
        )
        scores = (mixing @ self.counts).toarray()
        rest = np.bincount(row, weight * config.shrink, minlength=n)
        rest[np.bincount(row, minlength=n) == 0] = 1.0
        scores += (rest[:, None] * self.popularity).astype(np.float32)
        return scores.astype(np.float32)

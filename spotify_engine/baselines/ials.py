"""Implicit alternating least squares (Hu, Koren & Volinsky 2008; Rendle et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from spotify_engine.arrays import Ids, Scores
from spotify_engine.baselines.scorer import playlist_matrix
from spotify_engine.ragged import Ragged

NUMBERS_AT_ONCE = 500_000  # floats of a batch's vectors: 2 MB stay in the cache
DIRECT = 100  # columns: shorter rows are solved in their own size
STEPS = 3  # of conjugate gradients in fitting, each from where the last pass ended
EXACT_STEPS = 30  # from nothing
TINY = 1e-30
PADDING = 1.2  # longest row of a batch, in lengths of its shortest: few batches for little padding


class IALSConfig(BaseModel):
    """Settings of iALS, in the form of Rendle et al. 2022, "Revisiting the Performance of iALS"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: int = Field(default=64, ge=1)
    """Length of a vector."""
    unobserved_weight: float = Field(default=0.03, gt=0)
    """Weight of every pair of playlist and track towards 0; contained ones have 1 towards 1."""
    regularisation: float = Field(default=0.01, gt=0)
    """Of a vector's squared length, times (its pairs + unobserved_weight x all) ** scaling."""
    scaling: float = Field(default=1.0, ge=0, le=1)
    """1 regularises in proportion to the data, 0 all vectors alike."""
    iterations: int = Field(default=15, ge=1)
    """Passes over playlists and tracks."""
    seed: int = Field(default=0, ge=0)
    """Of the first track vectors."""


class IALS:
    """Minimises a weighted squared error.

    It is, over playlist vectors w and track vectors h,

        sum over contained (p, t) of (1 - w_p.h_t)^2 + a sum over all (p, t) of (w_p.h_t)^2
          + r (sum_p (n_p + a T)^v |w_p|^2 + sum_t (n_t + a P)^v |h_t|^2)

    with a, r, v = unobserved_weight, regularisation, scaling; T tracks, P playlists. Each side is
    solved while the other is fixed, long rows by a few steps from where the last pass left them; a
    playlist is folded in by solving its side once.
    """

    name = "ials"

    def __init__(self, config: IALSConfig | None = None) -> None:
        self.config = config or IALSConfig()

    def fit(self, train: Ragged, n_tracks: int) -> Self:
        """Solve for playlist and track vectors in turn; returns itself."""
        by_playlist = playlist_matrix(train, n_tracks)
        by_track = sparse.csr_array(by_playlist.T)
        generator = torch.Generator().manual_seed(self.config.seed)
        std = 0.1 / self.config.factors**0.5
        self.tracks = torch.randn(n_tracks, self.config.factors, generator=generator) * std
        playlists = torch.zeros(len(train), self.config.factors)
        for _ in range(self.config.iterations):
            playlists = self._solve(by_playlist, self.tracks, playlists, STEPS)
            self.tracks = self._solve(by_track, playlists, self.tracks, STEPS)
        return self

    def score(self, seeds: Ragged) -> Scores:
        """Score all tracks for playlists whose vectors are solved from their seeds."""
        playlists = self._solve(
            playlist_matrix(seeds, len(self.tracks)),
            self.tracks,
            torch.zeros(len(seeds), self.config.factors),
            EXACT_STEPS,
        )
        scores: Scores = (playlists @ self.tracks.T).numpy()
        return scores

    def _solve(
        self,
        contained: sparse.csr_array,
        other: torch.Tensor,
        before: torch.Tensor,
        steps: int,
    ) -> torch.Tensor:
        """Best vectors ``[rows, factors]`` for the rows of ``contained``, given the columns'.

        With V ``[n, factors]`` the vectors of a row's columns and M = a other'other + ridge(n) I,
        the row's vector solves (M + V'V) w = V'1: a short row in its own size, a long one by
        conjugate gradients from ``before``, preconditioned by M; some rows at once. In the
        eigenvectors' basis of other'other, M is diagonal, so that a step costs two products with V
        and no factors x factors matrix is ever made.
        """
        weight, strength = self.config.unobserved_weight, self.config.regularisation
        values, basis = torch.linalg.eigh((other.T @ other).double())
        everywhere, basis = weight * values.clamp(min=0).float(), basis.float()
        rotated, solved = other @ basis, before @ basis
        lengths = np.diff(contained.indptr)
        ridges = strength * (lengths + weight * len(other)) ** self.config.scaling
        solved[torch.from_numpy(lengths == 0)] = 0
        # Rows of a batch that are shorter than others end in a column that is nought.
        rotated = torch.cat([rotated, torch.zeros(1, rotated.shape[1])])
        last = max(len(contained.indices) - 1, 0)
        for longest, rows in _batches(lengths, other.shape[1]):
            places = contained.indptr[rows][:, None] + np.arange(longest)
            there = np.arange(longest) < lengths[rows][:, None]
            columns = np.where(there, contained.indices[places.clip(max=last)], len(other))
            vectors = rotated[torch.from_numpy(columns.astype(np.int64))]
            diagonal = everywhere + torch.from_numpy(ridges[rows]).float()[:, None]
            which = torch.from_numpy(rows)
            if longest <= DIRECT:
                solved[which] = _directly(vectors, diagonal, torch.from_numpy(there).float())
            else:
                solved[which] = _conjugate_gradients(vectors, diagonal, solved[which], steps)
        return solved @ basis.T


def _directly(vectors: torch.Tensor, diagonal: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Solve (diag + V'V) w = V'1 as w = diag^-1 V' (I + V diag^-1 V')^-1 1.

    Args:
        vectors: V, ``[rows, n, factors]``, zeros where a row is shorter.
        diagonal: ``[rows, factors]``.
        there: ``[rows, n]``, 1 where a row has a column, else 0.
    """
    through = vectors / diagonal[:, None]
    small = torch.baddbmm(torch.eye(vectors.shape[1]), through, vectors.mT)
    shares = torch.cholesky_solve(there[:, :, None], torch.linalg.cholesky(small))
    return torch.bmm(through.mT, shares)[:, :, 0]


def _conjugate_gradients(
    vectors: torch.Tensor, diagonal: torch.Tensor, start: torch.Tensor, steps: int
) -> torch.Tensor:
    """Solve (diag + V'V) w = V'1 for each row of a batch, preconditioned by the diagonal.

    Args:
        vectors: V, ``[rows, n, factors]``, zeros where a row is shorter.
        diagonal, start: ``[rows, factors]``.
    """

    def normal(direction: torch.Tensor) -> torch.Tensor:
        through = torch.bmm(vectors, direction[:, :, None])
        return torch.baddbmm((diagonal * direction)[:, :, None], vectors.mT, through)[:, :, 0]

    found = start
    residual = vectors.sum(dim=1) - normal(found)
    step = residual / diagonal
    size = (residual * step).sum(1, keepdim=True)
    for _ in range(steps):
        image = normal(step)
        length = size / (step * image).sum(1, keepdim=True).clamp(min=TINY)
        found = found + length * step
        residual = residual - length * image
        preconditioned = residual / diagonal
        before, size = size, (residual * preconditioned).sum(1, keepdim=True)
        step = preconditioned + size / before.clamp(min=TINY) * step
    return found


def _batches(lengths: Ids, factors: int) -> Iterator[tuple[int, Ids]]:
    """(longest, rows of about that length), in batches of about NUMBERS_AT_ONCE floats.

    Empty rows are left out: their vector is 0.
    """
    by_length = np.argsort(lengths, kind="stable")
    in_order = lengths[by_length]
    start = int(np.searchsorted(in_order, 1))
    while start < len(in_order):
        like = int(np.searchsorted(in_order, PADDING * in_order[start], side="right"))
        longest = int(in_order[like - 1])
        end = min(like, start + max(1, NUMBERS_AT_ONCE // (factors * longest)))
        yield int(in_order[end - 1]), by_length[start:end]
        start = end

"""Implicit alternating least squares (Hu, Koren & Volinsky 2008; Rendle et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from spotify_engine.baselines.scorer import playlist_matrix
from spotify_engine.ragged import Ragged

NUMBERS_AT_ONCE = 500_000  # floats in one batch of normal equations: 2 MB stay in the cache
SHORT = 0.4  # rows below this many factors are faster in the n x n form (measured at 64 factors)
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
    solved exactly while the other is fixed; a playlist is folded in by solving its side once.
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
        for _ in range(self.config.iterations):
            playlists = self._solve(by_playlist, self.tracks)
            self.tracks = self._solve(by_track, playlists)
        return self

    def score(self, seeds: Ragged) -> np.ndarray:
        """Score all tracks for playlists whose vectors are solved from their seeds."""
        playlists = self._solve(playlist_matrix(seeds, len(self.tracks)), self.tracks)
        return (playlists @ self.tracks.T).numpy()

    def _solve(self, contained: sparse.csr_array, other: torch.Tensor) -> torch.Tensor:
        """Best vectors ``[rows, factors]`` for the rows of ``contained``, given the columns'.

        With V ``[n, factors]`` the vectors of a row's columns and M = a other'other + ridge(n) I,
        the row's vector is (M + V'V)^-1 V'1 = M^-1 V' (I + V M^-1 V')^-1 1: short rows solve the
        n x n system of the second form, long ones the first. In the eigenvectors' basis of
        other'other, M is diagonal for every n, so that rows of different lengths fit in one batch.
        """
        weight, strength = self.config.unobserved_weight, self.config.regularisation
        values, basis = torch.linalg.eigh((other.T @ other).double())
        everywhere, basis = weight * values.clamp(min=0).float(), basis.float()
        rotated = other @ basis
        lengths = np.diff(contained.indptr)
        ridges = strength * (lengths + weight * len(other)) ** self.config.scaling
        solved = other.new_zeros(contained.shape[0], other.shape[1])
        last = max(len(contained.indices) - 1, 0)
        for longest, rows in _batches(lengths, other.shape[1]):
            places = contained.indptr[rows][:, None] + np.arange(longest)
            there = torch.from_numpy(np.arange(longest) < lengths[rows][:, None]).float()[
                :, :, None
            ]
            columns = contained.indices[places.clip(max=last)].astype(np.int64)
            vectors = rotated[torch.from_numpy(columns)] * there
            diagonal = everywhere + torch.from_numpy(ridges[rows]).float()[:, None]
            if longest < SHORT * other.shape[1]:
                through = vectors / diagonal[:, None]
                small = torch.baddbmm(torch.eye(longest), through, vectors.mT)
                found = through.mT @ torch.cholesky_solve(there, torch.linalg.cholesky(small))
            else:
                whole = torch.baddbmm(torch.diag_embed(diagonal), vectors.mT, vectors)
                found = torch.cholesky_solve(
                    vectors.sum(dim=1)[:, :, None], torch.linalg.cholesky(whole)
                )
            solved[torch.from_numpy(rows)] = found[:, :, 0]
        return solved @ basis.T


def _batches(lengths: np.ndarray, factors: int) -> Iterator[tuple[int, np.ndarray]]:
    """(longest, rows of about that length), in batches of about NUMBERS_AT_ONCE floats.

    Empty rows are left out: their vector is 0.
    """
    by_length = np.argsort(lengths, kind="stable")
    in_order = lengths[by_length]
    start = int(np.searchsorted(in_order, 1))
    while start < len(in_order):
        like = int(np.searchsorted(in_order, PADDING * in_order[start], side="right"))
        longest = int(in_order[like - 1])
        width = longest if longest < SHORT * factors else factors
        end = min(like, start + max(1, NUMBERS_AT_ONCE // (factors * width)))
        yield int(in_order[end - 1]), by_length[start:end]
        start = end

"""A linear item-item model in closed form (Steck 2019, "Embarrassingly Shallow Autoencoders")."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from spotify_engine.arrays import Scores
from spotify_engine.baselines.scorer import TooLarge, playlist_matrix
from spotify_engine.ragged import Ragged

GIB = 2**30
BLOCK = 2048


class EASEConfig(BaseModel):
    """Settings of EASE."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    regularisation: float = Field(default=200.0, gt=0)
    """L2 penalty on the item-item weights."""


class EASE:
    """Scores are X B, with B = I - P diag(1 / diag(P)), P = (X'X + regularisation I)^-1.

    B minimises |X - X B|^2 + regularisation |B|^2 subject to diag(B) = 0. With fewer playlists than
    tracks, P = (I - X' K X) / regularisation with K = (X X' + regularisation I)^-1 (Woodbury): the
    same scores from a matrix of playlists x playlists, and B is never written out.

    Args:
        memory_gib: most that the fit may take; a limit of the machine, so not a setting.
    """

    name = "ease"

    def __init__(self, config: EASEConfig | None = None, memory_gib: float = 4.0) -> None:
        self.config = config or EASEConfig()
        self.memory_gib = memory_gib

    @staticmethod
    def needed_gib(n_playlists: int, n_tracks: int) -> float:
        """Two dense float32 matrices over the smaller side at the peak."""
        return 2 * 4 * min(n_playlists, n_tracks) ** 2 / GIB

    def fit(self, train: Ragged, n_tracks: int) -> Self:
        """Solve for the weights between all tracks; returns itself.

        Raises:
            TooLarge: the matrices would take more memory than is allowed.
        """
        needed = self.needed_gib(len(train), n_tracks)
        if needed > self.memory_gib:
            raise TooLarge(
                f"{len(train):,} playlists x {n_tracks:,} tracks need {needed:,.1f} GiB, limit "
                f"{self.memory_gib:g} GiB"
            )
        matrix = playlist_matrix(train, n_tracks)
        small = len(train) < n_tracks
        inverse = self._inverse(matrix @ matrix.T if small else matrix.T @ matrix)
        self.weights: np.ndarray | None = None
        if small:
            self.matrix, self.kernel = matrix, inverse
            self.precision_diagonal = self._precision_diagonal(matrix, inverse)
        else:
            inverse /= -inverse.diagonal().copy()
            np.fill_diagonal(inverse, 0)
            self.weights = inverse
        return self

    def _inverse(self, gram: sparse.csr_array) -> np.ndarray:
        dense = torch.from_numpy(gram.toarray())
        dense.diagonal().add_(self.config.regularisation)
        torch.linalg.cholesky(dense, out=dense)
        inverse: np.ndarray = torch.cholesky_inverse(dense).numpy()
        return inverse

    def _precision_diagonal(self, matrix: sparse.csr_array, kernel: np.ndarray) -> np.ndarray:
        """diag(P), some columns at a time: x'Kx of a column x needs K at its own rows alone."""
        columns = sparse.csr_array(matrix.T)
        covered = np.empty(matrix.shape[1], np.float32)
        for start in range(0, matrix.shape[1], BLOCK):
            block = columns[start : start + BLOCK]
            through = block @ kernel
            rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
            own = sparse.csr_array((through[rows, block.indices], block.indices, block.indptr))
            covered[start : start + BLOCK] = own.sum(axis=1)
        return (1 - covered) / self.config.regularisation

    def score(self, seeds: Ragged) -> Scores:
        """Score all tracks by their weights from a playlist's seeds."""
        if self.weights is not None:
            return playlist_matrix(seeds, len(self.weights)) @ self.weights
        asked = playlist_matrix(seeds, self.matrix.shape[1])
        own = asked.toarray()
        through = ((asked @ self.matrix.T).toarray() @ self.kernel) @ self.matrix
        precision = (own - through) / self.config.regularisation
        return own - precision / self.precision_diagonal

"""The interface that every scorer has, the baselines and the model alike."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import numpy as np
from scipy import sparse

from spotify_engine.arrays import Scores
from spotify_engine.ragged import Ragged


class TooLarge(MemoryError):
    """The data needs more memory than this scorer may use; the message gives both figures."""


@runtime_checkable
class Scorer(Protocol):
    """Learns from playlists and scores every track for any playlist, known or new."""

    @property
    def name(self) -> str:
        """As the leaderboard prints it."""

    def fit(self, train: Ragged, n_tracks: int) -> Self:
        """Learn from the train tracks of each playlist; ids below ``n_tracks``.

        Raises:
            TooLarge: it can't be done in the memory allowed.
        """

    def score(self, seeds: Ragged) -> Scores:
        """Score all tracks from the seeds alone; a playlist needs not have been in ``fit``.

        Args:
            seeds: tracks of each playlist; empty lists are allowed.

        Returns:
            float32 ``[playlists, tracks]``, finite, higher is better. Seeds are scored too.
        """


def playlist_matrix(playlists: Ragged, n_tracks: int) -> sparse.csr_array:
    """Binary float32 ``[playlists, n_tracks]``; a track listed twice counts once."""
    matrix = sparse.csr_array(
        (
            np.ones(len(playlists.values), np.float32),
            playlists.values.astype(np.int32),
            # Summing duplicates moves these in place.
            playlists.offsets.copy(),
        ),
        shape=(len(playlists), n_tracks),
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix

"""Tracks that share playlists with the seeds (Sarwar et al. 2001; shrinkage: Koren 2008)."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from spotify_engine.arrays import Scores
from spotify_engine.baselines.scorer import playlist_matrix
from spotify_engine.ragged import Ragged

PAIRS_AT_ONCE = 10_000_000  # co-occurrences multiplied out in one block: about 0.5 GB at the peak


class ItemKNNConfig(BaseModel):
    """Settings of ItemKNN."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int = Field(default=200, ge=1)
    """Most similar tracks kept for a track."""
    shrink: float = Field(default=10.0, ge=0)
    """Added to the denominator of the cosine: discounts tracks that few playlists contain."""


class ItemKNN:
    """Score of t = sum over seeds s of sim(t, s), for those s that are among t's neighbours.

    sim(t, s) = c_ts / (sqrt(c_t c_s) + shrink), where c counts train playlists that contain the
    track or both. The similarities are computed a block of tracks at a time, so memory is bounded
    by the block and by tracks x neighbours.
    """

    name = "itemknn"

    def __init__(self, config: ItemKNNConfig | None = None) -> None:
        self.config = config or ItemKNNConfig()

    def fit(self, train: Ragged, n_tracks: int) -> Self:
        """Keep the most similar tracks of each track; returns itself."""
        by_playlist = playlist_matrix(train, n_tracks)
        by_track = sparse.csr_array(by_playlist.T)
        counts = np.diff(by_track.indptr)
        root = np.sqrt(counts).astype(np.float32)
        pairs_of_track = by_track @ np.diff(by_playlist.indptr).astype(np.float64)
        block_of_track = np.cumsum(pairs_of_track) // PAIRS_AT_ONCE
        ends = np.flatnonzero(np.diff(block_of_track, append=np.inf)) + 1
        blocks = []
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            shared = sparse.csr_array(by_track[int(start) : int(end)] @ by_playlist)
            rows = np.repeat(np.arange(end - start), np.diff(shared.indptr))
            shared.data /= root[start + rows] * root[shared.indices] + self.config.shrink
            shared.data[shared.indices == start + rows] = 0
            blocks.append(_strongest(shared, self.config.neighbours))
        # [seeds, tracks]: a row of seeds times this sums sim(t, s) over them.
        self.similarity = sparse.csr_array(sparse.vstack(blocks).T)
        return self

    def score(self, seeds: Ragged) -> Scores:
        """Score all tracks by their summed similarity to a playlist's seeds."""
        matrix = playlist_matrix(seeds, self.similarity.shape[0])
        return (matrix @ self.similarity).toarray()


def _strongest(matrix: sparse.csr_array, n: int) -> sparse.csr_array:
    """The n largest entries of each row; of equal ones, those of the smaller columns."""
    matrix.sort_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, rows))
    rank = np.arange(len(rows)) - matrix.indptr[rows]
    kept = order[(rank < n) & (matrix.data[order] > 0)]
    return sparse.csr_array(
        (matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape
    )

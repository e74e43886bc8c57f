"""Songs of the training sessions that are most like this one (Jannach & Ludewig, RecSys 2017)."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from spotify_engine.sessions.queries import Queries


class SessionKNNConfig(BaseModel):
    """Settings of session kNN."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int = Field(200, ge=1)
    """Training sessions that have a say."""
    decay: float = Field(0.7, gt=0, le=1)
    """The weight of a song of this session, to the power of how many songs back it is."""
    popularity: float = Field(0.01, ge=0)
    """Weight of popularity beside the neighbours; decides alone when there are none."""


class SessionKNN:
    """score(t) = sum over the nearest sessions of sim [t in it], and a little popularity.

    sim is the cosine between this session's songs, weighted by decay^j, and a training session's.
    """

    name = "session-knn"

    def __init__(self, config: SessionKNNConfig | None = None) -> None:
        self.config = config or SessionKNNConfig()

    def fit(self, session: np.ndarray, song: np.ndarray, n_songs: int) -> Self:
        """Keep the training sessions: two int ``[plays]`` columns."""
        _, row = np.unique(session, return_inverse=True)
        shape = (int(row.max(initial=-1)) + 1, n_songs)
        matrix = sparse.csr_array((np.ones(len(row), np.float32), (row, song)), shape=shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1
        length = np.sqrt(np.maximum(np.diff(matrix.indptr), 1))
        self.sessions = matrix
        self.by_song = sparse.csr_array((sparse.diags_array(1 / length) @ matrix).T)
        plays = np.bincount(song, minlength=n_songs).astype(np.float32)
        self.popularity = plays / max(plays.sum(), 1)
        return self

    def score(self, queries: Queries) -> np.ndarray:
        """float32 ``[n, songs]``."""
        n, n_songs = len(queries), len(self.popularity)
        row, back = np.nonzero(queries.recent >= 0)
        weight = (self.config.decay**back).astype(np.float32)
        asked = sparse.csr_array((weight, (row, queries.recent[row, back])), shape=(n, n_songs))
        norm = np.sqrt(np.asarray(asked.multiply(asked).sum(axis=1)).ravel())
        similar = sparse.csr_array(asked @ self.by_song).toarray()
        similar = similar / np.maximum(norm, 1e-9)[:, None]
        few = min(self.config.neighbours, similar.shape[1])
        if few < similar.shape[1]:
            least = -np.partition(-similar, few - 1, axis=1)[:, [few - 1]]
            similar[similar < least] = 0
        scores = (sparse.csr_array(similar.astype(np.float32)) @ self.sessions).toarray()
        total = np.maximum(scores.sum(axis=1, keepdims=True), 1e-9)
        return (scores / total + self.config.popularity * self.popularity).astype(np.float32)

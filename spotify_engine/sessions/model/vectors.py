"""The arrays that serving needs of a trained GAT: vectors, attention and genre weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from spotify_engine.sessions.model.basic_gat import Relations, SessionGAT
from spotify_engine.sessions.model.enhanced_gat import EnhancedGAT

ARRAY_NAMES = ("users", "songs", "indptr", "heard", "attention", "user_genres", "song_genres")


@dataclass(frozen=True)
class GATVectors:
    """Scores of a GAT without the GAT.

    Attributes:
        users, songs: float32 ``[n, width]``.
        indptr, heard, attention: the songs that user i attends to are ``heard[indptr[i]:
            indptr[i + 1]]`` with weights (float32) that sum to 1.
        user_genres, song_genres: float32 ``[n, genres]``; their product is the genre score. No
            columns for a Basic GAT.
        alpha: weight of the collaborative score; the genre score has the rest.
    """

    users: np.ndarray
    songs: np.ndarray
    indptr: np.ndarray
    heard: np.ndarray
    attention: np.ndarray
    user_genres: np.ndarray
    song_genres: np.ndarray
    alpha: float

    @classmethod
    @torch.no_grad()
    def of(cls, model: SessionGAT, relations: Relations) -> Self:
        """Run the model over the whole graph once."""
        model.eval()
        encoded = model.encode(model.x_dict(), relations)
        edges, weights = encoded.attention
        n_users = len(encoded.users)
        order = torch.argsort(edges[0], stable=True)
        counts = torch.bincount(edges[0], minlength=n_users).numpy()
        user_genres = torch.zeros(n_users, 0)
        song_genres = torch.zeros(len(encoded.songs), 0)
        alpha = 1.0
        if isinstance(model, EnhancedGAT):
            genres = encoded.genres
            assert genres is not None
            user_genres, song_genres = genres.scale * genres.attention, genres.songs
            alpha = model.config.alpha
        return cls(
            encoded.users.numpy(),
            encoded.songs.numpy(),
            np.concatenate([[0], np.cumsum(counts)]),
            edges[1][order].numpy(),
            weights[order].numpy(),
            user_genres.numpy(),
            song_genres.numpy(),
            alpha,
        )

    def parts(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(collaborative, genre) scores ``[users, songs]``; final = alpha c + (1 - alpha) g."""
        return self.users[users] @ self.songs.T, self.user_genres[users] @ self.song_genres.T

    def score(self, users: np.ndarray) -> np.ndarray:
        """Final scores, float32 ``[users, songs]``."""
        collaborative, genre = self.parts(users)
        final: np.ndarray = self.alpha * collaborative + (1 - self.alpha) * genre
        return final

    def attended(self, user: int) -> tuple[np.ndarray, np.ndarray]:
        """(songs, weights that sum to 1) of a user; both empty without history."""
        part = slice(int(self.indptr[user]), int(self.indptr[user + 1]))
        return self.heard[part], self.attention[part]

    def with_songs(self, songs: np.ndarray) -> GATVectors:
        """The same with other song vectors."""
        values = vars(self) | {"songs": songs}
        return GATVectors(**values)

"""Substitutes for missing listening, for new users, new songs and users with few plays."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse


class SupplementConfig(BaseModel):
    """Settings of supplementing missing listening."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sparse_plays: int = Field(20, ge=1)
    """A user with fewer plays in training is supplemented by similar users."""
    similar_users: int = Field(30, ge=1)
    """Number of similar users."""
    supplement: float = Field(10.0, ge=0)
    """Number of plays that the similar users stand for together."""
    noise: float = Field(0.01, ge=0)
    """Standard deviation of the noise on a new song's vector, relative to its artist's length."""


def supplement(
    plays: sparse.csr_array, listens: sparse.csr_array, config: SupplementConfig
) -> sparse.csr_array:
    """Add to each user's plays some of what similar users play.

    Similarity is the cosine of play counts; the similar users' plays, as shares and weighted by
    similarity, are scaled to ``supplement`` plays in all.

    Args:
        plays: ``[n, songs]`` of the sparse users.
        listens: ``[users, songs]`` of those to choose from. A user who is among them is most
            similar to themselves, which adds nothing new.

    Returns:
        ``[n, songs]``; a user without plays, or like nobody, stays as they were.
    """
    total = np.maximum(np.asarray(listens.sum(axis=1)).ravel(), 1e-12)
    similar = similar_users(plays, listens, config)
    similar /= np.maximum(similar.sum(axis=1, keepdims=True), 1e-12)
    shares = sparse.csr_array(sparse.diags_array(1 / total) @ listens)
    return sparse.csr_array(plays + config.supplement * (sparse.csr_array(similar) @ shares))


def similar_users(
    plays: sparse.csr_array, listens: sparse.csr_array, config: SupplementConfig
) -> np.ndarray:
    """float ``[n, users]``: how like their plays are, cosine, of the most similar users; others 0.

    Args:
        plays, listens: as :func:`supplement` takes them.
    """
    length = np.sqrt(np.asarray(listens.multiply(listens).sum(axis=1)).ravel())
    similar: np.ndarray = (plays @ listens.T).toarray() / np.maximum(length, 1e-12)
    few = min(config.similar_users, similar.shape[1])
    if few < similar.shape[1]:
        least = -np.partition(-similar, few - 1, axis=1)[:, [few - 1]]
        similar[similar < least] = 0
    return similar


def new_song_vectors(
    vectors: np.ndarray,
    plays: np.ndarray,
    artist: np.ndarray,
    config: SupplementConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Give songs that nobody played the mean vector of their artist's songs, plus small noise.

    Args:
        vectors: float32 ``[songs, width]``.
        plays: ``[songs]`` in training; 0 marks a new song.
        artist: int64 ``[songs]``, -1 for none.

    Returns:
        A copy. A new song whose artist has no played song gets the mean of all played songs.
    """
    known = plays > 0
    n_artists = int(artist.max(initial=-1)) + 2
    member = sparse.csr_array(
        (known.astype(np.float64), (artist, np.arange(len(artist))))
        if (artist >= 0).all()
        else (
            known[artist >= 0].astype(np.float64),
            (artist[artist >= 0], np.flatnonzero(artist >= 0)),
        ),
        shape=(n_artists, len(artist)),
    )
    count: np.ndarray = np.asarray(member.sum(axis=1)).ravel()
    mean = (member @ vectors) / np.maximum(count, 1)[:, None]
    mean[count == 0] = vectors[known].mean(axis=0) if known.any() else 0.0
    found: np.ndarray = vectors.copy()
    new = np.flatnonzero(~known)
    placed = mean[np.where(artist[new] < 0, n_artists - 1, artist[new])]
    length = np.linalg.norm(placed, axis=1, keepdims=True)
    noise = rng.normal(size=placed.shape) / np.sqrt(max(placed.shape[1], 1))
    found[new] = placed + config.noise * length * noise
    return found

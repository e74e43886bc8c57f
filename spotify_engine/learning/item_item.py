"""Sparse item-item weights: ridge regression of each track on its nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse
from torch import Tensor

from spotify_engine.arrays import Ids, Scores
from spotify_engine.ragged import Ragged

BATCH = 256  # systems solved at once


class ItemItemConfig(BaseModel):
    """The item-item term of a score; its strength is chosen on validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int = Field(50, ge=0, le=1000)
    """Tracks that each track is predicted from; 0 leaves the term out. Few are better company for
    the model than many, though more are better alone."""
    regularisation: tuple[float, ...] = Field((20.0, 50.0, 200.0), min_length=1)
    """Ridges to choose from, as ``EASEConfig.regularisation``."""
    weights: tuple[float, ...] = Field((0.0, 0.25, 0.5, 1.0, 2.0, 4.0), min_length=1)
    """Factors of the term to choose from; 1 gives it, at the top of a list, the spread
    of a logit of 1."""
    validate_playlists: int = Field(2000, ge=1)
    """Playlists that the choice is measured on."""


def item_item_weights(
    train: Ragged, n_tracks: int, neighbours: int, ridges: Sequence[float]
) -> list[sparse.csr_array]:
    """For each ridge, weights ``[seed, track]``: how much a seed speaks for a track.

    A track j is predicted from its nearest tracks N by cosine, solving (G_NN + ridge I) w = G_Nj
    with G the co-occurrences: EASE (Steck, WWW 2019) has the same normal equations over all other
    tracks, which a catalogue of 200,000 does not allow; SLIM's feature selection (Ning & Karypis,
    ICDM 2011) is where the neighbours come from. A track in fewer than two playlists has no column.

    Returns:
        float32 ``[n_tracks, n_tracks]`` each, at most ``neighbours`` entries a column.
    """
    shape = (len(train), n_tracks)
    contains = sparse.csr_array(
        (np.ones(len(train.values), np.float32), train.values.astype(np.int32), train.offsets),
        shape,
    )
    together = sparse.csr_array(contains.T @ contains)
    together.sort_indices()
    count = together.diagonal()
    targets = np.flatnonzero(count > 1)
    found: list[list[np.ndarray]] = [[] for _ in ridges]
    rows, columns = [], []
    for start in range(0, len(targets), BATCH):
        batch = targets[start : start + BATCH]
        near = _nearest(together, count, batch, neighbours)
        size = near.shape[1]
        if not size:
            continue
        gram, right = _systems(together, batch, near)
        for solved, ridge in zip(found, ridges, strict=True):
            system = gram + ridge * torch.eye(size)
            solution = torch.cholesky_solve(right, torch.linalg.cholesky(system))
            solved.append(solution[:, :, 0].numpy()[near >= 0])
        rows.append(near[near >= 0])
        columns.append(np.repeat(batch, (near >= 0).sum(axis=1)))
    square = (n_tracks, n_tracks)
    if not rows:
        return [sparse.csr_array(square, dtype=np.float32) for _ in ridges]  # type: ignore[misc]
    place = (np.concatenate(rows), np.concatenate(columns))
    return [sparse.csr_array((np.concatenate(each), place), shape=square) for each in found]


def playlists_with_both(train: Ragged, weights: sparse.csr_array) -> sparse.csr_array:
    """int32, of the same places as ``weights``: training playlists that hold seed and track."""
    shape = (len(train), weights.shape[0])
    ones = np.ones(len(train.values), np.int32)
    contains = sparse.csr_array((ones, train.values.astype(np.int32), train.offsets), shape)
    together = sparse.csr_array(contains.T @ contains)
    rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    counts = np.asarray(together[rows, weights.indices]).ravel().astype(np.int32)
    return sparse.csr_array((counts, weights.indices, weights.indptr), shape=weights.shape)


def add_item_item_scores(scores: Scores, weights: sparse.csr_array, seeds: Ragged) -> None:
    """Add :func:`item_item_scores` to ``scores``, in place."""
    term = item_item_scores(weights, seeds)
    rows = np.repeat(np.arange(len(seeds)), np.diff(term.indptr))
    scores[rows, term.indices] += term.data


def item_item_scores(weights: sparse.csr_array, seeds: Ragged) -> sparse.csr_array:
    """Sum of the seeds' weights over the root of how many there are, ``[playlists, tracks]``."""
    share = 1 / np.sqrt(np.maximum(seeds.lengths, 1)).astype(np.float32)
    shape = (len(seeds), weights.shape[0])
    contained = sparse.csr_array((share[seeds.rows], seeds.values, seeds.offsets), shape=shape)
    return sparse.csr_array(contained @ weights)


def _systems(together: sparse.csr_array, tracks: Ids, near: Ids) -> tuple[Tensor, Tensor]:
    """G_NN float32 ``[n, size, size]`` and G_Nj ``[n, size, 1]``; zero where ``near`` is -1."""
    n, size = near.shape
    upper, lower = np.triu_indices(size)  # it is symmetric
    pairs = near[:, upper].ravel(), near[:, lower].ravel()
    gram = np.zeros((n, size, size), np.float32)
    gram[:, upper, lower] = gram[:, lower, upper] = _cells(together, *pairs).reshape(n, -1)
    right = _cells(together, near.ravel(), np.repeat(tracks, size)).reshape(n, size, 1)
    return torch.from_numpy(gram), torch.from_numpy(right)


def _cells(matrix: sparse.csr_array, rows: Ids, columns: Ids) -> np.ndarray:
    """float32 ``[n]``, values of a sorted matrix; 0 where row or column is -1."""
    there = (rows >= 0) & (columns >= 0)
    found = np.zeros(len(rows), np.float32)
    found[there] = np.asarray(matrix[rows[there], columns[there]]).ravel()
    return found


def _nearest(together: sparse.csr_array, count: np.ndarray, tracks: Ids, n: int) -> Ids:
    """Tracks of largest cosine with each of ``tracks``, int ``[tracks, <= n]``, padded with -1."""
    found = np.full((len(tracks), n), -1, dtype=np.int64)
    most = 0
    for i, track in enumerate(tracks):
        part = slice(together.indptr[track], together.indptr[track + 1])
        others, shared = together.indices[part], together.data[part]
        keep = others != track
        others, shared = others[keep], shared[keep]
        if len(others) > n:
            cosine = shared / np.sqrt(count[others])
            # Stable, so that equal cosines give the same neighbours everywhere.
            others = others[np.argsort(-cosine, kind="stable")[:n]]
        found[i, : len(others)] = others
        most = max(most, len(others))
    return found[:, :most]

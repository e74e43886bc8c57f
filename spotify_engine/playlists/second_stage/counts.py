"""What training playlists say of pairs of tracks: in how many they stand together, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from spotify_engine.arrays import Floats, Ids
from spotify_engine.ragged import Ragged

TOGETHER, AFTER, BEFORE, SOON_AFTER = range(4)
KINDS = ("together", "after", "before", "soon_after")
SOON = 5  # tracks later, at most
SHRINK = 3.0  # playlists: what was seen once is mostly chance


@dataclass(frozen=True)
class PairCounts:
    """Training playlists that hold two tracks, in compressed rows by the first of them.

    Attributes:
        indptr: int64 ``[tracks + 1]``.
        indices: int32 ``[pairs]``, the other track, ascending in each row.
        counts: unsigned int ``[pairs, kinds]``: playlists that hold both; and, where order means
            something, those in which the other comes right after, right before, and within five
            after the first.
    """

    indptr: Ids
    indices: Ids
    counts: Ids

    def arrays(self) -> dict[str, np.ndarray]:
        """As :meth:`of_arrays` takes it."""
        return {f"pairs_{name}": value for name, value in vars(self).items()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """From the arrays of a bundle or a run.

        Raises:
            LookupError, ValueError: some are missing, or don't fit each other.
        """
        found = cls(*(arrays[f"pairs_{name}"] for name in ("indptr", "indices", "counts")))
        if not found.indptr[-1] == len(found.indices) == len(found.counts):
            raise ValueError(f"{len(found.counts)} counts for {len(found.indices)} pairs")
        return found

    @property
    def kinds(self) -> int:
        """How many of :data:`KINDS` are counted: 1 without order, else all."""
        return int(self.counts.shape[1])

    def of(self, tracks: Ids) -> tuple[Ids, Ids]:
        """The pairs of some tracks: (which of ``tracks``, place in ``indices``), int64 each."""
        start = self.indptr[tracks]
        number = self.indptr[tracks + 1] - start
        ends = np.cumsum(number)
        places = np.arange(ends[-1] if len(ends) else 0)
        places += np.repeat(start - ends + number, number)
        return np.repeat(np.arange(len(tracks)), number), places

    def block(self, tracks: Ids, others: Ids) -> Ids:
        """Counts of pairs, int64 ``[tracks, others, kinds]``; ``others`` ascending, distinct."""
        found = np.zeros((len(tracks), len(others), self.kinds), np.int64)
        if len(others):
            row, place = self.of(tracks)
            other = self.indices[place]
            column = np.minimum(np.searchsorted(others, other), len(others) - 1)
            hit = others[column] == other
            found[row[hit], column[hit]] = self.counts[place[hit]]
        return found


def strengths(counts: Ids, first: Ids, other: Ids) -> Floats:
    """What counts say, whatever the tracks' popularity: float32 of the same shape, 0 of 0.

    Together is the cosine of the two tracks' playlists, shrunk; the others are shares of the first
    track's playlists, shrunk.

    Args:
        counts: ``[..., kinds]``.
        first, other: playlists that hold each of the two tracks, as ``counts`` without kinds.
    """
    both = counts[..., TOGETHER]
    found = counts / (first + SHRINK)[..., None]
    cosine = both / np.sqrt(np.maximum(first, 1) * np.maximum(other, 1))
    found[..., TOGETHER] = cosine * both / (both + SHRINK)
    return found.astype(np.float32)


def count_pairs(train: Ragged, n_tracks: int, ordered: bool, neighbours: int) -> PairCounts:
    """Count the pairs of the training playlists.

    Args:
        train: distinct tracks of each playlist, in their order.
        ordered: whether that order means anything.
        neighbours: most pairs that a track keeps for standing together alone, those of the largest
            strength; all in which one comes soon after the other are kept.
    """
    together, strongest = _together(train, n_tracks, neighbours)
    parts = [strongest]
    if ordered:
        after = _followed(train, n_tracks, 1)
        before = sparse.csr_array(after.T)
        parts += [after, before, _followed(train, n_tracks, SOON)]
    keys = [_keys(part) for part in parts]
    every = np.unique(np.concatenate(keys))
    row, column = np.divmod(every, n_tracks)
    counts = np.zeros((len(every), len(parts)), np.int64)
    # Whoever comes soon after another stands together with it, too.
    counts[:, TOGETHER] = together.data[np.searchsorted(_keys(together), every)]
    for kind, (key, part) in enumerate(zip(keys, parts, strict=True)):
        if kind != TOGETHER:
            counts[np.searchsorted(every, key), kind] = part.data
    smallest = np.min_scalar_type(int(counts.max(initial=0)))
    return PairCounts(
        np.searchsorted(row, np.arange(n_tracks + 1)),
        column.astype(np.int32),
        counts.astype(smallest),
    )


def _together(
    train: Ragged, n_tracks: int, neighbours: int
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """(playlists with both, int32 ``[tracks, tracks]``; of them each row's strongest)."""
    ones = np.ones(len(train.values), np.int32)
    contains = sparse.csr_array(
        (ones, train.values.astype(np.int32), train.offsets), (len(train), n_tracks)
    )
    together = sparse.csr_array(contains.T @ contains)
    together.sort_indices()
    popularity = together.diagonal()
    row = np.repeat(np.arange(n_tracks), np.diff(together.indptr))
    column = together.indices
    strength = strengths(together.data[:, None], popularity[row], popularity[column])[:, TOGETHER]
    strength[row == column] = -1
    keep = strength > 0
    # Only those of rows with too many are sorted: a tenth of the pairs of a large catalogue.
    crowded = np.flatnonzero((np.diff(together.indptr) > neighbours)[row])
    order = crowded[np.lexsort((-strength[crowded], row[crowded]))]
    starts = np.searchsorted(row[order], np.arange(n_tracks))
    keep[order[np.arange(len(order)) - starts[row[order]] >= neighbours]] = False
    kept = np.flatnonzero(keep)
    shape = (n_tracks, n_tracks)
    strongest = sparse.csr_array((together.data[kept], (row[kept], column[kept])), shape=shape)
    return together, strongest


def _followed(train: Ragged, n_tracks: int, within: int) -> sparse.csr_array:
    """Playlists in which the column comes after the row, at most ``within`` tracks later."""
    rows, tracks = train.rows, train.values.astype(np.int64)
    first, second = [], []
    for gap in range(1, within + 1):
        same = rows[gap:] == rows[:-gap]
        first.append(tracks[:-gap][same])
        second.append(tracks[gap:][same])
    pairs = np.concatenate(first), np.concatenate(second)
    ones = np.ones(len(pairs[0]), np.int32)
    # Tracks of a playlist are distinct, so each of its pairs counts once.
    return sparse.csr_array(sparse.coo_array((ones, pairs), shape=(n_tracks, n_tracks)))


def _keys(matrix: sparse.csr_array) -> Ids:
    """int64, row x columns + column of each stored value."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices

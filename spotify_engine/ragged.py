"""Many short lists in two flat arrays: the tracks of every playlist, the holdout of every user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Lists of ints stored end to end.

    Attributes:
        offsets: int64 ``[lists + 1]``, starting at 0; list ``i`` is
            ``values[offsets[i]:offsets[i + 1]]``.
        values: int32 or int64 ``[total]``.
    """

    offsets: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        if len(self.offsets) == 0 or self.offsets[0] != 0 or self.offsets[-1] != len(self.values):
            raise ValueError(
                f"offsets must run from 0 to {len(self.values)} (the number of values), "
                f"got {self.offsets[:1]} .. {self.offsets[-1:]}"
            )

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[int] | np.ndarray]) -> Ragged:
        """The same rows, as lists or arrays, in one array."""
        rows = [np.asarray(row, dtype=np.int32) for row in lists]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return cls(offsets, np.concatenate(rows) if rows else np.zeros(0, np.int32))

    @classmethod
    def from_pairs(cls, rows: np.ndarray, values: np.ndarray, n_rows: int) -> Ragged:
        """Group ``values`` by ``rows`` (both ``[total]``); the order within a row is kept."""
        order = np.argsort(rows, kind="stable")
        offsets = np.zeros(n_rows + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=offsets[1:])
        return cls(offsets, np.ascontiguousarray(values[order]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        if not -len(self) <= i < len(self):
            raise IndexError(f"list {i} of {len(self)}")
        i %= len(self)
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """int64 ``[lists]``."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """int64 ``[total]``: which list each value belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def select(self, index: np.ndarray) -> Ragged:
        """The lists at ``index`` (int ``[n]``, repeats allowed), in that order."""
        lengths = self.lengths[index]
        offsets = np.zeros(len(index) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        take = np.arange(offsets[-1]) + np.repeat(self.offsets[index] - offsets[:-1], lengths)
        return Ragged(offsets, self.values[take])

    def filter(self, keep: np.ndarray) -> Ragged:
        """Only the values where ``keep`` (bool ``[total]``) holds; all lists stay, maybe empty."""
        kept = np.concatenate([[0], np.cumsum(keep)])
        return Ragged(kept[self.offsets].astype(np.int64), self.values[keep])

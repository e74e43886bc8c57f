"""The validation playlists that settings are chosen on: drawn once, ranked in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from spotify_engine.evaluation.ranking import ranking_metrics
from spotify_engine.ragged import Ragged

BATCH = 256  # lists; bounds memory to so many rows of scores


@dataclass(frozen=True)
class ValidationSample:
    """Some playlists with held-out tracks.

    Attributes:
        playlists: int64 ``[n]``, rows, ascending.
        seeds: their training tracks.
        truth: their held-out tracks.
    """

    playlists: np.ndarray
    seeds: Ragged
    truth: Ragged

    @classmethod
    def draw(cls, train: Ragged, val: Ragged, at_most: int, rng: np.random.Generator) -> Self:
        """Draw from the playlists that hold something out.

        Args:
            train, val: over the same playlists.
        """
        held = np.flatnonzero(val.lengths)
        return cls.of(np.sort(rng.permutation(held)[:at_most]), train, val)

    @classmethod
    def of(cls, playlists: np.ndarray, train: Ragged, val: Ragged) -> Self:
        """These playlists (rows, ascending)."""
        return cls(playlists, train.select(playlists), val.select(playlists))

    def __len__(self) -> int:
        return len(self.playlists)

    def batches(self) -> Iterator[Self]:
        """The same playlists in their order, at most 256 at a time."""
        for first in range(0, len(self), BATCH):
            rows = np.arange(first, min(first + BATCH, len(self)))
            yield type(self)(self.playlists[rows], self.seeds.select(rows), self.truth.select(rows))

    def metrics(self, lists: Sequence[np.ndarray], k: int) -> dict[str, float]:
        """``ranking_metrics`` at k.

        Args:
            lists: int ``[batch, k]`` of each of :meth:`batches`, padded with -1.
        """
        return ranking_metrics(np.concatenate(lists), self.truth, (k,))

    def recall(self, lists: Sequence[np.ndarray], k: int) -> float:
        """Mean recall@k of lists as in :meth:`metrics`."""
        return self.metrics(lists, k)[f"recall@{k}"]

"""The tracks that the second stage chooses among, from several retrievers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from spotify_engine.arrays import Ids
from spotify_engine.playlists.second_stage.counts import (
    AFTER,
    SOON_AFTER,
    TOGETHER,
    PairCounts,
    strengths,
)

FROM_FIRST = 100
"""Candidates from the first stage."""
EVERY_SEED = 1 << 20
# (retriever, kind of pair, last seeds that it looks from, candidates)
ALONG_PAIRS = (
    ("right after", AFTER, 3, 40),
    ("soon after", SOON_AFTER, 8, 60),
    ("together with the last", TOGETHER, 10, 60),
    ("together with all", TOGETHER, EVERY_SEED, 60),
)
MOST_SEEDS = 200  # that pairs are followed from: a request's time must not grow without a bound
ARTISTS_OF, TRACKS_EACH = 5, 12  # last seeds, and the most popular tracks of each one's artist


@dataclass(frozen=True)
class Retrievers:
    """Finds candidates beside those of the first stage.

    Attributes:
        pairs: of the training playlists.
        popularity: int ``[tracks]``, training playlists that hold each.
        artist: int64 ``[tracks]``, the first one.
        indptr, by_artist: the tracks of each artist in compressed rows, the most popular first.
    """

    pairs: PairCounts
    popularity: Ids
    artist: Ids
    indptr: Ids
    by_artist: Ids

    @classmethod
    def of(cls, pairs: PairCounts, popularity: Ids, artist: Ids) -> Self:
        """Retrievers over a catalogue."""
        order = np.lexsort((-popularity.astype(np.int64), artist))
        n = int(artist.max(initial=-1)) + 1
        indptr = np.searchsorted(artist[order], np.arange(n + 1))
        return cls(pairs, popularity, artist, indptr, order)

    def find(self, seeds: Ids, first: Ids) -> dict[str, Ids]:
        """Candidates by retriever, seeds among them.

        Args:
            seeds: int64, in order, the last one last.
            first: the first stage's best.
        """
        found = {"first stage": first[:FROM_FIRST]}
        for name, kind, last, most in ALONG_PAIRS:
            if kind < self.pairs.kinds:
                found[name] = self._along(seeds[-min(last, MOST_SEEDS) :], kind, most)
        found["same artists"] = self._of_artists(seeds[-ARTISTS_OF:])
        return found

    def all(self, seeds: Ids, first: Ids, hidden: Ids) -> Ids:
        """int64, the distinct candidates of all retrievers, ascending, without hidden ones."""
        found = np.unique(np.concatenate([*self.find(seeds, first).values()]))
        return np.setdiff1d(found, hidden, assume_unique=False).astype(np.int64)

    def _along(self, seeds: Ids, kind: int, most: int) -> Ids:
        """The tracks with the largest sum of strengths of one kind."""
        row, place = self.pairs.of(seeds)
        counted = self.pairs.counts[place, kind] > 0
        row, place = row[counted], place[counted]
        other = self.pairs.indices[place]
        strength = strengths(
            self.pairs.counts[place].astype(np.int64),
            self.popularity[seeds[row]],
            self.popularity[other],
        )[:, kind]
        found, which = np.unique(other, return_inverse=True)
        total = np.bincount(which, strength, minlength=len(found))
        best: Ids = found[np.argsort(-total, kind="stable")[:most]].astype(np.int64)
        return best

    def _of_artists(self, seeds: Ids) -> Ids:
        """The most popular tracks of the seeds' artists."""
        parts = [
            self.by_artist[self.indptr[artist] : min(self.indptr[artist + 1],
                                                     self.indptr[artist] + TRACKS_EACH)]
            for artist in np.unique(self.artist[seeds])
        ]  # fmt: skip
        return np.concatenate([np.zeros(0, np.int64), *parts])

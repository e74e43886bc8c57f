"""The features of candidates, and of the edges that lead to them from a playlist's tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from spotify_engine.arrays import Floats, Ids, Scores
from spotify_engine.learning.edge_attention import AGES, Edges, age_classes
from spotify_engine.playlists.second_stage.counts import KINDS, PairCounts, strengths

MOST_SEEDS = 1000  # the last ones of a playlist that are attended to
KEY_ONLY = 1  # of the last features of an edge
CANDIDATE_FEATURES = ("first stage", "popularity")
YEARS = 5.0  # that halve, and more, how alike two tracks' times are


class Question(NamedTuple):
    """A playlist to complete.

    Attributes:
        seeds: int64 ``[seeds]``, in order, the last one last.
        candidates: int64 ``[candidates]``, ascending.
        first: float32 ``[candidates]``, the first stage's scores.
    """

    seeds: Ids
    candidates: Ids
    first: Scores


@dataclass(frozen=True)
class TrackFeatures:
    """What is known of every track.

    Attributes:
        pairs: of the training playlists.
        popularity: int ``[tracks]``, training playlists that hold each.
        vectors: float32 ``[tracks, width]`` of the graph, all of the same length but for the
            temperature.
        artist: int64 ``[tracks]``, the first one.
        audio: float32 ``[tracks, features]``, standardised; None: there is none.
        album: int64 ``[tracks]``, -1 where unknown; None: of none it is known.
        year: float32 ``[tracks]`` of release, NaN where unknown; None: of none it is known.
    """

    pairs: PairCounts
    popularity: Ids
    vectors: Floats
    artist: Ids
    audio: Floats | None
    album: Ids | None = None
    year: Floats | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of an edge's features are."""
        known = [name for name in ("audio", "album", "year") if getattr(self, name) is not None]
        ordered = ("artist run",) if self.pairs.kinds > 1 else ()
        return (
            *KINDS[: self.pairs.kinds], "vector", "artist", *ordered, *known,
            "popular source",
        )  # fmt: skip

    def edges(self, seeds: Ids, candidates: Ids) -> Floats:
        """Features of edges, float32 ``[seeds, candidates, features]``; 0 says nothing.

        - Counts of pairs, as :func:`counts.strengths` has them.
        - vector: the cosine of the tracks' vectors in the graph.
        - artist: whether it is the same; and that times how often a track of this playlist is by
          the artist of the one before, where order means something.
        - audio, album, year: how near the audio features are, from 0 to 1; whether the album is the
          same; how near the years of release are, from 0 to 1.
        - popular source: the log of the seed's popularity, which tells attention how much a seed
          can say. A playlist's own track counts as known to one playlist at least, whether
          the pairs were counted with that playlist or without it.
        """
        known = self.popularity[seeds].astype(np.int64)
        other = self.popularity[candidates].astype(np.int64)
        counts = self.pairs.block(seeds, candidates)
        shape = counts.shape[:2]
        artist = self.artist[seeds]
        by_same = artist[:, None] == self.artist[candidates]
        popular = np.log1p(np.maximum(known, 1))[:, None]
        columns = [
            *np.moveaxis(
                strengths(
                    counts, np.broadcast_to(known[:, None], shape), np.broadcast_to(other, shape)
                ),
                2,
                0,
            ),
            _unit(self.vectors[seeds]) @ _unit(self.vectors[candidates]).T,
            by_same,
        ]
        if self.pairs.kinds > 1:
            columns.append(by_same * np.mean(artist[1:] == artist[:-1]) if len(seeds) > 1 else 0)
        if self.audio is not None:
            a, b = self.audio[seeds], self.audio[candidates]
            squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
            columns.append(np.exp(-np.maximum(squared, 0) / (2 * a.shape[1])))
        if self.album is not None:
            album = self.album[candidates]
            columns.append((self.album[seeds][:, None] == album) & (album >= 0))
        if self.year is not None:
            apart = np.abs(self.year[seeds][:, None] - self.year[candidates])
            columns.append(np.nan_to_num(np.exp(-apart / YEARS)))
        columns.append(popular)
        found = np.empty((*shape, len(columns)), np.float32)
        for place, column in enumerate(columns):
            found[:, :, place] = column
        return found

    def candidates(self, question: Question) -> Floats:
        """Features of the candidates themselves, float32 ``[candidates, 2]``.

        That no training playlist has a track is no feature: the catalogue holds such tracks because
        they were held out, so it would give the answer away.
        """
        popularity = np.log1p(self.popularity[question.candidates])
        return np.stack([question.first, popularity], axis=1).astype(np.float32)


def batch_of(questions: Sequence[Question], tracks: TrackFeatures) -> Edges:
    """Questions as the head takes them, padded to one shape; of the seeds, the last 1,000."""
    seeds = [question.seeds[-MOST_SEEDS:] for question in questions]
    most = max(map(len, seeds)), max(len(each.candidates) for each in questions)
    n = len(questions)
    edges = np.zeros((n, *most, len(tracks.names)), np.float32)
    own = np.zeros((n, most[1], len(CANDIDATE_FEATURES)), np.float32)
    sources, offered = np.zeros((n, most[0]), bool), np.zeros((n, most[1]), bool)
    ages = np.full((n, most[0]), AGES[-1] + 1)
    for i, (question, own_seeds) in enumerate(zip(questions, seeds, strict=True)):
        s, c = len(own_seeds), len(question.candidates)
        edges[i, :s, :c] = tracks.edges(own_seeds, question.candidates)
        own[i, :c] = tracks.candidates(question)
        sources[i, :s], offered[i, :c] = True, True
        ages[i, :s] = np.arange(s)[::-1]
    return Edges(
        torch.from_numpy(edges),
        torch.from_numpy(sources),
        age_classes(torch.from_numpy(ages)),
        torch.from_numpy(own),
        torch.from_numpy(offered),
    )


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)

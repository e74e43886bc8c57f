"""The fitted second stage: scores what a first stage found anew, by attention over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from spotify_engine.arrays import Floats, Ids, Scores
from spotify_engine.learning.edge_attention import EdgeAttention
from spotify_engine.playlists.second_stage.candidates import FROM_FIRST, Retrievers
from spotify_engine.playlists.second_stage.counts import AFTER, TOGETHER, PairCounts
from spotify_engine.playlists.second_stage.features import (
    CANDIDATE_FEATURES,
    MOST_SEEDS,
    Question,
    TrackFeatures,
    batch_of,
)

BELOW = 1e4
"""Taken off the first stage's score of a track that is no candidate: it comes after all of them."""
ScoresAt = Callable[[Ids], Scores]
"""The first stage's scores of some tracks, for one playlist."""


class HeadShape(NamedTuple):
    """What a head is built from before its parameters are read."""

    heads: int
    hidden: int
    ordered: bool


class Shares(NamedTuple):
    """The scores of one playlist's tracks taken apart, exactly.

    Attributes:
        first: what the first stage's score counts here, one factor for all.
        seeds: float32 ``[seeds, tracks]``, what attention adds by each seed.
        popularity: float32 ``[tracks]``. The score is ``first`` times the first stage's score, plus
            the sum of the seeds, plus this.
        attention: float32 ``[seeds, tracks]``, mean over heads; sums to 1 over seeds.
        after, together: int64 ``[seeds, tracks]``, training playlists in which the track comes
            right after the seed, and which hold both.
    """

    first: float
    seeds: Floats
    popularity: Floats
    attention: Floats
    after: Ids
    together: Ids


@dataclass(frozen=True)
class SecondStage:
    """Retrievers, features and head; knows no first stage, but takes its scores.

    Attributes:
        tracks: what is known of every track.
        retrievers: of candidates beside the first stage's.
        head: attention over the edges.
    """

    tracks: TrackFeatures
    retrievers: Retrievers
    head: EdgeAttention

    @classmethod
    def of(cls, tracks: TrackFeatures, head: EdgeAttention) -> Self:
        """Put together from what is kept of it."""
        head.eval()
        return cls(tracks, Retrievers.of(tracks.pairs, tracks.popularity, tracks.artist), head)

    def question(self, seeds: Ids, first: Ids, hidden: Ids, score_at: ScoresAt) -> Question:
        """The candidates for a playlist, but hidden ones.

        Args:
            seeds: int64, in order, the last one last; at least one.
            first: int64, the best of the first stage.
        """
        candidates = self.retrievers.all(seeds, first[:FROM_FIRST], hidden)
        return Question(seeds, candidates, score_at(candidates))

    @torch.no_grad()
    def scores(self, questions: Sequence[Question]) -> list[Scores]:
        """The scores of each question's candidates, float32."""
        found: list[Scores] = [np.zeros(0, np.float32)] * len(questions)
        asked = [i for i, each in enumerate(questions) if len(each.candidates)]
        if asked:
            chosen = [questions[i] for i in asked]
            scores = self.head(batch_of(chosen, self.tracks)).numpy()
            for i, each, row in zip(asked, chosen, scores, strict=True):
                found[i] = row[: len(each.candidates)]
        return found

    def scored(self, question: Question) -> Scores:
        """:meth:`scores` of one question."""
        return self.scores([question])[0]

    def shares(self, seeds: Ids, tracks: Ids) -> Shares:
        """What makes the scores of some tracks (int64, distinct) for a playlist."""
        order = np.argsort(tracks)
        back = np.argsort(order)
        question = Question(seeds, tracks[order], np.zeros(len(tracks), np.float32))
        found = self.head.contributions(batch_of([question], self.tracks))
        used = len(seeds[-MOST_SEEDS:])
        # Those before the last thousand add nothing.
        whole = np.zeros((2, len(seeds), len(tracks)), np.float32)
        whole[0, len(seeds) - used :] = found.edges[0].sum(-1).numpy()[:, back]
        whole[1, len(seeds) - used :] = found.attention[0].mean(-1).numpy()[:, back]
        counts = self.tracks.pairs.block(seeds, tracks[order])[:, back]
        nothing = np.zeros(counts.shape[:2], np.int64)
        return Shares(
            float(self.head.weight[0] / self.head.candidate_scale[0]),
            whole[0],
            found.candidates[0, :, CANDIDATE_FEATURES.index("popularity")].numpy()[back],
            whole[1],
            counts[:, :, AFTER] if counts.shape[2] > AFTER else nothing,
            counts[:, :, TOGETHER],
        )

    @property
    def shape(self) -> HeadShape:
        """The head's shape, as :meth:`of_arrays` takes it."""
        return HeadShape(self.head.key.out_features, self.head.read.out_features, self.head.ordered)

    def arrays(self) -> dict[str, np.ndarray]:
        """What :meth:`of_arrays` needs beside the catalogue: pairs and the head's parameters."""
        pairs = self.tracks.pairs
        head = {f"head_{name}": value.numpy() for name, value in self.head.state_dict().items()}
        return {
            "pairs_indptr": pairs.indptr, "pairs_indices": pairs.indices,
            "pairs_counts": pairs.counts, **head,
        }  # fmt: skip

    @classmethod
    def of_arrays(
        cls,
        arrays: dict[str, np.ndarray],
        shape: HeadShape,
        popularity: Ids,
        vectors: Floats,
        artist: Ids,
        audio: Floats | None,
    ) -> Self:
        """From :meth:`arrays` and a catalogue, see :class:`TrackFeatures`.

        Raises:
            RuntimeError, ValueError: they don't fit each other.
        """
        pairs = PairCounts(*(arrays[f"pairs_{part}"] for part in ("indptr", "indices", "counts")))
        if len(pairs.indptr) != len(popularity) + 1 or pairs.indptr[-1] != len(pairs.indices):
            raise ValueError(f"pairs of {len(pairs.indptr) - 1} tracks for {len(popularity)}")
        tracks = TrackFeatures(pairs, popularity, vectors, artist, audio)
        head = EdgeAttention(len(tracks.names), len(CANDIDATE_FEATURES), *shape)
        state: dict[str, Any] = {
            name.removeprefix("head_"): torch.from_numpy(np.array(value))
            for name, value in arrays.items()
            if name.startswith("head_")
        }
        head.load_state_dict(state)
        return cls.of(tracks, head)

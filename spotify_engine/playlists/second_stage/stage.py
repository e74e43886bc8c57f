"""The fitted second stage: scores what a first stage found anew, by attention over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch

from spotify_engine.arrays import Floats, Ids, Scores
from spotify_engine.evaluation.ranking import NOTHING, top_k
from spotify_engine.learning.edge_attention import EdgeAttention
from spotify_engine.playlists.second_stage.counts import AFTER, TOGETHER
from spotify_engine.playlists.second_stage.features import (
    CANDIDATE_FEATURES,
    KEY_ONLY,
    MOST_SEEDS,
    Question,
    TrackFeatures,
    batch_of,
)
from spotify_engine.ragged import Ragged

CANDIDATES = 200
"""Of the first stage. Others (what came soon after the last tracks, stands together with them or is
by their artists) hold more of what is sought, and rank no better."""
BELOW = 1e4
"""Taken off the first stage's score of a track that is no candidate: it comes after all of them."""
BATCH = 64  # questions answered at once
EDGES_AT_ONCE = 1 << 20
LEAST_SEEDS = 3
"""Of fewer, no order is to be read: there the first stage is better alone, on validation."""


def question_of(seeds: Ids, first: Ids, first_scores: Scores) -> Question:
    """The first stage's best, -1 where there are fewer, as the candidates of a playlist."""
    chosen, scores = first[:CANDIDATES].astype(np.int64), first_scores[:CANDIDATES]
    order = np.argsort(chosen)
    order = order[chosen[order] != NOTHING]
    return Question(seeds, chosen[order], scores[order])


def batches(questions: Sequence[Question]) -> list[Ids]:
    """Which questions are answered at once: those of like length, in bounded memory.

    Questions without candidates are left out.
    """
    asked = np.flatnonzero([len(each.candidates) > 0 for each in questions])
    sizes = np.array([len(questions[i].seeds[-MOST_SEEDS:]) for i in asked.tolist()], np.int64)
    found: list[Ids] = []
    start = 0
    asked, sizes = (each[np.argsort(sizes, kind="stable")] for each in (asked, sizes))
    most = max((len(each.candidates) for each in questions), default=0)
    while start < len(asked):
        stop = start + 1
        while stop < min(len(asked), start + BATCH):
            if (stop + 1 - start) * sizes[stop] * most > EDGES_AT_ONCE:
                break
            stop += 1
        found.append(asked[start:stop])
        start = stop
    return found


class HeadShape(NamedTuple):
    """What a head is built from before its parameters are read."""

    heads: int
    hidden: int
    ordered: bool


def new_head(tracks: TrackFeatures, shape: HeadShape) -> EdgeAttention:
    """A head for the features of some tracks, before it has learned."""
    return EdgeAttention(len(tracks.names), len(CANDIDATE_FEATURES), *shape, KEY_ONLY)


class Shares(NamedTuple):
    """The scores of one playlist's tracks taken apart, exactly.

    Attributes:
        first: what the first stage's score counts here, one factor for all.
        seeds: float32 ``[seeds, tracks]``, what attention adds by each seed.
        popularity: float32 ``[tracks]``, what popularity adds. The score is ``first`` times the
            first stage's score, plus the sum of the seeds, plus this.
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
    """Features and head; knows no first stage, but takes its candidates and their scores.

    Attributes:
        tracks: what is known of every track.
        head: attention over the edges.
    """

    tracks: TrackFeatures
    head: EdgeAttention

    @classmethod
    def of(cls, tracks: TrackFeatures, head: EdgeAttention) -> Self:
        """Put together, ready to score."""
        head.eval()
        return cls(tracks, head)

    @torch.no_grad()
    def scores(self, questions: Sequence[Question]) -> list[Scores]:
        """The scores of each question's candidates, float32."""
        found: list[Scores] = [np.zeros(0, np.float32)] * len(questions)
        for asked in batches(questions):
            chosen = [questions[i] for i in asked]
            scores = self.head(batch_of(chosen, self.tracks)).numpy()
            for i, each, row in zip(asked, chosen, scores, strict=True):
                found[i] = row[: len(each.candidates)]
        return found

    def over_all(self, scores: Scores, seeds: Ragged, hidden: Ragged | None = None) -> None:
        """Put the second stage's scores in the place of a first stage's, over all tracks.

        Tracks that are no candidate come after all that are, in the first stage's order. A playlist
        of fewer than three seeds stays as it is.

        Args:
            scores: float32 ``[playlists, tracks]``, changed in place.
            seeds: of the same playlists.
            hidden: tracks that are not recommended, seeds among them; None: the seeds.
        """
        best, first = top_k(scores, hidden or seeds, CANDIDATES)
        asked = np.flatnonzero(seeds.lengths >= LEAST_SEEDS)
        questions = [
            question_of(seeds[row].astype(np.int64), best[row], first[row])
            for row in asked.tolist()
        ]
        again = self.scores(questions)
        scores[asked] -= BELOW
        for place, question, own_scores in zip(asked, questions, again, strict=True):
            scores[place, question.candidates] = own_scores

    def best(self, seeds: Ids, first: Ids, first_scores: Scores, k: int) -> tuple[Ids, Scores]:
        """The k best tracks for a playlist and their scores, as :meth:`over_all` ranks them.

        Args:
            first, first_scores: the first stage's best, hidden ones left out, best first: at least
                k, and as many as there are candidates.
        """
        question = question_of(seeds, first, first_scores)
        scores = self.scores([question])[0]
        order = np.argsort(-scores, kind="stable")
        rest = slice(len(order), None)
        chosen = np.concatenate([question.candidates[order], first[rest]])[:k]
        found = np.concatenate([scores[order], first_scores[rest] - BELOW])[:k]
        return chosen, found.astype(np.float32)

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
            float(self.head.weight[0].detach() / self.head.candidate_scale[0]),
            whole[0],
            found.candidates[0, :, 1:].sum(-1).numpy()[back],
            whole[1],
            counts[:, :, AFTER] if counts.shape[2] > AFTER else nothing,
            counts[:, :, TOGETHER],
        )

    @property
    def shape(self) -> HeadShape:
        """The head's shape, as :meth:`of_arrays` takes it."""
        return HeadShape(self.head.key.out_features, self.head.read.out_features, self.head.ordered)

    def arrays(self) -> dict[str, np.ndarray]:
        """Pairs and the head's parameters: all that :meth:`of_arrays` needs beside a catalogue."""
        head = {f"head_{name}": value.numpy() for name, value in self.head.state_dict().items()}
        return self.tracks.pairs.arrays() | head

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, np.ndarray], shape: HeadShape, tracks: TrackFeatures
    ) -> Self:
        """From :meth:`arrays`, and the features of the tracks that they are of.

        Raises:
            RuntimeError, ValueError: they don't fit each other.
        """
        if len(tracks.pairs.indptr) != len(tracks.popularity) + 1:
            raise ValueError(
                f"pairs of {len(tracks.pairs.indptr) - 1} tracks for {len(tracks.popularity)}"
            )
        head = new_head(tracks, shape)
        head.load_state_dict(
            {
                name.removeprefix("head_"): torch.from_numpy(np.array(value))
                for name, value in arrays.items()
                if name.startswith("head_")
            }
        )
        return cls.of(tracks, head)

"""Every scorer on the same plays, by the same function: baselines, GATs, session model, oracle."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table

from spotify_engine.baselines.ials import IALS, IALSConfig
from spotify_engine.baselines.itemknn import ItemKNN, ItemKNNConfig
from spotify_engine.baselines.popularity import Popularity
from spotify_engine.baselines.scorer import Scorer
from spotify_engine.errors import InputError
from spotify_engine.evaluation.leaderboard import (
    Candidate,
    Column,
    choose,
    found_in_words,
    leaderboard_table,
)
from spotify_engine.evaluation.ranking import NOTHING, ranking_metrics, top_k
from spotify_engine.ragged import Ragged
from spotify_engine.sessions.baselines.markov import Markov, MarkovConfig
from spotify_engine.sessions.baselines.session_knn import SessionKNN, SessionKNNConfig
from spotify_engine.sessions.measure.next_song import (
    ScoreNext,
    by_group,
    next_song_metrics,
    rank_next,
    single_targets,
)
from spotify_engine.sessions.measure.splits import EventSplit
from spotify_engine.sessions.model.session_aware import SessionModel
from spotify_engine.sessions.queries import Queries, queries_of_events
from spotify_engine.watching import Watch, unwatched

K = 10
BASELINES = ("popularity", "itemknn", "ials", "markov", "session-knn")
HEARD_BEFORE = ("popularity", "itemknn", "ials")  # rank by what the user heard, not by the session


class SessionEvaluationConfig(BaseModel):
    """What is measured, and what the baselines are tuned among."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_plays: int = Field(10_000, ge=1)
    """Test plays to rank, drawn once for all scorers."""
    tune_on: int = Field(2_000, ge=1)
    """Validation plays that baselines are tuned on."""
    memory: int = Field(10, ge=1, le=50)
    """Songs of the session that the baselines see."""
    markov: tuple[MarkovConfig, ...] = tuple(
        MarkovConfig(shrink=shrink, decay=decay) for decay in (0.0, 0.5) for shrink in (1, 20)
    )
    session_knn: tuple[SessionKNNConfig, ...] = tuple(
        SessionKNNConfig(neighbours=n, decay=decay) for n in (100, 500) for decay in (0.5, 0.8)
    )
    itemknn: tuple[ItemKNNConfig, ...] = (
        ItemKNNConfig(neighbours=200, shrink=10), ItemKNNConfig(neighbours=50, shrink=10),
    )  # fmt: skip
    ials: tuple[IALSConfig, ...] = tuple(
        IALSConfig(factors=32, regularisation=r, unobserved_weight=w, iterations=8)
        for r, w in ((0.03, 0.1), (0.03, 0.2))
    )
    seed: int = Field(0, ge=0)
    """Of the draws."""


class Plays(NamedTuple):
    """Some plays to predict.

    Attributes:
        rows: int64 ``[n]`` of the events table, ascending.
        queries: the moments before them.
        song: int64 ``[n]``, what was played.
    """

    rows: np.ndarray
    queries: Queries
    song: np.ndarray


class HeldOut:
    """The split as the leaderboard needs it: plays to predict, and users' songs by part.

    A user's held-out songs are those of the val (test) part that the user hadn't heard before it.
    """

    def __init__(
        self, tables: Mapping[str, pa.Table], split: EventSplit, config: SessionEvaluationConfig
    ) -> None:
        self.tables, self.split, self.config = tables, split, config
        self.n_users, self.n_songs = len(tables["users"]), len(tables["songs"])
        events = tables["events"]
        self.user = events["user"].to_numpy().astype(np.int64)
        self.song = events["song"].to_numpy().astype(np.int64)
        train, val, test = (self._pairs(part) for part in (split.train, split.val, split.test))
        known = np.union1d(train, val)
        self.train, self.known = self._lists(train), self._lists(known)
        self.new_in_val = self._lists(np.setdiff1d(val, train))
        self.new_in_test = self._lists(np.setdiff1d(test, known))
        train_song = self.song[split.train]
        self.counts = np.bincount(train_song, minlength=self.n_songs)

    def plays(self, part: np.ndarray, at_most: int | None, memory: int) -> Plays:
        """The plays of a part (bool ``[events]``), a seeded draw of them if there are more."""
        rows = np.flatnonzero(part)
        if at_most is not None and len(rows) > at_most:
            rng = np.random.default_rng(self.config.seed)
            rows = np.sort(rng.choice(rows, at_most, replace=False))
        events = self.tables["events"]
        return Plays(rows, queries_of_events(events, rows, memory), self.song[rows])

    def _pairs(self, part: np.ndarray) -> np.ndarray:
        return np.unique(self.user[part] * self.n_songs + self.song[part])

    def _lists(self, pairs: np.ndarray) -> Ragged:
        return Ragged.from_pairs(pairs // self.n_songs, pairs % self.n_songs, self.n_users)


@dataclass
class SessionRow:
    """One scorer on the leaderboard.

    Attributes:
        next_song: ``next_song_metrics`` on the test plays; None for what they don't say.
        by_user_type: the same, of each type's users.
        held_out: recall, NDCG and MRR of users' new test songs; None for scorers that need a
            session.
        share_of_oracle: next-song recall over the oracle's on the same plays; None without one.
        settings: what was chosen on validation.
        lists, scores: of the test plays, ``[n, k]``.
        user_lists, user_scores: of new songs for each user, ``[users, k]``; empty for users who
            have no held-out song.
    """

    name: str
    next_song: dict[str, Any]
    by_user_type: dict[str, dict[str, Any]]
    held_out: dict[str, float] | None = None
    share_of_oracle: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    fit_seconds: float | None = None
    rank_seconds: float | None = None
    lists: np.ndarray | None = None
    scores: np.ndarray | None = None
    user_lists: np.ndarray | None = None
    user_scores: np.ndarray | None = None

    def report(self) -> dict[str, Any]:
        """Everything but the lists, ready for JSON."""
        apart = ("lists", "scores", "user_lists", "user_scores")
        return {key: value for key, value in vars(self).items() if key not in apart}


class Leaderboard:
    """Scorers measured on the same test plays.

    Args:
        held_out: of the data.
        membership: float ``[songs, genres]``.
    """

    def __init__(self, held_out: HeldOut, membership: np.ndarray) -> None:
        self.data, self.membership = held_out, membership
        self.config = held_out.config
        self.test = held_out.plays(held_out.split.test, self.config.max_plays, self.config.memory)
        types = held_out.tables["users"]["type"].combine_chunks().dictionary_encode()
        self.type_names: list[str] = types.dictionary.to_pylist()
        self.type_of_user = types.indices.to_numpy()
        self.rows: list[SessionRow] = []

    def add(
        self,
        name: str,
        score: ScoreNext,
        per_user: np.ndarray | None = None,
        settings: dict[str, Any] | None = None,
        fit_seconds: float | None = None,
        queries: Queries | None = None,
    ) -> SessionRow:
        """Measure a scorer.

        Args:
            per_user: float32 ``[users, songs]``, for the recall of held-out songs as well.
            queries: the test plays with the memory that the scorer wants; else the baselines'.
        """
        started = time.perf_counter()
        lists, scores = rank_next(score, queries or self.test.queries, K)
        seconds = time.perf_counter() - started
        users = None if per_user is None else self._new_songs(per_user)
        return self.measure(name, lists, scores, users, settings, fit_seconds, seconds)

    def _new_songs(self, per_user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(songs, scores) ``[users, k]`` of those who have a new song in test."""
        lists, scores = top_k(per_user, self.data.known, K)
        asked = self.data.new_in_test.lengths > 0
        return np.where(asked[:, None], lists, NOTHING), np.where(asked[:, None], scores, -np.inf)

    def add_oracle(self, event: np.ndarray, songs: np.ndarray, probabilities: np.ndarray) -> None:
        """Measure true probabilities; ``event`` are rows of the events table, ascending.

        Raises:
            InputError: a test play has none.
        """
        place = np.minimum(np.searchsorted(event, self.test.rows), len(event) - 1)
        missing = int((event[place] != self.test.rows).sum()) if len(event) else len(place)
        if missing:
            raise InputError(
                f"the oracle has no row for {missing:,} of {len(place):,} test plays, so it can't "
                "be ranked beside the others"
            )
        lists, scores = songs[place, :K].astype(np.int32), probabilities[place, :K]
        self.measure("oracle", lists, scores)
        self.share_out()

    def share_out(self) -> None:
        """Fill in ``share_of_oracle``, if the oracle was measured."""
        for oracle in (row for row in self.rows if row.name == "oracle"):
            best = oracle.next_song[f"recall@{K}"]
            for each in self.rows:
                each.share_of_oracle = each.next_song[f"recall@{K}"] / best if best else None

    def measure(
        self,
        name: str,
        lists: np.ndarray,
        scores: np.ndarray,
        users: tuple[np.ndarray, np.ndarray] | None = None,
        settings: dict[str, Any] | None = None,
        fit_seconds: float | None = None,
        rank_seconds: float | None = None,
    ) -> SessionRow:
        """Measure what was ranked already; the rest as in :meth:`add`.

        Args:
            lists, scores: ``[n, k]`` of the test plays.
            users: (songs, scores) ``[users, k]``, new songs for each user.
        """
        song, counts = self.test.song, self.data.counts
        kinds = self.type_of_user[self.test.queries.user]
        held_out = None
        if users is not None and len(self.data.new_in_test.values):
            figures = ranking_metrics(users[0], self.data.new_in_test, (K,))
            held_out = {f"{n}@{K}": figures[f"{n}@{K}"] for n in ("recall", "ndcg", "mrr")}
        row = SessionRow(
            name,
            next_song_metrics(lists, song, counts, self.membership, K),
            by_group(lists, song, kinds, self.type_names, counts, self.membership),
            held_out,
            None,
            settings or {},
            fit_seconds,
            rank_seconds,
            lists,
            scores,
            *(users or ()),
        )
        self.rows.append(row)
        return row

    def add_baselines(self, watch: Watch = unwatched) -> None:
        """Fit each of the grids on train, choose by validation, measure the chosen one.

        Args:
            watch: is told of each that is fitted.
        """
        data, config = self.data, self.config
        history: list[tuple[str, Sequence[Scorer]]] = [
            ("popularity", [Popularity()]),
            ("itemknn", [ItemKNN(each) for each in config.itemknn]),
            ("ials", [IALS(each) for each in config.ials]),
        ]
        for name, scorers in history:
            chosen = choose(name, [self._of_users(each) for each in scorers], self._new, watch)
            per_user = chosen.scorer
            if name == "popularity":
                # By plays, not by users: what is asked for is the next play.
                per_user = np.tile(data.counts.astype(np.float32), (data.n_users, 1))
            self.add(name, by_user(per_user), per_user, chosen.settings, chosen.fit_seconds)
        train = data.plays(data.split.train, None, config.memory)
        val = data.plays(data.split.val, config.tune_on, config.memory)
        session = data.tables["events"]["session"].to_numpy()[train.rows]

        def next_recall(scorer: Markov | SessionKNN) -> float:
            lists, _ = rank_next(by_session(scorer), val.queries, K)
            return ranking_metrics(lists, single_targets(val.song), (K,))[f"recall@{K}"]

        def markov(each: MarkovConfig) -> Candidate[Markov | SessionKNN]:
            return Candidate(
                lambda: Markov(each).fit(train.queries, train.song, data.n_songs),
                each.model_dump(),
            )

        def session_knn(each: SessionKNNConfig) -> Candidate[Markov | SessionKNN]:
            return Candidate(
                lambda: SessionKNN(each).fit(session, train.song, data.n_songs), each.model_dump()
            )

        sequential = {
            "markov": [markov(each) for each in config.markov],
            "session-knn": [session_knn(each) for each in config.session_knn],
        }
        for name, grid in sequential.items():
            best = choose(name, grid, next_recall, watch)
            self.add(name, by_session(best.scorer), None, best.settings, best.fit_seconds)

    def _of_users(self, scorer: Scorer) -> Candidate[np.ndarray]:
        """Scores float32 ``[users, songs]`` from what each user heard in training."""
        data = self.data
        return Candidate(
            lambda: scorer.fit(data.train, data.n_songs).score(data.train), _settings(scorer)
        )

    def _new(self, per_user: np.ndarray) -> float:
        """Recall of the songs that are new in validation; 0 for all where nobody has any."""
        if not len(self.data.new_in_val.values):
            return 0.0
        lists, _ = top_k(per_user, self.data.train, K)
        return ranking_metrics(lists, self.data.new_in_val, (K,))[f"recall@{K}"]

    def in_words(self, ours: str) -> str:
        """What the leaderboard says of one model, beside the best baseline."""
        return board_in_words(ours, {row.name: row.next_song for row in self.rows})

    def render(self, wide: bool = False) -> Table:
        """The best next-song recall on top.

        Args:
            wide: with all figures; else those that fit 80 characters.
        """
        return leaderboard_table(
            f"{len(self.test.song):,} test plays: same plays, same function for all",
            [(row.name, row) for row in self.rows],
            COLUMNS,
            lambda row: row.next_song[f"recall@{K}"],
            wide,
        )


def _next(heading: str, figure: str, form: str = ".4f", narrow: bool = False) -> Column[SessionRow]:
    return Column(heading, lambda row: row.next_song[f"{figure}@{K}"], form, narrow)


COLUMNS = (
    _next("next recall@10", "recall", narrow=True),
    Column[SessionRow]("of oracle", lambda row: row.share_of_oracle, ".1%", narrow=True),
    _next("ndcg@10", "ndcg", narrow=True),
    _next("mrr@10", "mrr"),
    Column[SessionRow](
        "held-out recall@10", lambda row: (row.held_out or {}).get(f"recall@{K}"), narrow=True
    ),
    _next("genres", "genre_diversity", ".2f"),
    _next("cover", "coverage", ".2f", narrow=True),
    _next("across", "diversity", ".3f"),
    _next("bits", "novelty", ".2f"),
)


def by_session(scorer: Markov | SessionKNN | SessionModel) -> ScoreNext:
    """A scorer of next songs that looks at the session."""
    return lambda queries, _: scorer.score(queries)


def by_user(per_user: np.ndarray) -> ScoreNext:
    """A scorer of next songs that only looks at who listens."""
    return lambda queries, _: per_user[queries.user]


def _settings(scorer: Any) -> dict[str, Any]:
    config = getattr(scorer, "config", None)
    return config.model_dump() if config is not None else {}


def board_in_words(ours: str, next_song: Mapping[str, Mapping[str, float]]) -> str:
    """What a leaderboard says of one model, beside the best baseline.

    Args:
        next_song: figures of the next song, by scorer.
    """
    recalls = {name: figures[f"recall@{K}"] for name, figures in next_song.items()}
    return found_in_words(ours, recalls, BASELINES, "next songs", K)

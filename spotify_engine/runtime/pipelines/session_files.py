"""Reading back the files of a session run."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
from scipy import sparse

from spotify_engine.errors import InputError
from spotify_engine.evaluation.fingerprint import fingerprint
from spotify_engine.evaluation.ranking import Figures
from spotify_engine.learning.parameters import parameter_counts
from spotify_engine.learning.trainers.base import load_state
from spotify_engine.pipelines import SESSION_MODELS
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.sessions.measure.cold_start import cold_start_benefits
from spotify_engine.sessions.measure.faithfulness import gat_faithfulness, session_faithfulness
from spotify_engine.sessions.measure.leaderboard import (
    HeldOut,
    K,
    Leaderboard,
    SessionRow,
    by_session,
    by_user,
)
from spotify_engine.sessions.measure.rankings import load_ranking, load_rankings
from spotify_engine.sessions.measure.splits import EventSplit, load_event_split
from spotify_engine.sessions.model.session_aware import SessionModel
from spotify_engine.sessions.model.vectors import GATVectors
from spotify_engine.sessions.queries import Queries, queries_of_events
from spotify_engine.sessions.recommender import SessionRecommender, membership_of
from spotify_engine.sessions.settings import MODELS, ModelName, SyntheticJob
from spotify_engine.sessions.synthetic import ORACLE_FILE, load_oracle
from spotify_engine.sessions.tables.build import load_tables
from spotify_engine.sessions.training_inputs import SessionTraining


class Findings(TypedDict):
    """What ``report.json`` says of a measured board and of the trained models."""

    leaderboard: dict[str, dict[str, Any]]
    parameters: dict[str, dict[str, int]]
    genre_influence: float | None
    cold_start: dict[str, dict[str, float]]
    faithfulness: dict[str, Figures]
    fingerprints: dict[str, str]


class SessionFiles:
    """Tables, split, trained models and saved lists of a run, as far as its stages are done."""

    run: Run[SyntheticJob]
    config: SyntheticJob

    @property
    def folder(self) -> str:
        """Of the CSV files."""
        given = self.config.inputs.data
        return str(self.run.out / "data") if given is None else given

    @property
    def oracle(self) -> Path:
        """The file of true probabilities, which generated data alone has."""
        return Path(self.folder) / ORACLE_FILE

    def board(self) -> Leaderboard:
        """An empty leaderboard of the run's test plays."""
        return Leaderboard(self.held_out, membership_of(self.tables))

    def add(self, board: Leaderboard, name: ModelName) -> SessionRow:
        """Measure a trained model on the board's test plays."""
        seconds = self.run.seconds[f"train {name}"]
        if name == "session":
            model = self.session_model
            assert model is not None
            queries = self._session_queries(board)
            return board.add(SESSION_MODELS[name], by_session(model), None, None, seconds, queries)
        scores = self._vectors(name).score(np.arange(board.data.n_users))
        return board.add(SESSION_MODELS[name], by_user(scores), scores, None, seconds)

    @property
    def quality(self) -> float:
        """Recall@10 on validation of the last model: next songs, or a GAT's new songs of users."""
        return float(load_state(self.run.checkpoints / self.config.models[-1] / "best")["best"][0])

    def test_recall(self) -> float:
        """On test what ``quality`` is on validation, without all else that a report measures."""
        row = self.add(self.board(), self.config.models[-1])
        return (row.held_out or row.next_song)["recall@10"]

    @property
    def last(self) -> str:
        """The model that the bundle ranks by."""
        return SESSION_MODELS[self.config.models[-1]]

    def saved_board(self) -> Leaderboard:
        """The leaderboard measured again, from the lists that the run saved alone.

        Raises:
            InputError: a file of lists is missing, damaged or not of this run.
        """
        board, n_songs = self.board(), len(self.tables["songs"])
        rows, everybody = board.test.rows, np.arange(board.data.n_users)
        left = [len(np.unique(played)) < n_songs for played in board.test.queries.played]
        shape = (rows, np.array(left, bool), n_songs, K)
        events = load_rankings(self.run.rankings, "event", *shape)
        events[self.last] = load_ranking(self.run.predictions, "event", *shape)
        asked = (board.data.new_in_test.lengths > 0) & (board.data.known.lengths < n_songs)
        users = load_rankings(self.run.held_out, "user", everybody, asked, n_songs, K)
        for name, lists in events.items():
            try:
                board.measure(name, *lists, users=users.get(name))
            except ValueError as error:
                path = self.run.predictions if name == self.last else self.run.rankings
                raise InputError(f"{path}: {name}: {error}") from error
        board.share_out()
        return board

    def add_oracle(self, board: Leaderboard) -> None:
        """Measure the true probabilities, where the data has them.

        Raises:
            InputError: it lacks some of the plays, or is of other data.
        """
        if self.oracle.exists():
            truth = load_oracle(self.oracle, self.tables, board.test.rows)
            board.add_oracle(truth.event, truth.songs, truth.probabilities)

    def findings(self, board: Leaderboard) -> Findings:
        """The findings on a measured board, the models, and the files of its lists."""
        networks = {
            name: self.training(name).load_gat(self.run.checkpoints / name / "best")
            for name in self.config.models
            if name != "session"
        }
        parameters: dict[str, dict[str, int]] = {
            name: parameter_counts(network) for name, (network, _) in networks.items()
        }
        faithful = {
            SESSION_MODELS[name]: gat_faithfulness(*each, board.data.known, self._draws)
            for name, each in networks.items()
        }
        influence = None
        if "enhanced" in networks:
            [row] = (row for row in board.rows if row.name == SESSION_MODELS["enhanced"])
            vectors = GATVectors.of(*networks["enhanced"])
            influence = _genre_influence(vectors, board.test.queries.user, row.lists)
        if self.session_model is not None:
            parameters["session"] = parameter_counts(self.session_model)
            queries = self._session_queries(board)
            faithful[SESSION_MODELS["session"]] = session_faithfulness(
                self.session_model, queries, self._draws
            )
        return {
            "leaderboard": {row.name: row.report() for row in board.rows},
            "parameters": parameters,
            "genre_influence": influence,
            "cold_start": cold_start_benefits(
                board.data, self.session_model, self.gat_vectors, self.config.cold
            ),
            "faithfulness": faithful,
            "fingerprints": {path.stem: fingerprint(path) for path in self.lists},
        }

    @property
    def _draws(self) -> np.random.Generator:
        """The same each time."""
        return np.random.default_rng(self.config.evaluation.seed)

    @property
    def lists(self) -> tuple[Path, ...]:
        """The files of the leaderboard's lists."""
        return self.run.predictions, self.run.rankings, self.run.held_out

    def _session_queries(self, board: Leaderboard) -> Queries:
        memory = self.config.session.memory
        return queries_of_events(self.tables["events"], board.test.rows, memory)

    def training(self, name: ModelName) -> SessionTraining:
        """The files and settings that the workers open to train a model."""
        split = self.run.split.resolve() if self.config.trainer == "advanced" else None
        return SessionTraining(
            name, self.run.tables.resolve(), self.run.graph.resolve(), split, self.config,
            self.validates(name),
        )  # fmt: skip

    def validates(self, name: ModelName) -> bool:
        """Whether validation measures a model: a GAT by songs that are new to their users."""
        if self.config.trainer == "simple":
            return False
        return name == "session" or len(self.held_out.new_in_val.values) > 0

    @cached_property
    def recommender(self) -> SessionRecommender:
        """The best checkpoints, ready to recommend."""
        events = self.train_events
        user, song = events["user"].to_numpy(), events["song"].to_numpy()
        shape = (len(self.tables["users"]), len(self.tables["songs"]))
        listens = sparse.csr_array((np.ones(len(user)), (user, song)), shape=shape)
        listens.sum_duplicates()
        plays = np.bincount(song, minlength=shape[1])
        return SessionRecommender(
            self.tables, plays, listens, self.session_model, self.gat_vectors, self.config.cold
        )

    @cached_property
    def session_model(self) -> SessionModel | None:
        """The trained session model; None where none is trained."""
        if "session" not in self.config.models:
            return None
        return self.training("session").load_session(self.run.checkpoints / "session" / "best")

    @cached_property
    def gat_vectors(self) -> GATVectors | None:
        """Of the Enhanced GAT, else of the Basic one, else None."""
        trained = [name for name in MODELS[:2] if name in self.config.models]
        return self._vectors(trained[-1]) if trained else None

    def _vectors(self, name: ModelName) -> GATVectors:
        checkpoint = self.run.checkpoints / name / "best"
        return GATVectors.of(*self.training(name).load_gat(checkpoint))

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """All tables by name."""
        return load_tables(self.run.tables)

    @cached_property
    def held_out(self) -> HeldOut:
        """What is measured on."""
        return HeldOut(self.tables, self.split, self.config.evaluation)

    @cached_property
    def split(self) -> EventSplit:
        """The split, from its file."""
        return load_event_split(self.run.split, self.tables["events"])

    @property
    def train_events(self) -> pa.Table:
        """The plays to learn from: all of them for the simple trainer."""
        if self.config.trainer == "simple":
            return self.tables["events"]
        return self.tables["events"].filter(pa.array(self.split.train))


def _genre_influence(vectors: GATVectors, user: np.ndarray, lists: Any) -> float:
    """Mean part of the genre term in the size of both terms, over all recommendations."""
    parts = []
    for start in range(0, len(user), 512):
        rows = user[start : start + 512]
        collaborative, genre = vectors.parts(rows)
        songs = np.maximum(lists[start : start + 512], 0)
        c = np.abs(vectors.alpha * np.take_along_axis(collaborative, songs, axis=1))
        g = np.abs((1 - vectors.alpha) * np.take_along_axis(genre, songs, axis=1))
        parts.append((g / np.maximum(c + g, 1e-12)).ravel())
    return float(np.concatenate(parts).mean())

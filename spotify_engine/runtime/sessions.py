"""The session job, stage by stage: data, tables, split, graph, training, leaderboard, bundle."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from ray.train import UserCallback
from scipy import sparse

from spotify_engine import __version__
from spotify_engine.config import CONFIGS, load_config, read_yaml
from spotify_engine.console import console, say
from spotify_engine.errors import InputError
from spotify_engine.evaluation.faithfulness import described
from spotify_engine.evaluation.fingerprint import fingerprint
from spotify_engine.graphs import render_summary, summary
from spotify_engine.learning.parameters import parameter_counts
from spotify_engine.learning.trainers.base import load_state
from spotify_engine.pipelines import SESSION_MODELS
from spotify_engine.runtime.etl import render_counts
from spotify_engine.runtime.generate import generate
from spotify_engine.runtime.recording import record_report, recorded
from spotify_engine.runtime.run import Run
from spotify_engine.runtime.session_etl import prepare_sessions
from spotify_engine.runtime.session_training import SessionTraining
from spotify_engine.runtime.train import EPOCHS, train
from spotify_engine.sessions.cold_benefit import cold_start_benefits
from spotify_engine.sessions.columns import LATEST
from spotify_engine.sessions.faithfulness import gat_faithfulness, session_faithfulness
from spotify_engine.sessions.figures import plot_session_report
from spotify_engine.sessions.graph import build_session_graph, save_session_graph
from spotify_engine.sessions.leaderboard import (
    HeldOut,
    K,
    Leaderboard,
    SessionRow,
    by_session,
    by_user,
)
from spotify_engine.sessions.mixture import SessionModel
from spotify_engine.sessions.queries import Queries, queries_of_events
from spotify_engine.sessions.rankings import (
    Lists,
    load_ranking,
    load_rankings,
    save_ranking,
    save_rankings,
)
from spotify_engine.sessions.recommender import SessionRecommender, membership_of
from spotify_engine.sessions.schema import REQUIRED_FILES
from spotify_engine.sessions.settings import MODELS, ModelName, SyntheticJob
from spotify_engine.sessions.splits import (
    EventSplit,
    load_event_split,
    save_event_split,
    split_events,
)
from spotify_engine.sessions.synthetic import ORACLE_FILE, Asked, find_plays, load_oracle
from spotify_engine.sessions.tables import check_files, edges_of_events, load_tables
from spotify_engine.sessions.vectors import GATVectors
from spotify_engine.store.files import write_text
from spotify_engine.store.invented import is_invented
from spotify_engine.strict_json import to_json


class SessionPipeline:
    """Runs the stages of one run directory; those that are done are read back instead."""

    def __init__(self, run: Run[SyntheticJob], callbacks: Sequence[UserCallback] = ()) -> None:
        """
        Args:
            callbacks: told of each epoch's metrics in training.
        """
        self.run, self.config, self.callbacks = run, run.config, callbacks
        given = self.config.inputs.data
        self.folder = str(run.out / "data") if given is None else given
        self.oracle = Path(self.folder) / ORACLE_FILE

    def lay_out(self) -> None:
        """From tables to what training begins with."""
        self.hold_out()
        self.build()

    def learn(self) -> None:
        """To trained models."""
        self.train()

    def conclude(self) -> dict[str, Any]:
        """From trained models to bundle and report: ranks the test part, if there is one."""
        self.evaluate()
        self.publish()
        return self.report()

    def generate(self) -> None:
        """``data/``, if no folder of CSVs was given."""
        if self.config.inputs.data is None:
            asked = Asked(self.config.split, self.config.data.gap_seconds)
            self.run.stage(
                "generate",
                lambda: generate(
                    Path(self.folder), self.config.generator, oracle=True, workers=1, asked=asked
                ),
            )

    def prepare(self) -> None:
        """The CSV files, generated where none are given, to ``tables/``."""
        self.generate()
        counts = self.run.stage(
            "prepare",
            lambda: prepare_sessions(
                self.folder,
                self.run.tables,
                self.config.data,
                # What is generated may lie in the future.
                latest=LATEST if self.config.inputs.data is None else None,
            ),
        )
        console.print(render_counts(counts))

    def hold_out(self) -> None:
        """``split.parquet``, unless everything is trained on."""

        def work() -> dict[str, Any]:
            events = self.tables["events"]
            split = split_events(events, self.config.split)
            if self.oracle.exists():
                find_plays(self.oracle, self.tables, np.flatnonzero(split.test))
            save_event_split(split, events, self.run.split)
            return {name: int(getattr(split, name).sum()) for name in ("train", "val", "test")}

        if self.config.trainer == "advanced":
            self.run.stage("split", work)

    def build(self) -> None:
        """``graph/``: of the training part."""

        def work() -> dict[str, Any]:
            edges = edges_of_events(self.train_events, len(self.tables["songs"]))
            data = build_session_graph(self.tables, edges, self.config.graph)
            save_session_graph(data, self.run.graph)
            return summary(data)

        console.print(render_summary(self.run.stage("graph", work)))

    def train(self) -> None:
        """``checkpoints/MODEL/best`` and ``last``."""
        for name in self.config.models:
            if self.config.trainer == "advanced" and not self._validates(name):
                console.print(
                    f"{name}: no user has a song in the validation part that is new to the user; "
                    "all epochs are trained, and none is validated"
                )
            self.run.stage(
                f"train {name}",
                partial(
                    train,
                    self.training(name),
                    self.run.checkpoints / name,
                    self.config.cluster,
                    self.callbacks,
                ),
            )

    def evaluate(self) -> None:
        """The leaderboard, the files of its lists, the benefits of cold start, faithfulness."""
        if self.config.trainer == "advanced":
            self.run.stage("evaluate", self._evaluate)

    def _evaluate(self) -> dict[str, Any]:
        board = self.board()
        with console.status("Fitting and tuning the baselines"):
            board.add_baselines()
        for name in self.config.models:
            self._add(board, name)
        self.add_oracle(board)
        self._save_rankings(board)
        console.print(board.render())
        say(board.in_words(self.last))
        found = self.findings(board)
        for name, each in found["faithfulness"].items():
            console.print(described(name, each), highlight=False)
        return found

    def findings(self, board: Leaderboard) -> dict[str, Any]:
        """What ``report.json`` says of a measured board, of the trained models, and of the files
        that hold the board's lists."""
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
            "fingerprints": {path.stem: fingerprint(path) for path in self._lists},
        }

    @property
    def _draws(self) -> np.random.Generator:
        """The same each time."""
        return np.random.default_rng(self.config.evaluation.seed)

    @property
    def _lists(self) -> tuple[Path, ...]:
        return self.run.predictions, self.run.rankings, self.run.held_out

    def _session_queries(self, board: Leaderboard) -> Queries:
        memory = self.config.session.memory
        return queries_of_events(self.tables["events"], board.test.rows, memory)

    def add_oracle(self, board: Leaderboard) -> None:
        """Measure the true probabilities, where the data has them.

        Raises:
            InputError: it lacks some of the plays, or is of other data.
        """
        if self.oracle.exists():
            truth = load_oracle(self.oracle, self.tables, board.test.rows)
            board.add_oracle(truth.event, truth.songs, truth.probabilities)

    def board(self) -> Leaderboard:
        """An empty leaderboard of the run's test plays."""
        return Leaderboard(self.held_out, membership_of(self.tables))

    def _add(self, board: Leaderboard, name: ModelName) -> SessionRow:
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
        row = self._add(self.board(), self.config.models[-1])
        return (row.held_out or row.next_song)["recall@10"]

    def _save_rankings(self, board: Leaderboard) -> None:
        """The last model's lists, those of the others, and those of users."""
        events: dict[str, Lists] = {}
        users: dict[str, Lists] = {}
        for row in board.rows:
            assert row.lists is not None
            assert row.scores is not None
            events[row.name] = row.lists, row.scores
            if row.user_lists is not None:
                assert row.user_scores is not None
                users[row.name] = row.user_lists, row.user_scores
        last = events.pop(self.last)
        save_ranking(self.run.predictions, "event", board.test.rows, last)
        save_rankings(self.run.rankings, "event", board.test.rows, events)
        save_rankings(self.run.held_out, "user", np.arange(board.data.n_users), users)

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

    def publish(self) -> None:
        """``bundle/``: the trained version, enough to serve."""

        def work() -> dict[str, Any]:
            stages = self.run.stages
            metrics = stages.get("evaluate", {}).get("result", {}).get("leaderboard", {})
            digest = hashlib.sha256()
            for path in sorted(self.run.tables.glob("*.parquet")):
                digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
            manifest = {
                "release": __version__,
                "config": self.config.model_dump(mode="json"),
                "data_fingerprint": digest.hexdigest(),
                "invented": is_invented([self.folder]),
                "metrics": {
                    name: metrics[name] for name in SESSION_MODELS.values() if name in metrics
                },
            }
            self.recommender.save(self.run.bundle, manifest)
            return {"data_fingerprint": digest.hexdigest()}

        self.run.redo_without("bundle", self.run.bundle)
        self.run.stage("bundle", work)

    def report(self) -> dict[str, Any]:
        """``report.json`` and ``report.png``."""
        results = {name: stage["result"] for name, stage in self.run.stages.items()}
        content = {
            "release": __version__,
            "config": self.config.model_dump(mode="json"),
            "data": {k: results.get(k) for k in ("generate", "prepare", "split", "graph")},
            "seconds": self.run.seconds,
            "epochs": {name: results[f"train {name}"] for name in self.config.models},
            **results.get("evaluate", {}),
        }
        write_text(self.run.report, to_json(content))
        plot_session_report(content, self.run.picture)
        return content

    def training(self, name: ModelName) -> SessionTraining:
        """What the workers that train a model open."""
        split = self.run.split.resolve() if self.config.trainer == "advanced" else None
        return SessionTraining(
            name, self.run.tables.resolve(), self.run.graph.resolve(), split, self.config,
            self._validates(name),
        )  # fmt: skip

    def _validates(self, name: ModelName) -> bool:
        """Whether validation measures a model: a GAT by songs that are new to their users."""
        if self.config.trainer == "simple":
            return False
        return name == "session" or len(self.held_out.new_in_val.values) > 0

    def require_validation(self) -> None:
        """
        Raises:
            InputError: there is nothing to compare settings by.
        """
        if not self._validates(self.config.models[-1]):
            raise InputError(
                "no user has a song in the validation part that is new to the user, so there is "
                "nothing to choose settings by; give more listening, or search the session model"
            )

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
        return load_tables(self.run.tables)

    @cached_property
    def held_out(self) -> HeldOut:
        return HeldOut(self.tables, self.split, self.config.evaluation)

    @cached_property
    def split(self) -> EventSplit:
        return load_event_split(self.run.split, self.tables["events"])

    @property
    def train_events(self) -> pa.Table:
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


def open_session_run(arguments: argparse.Namespace) -> Run[SyntheticJob]:
    """Resolve the configuration and open the run directory.

    Raises:
        InputError: an input is missing, a key is unknown, or the directory holds another run.
    """
    return Run(arguments.out or Path("runs/synthetic"), session_config(arguments))


def session_config(
    arguments: argparse.Namespace, base: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> SyntheticJob:
    """Resolve the configuration.

    Args:
        base: (where it comes from, values) over configs/synthetic.yaml, under ``--config``.

    Raises:
        InputError: an input is missing or can't be read, or a key is unknown.
    """
    flags: dict[str, Any] = {}
    if arguments.model:
        flags["models"] = [name for name in MODELS if name in arguments.model]
    if arguments.trainer:
        flags["trainer"] = arguments.trainer
    if arguments.data:
        flags["inputs"] = {"data": str(arguments.data)}
        for name in REQUIRED_FILES:
            if "://" not in str(arguments.data) and not (Path(arguments.data) / name).exists():
                raise InputError(
                    f"{Path(arguments.data) / name}: no such file; give --data a folder of session "
                    "CSVs (spotify-engine generate sessions makes one), or leave it out"
                )
    if arguments.workers is not None:
        flags["cluster"] = {"workers": arguments.workers}
    layers = [("configs/synthetic.yaml", read_yaml(CONFIGS / "synthetic.yaml")), *base]
    if arguments.config:
        layers.append((str(arguments.config), read_yaml(arguments.config)))
    layers.append(("flags", flags))
    config = load_config(SyntheticJob, layers, arguments.settings)
    if config.inputs.data is not None:
        check_files(config.inputs.data, config.data)
    return config


def run_sessions(run: Run[SyntheticJob]) -> dict[str, Any]:
    """All stages in order; returns the report."""
    pipeline = SessionPipeline(run)
    pipeline.prepare()
    with recorded(run, "sessions") as record:
        for name in run.config.models:
            record.follow(run.checkpoints / name / EPOCHS, f"{name}/")
        pipeline.lay_out()
        pipeline.learn()
        report = pipeline.conclude()
        record_report(run, record, report)
    return report

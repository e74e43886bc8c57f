"""The session job, stage by stage: data, tables, split, graph, training, leaderboard, bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spotify_engine.console import console, say
from spotify_engine.dotted import Tree
from spotify_engine.errors import InputError
from spotify_engine.evaluation.faithfulness import described
from spotify_engine.graphs import Summary, summary
from spotify_engine.learning.trainers.served import ServedEpoch, ServedReport, served_of
from spotify_engine.pipelines import SESSION_MODELS
from spotify_engine.runtime.data.generate import generate
from spotify_engine.runtime.data.sessions import SessionCounts, prepare_sessions
from spotify_engine.runtime.pipelines.pipeline import TrainingPipeline, tell_counts, tell_graph
from spotify_engine.runtime.pipelines.run import Results
from spotify_engine.runtime.pipelines.session_files import Findings, SessionFiles
from spotify_engine.runtime.train.training import EPOCHS, train
from spotify_engine.sessions.measure.figures import plot_session_report
from spotify_engine.sessions.measure.leaderboard import Leaderboard, board_in_words
from spotify_engine.sessions.measure.rankings import Lists, save_ranking, save_rankings
from spotify_engine.sessions.measure.splits import save_event_split, split_events
from spotify_engine.sessions.model.graph import build_session_graph, save_session_graph
from spotify_engine.sessions.settings import ModelName, SyntheticJob
from spotify_engine.sessions.synthetic import OracleScope, find_plays
from spotify_engine.sessions.tables.build import edges_of_events
from spotify_engine.sessions.tables.columns import LATEST
from spotify_engine.stages import Part, Stage
from spotify_engine.store.atomic import replaced_folder
from spotify_engine.watching import telling


class SessionPipeline(SessionFiles, TrainingPipeline[SyntheticJob]):
    """The stages of sessions; those that are done are read back instead."""

    name = "sessions"

    @classmethod
    def stages_of(cls, config: SyntheticJob) -> Sequence[Stage[SessionPipeline]]:
        """All stages that a configuration asks for.

        Data is generated where none is given; training on everything splits and measures nothing.
        """
        measured = config.trainer == "advanced"
        training = [_training_of(name, measured) for name in config.models]
        return [
            *([GENERATE] if config.inputs.data is None else []),
            PREPARE,
            *([SPLIT] if measured else []),
            GRAPH,
            *training,
            *([_evaluation_after(training)] if measured else []),
            _bundle_after(training),
        ]

    @property
    def inputs(self) -> Iterable[str | None]:
        """The folder of the data."""
        return [self.folder]

    @property
    def metrics(self) -> Tree:
        """The leaderboard's lines of the trained models."""
        stages = self.run.stages
        result = stages["evaluate"]["result"] if "evaluate" in stages else {}
        found = result.get("leaderboard", {})
        return {name: found[name] for name in SESSION_MODELS.values() if name in found}

    @property
    def served(self) -> ServedReport:
        """Which epoch of the last model the bundle holds, and whether training helped."""
        return self.served_of(self.config.models[-1]).report()

    def served_of(self, name: ModelName) -> ServedEpoch:
        """Which epoch of a trained model its best checkpoint is."""
        history = self.run.stages[_training(name)]["result"]
        return served_of(self.run.checkpoints / name / "best", history)

    def epoch_files(self) -> dict[Path, str]:
        """The file of each model's epochs."""
        return {self.run.checkpoints / name / EPOCHS: f"{name}/" for name in self.config.models}

    def require_validation(self) -> None:
        """Refuse data whose validation part is empty.

        Raises:
            InputError: there is nothing to compare settings by.
        """
        if not self.validates(self.config.models[-1]):
            raise InputError(
                "no user has a song in the validation part that is new to the user, so there is "
                "nothing to choose settings by; give more listening, or search the session model"
            )

    def generate(self) -> dict[str, int]:
        """``data/``, where no folder of CSVs was given."""
        asked = OracleScope(self.config.split, self.config.data.gap_seconds)
        return generate(
            Path(self.folder), self.config.generator, oracle=True, workers=1, asked=asked
        )

    def read(self) -> SessionCounts:
        """The CSV files to ``tables/``."""
        # What is generated may lie in the future.
        latest = LATEST if self.config.inputs.data is None else None
        return prepare_sessions(self.folder, self.run.tables, self.config.data, latest=latest)

    def hold_out(self) -> dict[str, int]:
        """``split.parquet``: what is learned from, chosen by and measured on."""
        events = self.tables["events"]
        split = split_events(events, self.config.split)
        if self.oracle.exists():
            find_plays(self.oracle, self.tables, np.flatnonzero(split.test))
        save_event_split(split, events, self.run.split)
        return {name: int(getattr(split, name).sum()) for name in ("train", "val", "test")}

    def build(self) -> Summary:
        """``graph/``: of the training part."""
        edges = edges_of_events(self.train_events, len(self.tables["songs"]))
        data = build_session_graph(self.tables, edges, self.config.graph)
        with replaced_folder(self.run.graph) as partial:
            save_session_graph(data, partial)
        return summary(data)

    def train(self, name: ModelName) -> list[dict[str, float]]:
        """``checkpoints/MODEL/best`` and ``last``."""
        if self.config.trainer == "advanced" and not self.validates(name):
            console.print(
                f"{name}: no user has a song in the validation part that is new to the user; "
                "all epochs are trained, and none is validated"
            )
        return train(
            self.training(name), self.run.checkpoints / name, self.config.cluster, self.callbacks
        )

    def evaluate(self) -> Findings:
        """The leaderboard, the files of its lists, the benefits of cold start, faithfulness."""
        board = self.board()
        with console.status("Fitting and tuning the baselines"):
            board.add_baselines(telling(say))
        for name in self.config.models:
            self.add(board, name)
        self.add_oracle(board)
        self._save_rankings(board)
        console.print(board.render())
        say(board.in_words(self.last))
        found = self.findings(board)
        for scorer, each in found["faithfulness"].items():
            console.print(described(scorer, each), highlight=False)
        return found

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

    def report(self, results: Results) -> Tree:
        """What ``report.json`` says of sessions."""
        return {
            "data": {
                **{k: results.get(k) for k in ("generate", "prepare", "split", "graph")},
                "fingerprint": results["bundle"]["data_fingerprint"],
            },
            "epochs": {name: results[_training(name)] for name in self.config.models},
            "served": {name: self.served_of(name).report() for name in self.config.models},
            **self._evaluated(results.get("evaluate")),
        }

    def _evaluated(self, found: Findings | None) -> Tree:
        if found is None:
            return {}
        board = {name: row["next_song"] for name, row in found["leaderboard"].items()}
        return {**found, "in_words": board_in_words(self.last, board)}

    def draw(self, report: Tree) -> None:
        """``report.png``."""
        plot_session_report(report, self.run.picture)


def _training(name: ModelName) -> str:
    return f"train {name}"


def _training_of(name: ModelName, measured: bool) -> Stage[SessionPipeline]:
    return Stage(
        _training(name), Part.LEARNING, lambda pipeline: pipeline.train(name),
        reads=("prepare", "split", "graph") if measured else ("prepare", "graph"),
        keys=(name, f"training.{name}"), writes=(f"checkpoints/{name}/best",),
        tell=_tell_served(name),
    )  # fmt: skip


def _tell_served(name: ModelName) -> Callable[[SessionPipeline, Any], None]:
    return lambda pipeline, _: say(f"{name}: {pipeline.served_of(name).in_words}")


def _evaluation_after(training: Sequence[Stage[SessionPipeline]]) -> Stage[SessionPipeline]:
    return Stage(
        "evaluate", Part.RESULT, SessionPipeline.evaluate,
        reads=("prepare", "split", *(stage.name for stage in training)),
        keys=("evaluation", "cold"),
        writes=("predictions.parquet", "rankings.parquet", "held_out.parquet"),
    )  # fmt: skip


def _bundle_after(training: Sequence[Stage[SessionPipeline]]) -> Stage[SessionPipeline]:
    return Stage(
        "bundle", Part.RESULT, SessionPipeline.publish,
        reads=("prepare", *(stage.name for stage in training)), keys=("cold",), writes=("bundle",),
    )  # fmt: skip


GENERATE = Stage(
    "generate", Part.DATA, SessionPipeline.generate,
    # The truth is written of the plays that are asked for, which the split decides.
    keys=("inputs", "generator", "split", "data"), writes=("data",),
)  # fmt: skip
PREPARE = Stage(
    "prepare", Part.DATA, SessionPipeline.read,
    reads=("generate",), keys=("inputs", "data"), writes=("tables",), tell=tell_counts,
)  # fmt: skip
SPLIT = Stage(
    "split", Part.DATA, SessionPipeline.hold_out,
    reads=("prepare",), keys=("split",), writes=("split.parquet",),
)  # fmt: skip
GRAPH = Stage(
    "graph", Part.GROUND, SessionPipeline.build,
    reads=("prepare", "split"), keys=("graph",), writes=("graph",), tell=tell_graph,
)  # fmt: skip

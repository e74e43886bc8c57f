"""The basis of both pipelines: stages in a run directory, then a bundle and a report."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypedDict

from ray.train import UserCallback

from spotify_engine import __version__
from spotify_engine.console import console
from spotify_engine.dotted import Tree
from spotify_engine.graphs import Summary, render_summary
from spotify_engine.learning.trainers.served import ServedReport
from spotify_engine.pipelines import Pipeline
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.runtime.data.playlists import render_counts
from spotify_engine.runtime.pipelines.recording import record_report, recorded
from spotify_engine.runtime.pipelines.run import Job, Results, Run
from spotify_engine.sessions.recommender import SessionRecommender
from spotify_engine.stages import Part, Stage
from spotify_engine.store.atomic import write_text
from spotify_engine.store.invented import is_invented
from spotify_engine.strict_json import to_json


class Published(TypedDict):
    """Of which data a bundle was made."""

    data_fingerprint: str


class TrainingPipeline(ABC, Generic[Job]):
    """Runs the stages of one run directory; those that are done are read back instead."""

    name: ClassVar[Pipeline]

    def __init__(self, run: Run[Job], callbacks: Sequence[UserCallback] = ()) -> None:
        """Open the pipeline of a run.

        Args:
            callbacks: told of each epoch's metrics in training.
        """
        self.run, self.config, self.callbacks = run, run.config, callbacks

    @classmethod
    @abstractmethod
    def stages_of(cls, config: Job) -> Sequence[Stage[Self]]:
        """All stages that a configuration asks for, in the order in which they are done."""

    @property
    @abstractmethod
    def recommender(self) -> PlaylistRecommender | SessionRecommender:
        """The trained version, as its bundle holds it."""

    @property
    @abstractmethod
    def quality(self) -> float:
        """Recall@10 on validation, by which settings are compared."""

    @property
    @abstractmethod
    def inputs(self) -> Iterable[str | None]:
        """Paths of the data."""

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, object]:
        """The metrics that the bundle states of itself."""

    @property
    @abstractmethod
    def served(self) -> ServedReport:
        """Which epoch the bundle holds, and whether training helped."""

    @abstractmethod
    def epoch_files(self) -> dict[Path, str]:
        """The files in which training notes its epochs, with the prefix of each file's figures."""

    @abstractmethod
    def test_recall(self) -> float:
        """On test what :attr:`quality` is on validation, without a report's other figures."""

    @abstractmethod
    def require_validation(self) -> None:
        """Refuse data whose validation part is empty.

        Raises:
            InputError: there is nothing to compare settings by.
        """

    @abstractmethod
    def report(self, results: Results) -> Tree:
        """The content of ``report.json`` beside release, configuration and seconds.

        Args:
            results: what the stages returned.
        """

    @abstractmethod
    def draw(self, report: Tree) -> None:
        """The pictures beside ``report.json``."""

    def prepare(self) -> None:
        """To the tables: all that doesn't need a split."""
        self._do(self.stages[: self._made_tables])

    def lay_out(self) -> None:
        """From tables to what training begins with."""
        after = self.stages[self._made_tables :]
        self._do(stage for stage in after if stage.part in (Part.DATA, Part.GROUND))

    def learn(self) -> None:
        """To a trained model: all that validation chooses by."""
        self._do(stage for stage in self.stages if stage.part is Part.LEARNING)

    def conclude(self) -> Tree:
        """From a trained model to bundle and report, which is returned; ranks the test part."""
        self._do(stage for stage in self.stages if stage.part is Part.RESULT)
        results = {name: stage["result"] for name, stage in self.run.stages.items()}
        report = {
            "release": __version__,
            "config": self.config.model_dump(mode="json"),
            "seconds": self.run.seconds,
            **self.report(results),
        }
        write_text(self.run.report, to_json(report))
        self.draw(report)
        return report

    def run_all(self) -> Tree:
        """All stages in order, recorded; returns the report."""
        # What can be refused is accepted before anything is recorded.
        self.prepare()
        with recorded(self.run, self.name) as record:
            for path, prefix in self.epoch_files().items():
                record.follow(path, prefix)
            self.lay_out()
            self.learn()
            report = self.conclude()
            record_report(self.run, record, report)
        return report

    @property
    def stages(self) -> Sequence[Stage[Self]]:
        """All stages of this run, in the order in which they are done."""
        return self.stages_of(self.config)

    def publish(self) -> Published:
        """``bundle/``: the trained version, enough to serve."""
        found = fingerprint_of_data(self.run)
        manifest = {
            "release": __version__,
            "config": self.config.model_dump(mode="json"),
            "data_fingerprint": found,
            "invented": is_invented(self.inputs),
            "metrics": self.metrics,
            "served": self.served,
        }
        self.recommender.save(self.run.bundle, manifest)
        return {"data_fingerprint": found}

    @property
    def _made_tables(self) -> int:
        """The number of stages up to the tables."""
        return [stage.name for stage in self.stages].index("prepare") + 1

    def _do(self, stages: Iterable[Stage[Self]]) -> None:
        for stage in stages:
            self.run.do(stage, self)


def tell_counts(pipeline: object, counts: Tree) -> None:
    """Print what was read."""
    console.print(render_counts(counts))


def tell_graph(pipeline: object, counts: Summary) -> None:
    """Print how large a graph is."""
    console.print(render_summary(counts))


def fingerprint_of_data(run: Run[Any]) -> str:
    """Sha256 over tables and split: equal data, equal fingerprint."""
    digest = hashlib.sha256()
    split = [run.split] if run.split.exists() else []  # who trains on everything splits nothing
    for path in [*sorted(run.tables.glob("*.parquet")), *split]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

"""Recording a search: one run, with each trial as a run within it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from spotify_engine.dotted import flatten
from spotify_engine.runtime.pipelines.recording import OFF, closing_record
from spotify_engine.runtime.tune.trial import Trials
from spotify_engine.tracking.settings import TrackingConfig
from spotify_engine.tracking.tracker import TrackedRun, Tracker, recorded_status
from spotify_engine.tuning.report import BEST, PICTURES, REPORT
from spotify_engine.tuning.results import values_of
from spotify_engine.tuning.space import Space
from spotify_engine.tuning.trials import Trial, folder_of, load_trials


class SearchRecord:
    """Records a search while it runs."""

    def __init__(self, trials: Trials, space: Space, tracking: TrackingConfig) -> None:
        self.trials, self.space, self.out = trials, space, trials.folder
        done = recorded_status(self.out) == "FINISHED"
        self._tracker = Tracker(OFF if done else tracking, self.out.parent)
        settings = flatten(space.config.model_dump(mode="json", exclude={"base"}))
        self._search = self._tracker.begin(
            "search", trials.pipeline, self.out.name, settings, self.out, began=trials.began
        )
        self._open: dict[int, TrackedRun] = {}

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Ends the record as the block ends.

        First those of trials that ended unseen, as the search was interrupted.
        """
        with closing_record(self._tracker, self._search):
            for trial in load_trials(self.out):
                status = recorded_status(folder_of(self.out, trial.number))
                if trial.state != "running" and status not in ("FINISHED", "FAILED"):
                    ended = self.trials.began + (trial.ended or 0.0)
                    self.begin(trial, ended - (trial.wall_seconds or 0.0))
                    self.end(trial, ended)
            yield

    def begin(self, trial: Trial, began: float | None = None) -> None:
        """Open the record of a trial."""
        folder = folder_of(self.out, trial.number)
        record = self._tracker.begin(
            "trial",
            self.trials.pipeline,
            f"{self.out.name}/{trial.number:04d}",
            values_of(self.space, trial),
            folder,
            self._search,
            began=began,
        )
        record.follow(self.trials.epochs_file(trial.number))
        self._open[trial.number] = record

    def end(self, trial: Trial, ended: float | None = None) -> None:
        """Close the record of a trial with what came of it."""
        record = self._open.pop(trial.number)
        figures = {"objective": trial.quality, "seconds": trial.seconds}
        record.outcome(values_of(self.space, trial), figures)
        record.tags({"state": trial.state, "error": trial.error})
        record.end("FAILED" if trial.error else "FINISHED", ended)

    def report(self, report: Mapping[str, Any]) -> None:
        """The figures and files of a search that is done."""
        self._search.metrics(flatten(report["recall@10"]))
        names = (*PICTURES, REPORT, BEST, "search.yaml")
        self._search.artefacts([self.out / name for name in names])

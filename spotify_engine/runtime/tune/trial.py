"""One trial of a search: a run directory of the job, with what trials share in place."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.train import Checkpoint, UserCallback
from ray.tune.integration.ray_train import TuneReportCallback

from spotify_engine.config import JobConfig
from spotify_engine.dotted import laid_over, nested
from spotify_engine.pipelines import MONITOR, Pipeline
from spotify_engine.runtime.pipelines.pipeline import TrainingPipeline
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.runtime.train.training import EPOCHS
from spotify_engine.runtime.tune.searched import PIPELINE_CLASSES, scope_of
from spotify_engine.stages import Part, unaffected
from spotify_engine.store.files import locked
from spotify_engine.tracking.tracker import read_epochs
from spotify_engine.tuning.failures import failure
from spotify_engine.tuning.trials import Trial, folder_of, load_trial, save_trial

EPOCHS_DONE = "epochs"


@dataclass(frozen=True)
class Trials:
    """The settings that all trials of a search have in common.

    Attributes:
        folder: of the search; absolute, on storage that every machine sees.
        base: the default configuration.
        began: when the search would have begun, had it never been interrupted; seconds since 1970.
    """

    folder: Path
    pipeline: Pipeline
    base: JobConfig
    began: float = 0.0

    def open(
        self, values: Mapping[str, Any], number: int, callbacks: Sequence[UserCallback] = ()
    ) -> TrainingPipeline[Any]:
        """The pipeline of a trial's run directory, ready to learn.

        Raises:
            InputError: the shared stages can't be done with these values.
        """
        run = Run(folder_of(self.folder, number) / "run", self._configured(values))
        pipeline = PIPELINE_CLASSES[self.pipeline](run, callbacks)
        shared = [stage for stage in pipeline.stages if stage.part in (Part.DATA, Part.GROUND)]
        if shared[-1].name not in run.stages:
            given = scope_of(self.pipeline, self.base).shared_values(values)
            run.adopt(self.prepare(given), shared)
        return pipeline

    def epochs_file(self, number: int) -> Path:
        """The file that a trial's epochs are written to."""
        checkpoints = folder_of(self.folder, number) / "run" / "checkpoints"
        models = getattr(self.base, "models", ())
        return checkpoints.joinpath(*models) / EPOCHS

    def prepare(self, shared: Mapping[str, Any]) -> Run[Any]:
        """Tables, split, graph and start: done once for all trials that agree in ``shared``.

        Raises:
            InputError: they can't be made, or leave nothing to choose by.
        """
        text = json.dumps(shared, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:12] if shared else "base"
        folder = self.folder / "prepared" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{name}.lock")):
            run = Run(folder, self._configured(shared))
            pipeline = PIPELINE_CLASSES[self.pipeline](run)
            if shared:
                kept = unaffected(pipeline.stages, shared)
                if any(stage.name not in run.stages for stage in kept if stage.part is Part.DATA):
                    run.adopt(self.prepare({}), kept)
            pipeline.prepare()
            pipeline.lay_out()
            pipeline.require_validation()
        return run

    def _configured(self, values: Mapping[str, Any]) -> Any:
        tree = laid_over(self.base.model_dump(mode="json"), nested(values))
        return type(self.base).model_validate(tree)


def run_trial(config: dict[str, int], trials: Trials) -> None:
    """Run a trial for Tune: train with its values and note how it went.

    Args:
        config: ``number`` of a trial whose note is there.
    """
    trial, started = load_trial(trials.folder, config["number"]), time.time()

    def save(trial: Trial) -> None:
        # Once stopped, what goes wrong is only that its workers are gone.
        if load_trial(trials.folder, trial.number).state != "running":
            return
        now = time.time()
        trial = replace(trial, wall_seconds=now - started, ended=now - trials.began)
        save_trial(trials.folder, trial)

    try:
        pipeline = trials.open(trial.values, trial.number, [_Report()])
        pipeline.learn()
        trial = trial.with_epochs(read_epochs(trials.epochs_file(trial.number)), MONITOR)
        save(replace(trial, state="done", quality=pipeline.quality))
    except Exception as error:
        state, text = failure(error)
        save(replace(trial, state=state, error=text))
        raise
    # Else Tune's last word on a trial would be that of an epoch.
    tune.report({MONITOR: pipeline.quality, EPOCHS_DONE: trial.epochs_done})


class _Report(TuneReportCallback):
    """Passes an epoch's metrics on to Tune, with what early stopping counts by."""

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        first = {**metrics[0], EPOCHS_DONE: metrics[0]["epoch"] + 1}
        super().after_report(run_context, [first], checkpoint)

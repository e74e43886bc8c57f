"""Runs in MLflow: a SQLite file, or a tracking server."""

from __future__ import annotations

import json
import logging
import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotify_engine.command import logs_all
from spotify_engine.store.atomic import write_text
from spotify_engine.store.files import locked
from spotify_engine.tracking.settings import ARTEFACTS, DATABASE, TRACKING_NOTE, read_note

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PARENT = "mlflow.parentRunId"
MAX_VALUE = 6000  # characters of a parameter, MLflow's limit
PARAMETERS_AT_ONCE = 100  # parameters in a request, MLflow's limit


def quiet() -> None:
    """Keep MLflow and what it imports from talking: to the console, and to its makers."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    warnings.simplefilter("ignore")
    if not logs_all():
        logging.disable(logging.WARNING)


def open_client(uri: str, timeout_s: int) -> MlflowClient:
    """A client that does not wait long for a server."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_s)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)


def metric_name(name: str) -> str:
    """As MLflow and TensorBoard allow it: recall@10 is recall_at_10 there."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


def figure_name(metric: str) -> str:
    """The other way round: as reports have it."""
    return metric.replace("_at_", "@")


class MLflowStore:
    """Writes runs. Every method raises what MLflow raises."""

    def __init__(self, uri: str, runs: Path, timeout_s: int) -> None:
        self.uri, self.runs = uri, runs
        self.client = open_client(uri, timeout_s)
        # Two processes that make the tables at once would both fail.
        with locked(runs / f"{DATABASE}.lock") if uri.startswith("sqlite") else nullcontext():
            self.client.search_experiments(max_results=1)

    def begin(
        self,
        folder: Path | None,
        parent: str | None,
        kind: str,
        pipeline: str,
        name: str,
        settings: Mapping[str, Any],
        code: str,
        began: float,
    ) -> tuple[str, set[tuple[str, int]]]:
        """Open a run, or the one that the folder's note names.

        Returns:
            (its id; prefix and step of the epochs that it already has)
        """
        known = read_note(folder)
        if known.get("uri") == self.uri:
            known_id: str = known["run_id"]
            self.client.update_run(known_id, "RUNNING")
            return known_id, self._epochs_of(known_id)
        tags = {"kind": kind, "pipeline": pipeline, "code": code}
        if folder is not None:
            tags["folder"] = str(folder)
        if parent is not None:
            tags[PARENT] = parent
        run = self.client.create_run(
            self._experiment(pipeline), start_time=_ms(began), run_name=name, tags=tags
        )
        run_id: str = run.info.run_id
        self._note(folder, run_id=run_id)
        from mlflow.entities import Param

        params = [Param(key, _text(value)) for key, value in settings.items()]
        for first in range(0, len(params), PARAMETERS_AT_ONCE):
            self.client.log_batch(run_id, params=params[first : first + PARAMETERS_AT_ONCE])
        return run_id, set()

    def metrics(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        """Write figures of one step."""
        from mlflow.entities import Metric

        now = _ms(time.time())
        batch = [Metric(key, value, now, step) for key, value in values.items()]
        self.client.log_batch(run_id, metrics=batch)

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in values.items():
            self.client.set_tag(run_id, key, value)

    def artefacts(self, run_id: str, paths: Sequence[str]) -> None:
        """Store files."""
        for path in paths:
            self.client.log_artifact(run_id, path)

    def end(self, run_id: str, folder: Path | None, status: str, ended: float) -> None:
        """End a run with its status."""
        self.client.set_terminated(run_id, status, end_time=_ms(ended))
        self._note(folder, run_id=run_id, status=status)

    def _note(self, folder: Path | None, **facts: str) -> None:
        if folder is not None:
            write_text(folder / TRACKING_NOTE, json.dumps({"uri": self.uri, **facts}))

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        place = None
        if self.uri.startswith("sqlite"):
            place = (self.runs / ARTEFACTS / name).as_uri()
        return self.client.create_experiment(name, artifact_location=place)

    def _epochs_of(self, run_id: str) -> set[tuple[str, int]]:
        seen = set()
        for key in self.client.get_run(run_id).data.metrics:
            if key == "epoch" or key.endswith("/epoch"):
                for each in self.client.get_metric_history(run_id, key):
                    seen.add((key.removesuffix("epoch"), each.step))
        return seen


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."

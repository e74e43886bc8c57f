"""Recording runs from the side: a process of its own does it, so that nothing here can stall."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from spotify_engine.strict_json import to_json
from spotify_engine.tracking.code import HERE, code_version
from spotify_engine.tracking.settings import (
    Message,
    Opening,
    Status,
    TrackingConfig,
    local_uri,
    read_note,
)

log = logging.getLogger(__name__)

# On closing. A recorder without a server to wait for ends by itself, as soon as it has caught up.
PATIENCE_S = 60.0


class Tracker:
    """Sends what happens in runs to a recorder process, which writes MLflow and TensorBoard.

    Whatever becomes of the recorder or its server, sending returns at once and raises nothing. The
    recorder sees when this process is killed, and ends its runs as such.
    """

    def __init__(self, config: TrackingConfig, runs: Path) -> None:
        """Prepare to record runs.

        Args:
            runs: the folder that holds the runs' folders, and the SQLite store of all of them.
        """
        self.patience_s = PATIENCE_S
        self._begun = 0
        self._queue: SimpleQueue[Opening | Message | None] | None = None
        if not config.enabled:
            return
        self._queue = SimpleQueue()
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spotify_engine.tracking.recorder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        # A pipe that nobody empties would block.
        self._thread = Thread(target=self._write, daemon=True, name="tracking")
        self._thread.start()
        self._queue.put(
            {
                "uri": config.uri or local_uri(runs),
                "runs": str(runs.resolve()),
                "timeout_s": config.timeout_s,
            }
        )

    def begin(
        self,
        kind: str,
        pipeline: str,
        name: str,
        settings: Mapping[str, Any],
        folder: Path | None,
        parent: TrackedRun | None = None,
        parent_id: str | None = None,
        began: float | None = None,
    ) -> TrackedRun:
        """Open a run, or go on with the one that ``folder`` was recorded as.

        Args:
            kind: train, search, trial or evaluate.
            settings: flat, by key.
            folder: gets ``tracking.json`` and ``tensorboard/``; None: a run of its own every time,
                in MLflow alone.
            parent: the run that this one is part of; ``parent_id`` where only its id is known.
            began: when, in seconds since 1970; None: now.
        """
        run = TrackedRun(self, str(self._begun))
        self._begun += 1
        run.send(
            "begin",
            kind=kind,
            pipeline=pipeline,
            name=name,
            folder=str(folder.resolve()) if folder else None,
            settings=dict(settings),
            code=code_version() if self._queue else None,
            parent=parent.key if parent else None,
            parent_id=parent_id,
            # The recorder gets to it when it gets to it.
            began=time.time() if began is None else began,
        )
        return run

    def send(self, message: Message) -> None:
        """Hand a message to the recorder, if anything is recorded."""
        if self._queue is not None:
            self._queue.put(message)

    def close(self) -> None:
        """Wait for the recorder, but not long."""
        if self._queue is None:
            return
        self._queue.put(None)
        try:
            self._process.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self) -> None:
        assert self._queue is not None
        assert self._process.stdin is not None
        try:
            while (message := self._queue.get()) is not None:
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                self._process.stdin.flush()
            self._process.stdin.close()
        except OSError:  # it said why
            log.info("the recorder has ended")


class TrackedRun:
    """One run that is being recorded."""

    def __init__(self, tracker: Tracker, key: str) -> None:
        self.tracker, self.key = tracker, key

    def send(self, what: str, **content: Any) -> None:
        """Hand the recorder a message about this run."""
        self.tracker.send({"run": self.key, "do": what, "with": content})

    def follow(self, path: Path, prefix: str = "") -> None:
        """Record the epochs that come to stand in a file, as :func:`write_epoch` writes them."""
        self.send("follow", path=str(path.resolve()), prefix=prefix)

    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Flat figures; what is no number is left out."""
        self.send("metrics", values=_numbers(values), step=step)

    def outcome(self, values: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """Record a trial's settings and the figures to judge it by."""
        plain = {
            key: value if isinstance(value, int | float | str) else json.dumps(value)
            for key, value in values.items()
        }
        self.send("outcome", values=plain, metrics=_numbers(metrics))

    def tags(self, values: Mapping[str, str | None]) -> None:
        """Set tags; those without a value are left out."""
        self.send("tags", values={key: value for key, value in values.items() if value})

    def artefacts(self, paths: Iterable[Path]) -> None:
        """Small files; those that are missing are left out."""
        self.send("artefacts", paths=[str(path.resolve()) for path in paths if path.exists()])

    def end(self, status: Status, ended: float | None = None) -> None:
        """As :meth:`Tracker.begin` has it, ``ended`` is now unless it was before."""
        self.send("end", status=status, ended=time.time() if ended is None else ended)


def recorded_id(folder: Path) -> str | None:
    """Under which id MLflow knows the run of a folder; None when it was not recorded."""
    return read_note(folder).get("run_id")


def recorded_status(folder: Path) -> str | None:
    """How the recorded run of a folder ended; None while it goes on, or when there is none."""
    return read_note(folder).get("status")


def write_epoch(path: Path, metrics: Mapping[str, float]) -> None:
    """Append an epoch's metrics to a file of lines; one without room for it goes without."""
    try:
        with path.open("a") as file:
            file.write(to_json(metrics, indent=None) + "\n")
    except OSError as error:
        log.info("%s: an epoch isn't noted (%s)", path, error.strerror)


def read_epochs(path: Path) -> list[dict[str, float]]:
    """The epochs of a file, in order; of one that was done again after a resume, the later."""
    epochs: dict[float, dict[str, float]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                metrics = json.loads(line)
            except ValueError:
                continue  # cut off by a kill
            epochs[metrics["epoch"]] = metrics
    return [epochs[epoch] for epoch in sorted(epochs)]


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }

"""The process that records: reads what a :class:`Tracker` sends, writes MLflow and TensorBoard."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spotify_engine.tracking.boards import Board
from spotify_engine.tracking.settings import Message
from spotify_engine.tracking.store import MLflowStore, metric_name, quiet

POLL_S = 1.0
LAST_WORDS_S = 60  # after the sender has gone, at most


@dataclass
class Followed:
    """A file of epochs, and how far it has been read."""

    path: Path
    prefix: str
    offset: int = 0

    def news(self) -> Iterator[dict[str, Any]]:
        """The whole lines that were added."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                try:
                    yield json.loads(line)
                except ValueError:
                    continue  # the end of a line that a kill had cut off


@dataclass
class Recorded:
    """One run."""

    folder: Path | None
    board: Board | None
    run_id: str | None = None
    followed: list[Followed] = field(default_factory=list)
    seen: set[tuple[str, int]] = field(default_factory=set)


class Recorder:
    """Writes messages as they come; a store that fails is left alone from then on."""

    def __init__(self, uri: str, runs: str, timeout_s: int) -> None:
        self.uri = uri
        self.store: MLflowStore | None = None
        try:
            self.store = MLflowStore(uri, Path(runs), timeout_s)
        except Exception as error:
            self._give_up(error)
        self.recorded: dict[str, Recorded] = {}

    def take(self, message: Message) -> None:
        """Do what a message says."""
        try:
            getattr(self, f"_{message['do']}")(message["run"], **message["with"])
        except OSError as error:
            _warn(f"{error.filename or self.uri}: not recorded ({error.strerror or error})")

    def poll(self) -> None:
        """Look for new epochs in the files that are followed."""
        for run in self.recorded.values():
            for followed in run.followed:
                for metrics in followed.news():
                    self._epoch(run, followed.prefix, metrics)

    def close(self) -> None:
        """End what was not ended: whoever sent is gone."""
        self.poll()
        for key in list(self.recorded):
            self._end(key, "KILLED", time.time())

    def _begin(
        self, key: str, folder: str | None, parent: str | None, parent_id: str | None, **facts: Any
    ) -> None:
        if parent is not None:
            parent_id = self.recorded[parent].run_id
        place = Path(folder) if folder else None
        run = Recorded(place, Board(place / "tensorboard") if place else None)
        self.recorded[key] = run

        def begin(store: MLflowStore) -> None:
            run.run_id, run.seen = store.begin(run.folder, parent_id, **facts)

        self._on_store(begin)

    def _follow(self, key: str, path: str, prefix: str) -> None:
        self.recorded[key].followed.append(Followed(Path(path), prefix))

    def _epoch(self, run: Recorded, prefix: str, metrics: dict[str, Any]) -> None:
        step = int(metrics["epoch"]) + 1  # 0 is before the first
        if (prefix, step) in run.seen:
            return
        run.seen.add((prefix, step))
        values = {f"{prefix}{name}": value for name, value in metrics.items()}
        self._write(run, values, step)

    def _metrics(self, key: str, values: dict[str, float | None], step: int | None) -> None:
        self._write(self.recorded[key], values, step or 0)

    def _write(self, run: Recorded, values: dict[str, float | None], step: int) -> None:
        finite = {
            metric_name(name): x for name, x in values.items() if x is not None and math.isfinite(x)
        }
        if run.board is not None:
            # The epoch's number is the step already; MLflow has it to see which there are.
            shown = {name: x for name, x in finite.items() if name.rpartition("/")[2] != "epoch"}
            run.board.write(shown, step)
        if run.run_id is not None:
            run_id = run.run_id
            self._on_store(lambda store: store.metrics(run_id, finite, step))

    def _outcome(self, key: str, values: dict[str, float | str], metrics: dict[str, float]) -> None:
        run = self.recorded[key]
        if run.board is not None:
            run.board.settings(values, metrics)
        if run.run_id is not None:
            run_id = run.run_id
            self._on_store(lambda store: store.metrics(run_id, metrics, 0))

    def _tags(self, key: str, values: dict[str, str]) -> None:
        if run_id := self.recorded[key].run_id:
            self._on_store(lambda store: store.tags(run_id, values))

    def _artefacts(self, key: str, paths: list[str]) -> None:
        if run_id := self.recorded[key].run_id:
            self._on_store(lambda store: store.artefacts(run_id, paths))

    def _end(self, key: str, status: str, ended: float) -> None:
        self.poll()
        run = self.recorded.pop(key)
        if run.board is not None:
            run.board.close()
        if run_id := run.run_id:
            self._on_store(lambda store: store.end(run_id, run.folder, status, ended))

    def _on_store(self, work: Callable[[MLflowStore], None]) -> None:
        if self.store is None:
            return
        try:
            work(self.store)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Whatever is wrong with the store, the run is worth more than its record."""
        self.store = None
        reason = " ".join(str(error).split())
        reason = reason if len(reason) < 200 else f"{reason[:200]}..."
        _warn(f"{self.uri}: run not recorded in MLflow from here on ({reason})")


def _warn(message: str) -> None:
    print(f"warning: tracking: {message}", file=sys.stderr, flush=True)


def _lines(source: int) -> Iterator[bytes | None]:
    """Lines as they come, None when none came for a while; ends with the source."""
    rest = b""
    while True:
        ready, _, _ = select.select([source], [], [], POLL_S)
        if not ready:
            yield None
            continue
        part = os.read(source, 1 << 16)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        yield from lines


def main() -> None:
    """Record what comes in on standard input, until it ends."""
    # Ctrl-C and a job's end reach the whole process group; the sender says how its runs end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    quiet()
    recorder: Recorder | None = None
    for line in _lines(sys.stdin.fileno()):
        if line is not None and recorder is None:
            recorder = Recorder(**json.loads(line))
        elif line is not None and recorder is not None:
            recorder.take(json.loads(line))
        if recorder is not None:
            recorder.poll()
    signal.alarm(LAST_WORDS_S)
    if recorder is not None:
        recorder.close()


if __name__ == "__main__":
    main()

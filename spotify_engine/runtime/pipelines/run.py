"""The run directory: which stages are done, with what inputs, and how long they took."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter, time
from typing import Any, Generic, TypeVar

from spotify_engine.config import JobConfig, dump_yaml, read_yaml
from spotify_engine.console import say
from spotify_engine.dotted import flatten
from spotify_engine.errors import InputError
from spotify_engine.stages import P, Stage
from spotify_engine.store.files import copy_file, copy_folder, write_text, writing
from spotify_engine.strict_json import to_json

NO_PART_IN_RESULTS = ("cluster.", "tracking.")
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EROFS), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give the rights to write"),
}


Job = TypeVar("Job", bound=JobConfig)


class Run(Generic[Job]):
    """One run directory.

    A stage that finished is not done again: ``stages.json`` keeps what it returned. Everything but
    the cluster's shape and where runs are recorded must be as it was when the run began.
    """

    def __init__(self, out: Path, config: Job) -> None:
        """Open a run directory: a new one, or one to go on with.

        Raises:
            InputError: the directory holds a run of another configuration or of changed inputs.
        """
        self.out, self.config = out, config
        self.began = time()
        self.tables, self.graph = out / "tables", out / "graph"
        self.split, self.predictions = out / "split.parquet", out / "predictions.parquet"
        self.rankings, self.held_out = out / "rankings.parquet", out / "held_out.parquet"
        self.report, self.checkpoints = out / "report.json", out / "checkpoints"
        self.start, self.item_item = out / "start", out / "item_item.npz"
        self.bundle, self.picture = out / "bundle", out / "report.png"
        self.breakdown_picture = out / "breakdown.png"
        self._stages_file = out / "stages.json"
        inputs = {
            name: _fingerprint(path) for name, path in config.inputs.model_dump().items() if path
        }
        with writing(out):
            self._check_same(inputs)
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(out / "config.yaml", dump_yaml(config))
            self.stages: dict[str, dict[str, Any]] = _read_json(self._stages_file) or {
                "inputs": {"result": inputs}
            }
            self._save()

    def _check_same(self, inputs: dict[str, Any]) -> None:
        path = self.out / "config.yaml"
        if not path.exists():
            if self.out.exists() and any(self.out.iterdir()):
                raise InputError(f"{self.out}: holds files but no run; give --out an empty folder")
            return
        here = flatten(read_yaml(path))
        asked = flatten(self.config.model_dump(mode="json"))
        for key in sorted(here.keys() | asked.keys()):
            if not key.startswith(NO_PART_IN_RESULTS) and here.get(key) != asked.get(key):
                raise InputError(
                    f"{self.out}: holds a run with {key}={here.get(key)}, asked for "
                    f"{asked.get(key)}; give another --out, or delete it to start over"
                )
        before = (_read_json(self._stages_file) or {}).get("inputs", {}).get("result", inputs)
        for name, fingerprint in inputs.items():
            if before.get(name) != fingerprint:
                raise InputError(
                    f"{self.out}: {getattr(self.config.inputs, name)} has changed since this run "
                    "began; give another --out, or delete it to start over"
                )

    def do(self, stage: Stage[P], pipeline: P) -> Any:
        """Do a stage, unless it is done already and what it wrote is there; says what came of it.

        Returns:
            What the stage's work returned, plain values.

        Raises:
            InputError: its input is refused, or something can't be written.
        """
        if self._is_done(stage):
            say(f"{stage.name}: done before, {self.seconds[stage.name]:.1f} s", "dim")
        else:
            self._work(stage, pipeline)
        result = self.stages[stage.name]["result"]
        if stage.tell is not None:
            stage.tell(pipeline, result)
        return result

    def _is_done(self, stage: Stage[Any]) -> bool:
        # Killed between a bundle's two renames, a run is left without any.
        there = all((self.out / name).exists() for name in stage.writes)
        return stage.name in self.stages and there

    def _work(self, stage: Stage[P], pipeline: P) -> None:
        name = stage.name
        say(f"{name} ...", "bold")
        started = perf_counter()
        try:
            result = stage.work(pipeline)
        except InputError:
            self._forget_if_empty()
            raise
        except OSError as error:
            if error.errno is None:
                raise
            remedy = REMEDIES.get(error.errno, "mend it")
            raise InputError(
                f"{error.filename or self.out}: stage {name} stopped "
                f"({os.strerror(error.errno)}); {remedy}, then run the same command again to go "
                "on from there"
            ) from error
        seconds = perf_counter() - started
        self.stages[name] = {"seconds": seconds, "result": result}
        self._save()
        say(f"{name}: {seconds:.1f} s", "bold")

    def adopt(self, other: Run[Job], stages: Iterable[Stage[Any]]) -> None:
        """Take over finished stages of a run that agrees with this one in all they depend on."""
        done = [stage for stage in stages if stage.name in other.stages]
        names = {name for stage in done for name in stage.writes}
        for name in sorted(names):
            if not names.isdisjoint(map(str, Path(name).parents)):
                continue  # it comes with the folder
            source, target = other.out / name, self.out / name
            if source.is_dir():
                copy_folder(source, target)
            else:
                copy_file(source, target)
        self.stages |= {stage.name: other.stages[stage.name] for stage in done}
        self._save()

    def _forget_if_empty(self) -> None:
        """Take back what the constructor wrote: a refused input must not claim the directory."""
        if not self.seconds:
            (self.out / "config.yaml").unlink()
            self._stages_file.unlink()
            if not any(self.out.iterdir()):
                self.out.rmdir()

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds of each finished stage."""
        return {name: s["seconds"] for name, s in self.stages.items() if "seconds" in s}

    def _save(self) -> None:
        write_text(self._stages_file, to_json(self.stages))


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path}: damaged ({error}); give another --out, or delete {path.parent} to start over"
        ) from error
    return content


def _fingerprint(path: str) -> dict[str, Any]:
    """Size and time of a local file; a URI is taken as unchanging."""
    if "://" in path or not Path(path).is_file():
        return {"path": path}
    facts = Path(path).stat()
    return {"bytes": facts.st_size, "modified_ns": facts.st_mtime_ns}

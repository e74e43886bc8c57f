"""The run directory: which stages are done, with what inputs, and how long they took."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter, time
from typing import Any, Generic, NotRequired, TypedDict, TypeVar

from spotify_engine.config import JobConfig, dump_yaml, read_yaml
from spotify_engine.console import say
from spotify_engine.dotted import Tree, flatten
from spotify_engine.errors import InputError
from spotify_engine.stages import P, Part, Stage, goes_by, unaffected
from spotify_engine.store.atomic import copy_file, copy_folder, is_leftover, write_text
from spotify_engine.store.files import writing
from spotify_engine.strict_json import to_json

log = logging.getLogger(__name__)

NO_PART_IN_RESULTS = ("cluster.", "tracking.")
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EROFS), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give the rights to write"),
}


Job = TypeVar("Job", bound=JobConfig)

Results = dict[str, Any]
"""What the stages returned, by their names."""
Facts = dict[str, str | int]
"""By which a changed input is told: size and time of a file, the path of anything else."""


class Done(TypedDict):
    """What ``stages.json`` keeps of a stage; seconds of all but the inputs."""

    seconds: NotRequired[float]
    result: Any


class Run(Generic[Job]):
    """One run directory.

    A stage that finished is not done again: ``stages.json`` keeps what it returned. Everything but
    the cluster's shape and where runs are recorded must be as it was when the run began.
    """

    def __init__(self, out: Path, config: Job, stages: Sequence[Stage[Any]] = ()) -> None:
        """Open a run directory: a new one, or one to go on with.

        Args:
            stages: of the pipeline. Where the configuration differs in nothing but what those of
                them go by that measure and publish, these are done again; of no stages, nothing
                may differ.

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
        self.second_stage = out / "second_stage"
        self.bundle, self.picture = out / "bundle", out / "report.png"
        self.breakdown_picture = out / "breakdown.png"
        self._stages_file = out / "stages.json"
        inputs = {
            name: _fingerprint(path) for name, path in config.inputs.model_dump().items() if path
        }
        with writing(out):
            outdated = self._check_same(inputs, stages)
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(out / "config.yaml", dump_yaml(config))
            done: dict[str, Done] | None = _read_json(self._stages_file)
            self.stages = done or {"inputs": Done(result=inputs)}
            for name in outdated:
                self.stages.pop(name, None)
            self._save()

    def _check_same(self, inputs: dict[str, Facts], stages: Sequence[Stage[Any]]) -> list[str]:
        """Names of the stages that must be done again."""
        path = self.out / "config.yaml"
        if not path.exists():
            if self.out.exists() and not all(map(is_leftover, self.out.iterdir())):
                raise InputError(f"{self.out}: holds files but no run; give --out an empty folder")
            return []
        here = flatten(read_yaml(path))
        asked = flatten(self.config.model_dump(mode="json"))
        changed = [
            key
            for key in sorted(here.keys() | asked.keys())
            if not key.startswith(NO_PART_IN_RESULTS) and here.get(key) != asked.get(key)
        ]
        outdated = _outdated(stages, changed)
        if outdated is None:
            key = changed[0]
            raise InputError(
                f"{self.out}: holds a run with {key}={here.get(key)}, asked for "
                f"{asked.get(key)}; give another --out, or delete it to start over"
            )
        for key in changed:
            say(f"{key}: {here.get(key)} before, now {asked.get(key)}; measured again", "dim")
        before = (_read_json(self._stages_file) or {}).get("inputs", {}).get("result", inputs)
        for name, fingerprint in inputs.items():
            if before.get(name) != fingerprint:
                raise InputError(
                    f"{self.out}: {getattr(self.config.inputs, name)} has changed since this run "
                    "began; give another --out, or delete it to start over"
                )
        return outdated

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
        # Where a folder can't be replaced in one step, a kill may leave none.
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
            remedy = REMEDIES.get(error.errno, "fix it")
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
            log.debug("%s is taken over from %s", name, other.out)
            if source.is_dir():
                copy_folder(source, target)
            else:
                copy_file(source, target)
        self.stages |= {stage.name: other.stages[stage.name] for stage in done}
        self._save()

    def replace_result(self, name: str, result: Any) -> None:
        """Say something else of a finished stage than it returned."""
        self.stages[name] = {**self.stages[name], "result": result}
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


def _outdated(stages: Sequence[Stage[Any]], changed: Sequence[str]) -> list[str] | None:
    """Names of the stages that changed keys make untrue; None if learning is among them."""
    if not changed:
        return []
    if not all(goes_by(stages, key) for key in changed):
        return None
    same = unaffected(stages, changed)
    outdated = [stage for stage in stages if stage not in same]
    measuring = all(stage.part is Part.RESULT for stage in outdated)
    return [stage.name for stage in outdated] if measuring else None


def _read_json(path: Path) -> Tree | None:
    if not path.exists():
        return None
    try:
        content: Tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path}: damaged ({error}); give another --out, or delete {path.parent} to start over"
        ) from error
    return content


def _fingerprint(path: str) -> Facts:
    """Size and time of a local file; a URI is taken as unchanging."""
    if "://" in path or not Path(path).is_file():
        return {"path": path}
    facts = Path(path).stat()
    return {"bytes": facts.st_size, "modified_ns": facts.st_mtime_ns}

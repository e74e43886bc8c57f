"""Configuration of the jobs: YAML under ``configs/``, laid over by ``--config`` and ``--set``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spotify_engine.dotted import Tree, laid_over, nested
from spotify_engine.errors import InputError, hint, problem
from spotify_engine.tracking.settings import TrackingConfig

CONFIGS = Path(__file__).resolve().parent / "configs"
Model = TypeVar("Model", bound=BaseModel)


class ClusterConfig(BaseModel):
    """The resources that a job asks of Ray."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(1, ge=1, le=1024)
    """Data-parallel training workers."""
    cpus_per_worker: float = Field(1.0, gt=0)
    """CPUs of a training worker, and its threads; on a cluster that the job starts itself it has
    the machine's threads, shared among the workers, or at most OMP_NUM_THREADS."""
    gpus_per_worker: int | None = Field(None, ge=0, le=1)
    """GPUs of a training worker. Left out: one if the cluster has any, and no more workers than
    there are GPUs."""
    max_failures: int = Field(2, ge=0)
    """How often training goes on from its last checkpoint after a worker is lost."""
    object_store_mib: int = Field(512, ge=80)
    """Shared memory of a cluster that the job starts itself."""
    dashboard: bool = False
    """Whether a cluster that the job starts itself serves Ray's dashboard, on loopback."""


class JobConfig(BaseModel):
    """The part that the configurations of all jobs with a run directory share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: BaseModel
    """Paths or URIs by name; None for one that is left out."""
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()


def load_config(
    model: type[Model], layers: Sequence[tuple[str, Mapping[str, Any]]], settings: Sequence[str]
) -> Model:
    """Merge configuration layers and check them.

    Args:
        layers: (where it comes from, values), later ones over earlier ones.
        settings: ``key.path=value`` texts, over all layers; values are read as YAML.

    Raises:
        InputError: an unknown key (with the nearest known one), a wrong type, or out of bounds.
    """
    merged: Tree = {}
    for source, values in layers:
        for path in _paths(values):
            check_known(model, path, source)
        merged = laid_over(merged, values)
    for setting in settings:
        key_path, equals, text = setting.partition("=")
        if not equals or not key_path:
            raise InputError(f"--set {setting}: write it as key.path=value")
        try:
            value = nested({key_path: yaml.safe_load(text)})
        except yaml.YAMLError as error:
            raise InputError(f"--set {setting}: the value is not readable as YAML") from error
        for path in _paths(value):
            check_known(model, path, f"--set {setting}")
        merged = laid_over(merged, value)
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise InputError(problem(error.errors()[0])) from error


def read_yaml(path: Path | str) -> Tree:
    """A YAML mapping from a file.

    Raises:
        InputError: missing, unreadable, or not a mapping; names file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the path of a YAML file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text; give the path of a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}:{line} is not valid YAML") from error
    if not isinstance(content or {}, dict):
        raise InputError(f"{path}: holds {type(content).__name__}, expected key: value pairs")
    return content or {}


def dump_yaml(config: BaseModel) -> str:
    """The fully resolved configuration as YAML that ``load_config`` reads back unchanged."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _paths(values: Mapping[str, Any]) -> list[list[str]]:
    paths = []
    for key, value in values.items():
        inner = _paths(value) if isinstance(value, Mapping) else []
        paths += [[str(key), *path] for path in inner] or [[str(key)]]
    return paths


def check_known(model: type[BaseModel], path: Sequence[str], source: str) -> None:
    """Name the first part of a path that isn't a key, with the nearest ones that are."""
    for depth, key in enumerate(path):
        if key not in model.model_fields:
            meant = hint(key, model.model_fields)
            raise InputError(f"{source}: unknown key {'.'.join(path[: depth + 1])}; {meant}")
        annotation = model.model_fields[key].annotation
        candidates = [annotation, *get_args(annotation)]
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not inner or depth == len(path) - 1:
            if depth < len(path) - 1:
                raise InputError(f"{source}: {'.'.join(path[: depth + 1])} has no keys inside")
            return
        model = inner[0]

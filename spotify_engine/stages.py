"""The stages of a pipeline, described as data: what each reads, writes and depends on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

P = TypeVar("P")


class Part(StrEnum):
    """Which part of a pipeline a stage belongs to."""

    DATA = "data"
    """Decides what is learned from and measured on; the same for whatever is to be compared."""
    GROUND = "ground"
    """The inputs of learning. Runs may share them that agree in the keys they depend on."""
    LEARNING = "learning"
    """To a trained model, and all else that validation chooses."""
    RESULT = "result"
    """From a trained model to bundle and report; the test part is ranked here."""


@dataclass(frozen=True)
class Stage(Generic[P]):
    """One step of a pipeline of type ``P``, which is done once in a run directory.

    Attributes:
        name: as in ``stages.json``, and in the seconds of a report.
        part: of the pipeline.
        work: does it, given the pipeline; returns plain values.
        reads: names of earlier stages whose files or results it uses.
        keys: of the configuration, or sections of keys, that it goes by.
        writes: files and folders that it always leaves, relative to the run directory.
        tell: says what came of it, given the pipeline and what ``work`` returned.
    """

    name: str
    part: Part
    work: Callable[[P], Any]
    reads: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    tell: Callable[[P, Any], None] | None = None


def within(key: str, section: str) -> bool:
    """Whether a dotted key is another one or inside it."""
    return key == section or key.startswith(f"{section}.")


def goes_by(stages: Iterable[Stage[Any]], key: str) -> bool:
    """Whether one of the stages reads a key, all of a section that holds it, or a part of it."""
    return any(within(key, own) or within(own, key) for each in stages for own in each.keys)


def unaffected(stages: Sequence[Stage[Any]], keys: Collection[str]) -> list[Stage[Any]]:
    """The stages whose results stay as they are when these keys change, in their order."""
    affected: set[str] = set()
    for stage in stages:
        changed = any(goes_by([stage], key) for key in keys)
        if changed or affected.intersection(stage.reads):
            affected.add(stage.name)
    return [stage for stage in stages if stage.name not in affected]

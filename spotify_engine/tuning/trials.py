"""The trials of a search on disk: one folder each, whose note is whole at every moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from spotify_engine.dotted import Flat
from spotify_engine.errors import InputError
from spotify_engine.store.atomic import write_text
from spotify_engine.strict_json import to_json

State = Literal["running", "done", "stopped", "failed", "out of memory"]
TRIAL_NOTE = "trial.json"
DEFAULT = 0  # the number of the default's trial


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        values: what was tried, by key; empty for the default.
        quality: best recall@10 on validation; None as long as nothing was measured.
        seconds: of training, without what is around it.
        wall_seconds: from its beginning to its end.
        ended: seconds after the search began.
        epochs: metrics of each.
        error: why it failed.
    """

    number: int
    values: Flat
    state: State = "running"
    quality: float | None = None
    seconds: float | None = None
    wall_seconds: float | None = None
    ended: float | None = None
    epochs: list[dict[str, float]] = field(default_factory=list)
    error: str = ""

    @property
    def name(self) -> str:
        """What it is called in tables and messages."""
        return "default" if self.number == DEFAULT else f"trial {self.number}"

    @property
    def epochs_done(self) -> int:
        """Without the start, where that is measured."""
        return sum(each["epoch"] >= 0 for each in self.epochs)

    def with_epochs(self, epochs: Sequence[Mapping[str, float]], monitor: str) -> Trial:
        """With what its epochs came to."""
        measured = [each[monitor] for each in epochs if each.get(monitor) is not None]
        return replace(
            self,
            epochs=[dict(each) for each in epochs],
            quality=max(measured, default=None),
            seconds=sum(each.get("train_seconds", 0.0) for each in epochs),
        )


def folder_of(search: Path, number: int) -> Path:
    """The folder of a search's trial."""
    return search / "trials" / f"{number:04d}"


def save_trial(search: Path, trial: Trial) -> None:
    """Write a trial's note."""
    folder = folder_of(search, trial.number)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / TRIAL_NOTE, to_json(asdict(trial)))


def load_trial(search: Path, number: int) -> Trial:
    """Read a trial's note.

    Raises:
        InputError: its note is missing or damaged.
    """
    path = folder_of(search, number) / TRIAL_NOTE
    try:
        return Trial(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not readable; delete its folder to try that trial again"
        ) from error


def load_trials(search: Path) -> list[Trial]:
    """Those that have begun, by number."""
    notes = sorted((search / "trials").glob(f"*/{TRIAL_NOTE}"))
    return [load_trial(search, int(note.parent.name)) for note in notes]


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The best first: those that ran to their end, then the others, then the failed ones."""
    order: list[State] = ["done", "stopped", "running", "out of memory", "failed"]
    return sorted(
        trials,
        key=lambda each: (
            order.index(each.state),
            -(each.quality if each.quality is not None else -1.0),
            each.number,
        ),
    )


def winner(trials: Sequence[Trial]) -> Trial | None:
    """The best of those that ran to their end; the earliest of equals."""
    best = ranked(trials)[:1]
    return best[0] if best and best[0].state == "done" else None


def pareto_front(trials: Sequence[Trial]) -> list[Trial]:
    """Finished trials that no other beats in both quality and seconds, the fastest first."""
    front: list[Trial] = []
    finished = [each for each in trials if each.state == "done"]
    for trial in sorted(finished, key=lambda each: (each.seconds or 0, -(each.quality or 0))):
        if not front or (trial.quality or 0) > (front[-1].quality or 0):
            front.append(trial)
    return front

"""A leaderboard of any task: scorers tuned on validation alone, one table, one sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from spotify_engine.watching import Watch, unwatched

Fitted = TypeVar("Fitted")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Candidate(Generic[Fitted]):
    """One setting of a scorer that may be chosen.

    Attributes:
        fit: makes the scorer and fits it on the training part.
        settings: plain values, by name.
    """

    fit: Callable[[], Fitted]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Chosen(Generic[Fitted]):
    """The candidate that did best on validation, fitted.

    Attributes:
        fit_seconds: of the chosen one.
        tuning_seconds: of fitting and ranking all of them; None where there was no choice.
        note: which settings won among how many; empty where there was no choice.
    """

    scorer: Fitted
    settings: dict[str, Any]
    fit_seconds: float
    tuning_seconds: float | None
    note: str


def choose(
    name: str,
    grid: Sequence[Candidate[Fitted]],
    quality: Callable[[Fitted], float],
    watch: Watch = unwatched,
) -> Chosen[Fitted]:
    """Fit every candidate and keep the best on validation; of equals, the first.

    One fitted scorer is in memory at a time, so the best is fitted again unless it was the last.

    Args:
        quality: of a fitted scorer on the validation part; higher is better.
        watch: is told of each that is fitted.

    Raises:
        TooLarge: a candidate needs more memory than it may use.
    """
    started = time.perf_counter()
    qualities: list[float] = []
    held: list[tuple[Fitted, float]] = []
    for each in watch(grid, f"{name} with other settings", len(grid)):
        held.clear()
        held.append(_timed(each))
        qualities.append(quality(held[0][0]) if len(grid) > 1 else 0.0)
    best = int(np.argmax(qualities))
    tuning_seconds = time.perf_counter() - started
    if best != len(grid) - 1:
        held.clear()
        held.append(_timed(grid[best]))
    [(fitted, fit_seconds)] = held
    settings = grid[best].settings
    if len(grid) == 1:
        return Chosen(fitted, settings, fit_seconds, None, "")
    varied = {key for each in grid for key in settings if each.settings[key] != settings[key]}
    won = ", ".join(f"{key} {settings[key]:g}" for key in settings if key in varied)
    note = f"best of {len(grid)} on val: {won}"
    return Chosen(fitted, settings, fit_seconds, tuning_seconds, note)


def _timed(candidate: Candidate[Fitted]) -> tuple[Fitted, float]:
    """(fitted, seconds)."""
    began = time.perf_counter()
    fitted = candidate.fit()
    return fitted, time.perf_counter() - began


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a leaderboard.

    Attributes:
        value: of a row; None is an empty cell.
        form: as in format().
        narrow: whether it is shown where there are 80 characters.
    """

    heading: str
    value: Callable[[Row], float | None]
    form: str = ".4f"
    narrow: bool = False

    def cell(self, row: Row) -> str:
        """As it is shown."""
        value = self.value(row)
        return "" if value is None else format(value, self.form)


def leaderboard_table(
    title: str,
    rows: Sequence[tuple[str, Row]],
    columns: Sequence[Column[Row]],
    quality: Callable[[Row], float | None],
    wide: bool = False,
    notes: Mapping[str, str] | None = None,
) -> Table:
    """The best row on top, those without quality last; notes below.

    Args:
        rows: (name of the scorer, what was measured of it).
        quality: what the rows are sorted by.
        wide: with all columns; else those that fit 80 characters.
        notes: by name, for whom there is something to say.
    """
    best_first = sorted(rows, key=lambda each: -(quality(each[1]) or -1.0))
    said = [f"{name}: {notes[name]}" for name, _ in best_first if notes and notes.get(name)]
    table = Table(
        title=title,
        caption="\n".join(said),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("scorer", no_wrap=True)
    shown = [column for column in columns if wide or column.narrow]
    for column in shown:
        table.add_column(column.heading, justify="right")
    for name, row in best_first:
        table.add_row(name, *(column.cell(row) for column in shown))
    return table


def found_in_words(
    ours: str, recalls: Mapping[str, float | None], baselines: Sequence[str], what: str, k: int
) -> str:
    """One sentence: what share of ``what`` ours and the best of the baselines find.

    Args:
        recalls: by scorer, 0 to 1; only of those that were measured.
    """
    first = {5: "five", 10: "ten", 20: "twenty"}.get(k, str(k))
    said = f"{ours} finds {_percent(recalls[ours])} of {what} in its first {first}"
    measured = {name: value for name in baselines if (value := recalls.get(name)) is not None}
    if measured:
        best = max(measured, key=measured.__getitem__)
        said += f"; the best baseline, {best}, {_percent(measured[best])}"
    return f"{said}."


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0.0):.1f} %"

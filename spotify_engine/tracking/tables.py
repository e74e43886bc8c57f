"""Recorded runs as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from rich.box import SIMPLE_HEAD
from rich.table import Table

from spotify_engine.tracking.history import Point, RecordedRun, differing_settings, sparkline

ID = 8  # characters of a run's id that tables show
RECORDED = (
    "run", "started", "pipeline", "kind", "name", "status", "seconds", "figure", "value", "code",
    "fingerprint", "parent",
)  # fmt: skip
DIFFERING = ("what", "name", "first", "second")


class RunRecord(TypedDict):
    """One line of a list of runs, as plain values."""

    run: str
    started: str
    pipeline: str
    kind: str
    name: str
    status: str
    seconds: float | None
    figure: str | None
    value: float | None
    code: str
    fingerprint: str
    parent: str | None


def run_record(run: RecordedRun) -> RunRecord:
    """One line of a list of runs, as plain values."""
    figure, value = run.figure or (None, None)
    return {
        "run": run.id,
        "started": f"{run.started:%Y-%m-%dT%H:%M:%SZ}",
        "pipeline": run.pipeline,
        "kind": run.kind,
        "name": run.name,
        "status": run.status,
        "seconds": run.seconds,
        "figure": figure,
        "value": value,
        "code": run.code,
        "fingerprint": run.fingerprint,
        "parent": run.parent or None,
    }


def difference_records(
    first: RecordedRun, second: RecordedRun
) -> list[dict[str, str | float | None]]:
    """Settings that differ, and all metrics, as plain values."""
    settings = [("setting", *row) for row in differing_settings(first, second)]
    names = sorted(first.metrics.keys() | second.metrics.keys())
    metrics = [
        ("metric", name, first.metrics.get(name), second.metrics.get(name)) for name in names
    ]
    return [dict(zip(DIFFERING, row, strict=True)) for row in (*settings, *metrics)]


def runs_table(runs: Sequence[RecordedRun], wide: bool = False) -> Table:
    """Runs in lines of 80 characters; one that failed says so in place of its figure.

    Args:
        wide: with pipeline, status, seconds and code.
    """
    table = Table(box=SIMPLE_HEAD)
    if not wide:
        for head in ("run", "started (UTC)", "kind", "name", "figure"):
            table.add_column(head, no_wrap=head != "name", overflow="fold")
        for run in runs:
            shown = f"{run.figure[0]} {run.figure[1]:.4f}" if run.figure else ""
            if run.status != "finished":
                shown = f"{run.status} {shown}".rstrip()
            table.add_row(run.id[:ID], f"{run.started:%Y-%m-%d %H:%M}", run.kind, run.name, shown)
        return table
    for head in ("run", "started (UTC)", "pipeline", "kind", "name", "status"):
        table.add_column(head, no_wrap=head == "run")
    table.add_column("seconds", justify="right")
    table.add_column("figure", justify="right")
    table.add_column("code")
    for run in runs:
        figure = run.figure
        table.add_row(
            run.id[:ID],
            f"{run.started:%Y-%m-%d %H:%M:%S}",
            run.pipeline,
            run.kind,
            run.name,
            run.status,
            "" if run.seconds is None else f"{run.seconds:,.0f}",
            f"{figure[0]} {figure[1]:.4f}" if figure else "",
            run.code,
        )
    return table


def run_table(run: RecordedRun) -> Table:
    """The facts of a run besides its settings and metrics."""
    table = Table(box=SIMPLE_HEAD, show_header=False)
    facts = {
        "run": run.id,
        "name": f"{run.name} ({run.pipeline}, {run.kind})",
        "status": run.status,
        "error": run.error,
        "started": f"{run.started:%Y-%m-%d %H:%M:%S} UTC",
        "seconds": "" if run.seconds is None else f"{run.seconds:,.1f}",
        "code": run.code,
        "data": run.fingerprint,
        "part of": run.parent,
    }
    for name, value in facts.items():
        if value:
            table.add_row(name, value)
    return table


def metrics_table(run: RecordedRun, epochs: Mapping[str, Sequence[Point]]) -> Table:
    """A run's figures, with their course over the epochs."""
    table = Table("metric", "last", "by epoch", box=SIMPLE_HEAD)
    table.columns[1].justify = "right"
    for key, value in sorted(run.metrics.items()):
        table.add_row(key, f"{value:.5g}", sparkline(epochs[key]) if key in epochs else "")
    return table


def settings_table(run: RecordedRun) -> Table:
    """A run's settings."""
    table = Table("setting", "value", box=SIMPLE_HEAD)
    for key, value in sorted(run.settings.items()):
        table.add_row(key, value)
    return table


def settings_differ_table(first: RecordedRun, second: RecordedRun) -> Table:
    """The settings in which two runs differ."""
    table = Table("setting", *_heads(first, second), box=SIMPLE_HEAD)
    for row in differing_settings(first, second):
        table.add_row(*row)
    return table


def metrics_differ_table(first: RecordedRun, second: RecordedRun) -> Table:
    """Figures of two runs side by side, with their differences."""
    table = Table("metric", *_heads(first, second), "difference", box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for key in sorted(first.metrics.keys() | second.metrics.keys()):
        a, b = first.metrics.get(key), second.metrics.get(key)
        difference = f"{b - a:+.5g}" if a is not None and b is not None else ""
        table.add_row(key, *("" if each is None else f"{each:.5g}" for each in (a, b)), difference)
    return table


def _heads(first: RecordedRun, second: RecordedRun) -> tuple[str, str]:
    return f"{first.name} {first.id[:ID]}", f"{second.name} {second.id[:ID]}"

"""Recorded runs as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from spotify_engine.tracking.history import Point, RecordedRun, differing_settings, sparkline

ID = 8  # characters of a run's id that tables show


def runs_table(runs: Sequence[RecordedRun]) -> Table:
    table = Table(box=SIMPLE_HEAD)
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
    """What is known of a run beside its settings and metrics."""
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
    table = Table("metric", "last", "by epoch", box=SIMPLE_HEAD)
    table.columns[1].justify = "right"
    for key, value in sorted(run.metrics.items()):
        table.add_row(key, f"{value:.5g}", sparkline(epochs[key]) if key in epochs else "")
    return table


def settings_table(run: RecordedRun) -> Table:
    table = Table("setting", "value", box=SIMPLE_HEAD)
    for key, value in sorted(run.settings.items()):
        table.add_row(key, value)
    return table


def settings_differ_table(first: RecordedRun, second: RecordedRun) -> Table:
    table = Table("setting", *_heads(first, second), box=SIMPLE_HEAD)
    for row in differing_settings(first, second):
        table.add_row(*row)
    return table


def metrics_differ_table(first: RecordedRun, second: RecordedRun) -> Table:
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

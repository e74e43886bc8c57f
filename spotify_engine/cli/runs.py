"""Recorded runs: list them, show one, compare two. Tables on the console, curves as PNG.

A run is named by its id, the beginning of it, or the name of its folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spotify_engine.cli.flags import new_parser
from spotify_engine.cli.output import JSON, add_forms, add_wide, print_csv, print_json
from spotify_engine.command import STOPPED, job

if TYPE_CHECKING:
    from spotify_engine.tracking.history import RecordedRun


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``spotify-engine runs``."""
    flags = new_parser(__doc__, "list --kind train", "show demo", "compare demo other")
    flags.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs (runs)")
    flags.add_argument("--uri", help="tracking server (the folder's SQLite store)")
    commands = flags.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the newest runs first")
    listing.add_argument(
        "--pipeline", choices=("playlists", "sessions"), help="only this pipeline's (both)"
    )
    listing.add_argument(
        "--kind", choices=("train", "search", "trial", "evaluate"), help="only these (all)"
    )
    listing.add_argument("--limit", type=int, default=30, help="most runs to list (30)")
    add_wide(listing)
    show = commands.add_parser("show", help="one run: facts, metrics by epoch, settings")
    show.add_argument("run")
    compare = commands.add_parser("compare", help="two runs: settings and metrics that differ")
    compare.add_argument("first")
    compare.add_argument("second")
    for command in (listing, show, compare):
        add_forms(command)
    for command in (show, compare):
        command.add_argument(
            "--plot", type=Path, help="PNG of metrics by epoch (of two, runs/comparison.png)"
        )
        command.add_argument("--metric", action="append", default=[], help="what to draw (all)")
    return flags


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine runs``; returns the exit status."""
    arguments = parser().parse_args(argv)
    from spotify_engine.console import console, say
    from spotify_engine.tracking import tables
    from spotify_engine.tracking.history import History, check_comparable, plot_epochs

    history = History(arguments.runs, arguments.uri)
    if arguments.command == "list":
        runs = history.runs(arguments.pipeline, arguments.kind, arguments.limit)
        if arguments.form:
            _print(arguments.form, [tables.run_record(run) for run in runs], tables.RECORDED)
        else:
            console.print(tables.runs_table(runs, arguments.wide))
        return 0
    names = [arguments.run] if "run" in arguments else [arguments.first, arguments.second]
    found = [history.get(name) for name in names]
    if arguments.command == "compare":
        check_comparable(*found)
    if arguments.form:
        if arguments.command == "compare":
            _print(arguments.form, tables.difference_records(*found), tables.DIFFERING)
        elif arguments.form == JSON:
            print_json({**tables.run_record(found[0]), **_whole(found[0])})
        else:
            rows = [{"metric": name, "value": v} for name, v in found[0].metrics.items()]
            print_csv(rows, ("metric", "value"))
        return 0
    curves = [history.epochs(run) for run in found]
    if arguments.command == "show":
        console.print(tables.run_table(found[0]))
        console.print(tables.settings_table(found[0]))
        console.print(tables.metrics_table(found[0], curves[0]))
    else:
        console.print(tables.settings_differ_table(*found))
        console.print(tables.metrics_differ_table(*found))
    path = arguments.plot
    if path is None and arguments.command == "compare":
        path = arguments.runs / "comparison.png"
    if path is not None:
        labels = [f"{run.name} {run.id[: tables.ID]}" for run in found]
        plot_epochs(list(zip(labels, curves, strict=True)), arguments.metric, path)
        say(f"Plot: {path}")
    return 0


def _whole(run: RecordedRun) -> dict[str, object]:
    """The details that a list of runs has no room for."""
    return {"error": run.error, "settings": run.settings, "metrics": run.metrics}


def _print(form: str, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    print_json(rows) if form == JSON else print_csv(rows, columns)

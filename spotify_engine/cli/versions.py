"""Published versions. An id may be cut short, as long as one version alone begins like that.

publish copies a run's bundle/; it serves once activated, which a running server sees in seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spotify_engine.cli.flags import REGISTRY, new_parser
from spotify_engine.cli.output import CSV, JSON, add_forms, add_wide, print_csv, print_json
from spotify_engine.command import STOPPED, job

if TYPE_CHECKING:  # opened when it is needed
    from spotify_engine.store.registry import Registry

ARGUMENTS: dict[str, list[str]] = {
    "list": [],
    "publish": ["bundle"],
    "show": ["id"],
    "compare": ["first", "second"],
    "activate": ["id"],
    "rollback": ["pipeline"],
    "remove": ["id"],
}


LISTED = ("id", "role", "pipeline", "created", "fingerprint", "figure", "value")
DOES = {
    "list": "all versions, newest first",
    "publish": "check a bundle and copy it to the registry",
    "show": "one version: lineage and metrics",
    "compare": "metrics of two versions side by side",
    "activate": "serve a version",
    "rollback": "serve the previous version again",
    "remove": "delete a version that is not being served",
}


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``spotify-engine versions``."""
    flags = new_parser(__doc__, "list", "publish runs/demo/bundle", "activate playlists-2026")
    flags.add_argument(
        "--registry",
        type=Path,
        default=REGISTRY,
        metavar="DIR",
        help=f"folder of versions ({REGISTRY})",
    )
    commands = flags.add_subparsers(dest="command", required=True)
    for command, names in ARGUMENTS.items():
        its = commands.add_parser(command, help=DOES[command])
        # Here as well as above, wherever one is used to write it.
        its.add_argument(
            "--registry",
            type=Path,
            default=argparse.SUPPRESS,
            metavar="DIR",
            help=f"folder of versions ({REGISTRY})",
        )
        for name in names:
            its.add_argument(name, type=Path if name == "bundle" else str)
    commands.choices["list"].add_argument("--pipeline", help="only this pipeline's (both)")
    add_wide(commands.choices["list"])
    for command in ("list", "show", "compare"):
        add_forms(commands.choices[command])
    return flags


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine versions``; returns the exit status."""
    arguments = parser().parse_args(argv)
    from spotify_engine.console import say
    from spotify_engine.recommenders import open_registry

    registry = open_registry(arguments.registry)
    match arguments.command:
        case "list":
            _list(registry, arguments)
        case "publish":
            say(f"Published {registry.publish(arguments.bundle).id}")
        case "show":
            _show(registry, arguments)
        case "compare":
            _compare(registry, arguments)
        case "activate":
            say(f"Current: {registry.activate(registry.whole(arguments.id)).id}")
        case "rollback":
            say(f"Current: {registry.rollback(arguments.pipeline).id}")
        case "remove":
            registry.remove(registry.whole(arguments.id))
    return 0


def _list(registry: Registry, arguments: argparse.Namespace) -> None:
    from spotify_engine.console import console, say
    from spotify_engine.pipelines import PIPELINES
    from spotify_engine.store.tables import listed, listing

    pipelines = [arguments.pipeline] if arguments.pipeline else list(PIPELINES)
    if arguments.form:
        found = [row for pipeline in pipelines for row in listed(registry, pipeline)]
        _print(arguments.form, found, LISTED)
        return
    for pipeline in pipelines:
        table, damage = listing(registry, pipeline, arguments.wide)
        console.print(table)
        for line in damage:
            say(line, "red")


def _show(registry: Registry, arguments: argparse.Namespace) -> None:
    from spotify_engine.console import console
    from spotify_engine.store.tables import described, description

    version = registry.get(registry.whole(arguments.id))
    if arguments.form == JSON:
        print_json(described(version))
    elif arguments.form == CSV:
        metrics = [{"metric": name, "value": v} for name, v in version.metrics.items()]
        print_csv(metrics, ("metric", "value"))
    else:
        console.print(description(version))


def _compare(registry: Registry, arguments: argparse.Namespace) -> None:
    from spotify_engine.console import console
    from spotify_engine.store.tables import comparison

    first, second = map(registry.whole, (arguments.first, arguments.second))
    if arguments.form:
        columns = ("metric", "first", "second")
        rows = [dict(zip(columns, row, strict=True)) for row in registry.compare(first, second)]
        _print(arguments.form, rows, columns)
    else:
        console.print(comparison(registry, first, second))


def _print(form: str, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    print_json(rows) if form == JSON else print_csv(rows, columns)

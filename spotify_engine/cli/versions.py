"""Published versions. An id may be cut short, as long as one version alone begins like that.

publish copies a run's bundle/; it serves once activated, which a running server sees in seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import REGISTRY, new_parser
from spotify_engine.command import STOPPED, job

ARGUMENTS: dict[str, list[str]] = {
    "list": [],
    "publish": ["bundle"],
    "show": ["id"],
    "compare": ["first", "second"],
    "activate": ["id"],
    "rollback": ["pipeline"],
    "remove": ["id"],
}


def parser() -> argparse.ArgumentParser:
    flags = new_parser(__doc__, "list", "publish runs/demo/bundle", "activate playlists-2026")
    flags.add_argument(
        "--registry", type=Path, default=REGISTRY, metavar="DIR", help=f"of versions ({REGISTRY})"
    )
    commands = flags.add_subparsers(dest="command", required=True)
    for command, names in ARGUMENTS.items():
        its = commands.add_parser(command)
        # Here as well as above, wherever one is used to write it.
        its.add_argument("--registry", type=Path, default=argparse.SUPPRESS, metavar="DIR")
        for name in names:
            its.add_argument(name, type=Path if name == "bundle" else str)
    commands.choices["list"].add_argument("--pipeline", help="only this one's")
    return flags


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from spotify_engine.console import console, say
    from spotify_engine.pipelines import PIPELINES
    from spotify_engine.store.registry import Registry
    from spotify_engine.store.tables import comparison, description, listing

    registry = Registry(arguments.registry)
    match arguments.command:
        case "list":
            for pipeline in [arguments.pipeline] if arguments.pipeline else PIPELINES:
                table, damage = listing(registry, pipeline)
                console.print(table)
                for line in damage:
                    say(line, "red")
        case "publish":
            say(f"Published {registry.publish(arguments.bundle).id}")
        case "show":
            console.print(description(registry.get(arguments.id)))
        case "compare":
            console.print(comparison(registry, arguments.first, arguments.second))
        case "activate":
            say(f"Current: {registry.activate(arguments.id).id}")
        case "rollback":
            say(f"Current: {registry.rollback(arguments.pipeline).id}")
        case "remove":
            registry.remove(arguments.id)
    return 0

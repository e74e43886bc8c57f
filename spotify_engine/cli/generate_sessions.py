"""Write generated listening sessions.

The same seed and configuration give the same bytes, whatever the number of processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import RARELY, add_settings, new_parser
from spotify_engine.command import NOTHING_WRITTEN, job

SIZES = {
    "seed": "of all draws",
    "users": "listeners",
    "songs": "in the catalogue",
    "artists": "of the songs",
    "genres": "of the artists",
    "days": "of listening",
    "activity": "how much everybody listens; 1 is the usual amount",
}


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``spotify-engine generate sessions``."""
    flags = new_parser(__doc__, "--out data/sessions --users 200")
    flags.add_argument("--out", type=Path, required=True, help="folder to create (required)")
    flags.add_argument("--config", type=Path, help="YAML laid over configs/synthetic.yaml (none)")
    flags.add_argument(
        "--oracle", action="store_true", help="write the true next-song probabilities, too (no)"
    )
    flags.add_argument("--workers", type=int, help="processes; 1: without Ray (one for each CPU)")
    rare = flags.add_argument_group(f"sizes, {RARELY}")
    for name in SIZES:
        number = float if name == "activity" else int
        said = f"{SIZES[name]} (as in configs/synthetic.yaml)"
        rare.add_argument(f"--{name}", type=number, help=said)
    add_settings(rare, "generator.days=30")
    return flags


@job(NOTHING_WRITTEN, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine generate sessions``; returns the exit status."""
    arguments = parser().parse_args(argv)
    from rich.table import Table

    from spotify_engine.console import console
    from spotify_engine.runtime.data.generate import generate, generator_config

    flags = {name: getattr(arguments, name) for name in SIZES}
    config = generator_config(arguments.config, flags, arguments.settings)
    counts = generate(arguments.out, config, arguments.oracle, arguments.workers)
    table = Table("what", "count", title=str(arguments.out))
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    console.print(table)
    return 0

"""Write generated listening sessions: python jobs/generate_sessions.py --out data/sessions

Sizes are in configs/synthetic.yaml; every key can be set with --set. The same seed and
configuration give the same bytes, whatever the number of processes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.command import NOTHING, job

SIZES = ("seed", "users", "songs", "artists", "genres", "days", "activity")


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument("--out", type=Path, required=True, help="folder to create")
    flags.add_argument("--config", type=Path, help="YAML laid over configs/synthetic.yaml")
    flags.add_argument(
        "--oracle", action="store_true", help="also the true next-song probabilities"
    )
    flags.add_argument("--workers", type=int, help="processes; 1 does without Ray (one a CPU)")
    for name in SIZES:
        flags.add_argument(f"--{name}", type=float if name == "activity" else int)
    flags.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE"
    )
    return flags


@job(NOTHING, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from rich.table import Table

    from spotify_engine.console import console
    from spotify_engine.runtime.generate import generate, generator_config

    flags = {name: getattr(arguments, name) for name in SIZES}
    config = generator_config(arguments.config, flags, arguments.settings)
    counts = generate(arguments.out, config, arguments.oracle, arguments.workers)
    table = Table("what", "count", title=str(arguments.out))
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

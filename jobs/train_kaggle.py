"""Train a playlist recommender: two CSV files to a trained, evaluated, explained bundle.

Re-running the same command resumes. See README.md for modes and the run directory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.command import GOES_ON, job

MODES = ("mini", "quick", "balanced", "full")


def parser(description: str | None = __doc__) -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument("--mode", choices=MODES, default="mini", help="size of the run (mini)")
    flags.add_argument("--config", type=Path, help="YAML laid over the mode's configuration")
    flags.add_argument("--playlists", help="spotify_dataset.csv: path or URI")
    flags.add_argument("--features", help="tracks_features.csv: path, URI, or 'none'")
    flags.add_argument("--genres", help="optional artist, genre[, count] CSV")
    flags.add_argument("--sample", action="store_true", help="make and use a Kaggle-shaped sample")
    flags.add_argument("--out", type=Path, help="run directory (runs/kaggle-MODE)")
    flags.add_argument("--workers", type=int, help="data-parallel training workers")
    flags.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE"
    )
    return flags


def training_parser() -> argparse.ArgumentParser:
    flags = parser()
    flags.add_argument(
        "--register", type=Path, nargs="?", const=Path("runs/registry"), metavar="DIR",
        help="make the result a version of a registry (runs/registry)",
    )  # fmt: skip
    return flags


@job(GOES_ON, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    arguments = training_parser().parse_args(argv)
    # Ray, torch and the rest take seconds to import; --help and a wrong flag should not wait.
    from spotify_engine.console import say
    from spotify_engine.runtime.inputs import open_run
    from spotify_engine.runtime.kaggle import run_all
    from spotify_engine.runtime.registering import register
    from spotify_engine.runtime.session import ray_session

    run = open_run(arguments)
    with ray_session(run.config.cluster):
        run_all(run)
    if arguments.register:
        register(run, arguments.register)
    say(
        f"\nReport: {run.report}\nBundle: {run.bundle}\n"
        f"Next:   python jobs/recommend.py --run {run.out} --playlist 0 --explain"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

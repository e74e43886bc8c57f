"""Train next-song recommenders on listening sessions, generated or your own.

Re-running the same command resumes. See README.md for models, trainers and the run directory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.command import GOES_ON, job


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument(
        "--model", action="append", choices=("basic", "enhanced", "session"),
        help="what to train; may be given several times (all)",
    )  # fmt: skip
    flags.add_argument(
        "--trainer", choices=("simple", "advanced"),
        help="simple: all data, nothing measured; advanced: 70/15/15 by time (advanced)",
    )  # fmt: skip
    flags.add_argument("--data", help="folder of session CSVs; without it they are generated")
    flags.add_argument("--config", type=Path, help="YAML laid over configs/synthetic.yaml")
    flags.add_argument("--out", type=Path, help="run directory (runs/synthetic)")
    flags.add_argument("--workers", type=int, help="data-parallel training workers")
    flags.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE"
    )
    flags.add_argument(
        "--register", type=Path, nargs="?", const=Path("runs/registry"), metavar="DIR",
        help="make the result a version of a registry (runs/registry)",
    )  # fmt: skip
    return flags


@job(GOES_ON, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    # Ray, torch and the rest take seconds to import; --help and a wrong flag should not wait.
    from spotify_engine.console import say
    from spotify_engine.runtime.registering import register
    from spotify_engine.runtime.session import ray_session
    from spotify_engine.runtime.sessions import open_session_run, run_sessions

    run = open_session_run(arguments)
    with ray_session(run.config.cluster):
        run_sessions(run)
    if arguments.register:
        register(run, arguments.register)
    say(
        f"\nReport: {run.report}\nBundle: {run.bundle}\n"
        "Next:   notebooks/quick_demo.ipynb recommends and explains from it"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

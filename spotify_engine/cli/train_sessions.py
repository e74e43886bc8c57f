"""Train next-song recommenders on listening sessions, generated or your own.

The same command again goes on where it was. A run's config.yaml lists every key for --set.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import RARELY, add_register, add_settings, new_parser
from spotify_engine.command import GOES_ON, job


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``spotify-engine train sessions``."""
    flags = new_parser(__doc__, "--model session")
    flags.add_argument(
        "--model", action="append", choices=("basic", "enhanced", "session"),
        help="what to train; may be given several times (all)",
    )  # fmt: skip
    flags.add_argument(
        "--trainer", choices=("simple", "advanced"),
        help="simple: all data, nothing measured; advanced: 70/15/15 by time (advanced)",
    )  # fmt: skip
    flags.add_argument("--data", help="folder of session CSVs (generates them)")
    flags.add_argument("--out", type=Path, help="run directory (runs/synthetic)")
    rare = flags.add_argument_group(RARELY)
    rare.add_argument("--config", type=Path, help="YAML over configs/synthetic.yaml (none)")
    rare.add_argument("--workers", type=int, help="data-parallel training workers (1)")
    add_settings(rare, "training.session.epochs=3")
    add_register(flags)
    return flags


@job(GOES_ON, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine train sessions``; returns the exit status."""
    arguments = parser().parse_args(argv)
    # Ray, torch and the rest take seconds to import; --help and a wrong flag should not wait.
    from spotify_engine.console import say
    from spotify_engine.runtime.cluster import ray_session
    from spotify_engine.runtime.pipelines.registering import register
    from spotify_engine.runtime.pipelines.session_inputs import open_session_run
    from spotify_engine.runtime.pipelines.sessions import SessionPipeline

    run = open_session_run(arguments)
    with ray_session(run.config.cluster):
        SessionPipeline(run).run_all()
    if arguments.register:
        register(run, arguments.register)
    say(
        f"\nReport: {run.report}\nBundle: {run.bundle}\n"
        "Next:   notebooks/quick_demo.ipynb recommends and explains from it"
    )
    return 0

"""Search for better settings: a space of values in, the best configuration out.

The same command again goes on with a search. See docs/tuning.md for spaces and for what is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import RARELY, add_register, add_settings, new_parser
from spotify_engine.cli.train_playlists import MODES
from spotify_engine.command import GOES_ON, job

OF_PLAYLISTS = ("mode", "playlists", "features", "genres", "sample")
OF_SESSIONS = ("model", "data")


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``spotify-engine tune``."""
    flags = new_parser(__doc__, "--pipeline playlists --space configs/tune/playlists.yaml --sample")
    flags.add_argument(
        "--pipeline",
        choices=("playlists", "sessions"),
        default="playlists",
        help="pipeline whose settings are searched (playlists)",
    )
    flags.add_argument(
        "--space",
        type=Path,
        required=True,
        help="YAML file, or a built-in space: playlists, playlists-fast, playlists-grid or "
        "sessions (required)",
    )
    flags.add_argument("--out", type=Path, help="the search's folder (runs/tune-SPACE)")
    add_register(flags, "the winner")
    rare = flags.add_argument_group(RARELY)
    rare.add_argument("--config", type=Path, help="YAML laid over the space's base (none)")
    rare.add_argument("--workers", type=int, help="training workers of each trial (the base's)")
    add_settings(rare, "training.epochs=5")
    playlists = flags.add_argument_group("of playlists, as for training")
    playlists.add_argument("--mode", choices=MODES, help="size of a trial (mini)")
    for name in ("playlists", "features", "genres"):
        playlists.add_argument(f"--{name}", help="path or URI (as for training)")
    playlists.add_argument(
        "--sample", action="store_true", default=None, help="use a generated sample (your files)"
    )
    sessions = flags.add_argument_group("of sessions, as for training")
    sessions.add_argument(
        "--model",
        action="append",
        choices=("basic", "enhanced", "session"),
        help="what to tune (as in the space)",
    )
    sessions.add_argument("--data", help="folder of session CSVs (generates them)")
    flags.set_defaults(trainer=None, no_baselines=False)
    return flags


@job(GOES_ON, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine tune``; returns the exit status."""
    flags = parser()
    arguments = flags.parse_args(argv)
    for name in OF_SESSIONS if arguments.pipeline == "playlists" else OF_PLAYLISTS:
        if getattr(arguments, name) is not None:
            flags.error(f"--{name} is not for --pipeline {arguments.pipeline}")
    # Ray, torch and the rest take seconds to import; --help and a wrong flag should not wait.
    from spotify_engine.console import say
    from spotify_engine.runtime.cluster import ray_session
    from spotify_engine.runtime.tune.search import open_search

    search = open_search(arguments)
    with ray_session(search.base.cluster, show_workers=False):
        search.run()
        if arguments.register:
            search.register(arguments.register)
    say(f"\nReport: {search.out / 'report.html'}\nBest:   {search.out / 'best.yaml'} for --config")
    return 0

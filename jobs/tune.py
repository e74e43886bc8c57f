"""Search for better settings: a space of values in, the best configuration out.

The same command again goes on with a search. See docs/tuning.md for spaces and for what is written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.command import GOES_ON, job

OF_PLAYLISTS = ("mode", "playlists", "features", "genres", "sample")
OF_SESSIONS = ("model", "data")


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument("--pipeline", choices=("playlists", "sessions"), required=True)
    flags.add_argument("--space", type=Path, required=True, help="YAML, as in configs/tune/")
    flags.add_argument("--out", type=Path, help="the search's folder (runs/tune-SPACE)")
    flags.add_argument("--config", type=Path, help="YAML laid over the space's base")
    flags.add_argument("--workers", type=int, help="training workers of each trial")
    flags.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE"
    )
    flags.add_argument(
        "--register", type=Path, nargs="?", const=Path("runs/registry"), metavar="DIR",
        help="make the winner a version of a registry (runs/registry)",
    )  # fmt: skip
    playlists = flags.add_argument_group("playlists, as of train_kaggle.py")
    playlists.add_argument("--mode", choices=("mini", "quick", "balanced", "full"))
    for name in ("playlists", "features", "genres"):
        playlists.add_argument(f"--{name}")
    playlists.add_argument("--sample", action="store_true", default=None)
    sessions = flags.add_argument_group("sessions, as of train_synthetic.py")
    sessions.add_argument("--model", action="append", choices=("basic", "enhanced", "session"))
    sessions.add_argument("--data")
    flags.set_defaults(trainer=None)
    return flags


@job(GOES_ON, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    flags = parser()
    arguments = flags.parse_args(argv)
    for name in OF_SESSIONS if arguments.pipeline == "playlists" else OF_PLAYLISTS:
        if getattr(arguments, name) is not None:
            flags.error(f"--{name} is not for --pipeline {arguments.pipeline}")
    # Ray, torch and the rest take seconds to import; --help and a wrong flag should not wait.
    from spotify_engine.console import say
    from spotify_engine.runtime.session import ray_session
    from spotify_engine.runtime.tune import open_search

    search = open_search(arguments)
    with ray_session(search.base.cluster, show_workers=False):
        search.run()
        if arguments.register:
            search.register(arguments.register)
    say(f"\nReport: {search.out / 'report.html'}\nBest:   {search.out / 'best.yaml'} for --config")
    return 0


if __name__ == "__main__":
    sys.exit(main())

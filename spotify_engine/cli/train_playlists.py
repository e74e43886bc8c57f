"""Train a playlist recommender: two CSV files to a trained, evaluated, explained bundle.

The same command again goes on where it was. A run's config.yaml lists every key for --set.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import RARELY, add_register, add_settings, new_parser
from spotify_engine.command import GOES_ON, job
from spotify_engine.next_step import command

MODES = ("mini", "quick", "balanced", "full")


def parser(
    description: str | None = __doc__, example: str = "--mode balanced"
) -> argparse.ArgumentParser:
    """Make the parser of whatever reads playlists and prepares a run of them."""
    flags = new_parser(description, example)
    flags.add_argument("--mode", choices=MODES, default="mini", help="size of the run (mini)")
    flags.add_argument("--playlists", help="path or URI (data/kaggle/spotify_dataset.csv)")
    flags.add_argument("--features", help="path, URI, or 'none' (data/kaggle/tracks_features.csv)")
    flags.add_argument("--genres", help="artist, genre[, count] CSV (from playlist titles)")
    flags.add_argument(
        "--sample", action="store_true", help="make and use a Kaggle-shaped sample (your files)"
    )
    flags.add_argument("--out", type=Path, help="run directory (runs/kaggle-MODE)")
    flags.add_argument(
        "--no-baselines",
        action="store_true",
        help="measure the model alone; evaluate --baselines adds them later (measures them)",
    )
    rare = flags.add_argument_group(RARELY)
    rare.add_argument("--config", type=Path, help="YAML laid over the mode's configuration (none)")
    rare.add_argument("--workers", type=int, help="data-parallel training workers (the mode's)")
    add_settings(rare, "training.epochs=5")
    return flags


def training_parser() -> argparse.ArgumentParser:
    """Make the parser of ``spotify-engine train playlists``."""
    flags = parser()
    add_register(flags)
    return flags


@job(GOES_ON, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine train playlists``; returns the exit status."""
    arguments = training_parser().parse_args(argv)
    # Ray, torch and the rest take seconds to import; --help and a wrong flag should not wait.
    from spotify_engine.console import say
    from spotify_engine.runtime.cluster import ray_session
    from spotify_engine.runtime.pipelines.playlist_inputs import open_run
    from spotify_engine.runtime.pipelines.playlists import PlaylistPipeline
    from spotify_engine.runtime.pipelines.registering import register

    run = open_run(arguments)
    with ray_session(run.config.cluster):
        PlaylistPipeline(run).run_all()
    if arguments.register:
        register(run, arguments.register)
    say(
        f"\nReport: {run.report}\nBundle: {run.bundle}\n"
        f"Next:   {command('recommend', '--run', run.out, '--playlist', '0', '--explain')}"
    )
    return 0

"""Read the two CSV files into tables/ of a run directory: the first stage of training."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from spotify_engine.cli.train_playlists import parser
from spotify_engine.command import GOES_ON, job
from spotify_engine.next_step import command

EXAMPLE = "--sample --out runs/demo"


@job(GOES_ON, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine prepare``; returns the exit status."""
    arguments = parser(__doc__, EXAMPLE).parse_args(argv)
    from spotify_engine.console import say
    from spotify_engine.runtime.cluster import ray_session
    from spotify_engine.runtime.pipelines.playlist_inputs import open_run
    from spotify_engine.runtime.pipelines.playlists import PlaylistPipeline

    run = open_run(arguments)
    with ray_session(run.config.cluster):
        PlaylistPipeline(run).prepare()
    given = sys.argv[1:] if argv is None else argv
    say(f"Tables: {run.tables}\nNext:   {command('train', *given)}")
    return 0

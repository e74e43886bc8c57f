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
    arguments = parser(__doc__, EXAMPLE).parse_args(argv)
    from spotify_engine.console import say
    from spotify_engine.runtime.inputs import open_run
    from spotify_engine.runtime.kaggle import PlaylistPipeline
    from spotify_engine.runtime.session import ray_session

    run = open_run(arguments)
    with ray_session(run.config.cluster):
        PlaylistPipeline(run).prepare()
    given = sys.argv[1:] if argv is None else argv
    say(f"Tables: {run.tables}\nNext:   {command('train', *given)}")
    return 0

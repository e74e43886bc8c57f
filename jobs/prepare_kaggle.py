"""Read the two CSV files into tables/ of a run directory: the first stage of train_kaggle.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from train_kaggle import parser

from spotify_engine.command import GOES_ON, job


@job(GOES_ON, uses_ray=True)
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__).parse_args(argv)
    from spotify_engine.console import say
    from spotify_engine.runtime.inputs import open_run
    from spotify_engine.runtime.kaggle import PlaylistPipeline
    from spotify_engine.runtime.session import ray_session

    run = open_run(arguments)
    with ray_session(run.config.cluster):
        PlaylistPipeline(run).prepare()
    say(f"Tables: {run.tables}\nNext:   the same command with train_kaggle.py goes on here")
    return 0


if __name__ == "__main__":
    sys.exit(main())

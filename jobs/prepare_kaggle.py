"""Read the two CSV files into tables/ of a run directory: the first stage of train_kaggle.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from train_kaggle import parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__).parse_args(argv)
    from spotify_engine.errors import InputError
    from spotify_engine.runtime.inputs import open_run
    from spotify_engine.runtime.kaggle import PlaylistPipeline
    from spotify_engine.runtime.run import console
    from spotify_engine.runtime.session import ray_session

    try:
        run = open_run(arguments)
        with ray_session(run.config.cluster):
            PlaylistPipeline(run).prepare()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(
        f"Tables: {run.tables}\nNext:   the same command with train_kaggle.py goes on here"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

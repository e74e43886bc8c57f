"""Nothing to explained recommendations: write a sample, train on it, complete a playlist."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.command import GOES_ON, job

RUN = Path("runs/demo")


@job(GOES_ON)
def main(argv: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__, allow_abbrev=False).parse_args(argv)
    import recommend
    import train_kaggle

    status = train_kaggle.main(["--mode", "mini", "--sample", "--out", str(RUN)])
    status = status or recommend.main(
        ["--run", str(RUN), "--playlist", "0", "--explain", "--plot", str(RUN / "attention.png")]
    )
    if not status:
        print(
            "\nWhat to run next:\n"
            "  your own playlist    python jobs/recommend.py --run runs/demo --tracks "
            "'ARTIST - TITLE' 'ARTIST - TITLE' --explain\n"
            "  a page to try it     python jobs/serve.py --playlists runs/demo/bundle\n"
            "  check every figure   python jobs/evaluate.py --run runs/demo\n"
            "  the real files       python jobs/train_kaggle.py --mode balanced "
            "--playlists spotify_dataset.csv --features tracks_features.csv"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())

"""Nothing to explained recommendations: write a sample, train on it, complete a playlist."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli import recommend, train_playlists
from spotify_engine.cli.flags import new_parser
from spotify_engine.command import GOES_ON, job
from spotify_engine.next_step import command

RUN = Path("runs/demo")


@job(GOES_ON)
def main(argv: Sequence[str] | None = None) -> int:
    new_parser(__doc__, "").parse_args(argv)
    status = train_playlists.main(["--mode", "mini", "--sample", "--out", str(RUN)])
    status = status or recommend.main(
        ["--run", str(RUN), "--playlist", "0", "--explain", "--plot", str(RUN / "attention.png")]
    )
    if not status:
        own = command("recommend", "--run", RUN, "--explain", "--tracks", "ARTIST - TITLE")
        real = command(
            "train", "--mode", "balanced",
            "--playlists", "spotify_dataset.csv", "--features", "tracks_features.csv",
        )  # fmt: skip
        print(
            "\nWhat to run next:\n"
            f"  your own playlist    {own}\n"
            f"  a page to try it     {command('serve', '--playlists', RUN / 'bundle')}\n"
            f"  check every figure   {command('evaluate', '--run', RUN)}\n"
            f"  the real files       {real}"
        )
    return status

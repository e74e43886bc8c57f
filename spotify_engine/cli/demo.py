"""Nothing to explained recommendations: write a sample, train on it, complete a playlist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli import train_playlists
from spotify_engine.cli.flags import new_parser
from spotify_engine.command import GOES_ON, job
from spotify_engine.next_step import command

RUN = Path("runs/demo")
EXPLAINED = 3


@job(GOES_ON)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``make demo``: train on a sample, then show what came of it."""
    new_parser(__doc__, "").parse_args(argv)
    status = train_playlists.main(["--mode", "mini", "--sample", "--out", str(RUN)])
    if not status:
        _show(RUN)
    return status


def _show(run: Path) -> None:
    """Print the outcome, from the result in words to the commands to run next."""
    from spotify_engine.console import console, say
    from spotify_engine.playlists.completing.completion import (
        complete_playlist,
        find_playlist,
        judgeable_playlist,
    )
    from spotify_engine.playlists.recommender import PlaylistRecommender

    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    tracks, title = find_playlist(run, str(judgeable_playlist(run)))
    completion = complete_playlist(PlaylistRecommender.load(run / "bundle"), tracks, title, k=10)
    say("")
    console.rule("The demo, on invented music", characters="=")
    say(f"{report['in_words']}\n{report['served']['in_words']}\n")
    console.print(completion.table())
    for text in completion.texts()[:EXPLAINED]:
        say(f"\n{text}")
    first = completion.recommended[0]
    own = command(
        "recommend", "--run", run, "--explain", "--tracks", f"{first.artist} - {first.name}"
    )
    real = command(
        "train", "--mode", "balanced",
        "--playlists", "spotify_dataset.csv", "--features", "tracks_features.csv",
    )  # fmt: skip
    say(
        "\nWhat to run next:\n"
        f"  a page to try it     {command('serve', '--playlists', run / 'bundle')}\n"
        f"  a playlist of yours  {own}\n"
        f"  the real files       {real}"
    )

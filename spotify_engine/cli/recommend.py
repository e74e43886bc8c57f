"""Complete a playlist from a trained run, with reasons."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import new_parser
from spotify_engine.cli.output import CSV, add_forms, print_csv, print_json
from spotify_engine.command import STOPPED, job

COLUMNS = ("rank", "id", "name", "artist", "score", "fallback", "reasons")


def parser() -> argparse.ArgumentParser:
    flags = new_parser(__doc__, "--run runs/demo --playlist 0 --explain")
    flags.add_argument(
        "--run", type=Path, required=True, help="folder of a finished run (required)"
    )
    which = flags.add_mutually_exclusive_group()
    which.add_argument("--playlist", help="name or number of a playlist of the run (none)")
    which.add_argument(
        "--tracks",
        nargs="+",
        metavar="'ARTIST - TITLE'",
        help="a new playlist, or ids or links (none)",
    )
    flags.add_argument("--title", help="of a new playlist, alone or for unknown tracks (none)")
    flags.add_argument("--k", type=int, default=10, help="how many (10)")
    flags.add_argument("--explain", action="store_true", help="say why, for each track (in short)")
    flags.add_argument("--plot", type=Path, metavar="PNG", help="draw an attention heatmap (none)")
    add_forms(flags)
    return flags


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    flags = parser()
    arguments = flags.parse_args(argv)
    if not (arguments.playlist or arguments.tracks or arguments.title):
        flags.error("give --playlist, --tracks or --title")
    if sys.stderr.isatty():  # what follows takes seconds to import
        print(f"Completing from {arguments.run} ...", file=sys.stderr, flush=True)
    from spotify_engine.console import console, say
    from spotify_engine.playlists.completion import complete_playlist, find_playlist
    from spotify_engine.playlists.recommender import PlaylistRecommender

    recommender = PlaylistRecommender.load(arguments.run / "bundle")
    if arguments.playlist:
        tracks, title = find_playlist(arguments.run, arguments.playlist)
    else:
        tracks, title = arguments.tracks or [], arguments.title
    completion = complete_playlist(recommender, tracks, title, arguments.k)
    if arguments.plot:
        completion.plot(arguments.plot)
    if arguments.form:
        for line in completion.remarks():
            print(line, file=sys.stderr)
        records = completion.records()
        print_csv(records, COLUMNS) if arguments.form == CSV else print_json(records)
        return 0
    for line in completion.remarks():
        say(line, "yellow")
    console.print(completion.table())
    if arguments.explain:
        for text in completion.texts():
            say(f"\n{text}")
    if arguments.plot:
        say(f"\nHeatmap: {arguments.plot}")
    return 0

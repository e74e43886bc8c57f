"""Complete a playlist from a trained run, with reasons."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.command import STOPPED, job


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    flags.add_argument("--run", type=Path, required=True, help="run directory of train_kaggle.py")
    which = flags.add_mutually_exclusive_group()
    which.add_argument("--playlist", help="name or number of a playlist of the run")
    which.add_argument(
        "--tracks", nargs="+", metavar="'ARTIST - TITLE'", help="a new playlist (or ids or links)"
    )
    which.add_argument(
        "--file",
        metavar="FILE",
        help="a new playlist from a file (- for standard input): Spotify links, Exportify, "
        "TuneMyMusic or Soundiiz CSV, a Spotify account export, M3U, or Artist - Title a line",
    )
    flags.add_argument("--title", help="title of a new playlist, alone or for unknown tracks")
    flags.add_argument("--k", type=int, default=10, help="how many (10)")
    flags.add_argument("--explain", action="store_true", help="say why, for each track")
    flags.add_argument("--plot", type=Path, metavar="PNG", help="draw an attention heatmap")
    flags.add_argument(
        "--export",
        metavar="FORMAT[:PATH]",
        help="write the playlist with its recommendations as exportify or soundiiz (CSV), m3u, "
        "uris or text; to standard output, without the table, if no path is given",
    )
    return flags


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    flags = parser()
    arguments = flags.parse_args(argv)
    if not (arguments.playlist or arguments.tracks or arguments.file or arguments.title):
        flags.error("give --playlist, --tracks, --file or --title")
    from spotify_engine.console import console, say
    from spotify_engine.playlists.completion import complete_playlist, find_playlist
    from spotify_engine.playlists.exporting import Export
    from spotify_engine.playlists.pasting import Recognised, read_file
    from spotify_engine.playlists.recommender import PlaylistRecommender

    export = Export.parse(arguments.export) if arguments.export else None
    pasted = read_file(arguments.file, arguments.title) if arguments.file else None
    recommender = PlaylistRecommender.load(arguments.run / "bundle")
    recognised = None
    title: str | None = arguments.title
    tracks: Sequence[str | tuple[str, str]] = []
    if arguments.playlist:
        tracks, title = find_playlist(arguments.run, arguments.playlist)
    elif pasted is not None:
        recognised, title = Recognised.of(recommender, pasted), title or pasted.title
    elif arguments.tracks:
        recognised = Recognised.of_texts(recommender, arguments.tracks)
    own = None
    if recognised is not None:
        tracks, own = recognised.known, recognised.all
    completion = complete_playlist(recommender, tracks, title, arguments.k)
    if arguments.plot:
        completion.plot(arguments.plot)
    if export is not None and export.path is None:
        # Nothing but the file, so that it can be piped on.
        sys.stdout.write(export.text(completion, own))
        return 0
    for line in [*(recognised.lines() if recognised else []), *completion.remarks()]:
        say(line, "yellow")
    console.print(completion.table())
    if arguments.explain:
        for text in completion.texts():
            say(f"\n{text}")
    if export is not None:
        say(f"\n{export.write(completion, own)}")
    if arguments.plot:
        say(f"\nHeatmap: {arguments.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

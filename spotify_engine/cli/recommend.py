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
    which.add_argument(
        "--file",
        metavar="FILE",
        help="a new playlist from a file (- for standard input): Spotify links, Exportify, "
        "TuneMyMusic or Soundiiz CSV, a Spotify account export, M3U, or Artist - Title a line "
        "(none)",
    )
    flags.add_argument("--title", help="of a new playlist, alone or for unknown tracks (none)")
    flags.add_argument("--k", type=int, default=10, help="how many (10)")
    flags.add_argument("--explain", action="store_true", help="say why, for each track (in short)")
    flags.add_argument("--plot", type=Path, metavar="PNG", help="draw an attention heatmap (none)")
    flags.add_argument(
        "--export",
        metavar="FORMAT[:PATH]",
        help="write the playlist with its recommendations as exportify or soundiiz (CSV), m3u, "
        "uris or text; to standard output, without the table, if no path is given (none)",
    )
    add_forms(flags)
    return flags


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    flags = parser()
    arguments = flags.parse_args(argv)
    if not (arguments.playlist or arguments.tracks or arguments.file or arguments.title):
        flags.error("give --playlist, --tracks, --file or --title")
    if sys.stderr.isatty():  # what follows takes seconds to import
        print(f"Completing from {arguments.run} ...", file=sys.stderr, flush=True)
    from spotify_engine.console import console, say
    from spotify_engine.playlists.completing.completion import complete_playlist, find_playlist
    from spotify_engine.playlists.completing.exporting import Export
    from spotify_engine.playlists.completing.pasting import Recognised, read_file
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
    remarks = [*(recognised.lines() if recognised else []), *completion.remarks()]
    if export is not None and export.path is None:
        # Nothing but the file, so that it can be piped on.
        sys.stdout.write(export.text(completion, own))
        return 0
    if arguments.form:
        for line in remarks:
            print(line, file=sys.stderr)
        records = completion.records()
        print_csv(records, COLUMNS) if arguments.form == CSV else print_json(records)
        if export is not None:
            export.write(completion, own)
        return 0
    for line in remarks:
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

"""Complete a playlist from a trained run, with reasons."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spotify_engine.cli.flags import new_parser
from spotify_engine.cli.output import CSV, add_forms, print_csv, print_json
from spotify_engine.command import STOPPED, job

if TYPE_CHECKING:  # what takes seconds to import
    from spotify_engine.playlists.completing.completion import Completion
    from spotify_engine.playlists.completing.pasting import Recognised
    from spotify_engine.playlists.recommender import PlaylistRecommender
    from spotify_engine.reading.formats.entries import Pasted

COLUMNS = ("rank", "id", "name", "artist", "score", "fallback", "reasons")


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``spotify-engine recommend``."""
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
    """Run ``spotify-engine recommend``; returns the exit status."""
    flags = parser()
    arguments = flags.parse_args(argv)
    if not (arguments.playlist or arguments.tracks or arguments.file or arguments.title):
        flags.error("give --playlist, --tracks, --file or --title")
    if sys.stderr.isatty():  # what follows takes seconds to import
        print(f"Completing from {arguments.run} ...", file=sys.stderr, flush=True)
    from spotify_engine.playlists.completing.completion import complete_playlist
    from spotify_engine.playlists.completing.exporting import Export
    from spotify_engine.playlists.completing.pasting import read_file
    from spotify_engine.playlists.recommender import PlaylistRecommender

    export = Export.parse(arguments.export) if arguments.export else None
    pasted = read_file(arguments.file, arguments.title) if arguments.file else None
    recommender = PlaylistRecommender.load(arguments.run / "bundle")
    tracks, title, recognised = _playlist(arguments, recommender, pasted)
    own = None if recognised is None else recognised.all
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
    write = None if export is None else partial(export.write, completion, own)
    _show(arguments, completion, remarks, write)
    return 0


def _playlist(
    arguments: argparse.Namespace, recommender: PlaylistRecommender, pasted: Pasted | None
) -> tuple[Sequence[str | tuple[str, str]], str | None, Recognised | None]:
    """(tracks, title, what was recognised of a new playlist's texts) of what is to be completed."""
    from spotify_engine.playlists.completing.completion import find_playlist
    from spotify_engine.playlists.completing.pasting import Recognised

    if arguments.playlist:
        return *find_playlist(arguments.run, arguments.playlist), None
    if pasted is not None:
        recognised = Recognised.of(recommender, pasted)
        return recognised.known, arguments.title or pasted.title, recognised
    if arguments.tracks:
        recognised = Recognised.of_texts(recommender, arguments.tracks)
        return recognised.known, arguments.title, recognised
    return [], arguments.title, None


def _show(
    arguments: argparse.Namespace,
    completion: Completion,
    remarks: Sequence[str],
    write: Callable[[], str] | None,
) -> None:
    """Print for people: remarks, the table, reasons, and which files were written."""
    from spotify_engine.console import console, say

    for line in remarks:
        say(line, "yellow")
    console.print(completion.table())
    if arguments.explain:
        for text in completion.texts():
            say(f"\n{text}")
    if write is not None:
        say(f"\n{write()}")
    if arguments.plot:
        say(f"\nHeatmap: {arguments.plot}")

"""CSV: which program wrote it is told by its header, what its columns hold by it and by them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spotify_engine.errors import InputError
from spotify_engine.names import normalise
from spotify_engine.reading.formats.entries import Entry, Pasted, Playlist, Unread
from spotify_engine.reading.formats.lines import of_link, why_unreadable
from spotify_engine.track_ids import is_spotify_id, linked_track

MAX_FIELD = 1 << 20
_WIDEST = 200  # columns
_SAMPLE = 50  # rows that tell what columns hold
# Names of columns, as ``_plain`` makes them.
_NAMES = ("trackname", "track", "title", "song", "songname", "songtitle", "name", "tracktitle")
_ARTISTS = ("artistnames", "artistname", "artists", "artist", "trackartist", "artistsname")
_IDS = (
    "trackuri", "spotifyuri", "spotifytrackuri", "spotifyid", "trackid", "spotifytrackid", "uri",
    "trackurl", "spotifyurl", "spotifylink", "id", "url",
)  # fmt: skip
_LISTS = ("playlistname", "playlist")
_SEMICOLON = re.compile(r"\s*;\s*")
_UNESCAPED_COMMA = re.compile(r"(?<!\\),\s*")


@dataclass(frozen=True)
class _Columns:
    """Which column holds what; None: none does.

    Attributes:
        translated: the header couldn't be read, so the columns were told by what they hold.
    """

    name: int | None
    artists: int | None
    id: int | None
    playlist: int | None
    owner: int | None = None
    translated: bool = False


def read_table(text: str, where: str) -> Pasted | None:
    """None: it is no table that has a track's columns.

    Raises:
        InputError: it is one, but can't be parsed.
    """
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    if header_line.lower().startswith("sep=") and len(header_line.strip()) == 5:
        text = text.split("\n", 1)[1] if "\n" in text else ""  # how Excel is told
        header_line = next((line for line in text.splitlines() if line.strip()), "")
    for delimiter in sorted(",;\t", key=header_line.count, reverse=True):
        if delimiter not in header_line:
            continue
        # Of the Kaggle file: a blank after the comma, and quotes escaped by a backslash.
        kaggle = "artistname" in header_line and "playlistname" in header_line
        rows = _rows(text, delimiter, kaggle)
        try:
            header = next(rows)[1]
            sample = [row for _, (_, row) in zip(range(_SAMPLE), rows, strict=False)]
        except (StopIteration, csv.Error):
            continue
        columns = _columns(header, sample)
        if columns is not None:
            try:
                return _read(_rows(text, delimiter, kaggle), columns, _format(header, columns))
            except csv.Error as error:
                raise InputError(f"{where}: not a CSV file that can be read ({error})") from None
    return None


def _rows(text: str, delimiter: str, kaggle: bool) -> Iterator[tuple[int, list[str]]]:
    """(the line it starts on, fields) of each row that isn't empty."""
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        escapechar="\\" if kaggle else None,
    )
    before = 0
    for row in reader:
        line, before = before + 1, reader.line_num
        if any(field.strip() for field in row):
            yield line, row


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, normalise(name).replace("(s)", "s")))


def _columns(header: Sequence[str], sample: Sequence[Sequence[str]]) -> _Columns | None:
    if not 2 <= len(header) <= _WIDEST:
        return None
    called = [_plain(name) for name in header]

    def first(names: Sequence[str]) -> int | None:
        return next((called.index(name) for name in names if name in called), None)

    name, artists, given = first(_NAMES), first(_ARTISTS), first(_IDS)
    if name is not None and (artists is not None or given is not None):
        owner = called.index("userid") if "userid" in called else None
        return _Columns(name, artists, given, first(_LISTS), owner)
    # Exportify translates its header, but keeps the order: a track's URI and name, its artists'
    # URIs and names.
    tracks, performers = _holding(sample, "track"), _holding(sample, "artist")
    if tracks is None:
        return _Columns(name, artists, given, None) if given is not None else None
    if performers is None or performers + 1 >= len(header):
        return _Columns(name, artists, tracks, None, translated=True)
    return _Columns(tracks + 1, performers + 1, tracks, None, translated=True)


def _holding(sample: Sequence[Sequence[str]], kind: str) -> int | None:
    """The first column whose fields are URIs of a kind."""
    width = max(map(len, sample), default=0)
    for column in range(width):
        filled = [row[column] for row in sample if column < len(row) and row[column].strip()]
        uris = [each for each in filled if each.startswith((f"spotify:{kind}:", "spotify:local:"))]
        if filled and 2 * len(uris) > len(filled) and any(f":{kind}:" in each for each in uris):
            return column
    return None


def _format(header: Sequence[str], columns: _Columns) -> str:
    called = {_plain(name) for name in header}
    if columns.translated or {"trackuri", "artistnames"} <= called:
        return "Exportify CSV"
    if {"trackname", "artistname", "playlistname", "type"} <= called:
        return "TuneMyMusic CSV"
    if columns.owner is not None and columns.playlist is not None:
        return "rows of the Kaggle playlists"
    return "Soundiiz CSV" if {"title", "artist", "isrc"} <= called else "CSV"


def _read(rows: Iterator[tuple[int, list[str]]], columns: _Columns, format: str) -> Pasted:
    next(rows)
    playlists: dict[tuple[str, str], Playlist] = {}
    unread = []
    for line, row in rows:

        def at(column: int | None, row: Sequence[str] = row) -> str:
            return "" if column is None or column >= len(row) else row[column].strip()

        entry = _entry(at(columns.id), at(columns.name), at(columns.artists), line)
        if isinstance(entry, str):
            unread.append(Unread(line, ", ".join(filter(None, row))[:200], entry))
            continue
        title = at(columns.playlist)
        key = (at(columns.owner), title)
        playlists.setdefault(key, Playlist(title or None)).entries.append(entry)
    return Pasted(format, [*playlists.values()], unread)


def _entry(given: str, name: str, artists: str, line: int) -> Entry | str:
    """A row's entry, or why there is none."""
    id_ = linked_track(given) or (given if is_spotify_id(given) else None)
    if not name:
        linked = of_link(given, line) if given else None
        if linked is not None:
            return linked
        return (why_unreadable(given) if given else None) or "no track's name"
    if not artists:
        # Of a video, the name says who and what.
        return Entry(name, line, id=id_)
    each = split_artists(artists)
    return Entry(f"{', '.join(each)} - {name}", line, id_, name, each)


def split_artists(field: str) -> tuple[str, ...]:
    r"""Artists of a field that joins them by ``;``, or by ``,`` with ``\,`` in names.

    Where it may be either a comma between names or one within a name, the field stays whole.
    """
    if ";" in field:
        return tuple(filter(None, _SEMICOLON.split(field)))
    if "\\," in field:
        return tuple(
            part.replace("\\,", ",").strip() for part in _UNESCAPED_COMMA.split(field) if part
        )
    return (field,)

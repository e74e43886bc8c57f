"""Playlists written for other programs; each format is one that ``read_playlists`` reads."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from spotify_engine.errors import InputError
from spotify_engine.reading.formats.kinds import FORMATS, ExportFormat
from spotify_engine.track_ids import is_spotify_id

LINK = "https://open.spotify.com/track/"


class Written(NamedTuple):
    """A track to be written: with an id, a name and an artist, or both."""

    id: str | None
    name: str = ""
    artist: str = ""

    @property
    def uri(self) -> str | None:
        """Spotify's, if the id has the form of one."""
        return f"spotify:track:{self.id}" if self.id and is_spotify_id(self.id) else None


def _exportify(tracks: Sequence[Written], title: str) -> str:
    rows = [(each.uri or "", each.name, "", each.artist) for each in tracks]
    return _csv(("Track URI", "Track Name", "Album Name", "Artist Name(s)"), rows, ",")


def _soundiiz(tracks: Sequence[Written], title: str) -> str:
    rows = [(each.name, each.artist, "", "") for each in tracks]
    return _csv(("title", "artist", "album", "isrc"), rows, ";")


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(header)
    writer.writerows([[_one_line(field) for field in row] for row in rows])
    return file.getvalue()


def _m3u(tracks: Sequence[Written], title: str) -> str:
    lines = ["#EXTM3U", f"#PLAYLIST:{_one_line(title)}"]
    for each in tracks:
        label = _label(each)
        file = re.sub(r'[<>:"/\\|?*#]', "_", label).strip(". ")
        path = f"{LINK}{each.id}" if each.uri else f"{file}.mp3"
        lines += [f"#EXTINF:-1,{label}", path]
    return _lines(lines)


def _uris(tracks: Sequence[Written], title: str) -> str:
    uris = [each.uri for each in tracks if each.uri]
    if not uris:
        raise InputError("none of the tracks has a Spotify id; choose another format")
    return _lines(uris)


def _text(tracks: Sequence[Written], title: str) -> str:
    return _lines([_label(each) for each in tracks])


def _label(track: Written) -> str:
    names = filter(None, map(_one_line, (track.artist, track.name)))
    return " - ".join(names) or f"{LINK}{track.id}"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())


_WRITERS: dict[ExportFormat, Callable[[Sequence[Written], str], str]] = {
    "exportify": _exportify,
    "soundiiz": _soundiiz,
    "m3u": _m3u,
    "uris": _uris,
    "text": _text,
}


def write_playlist(tracks: Sequence[Written], title: str | None, format: ExportFormat) -> str:
    """A playlist as a file's text. ``uris`` leaves out tracks whose id isn't of Spotify.

    Raises:
        InputError: nothing would be written.
    """
    return _WRITERS[format](tracks, title or "Playlist")


def file_name(title: str | None, format: ExportFormat) -> str:
    """A name for the file, without what a file system may refuse."""
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]+', " ", title or "")
    stem = " ".join(stem.split()).strip(". ")[:80] or "playlist"
    return f"{stem}.{FORMATS[format].suffix}"

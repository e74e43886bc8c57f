"""As what a playlist can be written."""

from __future__ import annotations

from typing import Literal, NamedTuple

ExportFormat = Literal["exportify", "soundiiz", "m3u", "uris", "text"]


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        said: in words.
        suffix, media: of a file.
    """

    said: str
    suffix: str
    media: str


FORMATS: dict[ExportFormat, Format] = {
    "exportify": Format("CSV as Exportify's", "csv", "text/csv"),
    "soundiiz": Format("CSV as Soundiiz's", "csv", "text/csv"),
    "m3u": Format("M3U8", "m3u8", "audio/x-mpegurl"),
    "uris": Format("Spotify URIs, one a line", "txt", "text/plain"),
    "text": Format("Artist - Title, one a line", "txt", "text/plain"),
}

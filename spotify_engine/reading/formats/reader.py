"""Tells by its content what a text is, and reads it."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePath

from spotify_engine.errors import InputError
from spotify_engine.reading.formats.entries import Pasted, Unread
from spotify_engine.reading.formats.json_files import looks_like_json, read_json
from spotify_engine.reading.formats.lines import is_m3u, read_lines, read_m3u
from spotify_engine.reading.formats.tables import read_table

MAX_BYTES = 16 << 20
MAX_ENTRIES = 10_000
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")
)  # fmt: skip
_KINDS = (".csv", ".tsv", ".txt", ".json", ".m3u", ".m3u8")


def read_playlists(
    content: str | bytes, filename: str | None = None, most: int = MAX_ENTRIES
) -> Pasted:
    """Read whatever it is that somebody has.

    Args:
        content: a file's bytes, or pasted text.
        filename: names errors, and a playlist whose format doesn't; None: it was pasted.
        most: entries that are allowed.

    Raises:
        InputError: it is no text, too long, broken, or holds no track.
    """
    where = PurePath(filename.replace("\\", "/")).name if filename else ""
    where = where or "the pasted text"
    if len(content) > MAX_BYTES:
        raise InputError(f"{where}: longer than {MAX_BYTES >> 20} MiB; give one playlist's file")
    text = _decoded(content, where) if isinstance(content, bytes) else content
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise InputError(f"{where}: no text file; export the playlist as CSV, JSON, M3U or text")
    pasted = _read(text, where)
    playlists = [each for each in pasted.playlists if each.entries]
    if not playlists:
        raise InputError(f"{where}: no track found; {_first(pasted.unread) or 'it is empty'}")
    if len(playlists) == 1 and playlists[0].title is None and filename:
        playlists[0].title = _title_of(where)
    found = Pasted(pasted.format, playlists, pasted.unread)
    if len(found) > most:
        raise InputError(f"{where}: {len(found):,} tracks, {most:,} are allowed; give fewer")
    return found


def _read(text: str, where: str) -> Pasted:
    if looks_like_json(text, where):
        return read_json(text, where)
    if is_m3u(text):
        return read_m3u(text)
    return read_table(text, where) or read_lines(text)


def _decoded(content: bytes, where: str) -> str:
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), None)
    if encoding is None:
        # Plain letters in UTF-16 have a zero byte each: before them or after.
        zeros = [content[:1024][odd::2].count(0) for odd in (0, 1)]
        half = len(content[:1024]) // 2
        encoding = "utf-8"
        if half and max(zeros) > 0.4 * half and min(zeros) < 0.1 * half:
            encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{where}: line {line:,} is not valid {encoding.upper().removesuffix('-SIG')}; "
            "save the file as UTF-8 (it may be in Latin-1 or Windows-1252)"
        ) from None


def _first(unread: list[Unread]) -> str | None:
    return f"line {unread[0].line:,}: {unread[0].why}" if unread else None


def _title_of(name: str) -> str | None:
    path = PurePath(name)
    stem = path.stem if path.suffix.lower() in _KINDS else path.name
    return re.sub(r"[_\s]+", " ", stem).strip() or None

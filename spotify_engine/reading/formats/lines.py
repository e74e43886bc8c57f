"""A track a line: links, ids, ``Artist - Title`` and the like, and M3U."""

from __future__ import annotations

import re
from pathlib import PurePath
from urllib.parse import unquote, unquote_plus

from spotify_engine.reading.formats.entries import Entry, Pasted, Playlist, Unread
from spotify_engine.track_ids import is_spotify_id, linked_track

LONGEST_LINE = 1_000  # characters of a line that may name a track
_OTHER_LINK = re.compile(
    r"<?(?:spotify:|(?:https?://)?(?:[\w-]+\.)?spotify\.com/(?:[\w-]+/)*?)"
    r"(album|artist|playlist|user|episode|show|collection|concert)s?\b[:/]?\S*",
    re.IGNORECASE,
)
_LOCAL = re.compile(r"spotify:local:([^:]*):([^:]*):([^:]*):\d*", re.IGNORECASE)
_EXTINF = re.compile(r"#EXTINF:\s*-?\d*(?:\.\d+)?(?:\s+[\w-]+=(?:\"[^\"]*\"|\S*))*\s*,", re.I)
_NUMBER = re.compile(r"^\d{1,3}(?:-\d{1,3})?[\s._)-]+(?=\S)")
_HEADER = re.compile(r"#(?:EXTM3U\b|EXTINF:)", re.IGNORECASE)


def of_link(text: str, line: int) -> Entry | None:
    """The entry of a link or URI to a track, of a bare Spotify id or of a local file's URI."""
    text = text.strip()
    given = linked_track(text)
    if given is not None:
        return Entry(text, line, id=given)
    local = _LOCAL.fullmatch(text)
    if local:
        artist, _, name = (unquote_plus(part).strip() for part in local.groups())
        shown = " - ".join(filter(None, (artist, name)))
        if name:
            return Entry(
                shown, line, name=name if artist else None, artists=(artist,) * bool(artist)
            )
        return None
    return Entry(text, line, id=text) if is_spotify_id(text) else None


def why_unreadable(text: str) -> str | None:
    """Why a line can't be a track; None: it may be one."""
    other = _OTHER_LINK.fullmatch(text.strip())
    if other:
        article = "an" if other[1][0].lower() in "ae" else "a"
        return f"a link to {article} {other[1].lower()}, not to a track"
    if re.match(r"https?://\S+$", text.strip(), re.I):
        return "a link, but not to a Spotify track"
    if len(text) > LONGEST_LINE:
        return f"longer than {LONGEST_LINE:,} characters"
    return (
        None
        if any(map(str.isalnum, text)) or any(ord(c) > 0x7F for c in text)
        else ("has no letter and no digit")
    )


def read_lines(text: str) -> Pasted:
    """Whatever names a track, one a line; several links may share one."""
    playlist, unread = Playlist(None), []
    linked = 0
    for number, line in enumerate(lines_of(text), start=1):
        line = line.strip()
        if not line:
            continue
        parts = [of_link(part, number) for part in re.split(r"[\s,]+", line) if part]
        if all(parts):
            playlist.entries += filter(None, parts)
            linked += 1
            continue
        given = of_link(line, number)
        if given is not None:
            playlist.entries.append(given)
            continue
        why = why_unreadable(line)
        if why:
            unread.append(Unread(number, line[:200], why))
        else:
            playlist.entries.append(Entry(line, number))
    all_links = bool(playlist.entries) and all(each.id for each in playlist.entries)
    return Pasted("Spotify links" if all_links else "a track a line", [playlist], unread)


def is_m3u(text: str) -> bool:
    """Whether a line says so."""
    return any(_HEADER.match(line.lstrip()) for line in lines_of(text[: 1 << 16]))


def read_m3u(text: str) -> Pasted:
    """M3U and M3U8: what #EXTINF says of a track, else what its path does."""
    playlist, unread = Playlist(None), []
    told: tuple[int, str] | None = None
    for number, line in enumerate(lines_of(text), start=1):
        line = line.strip()
        extinf = _EXTINF.match(line)
        if extinf:
            if told and told[1]:
                playlist.entries.append(Entry(told[1], told[0]))
            told = number, line[extinf.end() :].strip()
        elif line.upper().startswith("#PLAYLIST:"):
            playlist.title = line[len("#PLAYLIST:") :].strip() or None
        elif line and (told or not line.startswith("#")):
            given = of_link(line, number)
            named = told[1] if told else ""
            if given is not None:
                at = told[0] if told and named else number
                playlist.entries.append(
                    Entry(named or given.text, at, given.id, given.name, given.artists)
                )
            elif told and named:
                playlist.entries.append(Entry(named, told[0]))
            else:
                entry = _of_path(line, number)
                if entry is None:
                    why = why_unreadable(line) or "names no track"
                    unread.append(Unread(number, line[:200], why))
                else:
                    playlist.entries.append(entry)
            told = None
    if told and told[1]:
        playlist.entries.append(Entry(told[1], told[0]))
    return Pasted("M3U", [playlist], unread)


def _of_path(line: str, number: int) -> Entry | None:
    """``Artist/Album/01 Title.mp3`` or ``Artist - Title.mp3``."""
    if re.match(r"https?://", line, re.I):
        return None
    path = PurePath(unquote(line.removeprefix("file://")).replace("\\", "/"))
    stem = _NUMBER.sub("", path.stem).strip()
    if not stem:
        return None
    if re.search(r"\s[-–—]\s", stem):
        return Entry(stem, number)
    folders = [part for part in path.parts[:-1] if part != "/" and not part.endswith(":")]
    if len(folders) >= 2:
        return Entry(f"{folders[-2]} - {stem}", number, name=stem, artists=(folders[-2],))
    return Entry(stem, number)


def lines_of(text: str) -> list[str]:
    """Its lines, as editors count them."""
    return re.split(r"\r\n|\n|\r", text)

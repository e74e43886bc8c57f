"""JSON: a Spotify account's export, slices of the Million Playlist Dataset, and their like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from spotify_engine.errors import InputError
from spotify_engine.reading.formats.entries import Entry, Pasted, Playlist, Unread
from spotify_engine.reading.formats.lines import of_link, why_unreadable
from spotify_engine.track_ids import is_spotify_id, linked_track

_START = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]])")
_NAMES = ("trackName", "track_name", "name", "track", "title")
_ARTISTS = ("artistName", "artist_name", "artists", "artist")
_IDS = ("trackUri", "track_uri", "uri", "id", "spotify_id")
_TITLES = ("name", "title")


def looks_like_json(text: str, where: str) -> bool:
    """Whether a text means to be JSON; an artist's name may begin with a bracket as well."""
    if PurePath(where).suffix.lower() == ".json":
        return True
    return _START.match(text) is not None


def read_json(text: str, where: str) -> Pasted:
    """Read playlists from JSON.

    Raises:
        InputError: it is broken, or has no playlists.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not JSON (line {error.lineno:,}: {error.msg}); give the whole file"
        ) from None
    except (RecursionError, ValueError):
        raise InputError(f"{where}: no playlist's JSON") from None
    found = _playlists(content)
    if not found:
        raise InputError(
            f'{where}: JSON without playlists; it should hold {{"playlists": [{{"name": ..., '
            '"items" or "tracks": [...]}]}'
        )
    unread: list[Unread] = []
    mpd = any("pid" in each for each in found)
    format = "Million Playlist Dataset" if mpd else "JSON"
    if any("items" in each for each in found):
        format = "Spotify account export"
    return Pasted(format, [_playlist(each, unread) for each in found], unread)


def _playlists(content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, Mapping):
        inner = content.get("playlists")
        if isinstance(inner, list):
            content = inner
        elif isinstance(inner, Mapping):
            content = [inner]
        else:
            content = [content]
    if not isinstance(content, list):
        return []
    found = [each for each in content if isinstance(each, Mapping) and _items(each) is not None]
    if not found and content and all(isinstance(each, str) or _track(each) for each in content):
        return [{"tracks": content}]
    return found


def _items(playlist: Mapping[str, Any]) -> list[Any] | None:
    for key in ("items", "tracks"):
        items = playlist.get(key)
        if isinstance(items, Mapping):  # as the web API pages them
            items = items.get("items")
        if isinstance(items, list):
            return items
    return None


def _playlist(given: Mapping[str, Any], unread: list[Unread]) -> Playlist:
    title = _text(given, _TITLES)
    playlist = Playlist(title)
    for number, item in enumerate(_items(given) or [], start=1):
        entry = _entry(item, number)
        if isinstance(entry, Entry):
            playlist.entries.append(entry)
        else:
            unread.append(Unread(number, _short(item), entry))
    return playlist


def _track(item: Any) -> Mapping[str, Any] | None:
    """The part of an item that describes its track."""
    if not isinstance(item, Mapping):
        return None
    for key in ("track", "localTrack"):
        inner = item.get(key)
        if isinstance(inner, Mapping):
            return {**_local(item), **inner}
    return {**_local(item), **item} if _text(item, _NAMES) or _text(item, _IDS) else _local(item)


def _local(item: Mapping[str, Any]) -> Mapping[str, Any]:
    local = item.get("localTrack")
    uri = local.get("uri") if isinstance(local, Mapping) else local
    return {"uri": uri} if isinstance(uri, str) else {}


def _entry(item: Any, number: int) -> Entry | str:
    """An item's entry, or why there is none."""
    if isinstance(item, str):
        text = item.strip()
        return of_link(text, number) or why_unreadable(text) or Entry(text, number)
    track = _track(item)
    if not track:
        of_podcast = isinstance(item, Mapping) and isinstance(item.get("episode"), Mapping)
        return "an episode of a podcast" if of_podcast else "no track"
    given = _text(track, _IDS) or ""
    id_ = linked_track(given) or (given if is_spotify_id(given) else None)
    name, artists = _text(track, _NAMES), _artists(track)
    if name is None:
        return of_link(given, number) or "no track's name"
    if not artists:
        return Entry(name, number, id=id_)
    return Entry(f"{', '.join(artists)} - {name}", number, id_, name, artists)


def _artists(track: Mapping[str, Any]) -> tuple[str, ...]:
    for key in _ARTISTS:
        given = track.get(key)
        each = given if isinstance(given, list) else [given]
        names = [part.get("name") if isinstance(part, Mapping) else part for part in each]
        found = tuple(name.strip() for name in names if isinstance(name, str) and name.strip())
        if found:
            return found
    return ()


def _text(content: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = content.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _short(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False, default=str)[:200]

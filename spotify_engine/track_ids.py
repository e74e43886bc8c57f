"""Ids of tracks, however they are given: bare, as a Spotify URI or as a link."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pyarrow as pa

# spotify:track:ID, https://open.spotify.com/intl-de/track/ID?si=..., .../embed/track/ID, the web
# API's /v1/tracks/ID; all also without their beginning, or in the brackets that mail puts around.
_LINK = re.compile(
    r"<?(?:spotify:track:|(?:https?://)?(?:[\w-]+\.)?spotify\.com/(?:[\w-]+/)*tracks?/)"
    r"([^/?#&:>\s]+)\S*",
    re.IGNORECASE,
)
_IN_LINKS = (b":", b"/", b"%")
_SPOTIFY_ID = re.compile(r"[0-9A-Za-z]{22}")


def linked_track(text: str) -> str | None:
    """The id in a URI or link to a track; None if it is none."""
    found = _LINK.fullmatch(unquote(text.strip()))
    return found[1] if found else None


def track_id(text: str) -> str:
    """The bare id of a URI, link or id."""
    return linked_track(text) or text.strip()


def is_spotify_id(text: str) -> bool:
    """Whether a text has the form of Spotify's ids, and is no long word."""
    plain = text.islower() or text.isupper() or text.istitle()
    return _SPOTIFY_ID.fullmatch(text) is not None and not (text.isalpha() and plain)


def track_ids(texts: pa.StringArray) -> pa.StringArray:
    """``track_id`` of each, for trimmed texts without nulls."""
    data = texts.buffers()[2]
    if data is None or not any(data.to_pybytes().find(each) >= 0 for each in _IN_LINKS):
        return texts
    each = texts.dictionary_encode()
    bare = pa.array(map(track_id, each.dictionary.to_pylist()), pa.string())
    return bare.take(each.indices)

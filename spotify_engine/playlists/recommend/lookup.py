"""Finding the tracks of a catalogue by id, or by artist and name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from spotify_engine.names import DASHES, normalise, normalise_all
from spotify_engine.playlists.tables.matching import track_key, track_keys
from spotify_engine.recommendation import Resolved
from spotify_engine.track_ids import track_id, track_ids

Asked = str | tuple[str, str]
"""A track's id, URI or link, a text like ``Artist - Title``, or (artist, name)."""
MOST = 20  # dashes of a text that are tried: names have fewer, who writes more has no patience
_DASH = re.compile(f"[{DASHES}]+")


@dataclass(frozen=True)
class StandIn:
    """A track that is not in the catalogue, by an artist who is.

    Attributes:
        asked: what was asked for, as a text.
        name: of the track, as asked for.
        artist: row of the artist.
        key: ``matching.track_key`` of the two.
    """

    asked: str
    name: str
    artist: int
    key: str


@dataclass(frozen=True)
class ResolvedTracks(Resolved):
    """Each track once.

    Attributes:
        by_artist: tracks of which only the artist is known.
    """

    by_artist: list[StandIn]

    def __len__(self) -> int:
        """Tracks that can be completed from."""
        return len(self.rows) + len(self.by_artist)


class Lookup:
    """Finds tracks; of tracks that share a key, the first (tables hold one track a key)."""

    def __init__(self, tracks: pa.Table, artists: pa.Table, known_artists: np.ndarray) -> None:
        """Index tracks and artists.

        Args:
            tracks, artists: as ``schema.TABLES``.
            known_artists: bool ``[artists]``, who may stand in for a track that is not found.
        """
        ids = tracks["id"].combine_chunks()
        self._by_id: dict[str, int] = {}
        self._by_key: dict[str, int] = {}
        names, performers = (tracks[column].combine_chunks() for column in ("name", "artist_name"))
        for found, texts in (
            (self._by_id, track_ids(ids)),
            (self._by_key, track_keys(names, performers)),
        ):
            for row, text in enumerate(texts.to_pylist()):
                found.setdefault(text, row)
        known = np.flatnonzero(known_artists)
        spelled = normalise_all(artists["name"].combine_chunks()).take(pa.array(known)).to_pylist()
        self._artists = dict(zip(reversed(spelled), reversed(known.tolist()), strict=True))

    def by_id(self, text: str) -> int | None:
        """The row of an id, URI or link."""
        return self._by_id.get(track_id(text))

    def by_name(self, artist: str, name: str) -> int | None:
        """The row of a track whose names are the same, see ``names``."""
        return self._by_key.get(track_key(name, artist))

    def artist(self, name: str) -> int | None:
        """The row of an artist who may stand in for a track that is not found."""
        return self._artists.get(normalise(name))

    def resolve(self, tracks: Iterable[Asked]) -> ResolvedTracks:
        """Find each."""
        rows: dict[int, None] = {}
        by_artist: dict[str, StandIn] = {}
        unknown: dict[str, None] = {}
        for track in tracks:
            text = as_text(track)
            row = self.by_id(track) if isinstance(track, str) else None
            stand_in = None
            for artist, name, sure in [] if row is not None else readings(track):
                key = track_key(name, artist)
                row = self._by_key.get(key)
                if row is not None:
                    break
                # The longest artist is the least likely to be one by chance, so a later one wins.
                known = self.artist(artist)
                if known is not None and sure and name.strip():
                    stand_in = StandIn(text, name.strip(), known, key)
            if row is not None:
                rows[row] = None
            elif stand_in is not None:
                by_artist.setdefault(stand_in.key, stand_in)
            else:
                unknown[text] = None
        return ResolvedTracks(np.fromiter(rows, dtype=np.int64), [*unknown], [*by_artist.values()])


def as_text(track: Asked) -> str:
    """The track as it was asked for, in a line."""
    return track if isinstance(track, str) else " - ".join(track)


class Reading(NamedTuple):
    """As what a track can be read."""

    artist: str
    name: str
    sure: bool  # the dash has a blank beside it, so it isn't one within a word


def readings(track: Asked) -> list[Reading]:
    """As what a track can be read: the sure ones first, the shortest artist first."""
    if not isinstance(track, str):
        return [Reading(*track, sure=True)]
    # Both names may hold a dash themselves, so every one of them may be the one between.
    found = []
    for dash in _DASH.finditer(track):
        before, after = track[: dash.start()], track[dash.end() :]
        found.append(Reading(before, after, before[-1:].isspace() or after[:1].isspace()))
    sure = [each for each in found if each.sure]
    return sure[:MOST] + [each for each in found if not each.sure][:MOST]

"""Finding the tracks of a catalogue by id, or by artist and name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from spotify_engine.playlists.matching import normalise, track_key, track_keys

Asked = str | tuple[str, str]
"""A track's id, a text like ``Artist - Title``, or (artist, name)."""


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
class Resolved:
    """What was found of the tracks asked for; each once, in the order asked.

    Attributes:
        rows: int64, tracks of the catalogue.
        by_artist: tracks of which only the artist is known.
        unknown: what was not found, as texts.
    """

    rows: np.ndarray
    by_artist: list[StandIn]
    unknown: list[str]

    def __len__(self) -> int:
        """Tracks that can be completed from."""
        return len(self.rows) + len(self.by_artist)


class Lookup:
    """Finds tracks; of tracks that share a key, the first (tables hold one track a key)."""

    def __init__(self, tracks: pa.Table, artists: pa.Table, known_artists: np.ndarray) -> None:
        """
        Args:
            tracks, artists: as ``schema.TABLES``.
            known_artists: bool ``[artists]``, who may stand in for a track that is not found.
        """
        ids: list[str] = tracks["id"].to_pylist()
        self._by_id = {id_: row for row, id_ in enumerate(ids)}
        self._by_key: dict[str, int] = {}
        names, performers = (tracks[column].combine_chunks() for column in ("name", "artist_name"))
        for row, key in enumerate(track_keys(names, performers).to_pylist()):
            self._by_key.setdefault(key, row)
        known = np.flatnonzero(known_artists)
        spelled = normalise(artists["name"].combine_chunks()).take(pa.array(known)).to_pylist()
        self._artists = dict(zip(reversed(spelled), reversed(known.tolist()), strict=True))

    def resolve(self, tracks: Iterable[Asked]) -> Resolved:
        rows: dict[int, None] = {}
        by_artist: dict[str, StandIn] = {}
        unknown: dict[str, None] = {}
        for track in tracks:
            readings = _readings(track)
            row = self._by_id.get(track) if isinstance(track, str) else None
            for artist, name in readings:
                row = self._by_key.get(track_key(name, artist)) if row is None else row
            asked = track if isinstance(track, str) else " - ".join(track)
            if row is not None:
                rows[row] = None
            elif (stand_in := self._stand_in(asked, readings)) is not None:
                by_artist.setdefault(stand_in.key, stand_in)
            else:
                unknown[asked] = None
        return Resolved(np.fromiter(rows, dtype=np.int64), [*by_artist.values()], [*unknown])

    def _stand_in(self, asked: str, readings: list[tuple[str, str]]) -> StandIn | None:
        # The longest artist is the least likely to be one by chance.
        for artist, name in reversed(readings):
            row = self._artists.get(normalise(pa.array([artist]))[0].as_py())
            if row is not None and name.strip():
                return StandIn(asked, name.strip(), row, track_key(name, artist))
        return None


def _readings(track: Asked) -> list[tuple[str, str]]:
    """(artist, name) as which a track can be read, the shortest artist first."""
    if not isinstance(track, str):
        return [track]
    # Both names may hold a dash themselves, so every one of them may be the one between.
    pieces = track.split(" - ")
    return [(" - ".join(pieces[:cut]), " - ".join(pieces[cut:])) for cut in range(1, len(pieces))]

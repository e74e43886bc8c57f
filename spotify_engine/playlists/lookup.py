"""Finding the tracks of a catalogue by id, or by artist and name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from spotify_engine.playlists.matching import normalise, track_keys

Asked = str | tuple[str, str]
"""A track's id, a text like ``Artist - Title``, or (artist, name)."""
DASHES = 20  # of a text that are tried: names have fewer, and who writes more has no patience


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
        """Find each; one call of the library for all spellings, as each call costs the same."""
        asked = list(tracks)
        by_id = [self._by_id.get(track) if isinstance(track, str) else None for track in asked]
        readings = [
            _readings(track) if row is None else [] for track, row in zip(asked, by_id, strict=True)
        ]
        artists = pa.array([artist for each in readings for artist, _ in each], pa.string())
        names = pa.array([name for each in readings for _, name in each], pa.string())
        keys = iter(track_keys(names, artists).to_pylist())
        spelled = iter(normalise(artists).to_pylist())
        rows: dict[int, None] = {}
        by_artist: dict[str, StandIn] = {}
        unknown: dict[str, None] = {}
        for track, row, read in zip(asked, by_id, readings, strict=True):
            text = track if isinstance(track, str) else " - ".join(track)
            stand_in = None
            # The longest artist is the least likely to be one by chance, so a later one wins.
            for (_, name), key, artist in zip(read, keys, spelled, strict=False):
                row = self._by_key.get(key) if row is None else row
                known = self._artists.get(artist)
                if known is not None and name.strip():
                    stand_in = StandIn(text, name.strip(), known, key)
            if row is not None:
                rows[row] = None
            elif stand_in is not None:
                by_artist.setdefault(stand_in.key, stand_in)
            else:
                unknown[text] = None
        return Resolved(np.fromiter(rows, dtype=np.int64), [*by_artist.values()], [*unknown])


def _readings(track: Asked) -> list[tuple[str, str]]:
    """(artist, name) as which a track can be read, the shortest artist first."""
    if not isinstance(track, str):
        return [track]
    # Both names may hold a dash themselves, so every one of them may be the one between.
    pieces = track.split(" - ", DASHES)
    return [(" - ".join(pieces[:cut]), " - ".join(pieces[cut:])) for cut in range(1, len(pieces))]

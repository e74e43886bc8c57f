"""From matched rows to the tables of playlists, tracks and artists."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.errors import InputError
from spotify_engine.names import canonical, normalise_all
from spotify_engine.playlists.schema import AUDIO_COLUMNS, TABLES
from spotify_engine.playlists.tables.features import Features, artist_lists
from spotify_engine.playlists.tables.matching import PLAYLISTS_SCHEMA, UNMATCHED, Matched, factorise

FEWEST_PLAYLISTS = 20

_BATCH = 1 << 16  # strings that are Python objects at a time
_MADE = "key:"  # starts the id of a track that the features file doesn't have


class DataConfig(BaseModel):
    """Which rows, tracks and playlists the tables keep."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unmatched: Literal["drop", "keep"] = "drop"
    """The treatment of tracks that the features file doesn't have."""
    max_reject_ratio: float = Field(0.05, ge=0, le=1)
    """Share of a file's rows that may be unusable before the job stops."""
    min_track_playlists: int = Field(1, ge=1)
    """Tracks in fewer playlists are dropped."""
    min_playlist_tracks: int = Field(5, ge=1)
    """Playlists with fewer tracks are dropped."""
    max_playlists: int | None = Field(None, ge=1)
    """At most this many playlists, chosen by a hash, so whatever order the file has."""
    seed: int = 0
    """Changes which playlists ``max_playlists`` chooses."""
    chunk_bytes: int = Field(32 << 20, ge=1, le=1 << 30)
    """How much of the playlist file one task reads. Changes speed and memory, never the tables."""


@dataclass(frozen=True)
class Pairs:
    """Distinct pairs of a playlist and a track in the file's order, ``[pairs]`` each.

    Attributes:
        playlist: int32, row of ``playlists``.
        track: int32, row of the features file, or that file's length + row of ``unmatched``.
        playlists: as ``PLAYLISTS_SCHEMA``.
        unmatched: as ``UNMATCHED``.
    """

    playlist: np.ndarray
    track: np.ndarray
    playlists: pa.Table
    unmatched: pa.Table

    def filter(self, keep: np.ndarray) -> Pairs:
        """The pairs that bool ``[pairs]`` keeps."""
        return Pairs(self.playlist[keep], self.track[keep], self.playlists, self.unmatched)

    def sizes(self) -> dict[str, int]:
        """How many playlists, tracks and pairs there are."""
        return {
            "playlists": len(pd.unique(self.playlist)),
            "tracks": len(pd.unique(self.track)),
            "pairs": len(self.playlist),
        }


class TableCounts(TypedDict):
    """What went into the tables, and what was left out."""

    matched_rows: int
    unmatched_rows: int
    matched_ratio: float
    unmatched_tracks_kept: int
    duplicate_rows: int
    before_pruning: dict[str, int]
    after_pruning: dict[str, int]


def build_tables(
    parts: list[Matched], features: Features, config: DataConfig, path: str
) -> tuple[dict[str, pa.Table], TableCounts]:
    """Put the chunks of the playlist file ``path`` together, in their order.

    Args:
        parts: emptied, so that what they hold can be freed on the way: it is several times as
            large as what is made of it.

    Returns:
        (the tables of ``TABLES`` but those of genres and rejects; counts of what was left out).

    Raises:
        InputError: no row matched, or fewer than 20 playlists are left.
    """
    matched = sum(part.matched_rows for part in parts)
    unmatched = sum(part.unmatched_rows for part in parts)
    if config.unmatched == "drop" and matched == 0:
        raise InputError(
            f"{path}: 100 % of rows are unmatched: the features file has none of their tracks; "
            "check that both are of the same data set, or set data.unmatched=keep"
        )
    pairs, duplicates = _join(parts, len(features))
    before = pairs.sizes()
    unmatched_tracks = pairs.unmatched.num_rows
    pairs = _prune(_choose(pairs, config), config)
    after = pairs.sizes()
    counts: TableCounts = {
        "matched_rows": matched,
        "unmatched_rows": unmatched,
        "matched_ratio": matched / max(1, matched + unmatched),
        "unmatched_tracks_kept": unmatched_tracks,
        "duplicate_rows": duplicates,
        "before_pruning": before,
        "after_pruning": after,
    }
    if after["playlists"] < FEWEST_PLAYLISTS:
        raise InputError(
            f"{path}: {after['playlists']} of {before['playlists']} playlists are left, fewer than "
            f"{FEWEST_PLAYLISTS}; {_relax(config)}"
        )
    return _number(pairs, features), counts


def _relax(config: DataConfig) -> str:
    settings = [f"lower data.min_playlist_tracks ({config.min_playlist_tracks})"]
    if config.min_track_playlists > 1:
        settings.append(f"lower data.min_track_playlists ({config.min_track_playlists})")
    if config.max_playlists is not None and config.max_playlists < 2 * FEWEST_PLAYLISTS:
        settings.append(f"raise data.max_playlists ({config.max_playlists})")
    if config.unmatched == "drop":
        settings.append("set data.unmatched=keep")
    return " or ".join(settings)


def _join(parts: list[Matched], n_features: int) -> tuple[Pairs, int]:
    """Returns (pairs of the whole file, number of rows that only repeat a pair); empties parts."""
    playlists = pa.concat_tables(
        [PLAYLISTS_SCHEMA.empty_table(), *(part.playlists for part in parts)]
    )
    users, titles = (_codes(canonical(playlists[name])) for name in ("user_id", "name"))
    identity = users.astype(np.int64) * (titles.max(initial=0) + 1) + titles
    playlist_of, distinct_playlists = _distinct(identity, playlists)
    unmatched = pa.concat_tables([UNMATCHED.empty_table(), *(part.unmatched for part in parts)])
    unmatched_of, distinct_unmatched = _distinct(_codes(unmatched["key"]), unmatched)
    del playlists, unmatched

    n_pairs = sum(len(part.track) for part in parts)
    playlist, track = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int32)
    at = seen_playlists = seen_unmatched = 0
    while parts:
        part = parts.pop(0)
        here = slice(at, at + len(part.track))
        playlist[here] = playlist_of[seen_playlists + part.playlist]
        track[here] = part.track
        new = part.track < 0
        track[here][new] = unmatched_of[seen_unmatched + (-1 - part.track[new])] + n_features
        at = here.stop
        seen_playlists += part.playlists.num_rows
        seen_unmatched += part.unmatched.num_rows
    pairs = Pairs(playlist, track, distinct_playlists, distinct_unmatched)
    n_tracks = n_features + distinct_unmatched.num_rows
    again = pd.Series(playlist.astype(np.int64) * n_tracks + track).duplicated().to_numpy()
    return pairs.filter(~again), int(again.sum())


def _distinct(codes: np.ndarray, rows: pa.Table) -> tuple[np.ndarray, pa.Table]:
    """Returns (``codes`` numbered by first appearance; the rows where each first appears)."""
    numbers, first = factorise(codes)
    kept = np.zeros(rows.num_rows, bool)
    kept[first] = True
    # Taking rows by index would first copy them all into one chunk.
    return numbers, rows.filter(pa.array(kept)).combine_chunks()


def _codes(strings: pa.ChunkedArray) -> np.ndarray:
    if len(strings) == 0:
        return np.zeros(0, np.int32)
    encoded = strings.dictionary_encode()
    return np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])


def _choose(pairs: Pairs, config: DataConfig) -> Pairs:
    """At most ``max_playlists`` of the playlists that are long enough."""
    sizes = np.bincount(pairs.playlist, minlength=pairs.playlists.num_rows)
    long_enough = np.flatnonzero(sizes >= config.min_playlist_tracks)
    if config.max_playlists is None or len(long_enough) <= config.max_playlists:
        return pairs
    rows = pairs.playlists.take(pa.array(long_enough)).to_pylist()
    digests = [_digest(f"{config.seed}\x1f{row['user_id']}\x1f{row['name']}", 16) for row in rows]
    order = sorted(range(len(rows)), key=digests.__getitem__)[: config.max_playlists]
    chosen = np.zeros(pairs.playlists.num_rows, bool)
    chosen[long_enough[order]] = True
    return pairs.filter(chosen[pairs.playlist])


def _made_ids(keys: pa.ChunkedArray, taken: set[str]) -> list[pa.StringArray]:
    """Ids of tracks that the features file doesn't have, from nothing but their keys.

    Args:
        taken: ids that others have; a features file may be made of an earlier run's tables.
    """
    made = []
    for batch in pa.table([keys], ["key"]).to_batches(max_chunksize=_BATCH):
        ids = []
        for key in batch["key"].to_pylist():
            id_ = f"{_MADE}{_digest(key, 8)}"
            while id_ in taken:
                id_ = f"{_MADE}{_digest(id_, 8)}"
            ids.append(id_)
        made.append(pa.array(ids, pa.string()))
    return made


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def _prune(pairs: Pairs, config: DataConfig) -> Pairs:
    """Drop short playlists and rare tracks until none is left of either."""
    while True:
        in_playlist = np.bincount(pairs.playlist)
        in_track = np.bincount(pairs.track)
        keep = in_playlist[pairs.playlist] >= config.min_playlist_tracks
        keep &= in_track[pairs.track] >= config.min_track_playlists
        if keep.all():
            return pairs
        pairs = pairs.filter(keep)


def _number(pairs: Pairs, features: Features) -> dict[str, pa.Table]:
    """Number what is left by first appearance and describe it."""
    playlist, first_playlist = _numbered(pairs.playlist)
    track, first_track = _numbered(pairs.track)
    playlist_rows = pairs.playlists.take(pa.array(pairs.playlist[first_playlist]))
    order = np.argsort(playlist, kind="stable")
    sizes = np.bincount(playlist)
    starts = np.cumsum(sizes) - sizes
    tracks = pairs.track[first_track]
    track_artists, artists = _artists(tracks, pairs.unmatched, features)
    return {
        "playlists": _table(
            "playlists",
            playlist=np.arange(len(sizes)),
            user_id=playlist_rows["user_id"],
            name=playlist_rows["name"],
            n_tracks=sizes,
        ),
        "tracks": _tracks(
            tracks, np.bincount(track), track_artists, artists, pairs.unmatched, features
        ),
        "artists": artists,
        "playlist_tracks": _table(
            "playlist_tracks",
            playlist=playlist[order],
            track=track[order],
            position=np.arange(len(order), dtype=np.int32)
            - np.repeat(starts.astype(np.int32), sizes),
        ),
        "track_artists": track_artists,
    }


def _numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``factorise`` with the numbers as int32: there are as many as rows of the file."""
    numbers, first = factorise(values)
    return numbers.astype(np.int32), first


def _table(name: str, /, **columns: Any) -> pa.Table:
    schema = TABLES[name]
    return pa.table(
        [
            pa.array(columns[field.name], field.type)
            if isinstance(columns[field.name], np.ndarray)
            else columns[field.name]
            for field in schema
        ],
        schema=schema,
    )


def _artists(
    tracks: np.ndarray, unmatched: pa.Table, features: Features
) -> tuple[pa.Table, pa.Table]:
    """Returns (``track_artists``, ``artists``) for tracks given as in ``Pairs``, ``[tracks]``."""
    known = np.flatnonzero(tracks < len(features))
    others = np.flatnonzero(tracks >= len(features))
    of, names = artist_lists(features.artists.take(pa.array(tracks[known])))
    more = unmatched["artist"].take(pa.array(tracks[others] - len(features)))
    track = np.concatenate([known[of], others])
    names = pa.chunked_array([names, *more.chunks]).combine_chunks()
    order = np.argsort(track, kind="stable")
    track, names = track[order], names.take(pa.array(order))
    artist, first = factorise(_codes(pa.chunked_array([normalise_all(names)])))
    once = ~pd.Series(track * (len(first) + 1) + artist).duplicated().to_numpy()
    track, artist = track[once], artist[once]
    starts = np.searchsorted(track, track)
    n_tracks = np.bincount(artist, minlength=len(first))
    return (
        _table(
            "track_artists", track=track, artist=artist, position=np.arange(len(track)) - starts
        ),
        _table(
            "artists",
            artist=np.arange(len(first)),
            name=names.take(pa.array(first)),
            n_tracks=n_tracks,
        ),
    )


def _tracks(
    tracks: np.ndarray,
    n_playlists: np.ndarray,
    track_artists: pa.Table,
    artists: pa.Table,
    unmatched: pa.Table,
    features: Features,
) -> pa.Table:
    """The table of tracks given as in ``Pairs``, ``[tracks]``."""
    known = tracks < len(features)
    rows = np.where(known, tracks, 0)
    audio = np.full((len(tracks), len(AUDIO_COLUMNS)), np.nan, np.float32)
    audio[known] = features.audio[rows[known]]
    year = np.full(len(tracks), np.nan, np.float32)
    year[known] = features.years[rows[known]]
    others = unmatched.take(pa.array(tracks[~known] - len(features)))
    taken = features.ids.filter(pc.starts_with(features.ids, _MADE))
    ids = _made_ids(others["key"], set(taken.to_pylist()))
    first = track_artists["artist"].filter(pc.equal(track_artists["position"], 0))

    def spread(of_known: pa.StringArray, of_others: list[pa.Array]) -> pa.Array:
        both = pa.chunked_array([of_known.take(pa.array(tracks[known])), *of_others])
        position = np.empty(len(tracks), np.int64)
        position[known] = np.arange(known.sum())
        position[~known] = np.arange(known.sum(), len(tracks))
        return both.combine_chunks().take(pa.array(position))

    return _table(
        "tracks",
        track=np.arange(len(tracks)),
        id=spread(features.ids, ids),
        name=spread(features.names, others["name"].chunks),
        artist=first,
        artist_name=artists["name"].take(first),
        n_playlists=n_playlists,
        album=spread(features.albums, [pa.nulls(len(others), pa.string())])
        .dictionary_encode()
        .indices,
        year=pa.array(year, from_pandas=True),
        missing_features=np.isnan(audio).any(axis=1),
        **{
            name: pa.array(audio[:, column], pa.float32(), from_pandas=True)
            for column, name in enumerate(AUDIO_COLUMNS)
        },
    )

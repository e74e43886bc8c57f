"""The sessions file: one byte range of it as plays, and the rows that can't be used set aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.reading.chunks import CODED, CodedColumn, ParsedRange
from spotify_engine.reading.records import CsvFile
from spotify_engine.sessions.columns import read_integers, read_times
from spotify_engine.track_ids import track_ids

KINDS = {
    "user_id": CODED,
    "track_id": CODED,
    "artist_id": CODED,
    "timestamp": pa.string(),
    "ms_played": pa.string(),
    "track_duration_ms": pa.string(),
}
PLAY_REMEDIES = {
    "no user id": "Fill in the column user_id",
    "unknown track": "Give raw_sessions.csv and tracks.csv of the same data set",
    "unparsable timestamp": "Write times as ISO 8601 (2025-01-31T12:00:00Z), or as seconds or "
    "milliseconds since 1970",
    "unparsable ms_played": "Write ms_played as whole milliseconds",
    "unparsable track_duration_ms": "Write track_duration_ms as whole milliseconds, above 0",
    "negative ms_played": "Write ms_played as milliseconds, 0 or more",
    "ms_played above the duration": "Write ms_played and track_duration_ms both as milliseconds",
}
# Plays of one range, by user; what a user played stays in the file's order.
PLAYS = pa.schema(
    [
        ("song", pa.int32()),
        ("time", pa.int64()),
        ("ms_played", pa.int64()),
        ("completion", pa.float32()),
    ]
)


class SessionDataConfig(BaseModel):
    """How the CSV files are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_reject_ratio: float = Field(0.05, ge=0, le=1)
    """Share of a file's rows that may be unusable before the job stops."""
    gap_minutes: float = Field(30, gt=0)
    """A session ends where more than this lies between two timestamps of a user."""
    chunk_bytes: int = Field(16 << 20, ge=1, le=1 << 30)
    """How much of the sessions file one task reads. Changes speed and memory, never the tables."""
    events_per_part: int = Field(1_000_000, ge=1)
    """Plays that one task sorts at a time; a user's are never divided. The same holds for it."""

    @property
    def gap_seconds(self) -> int:
        return round(60 * self.gap_minutes)


@dataclass(frozen=True)
class Catalogue:
    """What plays are checked against.

    Attributes:
        track_ids: of the songs, in their order, bare.
        artist_ids: of the artists, in their order.
        song_artist: int64 ``[songs]``, -1 where it isn't known.
    """

    track_ids: pa.StringArray
    artist_ids: pa.StringArray
    song_artist: np.ndarray


@dataclass(frozen=True)
class PlaysChunk:
    """What one byte range of the sessions file holds.

    Attributes:
        user_ids: distinct, sorted.
        counts: int64 ``[user_ids]``, plays of each, 1 or more.
        plays: as ``PLAYS``, those of the first user first.
        rows: records in the range, good or not.
        rejects: as ``TABLES["rejects"]``, but ``line`` counts from 0 at the start of the range.
        newlines: in the range.
        other_artist: good rows whose artist isn't that of tracks.csv.
    """

    user_ids: pa.StringArray
    counts: np.ndarray
    plays: pa.Table
    rows: int
    rejects: pa.Table
    newlines: int
    other_artist: int


def read_plays(file: CsvFile, start: int, end: int, catalogue: Catalogue) -> PlaysChunk:
    """Parse the records of a range that ``records.split`` gave."""
    parsed = ParsedRange(file, start, end, KINDS)
    table = parsed.table
    users, tracks, artists = (
        CodedColumn.of(table[name]) for name in ("user_id", "track_id", "artist_id")
    )
    user_ids = pc.utf8_trim_whitespace(users.values)
    song = _numbered(tracks, catalogue.track_ids)
    time, readable = read_times(table["timestamp"].combine_chunks())
    played, played_ok = read_integers(table["ms_played"].combine_chunks())
    duration, duration_ok = read_integers(table["track_duration_ms"].combine_chunks())
    for hit, reason in (
        (pc.equal(user_ids, "").to_numpy(zero_copy_only=False)[users.codes], "no user id"),
        (song < 0, "unknown track"),
        (~readable, "unparsable timestamp"),
        (~played_ok, "unparsable ms_played"),
        (~duration_ok | (duration <= 0), "unparsable track_duration_ms"),
        (played < 0, "negative ms_played"),
        (played > duration, "ms_played above the duration"),
    ):
        parsed.reject(hit, reason)

    good = np.flatnonzero(parsed.good)
    codes = users.codes[good]
    # Ids that differ only in the blanks around them are one user.
    used, code = np.unique(codes, return_inverse=True)
    distinct = user_ids.take(pa.array(used)).to_pylist()
    ids = sorted(set(distinct))
    rank = {name: i for i, name in enumerate(ids)}
    code = np.array([rank[name] for name in distinct], np.int64)[code] if len(good) else code
    good = good[np.argsort(code, kind="stable")]
    columns = {
        "song": song[good],
        "time": time[good],
        "ms_played": played[good],
        "completion": played[good] / np.maximum(duration[good], 1),
    }
    expected = catalogue.song_artist[song[good]]
    artist = _numbered(artists, catalogue.artist_ids)[good]
    return PlaysChunk(
        user_ids=pa.array(ids, pa.string()),
        counts=np.bincount(code, minlength=len(ids)),
        plays=pa.table(
            [columns[f.name].astype(f.type.to_pandas_dtype()) for f in PLAYS], schema=PLAYS
        ),
        rows=parsed.total,
        rejects=parsed.rejects(),
        newlines=parsed.newlines,
        other_artist=int(((expected >= 0) & (artist != expected)).sum()),
    )


def _numbered(column: CodedColumn, ids: pa.StringArray) -> np.ndarray:
    """int64 ``[rows]``: the place of each value in ``ids``, -1 if it isn't there."""
    given = track_ids(pc.utf8_trim_whitespace(column.values))
    place = pc.index_in(given, ids).fill_null(-1)
    return place.to_numpy().astype(np.int64)[column.codes]

"""The sessions file: one byte range of it as plays, and the rows that can't be used set aside."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.reading.chunks import CODED, CodedColumn, ParsedRange
from spotify_engine.reading.records import CsvFile
from spotify_engine.sessions.tables.columns import (
    AT_ZERO,
    DAY,
    IN_DAYS,
    IN_FUTURE,
    NO_TIME,
    ROUNDED,
    TOO_EARLY,
    UNPARSABLE,
    read_integers,
    time_faults,
)
from spotify_engine.track_ids import track_ids

KINDS = {
    "user_id": CODED,
    "track_id": CODED,
    "artist_id": CODED,
    "timestamp": pa.string(),
    "ms_played": pa.string(),
    "track_duration_ms": pa.string(),
}
_TIMES = "Write times as ISO 8601 (2025-01-31T12:00:00Z), or as seconds or milliseconds since 1970"
NO_TRACK, EPISODE = "no track id", "an episode's id in place of a track's"
# Of what is no music, such as podcasts and videos: not wrong, so no row too many of them.
SET_ASIDE = (NO_TRACK, EPISODE)
# A play may last this many times its track: seeking back, or repeating it, gives more than once.
MOST_TIMES_PLAYED = 10
TOO_LONG = f"ms_played above {MOST_TIMES_PLAYED} times the duration"
PLAY_REMEDIES = {
    "no user id": "Fill in the column user_id",
    "unknown track": "Give raw_sessions.csv and tracks.csv of the same data set",
    NO_TIME: "Fill in the column timestamp",
    AT_ZERO: f"That is how an unknown time, or one in another unit, reads. {_TIMES}",
    TOO_EARLY: _TIMES,
    IN_FUTURE: _TIMES,
    IN_DAYS: "Format the column as yyyy-mm-dd hh:mm:ss in the spreadsheet, and save it again",
    ROUNDED: "Its last digits are lost: format the column as a whole number, and save it again",
    UNPARSABLE: _TIMES,
    "unparsable ms_played": "Write ms_played as whole milliseconds",
    "unparsable track_duration_ms": "Write track_duration_ms as whole milliseconds, above 0",
    "negative ms_played": "Write ms_played as milliseconds, 0 or more",
    TOO_LONG: "Write ms_played and track_duration_ms both as milliseconds",
}
_NO_ID = r"(?i)^(?:|null|none|nan|n/?a|\\n)$"
_EPISODE_ID = r"^spotify:(?:episode|show):|/(?:episode|show)/"
# Plays of one range, by user; what a user played stays in the file's order.
PLAYS_SCHEMA = pa.schema(
    [
        ("song", pa.int32()),
        ("time", pa.int64()),
        ("ms_played", pa.int64()),
        ("completion", pa.float32()),
    ]
)


class SessionDataConfig(BaseModel):
    """Settings of reading the CSV files."""

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
        """The gap between sessions, in whole seconds."""
        return round(60 * self.gap_minutes)


@dataclass(frozen=True)
class KnownSongs:
    """The songs and artists that plays are checked against.

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
    """The content of one byte range of the sessions file.

    Attributes:
        user_ids: distinct, sorted.
        counts: int64 ``[user_ids]``, plays of each, 1 or more.
        plays: as ``PLAYS_SCHEMA``, those of the first user first.
        rows: records in the range, good or not.
        rejects: as ``TABLES["rejects"]``, but ``line`` counts from 0 at the start of the range.
        newlines: in the range.
        other_artist: good rows whose artist isn't that of tracks.csv.
        longer: good rows that were played for longer than their track is.
    """

    user_ids: pa.StringArray
    counts: np.ndarray
    plays: pa.Table
    rows: int
    rejects: pa.Table
    newlines: int
    other_artist: int
    longer: int


def latest_play() -> int:
    """Seconds since 1970 before which all plays must lie: clocks, and zones, may be ahead."""
    return int(time.time()) + 2 * DAY


def read_plays(
    file: CsvFile, start: int, end: int, known_songs: KnownSongs, latest: int
) -> PlaysChunk:
    """Parse the records of a range that ``records.split`` gave.

    What was played for longer than its track is, was played to its end.

    Args:
        latest: see :func:`latest_play`; the same for all ranges of a file.
    """
    parsed = ParsedRange(file, start, end, KINDS)
    table = parsed.table
    users, tracks, artists = (
        CodedColumn.of(table[name]) for name in ("user_id", "track_id", "artist_id")
    )
    user_ids = pc.utf8_trim_whitespace(users.values)
    song = _numbered(tracks, known_songs.track_ids)
    moment, faults = time_faults(table["timestamp"].combine_chunks(), latest)
    played, played_ok = read_integers(table["ms_played"].combine_chunks())
    duration, duration_ok = read_integers(table["track_duration_ms"].combine_chunks())
    for hit, reason in (
        (pc.equal(user_ids, "").to_numpy(zero_copy_only=False)[users.codes], "no user id"),
        ((song < 0) & _like(tracks, _NO_ID), NO_TRACK),
        ((song < 0) & _like(tracks, _EPISODE_ID), EPISODE),
        (song < 0, "unknown track"),
        *((hit, reason) for reason, hit in faults.items()),
        (~played_ok, "unparsable ms_played"),
        (~duration_ok | (duration <= 0), "unparsable track_duration_ms"),
        (played < 0, "negative ms_played"),
        (played > MOST_TIMES_PLAYED * duration, TOO_LONG),
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
        "time": moment[good],
        "ms_played": played[good],
        "completion": np.minimum(played[good] / np.maximum(duration[good], 1), 1),
    }
    expected = known_songs.song_artist[song[good]]
    artist = _numbered(artists, known_songs.artist_ids)[good]
    return PlaysChunk(
        user_ids=pa.array(ids, pa.string()),
        counts=np.bincount(code, minlength=len(ids)),
        plays=pa.table(
            [columns[f.name].astype(f.type.to_pandas_dtype()) for f in PLAYS_SCHEMA],
            schema=PLAYS_SCHEMA,
        ),
        rows=parsed.total,
        rejects=parsed.rejects(),
        newlines=parsed.newlines,
        other_artist=int(((expected >= 0) & (artist != expected)).sum()),
        longer=int((played[good] > duration[good]).sum()),
    )


def _like(column: CodedColumn, pattern: str) -> np.ndarray:
    """bool ``[rows]``: whether each value, trimmed, matches."""
    hit = pc.match_substring_regex(pc.utf8_trim_whitespace(column.values), pattern)
    matched: np.ndarray = hit.to_numpy(zero_copy_only=False)[column.codes]
    return matched


def _numbered(column: CodedColumn, ids: pa.StringArray) -> np.ndarray:
    """int64 ``[rows]``: the place of each value in ``ids``, -1 if it isn't there."""
    given = track_ids(pc.utf8_trim_whitespace(column.values))
    place = pc.index_in(given, ids).fill_null(-1)
    return place.to_numpy().astype(np.int64)[column.codes]

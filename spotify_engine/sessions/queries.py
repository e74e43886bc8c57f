"""Queries for the next song: the listener, the songs just played and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from spotify_engine.ragged import Ragged

UNKNOWN = -1  # a user, a song or an hour that isn't known
SECONDS_PER_HOUR = 3600
HOURS_PER_WEEK = 168
# 1970 began on a Thursday; hours of the week count from Monday, 0:00 UTC.
_EPOCH_HOUR = 3 * 24


@dataclass(frozen=True)
class Queries:
    """Moments at which a next song is asked for.

    Attributes:
        user: int64 ``[n]``, -1 for a user that isn't known.
        recent: int64 ``[n, memory]``, songs of this session from the last one back; -1 where there
            is none.
        hour: int64 ``[n]``, hour of the week in 0..167, -1 if not known.
        played: songs of this session so far, which are not to be recommended.
    """

    user: np.ndarray
    recent: np.ndarray
    hour: np.ndarray
    played: Ragged

    def __len__(self) -> int:
        return len(self.user)

    def select(self, rows: np.ndarray) -> Queries:
        """Some of them, in the order of ``rows``."""
        return Queries(
            self.user[rows], self.recent[rows], self.hour[rows], self.played.select(rows)
        )


def unix_seconds(at: datetime | int) -> float:
    """Seconds since 1970; a datetime without a zone is taken as UTC, as the events are."""
    if isinstance(at, datetime):
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return float(at)


def hour_of_week(time: np.ndarray) -> np.ndarray:
    """int64 in 0..167 of seconds since 1970, UTC; Monday's first hour is 0."""
    return (np.asarray(time, np.int64) // SECONDS_PER_HOUR + _EPOCH_HOUR) % HOURS_PER_WEEK


def queries_of_events(events: pa.Table, rows: np.ndarray, memory: int) -> Queries:
    """The moments before some plays.

    Args:
        events: ``schema.TABLES["events"]``; only what is before a play, in its session, is seen.
        rows: int64 ``[n]``, the plays to predict.
        memory: most recent songs to keep.
    """
    song = events["song"].to_numpy().astype(np.int64)
    position = events["position"].to_numpy()[rows].astype(np.int64)
    back = np.arange(1, memory + 1)
    there = position[:, None] >= back
    recent = np.where(there, song[np.maximum(rows[:, None] - back, 0)], UNKNOWN)
    offsets = np.concatenate([[0], np.cumsum(position)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], position)
    played = song[np.repeat(rows - position, position) + place]
    return Queries(
        events["user"].to_numpy()[rows].astype(np.int64),
        recent,
        hour_of_week(events["time"].to_numpy()[rows]),
        Ragged(offsets, played),
    )

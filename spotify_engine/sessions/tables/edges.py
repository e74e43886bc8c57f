"""Plays to sessions, and plays to the edges between users and songs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from spotify_engine.sessions.schema import LISTENING

GAP_SECONDS = 30 * 60
COMPLETION_SHARE = 0.7


def sessionise(
    user: np.ndarray, time: np.ndarray, gap_seconds: int = GAP_SECONDS
) -> tuple[np.ndarray, np.ndarray]:
    """Cut each user's plays where more than ``gap_seconds`` lie between two timestamps.

    Args:
        user: int ``[n]``, plays of a user next to each other.
        time: int64 ``[n]`` seconds, not decreasing within a user.

    Returns:
        ``(session, position)``, both int32 ``[n]``: sessions count from 0 over all users,
        positions from 0 within a session.

    Raises:
        ValueError: time decreases within a user.
    """
    if not len(user):
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    same, step = user[1:] == user[:-1], np.diff(time)
    if (same & (step < 0)).any():
        raise ValueError("plays must be sorted by user, then time")
    begins = np.concatenate([[True], ~same | (step > gap_seconds)])
    session = np.cumsum(begins) - 1
    position = np.arange(len(user)) - np.flatnonzero(begins)[session]
    return session.astype(np.int32), position.astype(np.int32)


def listening_edges(
    user: np.ndarray, song: np.ndarray, completion: np.ndarray, n_songs: int
) -> pa.Table:
    """One row a (user, song) that was played, as ``schema.LISTENING``, by user, then song.

    edge_weight = 0.7 x avg_completion + 0.3 x play_count / (the user's highest play_count), so it
    is in 0..1 and a heavy listener's counts don't drown those of others.

    Args:
        user, song: int ``[n]``, in any order.
        completion: float ``[n]`` in 0..1.
    """
    key = user.astype(np.int64) * n_songs + song
    pairs, place, count = np.unique(key, return_inverse=True, return_counts=True)
    total = np.bincount(place, weights=completion, minlength=len(pairs))
    average = total / count
    who = pairs // max(n_songs, 1)
    _, of_user = np.unique(who, return_inverse=True)
    most = np.zeros(int(of_user.max(initial=-1)) + 1, np.int64)
    np.maximum.at(most, of_user, count)
    highest = most[of_user]
    weight = COMPLETION_SHARE * average + (1 - COMPLETION_SHARE) * count / highest
    columns = (who, pairs - who * n_songs, count, average, weight)
    return pa.table(
        [
            pa.array(column.astype(f.type.to_pandas_dtype()))
            for column, f in zip(columns, LISTENING, strict=True)
        ],
        schema=LISTENING,
    )


def song_artists(tables: dict[str, pa.Table]) -> np.ndarray:
    """int64 ``[songs]``: the artist of each, -1 where it isn't known."""
    return tables["songs"]["artist"].fill_null(-1).to_numpy().astype(np.int64)

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.sessions.schema import LISTENING, TABLES
from spotify_engine.sessions.tables.edges import listening_edges, sessionise, song_artists


def test_sessions_by_hand():
    user = np.array([0, 0, 0, 0, 1, 1])
    time = np.array([0, 1800, 3601, 3601, 3602, 9999])
    session, position = sessionise(user, time)
    assert session.tolist() == [0, 0, 1, 1, 2, 3], "1,800 s keep a session, 1,801 s end it"
    assert position.tolist() == [0, 1, 0, 1, 0, 0]
    assert session.dtype == position.dtype == np.int32
    assert sessionise(user, time, gap_seconds=2000)[0].tolist() == [0, 0, 0, 0, 1, 2]


def test_sessions_need_sorted_plays():
    with pytest.raises(ValueError, match="sorted"):
        sessionise(np.array([0, 0]), np.array([5, 4]))
    assert [len(part) for part in sessionise(np.zeros(0, int), np.zeros(0, int))] == [0, 0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20_000)), max_size=60))
def test_sessions_have_small_gaps_inside_and_large_ones_between(plays):
    plays.sort()
    user, time = np.array(plays, dtype=np.int64).reshape(-1, 2).T
    session, position = sessionise(user, time)
    for i in range(1, len(plays)):
        near = user[i] == user[i - 1] and time[i] - time[i - 1] <= 1800
        assert (session[i] == session[i - 1]) == near
        assert session[i] - session[i - 1] == (not near)
        assert position[i] == (position[i - 1] + 1 if near else 0)


def test_edges_by_hand():
    user, song = np.array([1, 0, 0, 0, 0, 1]), np.array([0, 2, 2, 1, 2, 0])
    completion = np.array([0.5, 1.0, 0.5, 0.2, 0.0, 1.0])
    edges = listening_edges(user, song, completion, n_songs=3)
    assert edges.schema == LISTENING
    rows = edges.to_pydict()
    assert (rows["user"], rows["song"]) == ([0, 0, 1], [1, 2, 0])
    assert rows["play_count"] == [1, 3, 2]
    assert rows["avg_completion"] == pytest.approx([0.2, 0.5, 0.75])
    assert rows["edge_weight"] == pytest.approx(
        [0.7 * 0.2 + 0.3 / 3, 0.7 * 0.5 + 0.3, 0.7 * 0.75 + 0.3]
    )


def test_edges_do_not_depend_on_the_order_of_plays():
    rng = np.random.default_rng(0)
    user, song, completion = rng.integers(0, 9, 500), rng.integers(0, 7, 500), rng.random(500)
    order = rng.permutation(500)
    edges = listening_edges(user, song, completion, 7)
    assert edges["edge_weight"].to_numpy().max() <= 1
    shuffled = listening_edges(user[order], song[order], completion[order], 7)
    assert edges.equals(shuffled)


def test_no_plays_no_edges():
    nothing = np.zeros(0, int)
    assert listening_edges(nothing, nothing, nothing.astype(float), 5).num_rows == 0


def test_a_song_without_artist_is_minus_one():
    songs = {"song": [0, 1], "id": ["a", "b"], "name": ["", ""], "artist": [3, None]}
    table = pa.table(songs | {"duration_ms": [1, 1]}, schema=TABLES["songs"])
    assert song_artists({"songs": table}).tolist() == [3, -1]

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spotify_engine.errors import InputError
from spotify_engine.sessions.measure.splits import (
    TemporalSplitConfig,
    load_event_split,
    save_event_split,
    split_events,
    temporal_parts,
)


def events_of(lengths: list[list[int]]) -> pa.Table:
    """User and session columns, from the session lengths of each user."""
    flat = [n for user in lengths for n in user]
    owner = np.repeat(np.arange(len(lengths)), [len(user) for user in lengths])
    return pa.table(
        {
            "user": np.repeat(owner, flat).astype(np.int32),
            "session": np.repeat(np.arange(len(flat)), flat).astype(np.int32),
        }
    )


def test_parts_by_hand():
    # Middles of the sessions of user 0: .05 .15 ... .95; of user 1: .5; user 2 has few plays.
    events = events_of([[2] * 10, [20], [1] * 9])
    part = split_events(events, TemporalSplitConfig()).part
    assert part.tolist() == [0] * 14 + [1] * 4 + [2] * 2 + [0] * 29
    # 12 plays: middles 3/12, 8.5/12 > .7 is val, 11.5/12 > .85 is test.
    assert split_events(events_of([[6, 5, 1]]), TemporalSplitConfig()).part.tolist() == [0] * 6 + [
        1
    ] * 5 + [2]


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=5),
    st.integers(1, 20),
)
def test_sessions_stay_whole_and_parts_are_in_time_order(lengths, min_events):
    events = events_of(lengths)
    user, session = events["user"].to_numpy(), events["session"].to_numpy()
    part = temporal_parts(user, session, TemporalSplitConfig(min_events=min_events))
    for each in np.unique(session):
        assert len(set(part[session == each])) == 1
    for each, sizes in enumerate(lengths):
        mine = part[user == each]
        assert (np.diff(mine) >= 0).all()
        if sum(sizes) < min_events:
            assert (mine == 0).all()
            continue
        before = 0
        for size in sizes:
            share = Fraction(2 * before + size, 2 * sum(sizes))
            expected = (share > Fraction(70, 100)) + (share > Fraction(85, 100))
            assert mine[before] == expected
            before += size


def test_shares_are_met_when_sessions_are_short():
    part = split_events(events_of([[1] * 1000, [2] * 500]), TemporalSplitConfig()).part
    assert np.bincount(part).tolist() == [1400, 300, 300]


def test_an_empty_part_is_refused():
    with pytest.raises(InputError, match=r"validation part is empty: 30 plays.*split\.min_events"):
        split_events(events_of([[10], [20]]), TemporalSplitConfig())
    with pytest.raises(InputError, match="test part is empty: 10 plays"):
        split_events(events_of([[6, 4]]), TemporalSplitConfig())
    with pytest.raises(ValidationError, match="leave nothing to test on"):
        TemporalSplitConfig(train=0.8, val=0.2)


def test_saved_and_loaded(tmp_path: Path):
    events = events_of([[2] * 10, [3] * 8, [1]])
    split = split_events(events, TemporalSplitConfig())
    save_event_split(split, events, tmp_path / "split.parquet")
    np.testing.assert_array_equal(
        load_event_split(tmp_path / "split.parquet", events).part, split.part
    )
    assert pq.read_table(tmp_path / "split.parquet").num_rows == 19


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.slice(1), "has 18 sessions, the events have 19"),
        (lambda t: t.set_column(0, "session", pa.array([99] * 19, pa.int32())), "outside 0..18"),
        (lambda t: t.set_column(1, "user", pa.array([0] * 19, pa.int32())), "other users"),
        (lambda t: t.set_column(2, "split", pa.array(["x"] * 19)), "split is 'x'"),
        (lambda t: t.drop_columns("user"), "no column 'user'"),
    ],
)
def test_a_file_of_other_tables_is_refused(tmp_path: Path, change, said):
    events, path = events_of([[2] * 10, [3] * 8, [1]]), tmp_path / "split.parquet"
    save_event_split(split_events(events, TemporalSplitConfig()), events, path)
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(InputError, match=said):
        load_event_split(path, events)

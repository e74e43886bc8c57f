from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spotify_engine.errors import InputError
from spotify_engine.sessions.measure.leaderboard import (
    HeldOut,
    Leaderboard,
    SessionEvaluationConfig,
)
from spotify_engine.sessions.measure.splits import TemporalSplitConfig, split_events
from spotify_engine.sessions.recommender import membership_of
from spotify_engine.sessions.synthetic import (
    Oracle,
    OracleScope,
    SyntheticConfig,
    find_plays,
    load_oracle,
    write_sessions,
)
from spotify_engine.sessions.synthetic.listening import generate_block
from spotify_engine.sessions.synthetic.oracle import oracle_of_block
from spotify_engine.sessions.synthetic.world import build_world
from spotify_engine.sessions.tables.build import read_tables
from spotify_engine.sessions.tables.edges import GAP_SECONDS
from spotify_engine.sessions.tables.plays import SessionDataConfig

Tables = dict[str, pa.Table]


@pytest.fixture(scope="module")
def whole(generated: Path, tables: Tables) -> Oracle:
    """Of every play."""
    every = np.arange(len(tables["events"]))
    return load_oracle(generated / "oracle.parquet", tables, every)


@pytest.fixture(scope="module")
def oracle(generated: Path, tables: Tables) -> Oracle:
    """Of the test part."""
    test = np.flatnonzero(split_events(tables["events"], TemporalSplitConfig()).test)
    return load_oracle(generated / "oracle.parquet", tables, test)


def test_it_is_about_every_play_and_gives_those_that_are_wanted(
    whole: Oracle, oracle: Oracle, tables: Tables
) -> None:
    np.testing.assert_array_equal(whole.event, np.arange(len(tables["events"])))
    test = np.flatnonzero(split_events(tables["events"], TemporalSplitConfig()).test)
    np.testing.assert_array_equal(oracle.event, test)
    np.testing.assert_array_equal(oracle.songs, whole.songs[test])
    np.testing.assert_array_equal(oracle.probabilities, whole.probabilities[test])
    np.testing.assert_array_equal(oracle.probability, whole.probability[test])


@pytest.mark.parametrize(
    ("split", "gap_minutes"),
    [
        (TemporalSplitConfig(), 30),
        (TemporalSplitConfig(train=0.6), 30),
        (TemporalSplitConfig(train=0.3, val=0.1, min_events=60), 30),
        # Sessions that a job cuts finer, and coarser, than they were generated.
        (TemporalSplitConfig(), 4),
        (TemporalSplitConfig(train=0.5), 600),
    ],
)
def test_a_job_gets_the_oracle_of_exactly_what_it_tests(
    split: TemporalSplitConfig, gap_minutes: float, whole: Oracle, tmp_path: Path
) -> None:
    data = SessionDataConfig(gap_minutes=gap_minutes)
    asked = OracleScope(split, data.gap_seconds)
    write_sessions(tmp_path / "data", SyntheticConfig.tiny(), oracle=True, asked=asked)
    tables = read_tables(tmp_path / "data", data)
    test = np.flatnonzero(split_events(tables["events"], split).test)
    path = tmp_path / "data" / "oracle.parquet"
    assert len(pq.read_table(path)) == len(test)
    found = load_oracle(path, tables, test)
    np.testing.assert_array_equal(found.event, test)
    # Events are the same however sessions are cut, and so is what was likely before each.
    np.testing.assert_array_equal(found.songs, whole.songs[test])
    np.testing.assert_allclose(found.probability, whole.probability[test])


def test_a_tested_play_without_a_row_is_refused(
    generated: Path, tables: Tables, tmp_path: Path
) -> None:
    """What used to be looked up in the row of some other play."""
    other_split = split_events(tables["events"], TemporalSplitConfig(train=0.6))
    default = np.flatnonzero(split_events(tables["events"], TemporalSplitConfig()).test)
    other = np.flatnonzero(other_split.test)
    lacking = len(np.setdiff1d(other, default))
    assert lacking > 0
    path = tmp_path / "oracle.parquet"
    pq.write_table(pq.read_table(generated / "oracle.parquet").take(pa.array(default)), path)
    find_plays(path, tables, default)
    for look_up in (find_plays, load_oracle):
        with pytest.raises(InputError, match=f"no row for {lacking:,} of the {len(other):,} plays"):
            look_up(path, tables, other)
    held_out = HeldOut(tables, other_split, SessionEvaluationConfig())
    board = Leaderboard(held_out, membership_of(tables))
    truth = load_oracle(path, tables, default)
    with pytest.raises(InputError, match=f"no row for {lacking:,} of {len(other):,} test plays"):
        board.add_oracle(truth.event, truth.songs, truth.probabilities)
    assert board.rows == []


def test_recall_of_the_oracle_is_the_share_of_plays_that_it_lists(
    whole: Oracle, tables: Tables
) -> None:
    """On another split than the default, and on a draw of its plays; counted play by play."""
    for split, at_most in ((TemporalSplitConfig(train=0.6), 10_000), (TemporalSplitConfig(), 50)):
        config = SessionEvaluationConfig(max_plays=at_most)
        held_out = HeldOut(tables, split_events(tables["events"], split), config)
        board = Leaderboard(held_out, membership_of(tables))
        board.add_oracle(whole.event, whole.songs, whole.probabilities)
        hits = [
            song in whole.songs[row][:10]
            for row, song in zip(board.test.rows, board.test.song, strict=True)
        ]
        assert board.rows[0].next_song["recall@10"] == pytest.approx(np.mean(hits))


def test_lists_are_sorted_and_leave_out_the_session(oracle: Oracle, tables: Tables) -> None:
    assert oracle.songs.shape == oracle.probabilities.shape == (len(oracle.event), 100)
    assert (np.diff(oracle.probabilities, axis=1) <= 0).all()
    assert (oracle.probabilities.sum(axis=1) <= 1 + 1e-5).all()
    events = tables["events"]
    song, position = events["song"].to_numpy(), events["position"].to_numpy()
    for row, event in enumerate(oracle.event):
        listed = oracle.songs[row]
        assert len(set(listed)) == 100
        before = set(song[event - position[event] : event])
        assert not before & set(listed[oracle.probabilities[row] > 0])
        place = np.flatnonzero(listed == song[event])
        if len(place):
            assert oracle.probabilities[row, place[0]] == pytest.approx(oracle.probability[row])
        assert oracle.probability[row] > 0


def test_probabilities_are_calibrated() -> None:
    """Of the songs said to come with probability p, a part p comes."""
    config = SyntheticConfig(users=150, songs=800, artists=80, genres=12)
    world = build_world(config)
    listeners, plays = generate_block(config, world, 0)
    asked = OracleScope(TemporalSplitConfig(), GAP_SECONDS)
    found = oracle_of_block(config, world, listeners, plays, asked)
    event, probability, songs, probabilities = found
    hit = songs == plays.song[event][:, None]
    for k in (1, 10, 50):
        share, expected = hit[:, :k].any(axis=1), probabilities[:, :k].sum(axis=1)
        margin = 4 * np.sqrt((expected * (1 - expected)).sum()) / len(event)
        assert abs(share.mean() - expected.mean()) < margin
    # In bins of probability, too.
    for low, high in ((0.001, 0.01), (0.01, 0.05), (0.05, 0.2), (0.2, 1)):
        inside = (probabilities >= low) & (probabilities < high)
        p = probabilities[inside].astype(np.float64)
        assert abs(hit[inside].sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
    assert 0.2 < hit[:, :10].any(axis=1).mean() < 0.6
    popular = np.argsort(-np.bincount(plays.song))[:10]
    assert np.isin(plays.song[event], popular).mean() < hit[:, :10].any(axis=1).mean() / 2
    assert probability.mean() > 10 / 800


def test_an_oracle_of_other_data_is_refused(
    generated: Path, tables: Tables, tmp_path: Path
) -> None:
    table = pq.read_table(generated / "oracle.parquet")
    none = np.zeros(0, np.int64)
    for name, change in (
        ("user_id", pa.array(["stranger"] * len(table))),
        ("time", pa.array(table["time"].to_numpy() + 1)),
        ("song", pa.array((table["song"].to_numpy() + 1) % 120)),
    ):
        place = table.schema.get_field_index(name)
        other = table.set_column(place, table.schema.field(name), change)
        pq.write_table(other, tmp_path / "oracle.parquet")
        with pytest.raises(InputError, match=f"{len(table):,} of its plays aren't among"):
            load_oracle(tmp_path / "oracle.parquet", tables, none)
    with pytest.raises(InputError, match="no such file"):
        load_oracle(tmp_path / "none.parquet", tables, none)
    pq.write_table(table.drop_columns(["songs"]), tmp_path / "oracle.parquet")
    with pytest.raises(InputError, match=r"oracle\.parquet: not an oracle"):
        load_oracle(tmp_path / "oracle.parquet", tables, none)


def test_events_in_any_order_of_the_file(
    oracle: Oracle, generated: Path, tables: Tables, tmp_path: Path
) -> None:
    table = pq.read_table(generated / "oracle.parquet")
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    pq.write_table(shuffled, tmp_path / "oracle.parquet")
    again = load_oracle(tmp_path / "oracle.parquet", tables, oracle.event)
    np.testing.assert_array_equal(again.event, oracle.event)
    np.testing.assert_array_equal(again.songs, oracle.songs)

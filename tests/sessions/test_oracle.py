from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spotify_engine.errors import InputError
from spotify_engine.sessions.splits import TemporalSplitConfig, split_events
from spotify_engine.sessions.synthetic import Oracle, SyntheticConfig, load_oracle
from spotify_engine.sessions.synthetic.listening import generate_block
from spotify_engine.sessions.synthetic.oracle import oracle_of_block
from spotify_engine.sessions.synthetic.world import build_world


@pytest.fixture(scope="module")
def oracle(generated: Path, tables: dict[str, pa.Table]) -> Oracle:
    return load_oracle(generated / "oracle.parquet", tables)


def test_it_is_about_the_test_part(oracle: Oracle, tables: dict[str, pa.Table]) -> None:
    split = split_events(tables["events"], TemporalSplitConfig())
    np.testing.assert_array_equal(oracle.event, np.flatnonzero(split.test))


def test_lists_are_sorted_and_leave_out_the_session(
    oracle: Oracle, tables: dict[str, pa.Table]
) -> None:
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
    found = oracle_of_block(config, world, listeners, plays, TemporalSplitConfig())
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
    generated: Path, tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    table = pq.read_table(generated / "oracle.parquet")
    for name, change in (
        ("user_id", pa.array(["stranger"] * len(table))),
        ("time", pa.array(table["time"].to_numpy() + 1)),
        ("song", pa.array((table["song"].to_numpy() + 1) % 120)),
    ):
        place = table.schema.get_field_index(name)
        other = table.set_column(place, table.schema.field(name), change)
        pq.write_table(other, tmp_path / "oracle.parquet")
        with pytest.raises(InputError, match=f"{len(table):,} of its plays aren't among"):
            load_oracle(tmp_path / "oracle.parquet", tables)
    with pytest.raises(InputError, match="no such file"):
        load_oracle(tmp_path / "none.parquet", tables)


def test_events_in_any_order_of_the_file(
    oracle: Oracle, generated: Path, tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    table = pq.read_table(generated / "oracle.parquet")
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    pq.write_table(shuffled, tmp_path / "oracle.parquet")
    again = load_oracle(tmp_path / "oracle.parquet", tables)
    np.testing.assert_array_equal(again.event, oracle.event)
    np.testing.assert_array_equal(again.songs, oracle.songs)

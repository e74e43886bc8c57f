"""The files of lists: what is written is read back, and what can't be right is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spotify_engine.errors import InputError
from spotify_engine.evaluation.fingerprint import fingerprint
from spotify_engine.sessions.measure.rankings import load_rankings, save_ranking, save_rankings

EVENTS = np.array([3, 7, 8])
LISTS = np.array([[4, 2, 0], [1, -1, -1], [-1, -1, -1]], np.int32)
SCORES = np.array([[0.5, 0.4, 0.1], [2, -np.inf, -np.inf], [-np.inf] * 3], np.float32)
NEEDED = np.array([True, True, False])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = {
        "a": (LISTS, SCORES),
        "b": (LISTS[:, ::-1][:1].repeat(3, axis=0), SCORES[:1].repeat(3, 0)),
    }
    save_rankings(tmp_path / "rankings.parquet", "event", EVENTS, found)
    return tmp_path / "rankings.parquet"


def test_what_is_written_is_read_back(path: Path) -> None:
    found = load_rankings(path, "event", EVENTS, NEEDED, 5, 3)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"][0], LISTS)
    np.testing.assert_array_equal(found["a"][1], SCORES)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("event", 4, "are not of the 3 events"),
        ("event", 7, "must count up from 0"),
        ("rank", 1, "must count up from 0"),
        ("rank", 5, "must count up from 0"),
        ("song", 5, "song is 5, outside 0..4"),
        ("scorer", None, "has nulls"),
    ],
)
def test_what_can_not_be_right_is_refused(path: Path, column: str, value: int, said: str) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    changed = [value, *table[column].to_pylist()[1:]]
    field = table.schema.field(place)
    pq.write_table(table.set_column(place, field, pa.array(changed, field.type)), path)
    with pytest.raises(InputError, match=said):
        load_rankings(path, "event", EVENTS, NEEDED, 5, 3)


def test_a_list_that_must_be_there_is_missed(path: Path) -> None:
    with pytest.raises(InputError, match="of a are not of the 3 events"):
        load_rankings(path, "event", EVENTS, np.array([True, True, True]), 5, 3)
    with pytest.raises(InputError, match=r"missing\.parquet: no such file"):
        load_rankings(path.with_name("missing.parquet"), "event", EVENTS, NEEDED, 5, 3)


def test_a_fingerprint_is_of_what_a_file_holds(path: Path, tmp_path: Path) -> None:
    first, table = fingerprint(path), pq.read_table(path)
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    pq.write_table(shuffled, path, compression="none")
    assert fingerprint(path) == first
    for column in ("scorer", "event", "rank", "song", "score"):
        place = table.schema.get_field_index(column)
        values = table[column].to_pylist()
        values[-1] = "c" if column == "scorer" else values[-1] + 1
        field = table.schema.field(place)
        pq.write_table(table.set_column(place, field, pa.array(values, field.type)), path)
        assert fingerprint(path) != first, column
    save_ranking(tmp_path / "one.parquet", "user", EVENTS, (LISTS, SCORES))
    assert pq.read_table(tmp_path / "one.parquet").column_names == ["user", "rank", "song", "score"]

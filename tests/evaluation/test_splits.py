import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.errors import InputError
from spotify_engine.evaluation.splits import (
    HoldoutConfig,
    OrderFinding,
    Split,
    detect_order,
    load_split,
    make_split,
    save_split,
)
from spotify_engine.ragged import Ragged

playlists_of_any_length = st.lists(st.integers(0, 30), max_size=8).map(
    lambda lengths: Ragged.from_lists(
        [np.random.default_rng(i).permutation(40)[:n].tolist() for i, n in enumerate(lengths)]
    )
)


def lists(ragged):
    return [row.tolist() for row in ragged]


def test_last_by_hand():
    playlists = Ragged.from_lists([[9, 3, 5, 1, 7, 2, 8], [4, 6, 0, 1], [4, 6, 0], [5], []])
    split = make_split(playlists, 10, HoldoutConfig(n=2, strategy="last"))
    assert lists(split.train) == [[9, 3, 5], [4, 6], [4, 6, 0], [5], []]
    assert lists(split.val) == [[1, 7], [0], [], [], []]
    assert lists(split.test) == [[2, 8], [1], [], [], []]
    assert lists(split.known_before_test) == [[9, 3, 5, 1, 7], [4, 6, 0], [4, 6, 0], [5], []]
    assert split.strategy == "last"


@given(playlists_of_any_length, st.integers(1, 6), st.sampled_from(["last", "random"]))
def test_parts_are_disjoint_and_complete(playlists, n, strategy):
    split = make_split(playlists, 40, HoldoutConfig(n=n, strategy=strategy))
    for whole, train, val, test in zip(playlists, split.train, split.val, split.test, strict=True):
        parts = [train.tolist(), val.tolist(), test.tolist()]
        assert sorted(np.concatenate(parts).tolist()) == sorted(whole.tolist())
        assert len(test) == len(val) == max(0, min(n, (len(whole) - n) // 2))
        assert len(train) >= min(n, len(whole))
        for part in parts:  # in file order
            assert part == [track for track in whole.tolist() if track in part]


def test_random_depends_on_the_seed_alone():
    playlists = Ragged.from_lists([list(range(30))] * 50)
    parts = [
        make_split(playlists, 30, HoldoutConfig(strategy="random", seed=seed)).test.values
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert (parts[0] != parts[2]).any()


def test_random_draws_every_position_alike():
    playlists = Ragged.from_lists([list(range(20))] * 4000)
    split = make_split(playlists, 20, HoldoutConfig(n=5, strategy="random"))
    for part in (split.test, split.val):
        share = np.bincount(part.values, minlength=20) / 4000
        assert np.abs(share - 0.25).max() < 0.03  # 4 standard errors


def test_order_by_hand():
    names = ["Zebra", "apple", "Banana", "apple"]
    finding = detect_order(Ragged.from_lists([[0, 1, 3, 2], [0], [2]]), names)
    # zebra > apple; apple = apple; apple < banana; nothing across playlists
    assert (finding.pairs, finding.share, finding.alphabetical) == (3, 2 / 3, False)
    assert finding.expected == pytest.approx(0.5 + 0.5 / 3)
    assert detect_order(Ragged.from_lists([[1], []]), names).alphabetical is False


def test_auto_is_random_for_alphabetical_files_and_last_for_others():
    names = [f"track {i:03d}" for i in range(100)]
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(100)[:20] for _ in range(30)]
    alphabetical = Ragged.from_lists([np.sort(row).tolist() for row in drawn])
    as_added = Ragged.from_lists([row.tolist() for row in drawn])
    split = make_split(alphabetical, 100, HoldoutConfig(), names)
    assert split.strategy == "random"
    assert split.order.share == 1
    split = make_split(as_added, 100, HoldoutConfig(), names)
    assert split.strategy == "last"
    assert abs(split.order.share - 0.5) < 0.05
    asked = make_split(alphabetical, 100, HoldoutConfig(strategy="last"), names)
    assert asked.strategy == "last"
    assert asked.order.alphabetical, "found and reported although last was asked for"
    with pytest.raises(InputError, match="track names"):
        make_split(as_added, 100, HoldoutConfig())


@pytest.mark.parametrize("named", [True, False])
def test_save_and_load(tmp_path, named):
    playlists = Ragged.from_lists([[9, 3, 5, 1, 7, 2, 8, 0, 4], [], [3, 2, 1, 0], [6]])
    names = list("zyxwvutsrq") if named else None
    config = HoldoutConfig(n=2, strategy="random", seed=3)
    split = make_split(playlists, 10, config, names)
    path = tmp_path / "split.parquet"
    save_split(split, path)
    loaded = load_split(path, 10, 4)
    for part in ("train", "val", "test"):
        assert lists(getattr(loaded, part)) == lists(getattr(split, part))
    assert (loaded.strategy, loaded.order, loaded.n_tracks) == ("random", split.order, 10)
    table = pq.read_table(path)
    assert {field.name: str(field.type) for field in table.schema} == {
        "playlist": "int32",
        "track": "int32",
        "split": "string",
    }
    assert json.loads(table.schema.metadata[b"holdout"])["strategy"] == "random"
    frame = table.to_pandas()
    part = frame["split"].map({"train": 0, "val": 1, "test": 2})
    assert np.all(np.diff(frame["playlist"] * 3 + part) >= 0)


GOOD = {"playlist": [0, 0, 1], "track": [1, 2, 1], "split": ["train", "test", "val"]}


def test_a_file_from_elsewhere_is_read(tmp_path):
    path = tmp_path / "split.parquet"
    pd.DataFrame(GOOD).to_parquet(path)
    split = load_split(path, 3, 2)
    assert (split.strategy, split.order) == ("given", None)
    assert [lists(split.train), lists(split.val), lists(split.test)] == [
        [[1], []],
        [[], [1]],
        [[2], []],
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": ["train", "dev", "val"]}, "row 1: split is 'dev'"),
        ({"track": [1, 1, 1]}, "track 1 is in playlist 0 twice"),
        ({"track": [1, 2, 3]}, r"row 2: track is 3, outside 0\.\.2"),
        ({"playlist": [0, 0, -1]}, r"row 2: playlist is -1, outside 0\.\.1"),
        ({"split": ["train", None, "val"]}, "'split' has nulls"),
        ({"track": ["a", "b", "c"]}, "columns must be playlist int32"),
    ],
)
def test_bad_split_files_are_refused(tmp_path, change, message):
    path = tmp_path / "split.parquet"
    pd.DataFrame(GOOD | change).to_parquet(path)
    with pytest.raises(InputError, match=message) as refused:
        load_split(path, 3, 2)
    assert str(path) in str(refused.value)


def test_missing_broken_and_incomplete_files_are_refused(tmp_path):
    path = tmp_path / "split.parquet"
    with pytest.raises(InputError, match="no such file"):
        load_split(path, 3, 2)
    path.write_bytes(b"playlist,track,split\n")
    with pytest.raises(InputError, match="not a readable parquet file"):
        load_split(path, 3, 2)
    pd.DataFrame(GOOD).drop(columns="track").to_parquet(path)
    with pytest.raises(InputError, match="no column 'track'"):
        load_split(path, 3, 2)


@pytest.mark.parametrize(
    ("strategy", "alphabetical", "expected"),
    [
        ("last", False, True),
        ("last", True, False),
        ("last", None, True),
        ("random", False, False),
        ("given", None, True),
    ],
)
def test_order_means_something_where_the_end_is_held_out_and_the_alphabet_did_not_decide(
    strategy, alphabetical, expected
):
    order = None if alphabetical is None else OrderFinding(9, 1.0, 0.5, alphabetical)
    empty = Ragged.from_lists([[]])
    assert Split(empty, empty, empty, 1, strategy, order).ordered is expected

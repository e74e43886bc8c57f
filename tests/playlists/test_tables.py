from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotify_engine.errors import InputError
from spotify_engine.playlists.schema import AUDIO, TABLES
from spotify_engine.playlists.tables import build as entities
from spotify_engine.playlists.tables.build import DataConfig, build_tables
from spotify_engine.playlists.tables.features import Features, no_features
from spotify_engine.playlists.tables.matching import PLAYLISTS_SCHEMA, UNMATCHED, Matched

LOOSE = DataConfig(min_playlist_tracks=1)


def features_of(n: int) -> Features:
    """Tracks t0, t1, ... by "A<i>" and "Guest"; t0 lacks its first audio value."""
    audio = np.full((n, len(AUDIO)), 0.25, np.float32)
    audio[:1, 0] = np.nan
    ids, names = (pa.array([f"{x}{i}" for i in range(n)], pa.string()) for x in ("id", "t"))
    literals = pa.array([f"['A{i}', 'Guest', 'a{i} ']" for i in range(n)], pa.string())
    first = pa.array([f"A{i}" for i in range(n)], pa.string())
    rejects, others = TABLES["rejects"].empty_table(), no_features().others
    albums = pa.array([None if i == 0 else f"album {i // 3}" for i in range(n)], pa.string())
    years = np.where(np.arange(n) == 2, np.nan, 2000 + np.arange(n)).astype(np.float32)
    return Features(ids, names, literals, first, audio, n, rejects, {}, others, 0, albums, years)


def part_of(pairs: Sequence[tuple[str, int]], unmatched: Sequence[str] = ()) -> Matched:
    """A chunk of (playlist, track) pairs; user and title are the name; -1 - i is unmatched[i]."""
    titles = list(dict.fromkeys(title for title, _ in pairs))
    return Matched(
        np.array([titles.index(title) for title, _ in pairs], np.int32),
        np.array([track for _, track in pairs], np.int32),
        pa.table({"user_id": titles, "name": titles}, schema=PLAYLISTS_SCHEMA),
        pa.table(
            {
                "key": [f"{name}\x1fx" for name in unmatched],
                "name": list(unmatched),
                "artist": ["x"] * len(unmatched),
            },
            schema=UNMATCHED,
        ),
        sum(track >= 0 for _, track in pairs),
        sum(track < 0 for _, track in pairs),
    )


@pytest.fixture(autouse=True)
def any_number_of_playlists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entities, "FEWEST_PLAYLISTS", 1)


def build(
    parts: Sequence[Matched], config: DataConfig = LOOSE, n: int = 9
) -> tuple[dict[str, Any], dict[str, Any]]:
    tables, counts = build_tables(parts, features_of(n), config, "p.csv")
    assert set(tables) == set(TABLES) - {"genres", "artist_genres", "rejects"}
    for name, table in tables.items():
        assert table.schema.equals(TABLES[name])
        assert all(not column.null_count for column in table.select(_required(name)).columns)
    return {name: table.to_pydict() for name, table in tables.items()}, counts


def _required(table: str) -> list[str]:
    return [
        field.name
        for field in TABLES[table]
        if field.type != pa.float32() and field.name != "album"
    ]


def test_numbers_follow_the_file_and_repeats_are_dropped() -> None:
    parts = [part_of([("q", 4), ("p", 2), ("q", 4), ("q", 2)]), part_of([("p", 0), ("q", 4)])]
    tables, counts = build(parts)
    assert tables["playlists"] == {
        "playlist": [0, 1],
        "user_id": ["q", "p"],
        "name": ["q", "p"],
        "n_tracks": [2, 2],
    }
    assert tables["playlist_tracks"] == {
        "playlist": [0, 0, 1, 1],
        "track": [0, 1, 1, 2],
        "position": [0, 1, 0, 1],
    }
    tracks = tables["tracks"]
    assert tracks["id"] == ["id4", "id2", "id0"]
    assert tracks["name"] == ["t4", "t2", "t0"]
    assert tracks["n_playlists"] == [1, 2, 1]
    assert tracks["missing_features"] == [False, False, True]
    assert tracks["danceability"] == [0.25, 0.25, None]
    assert tracks["album"] == [0, 1, None]
    assert tracks["year"] == [2004, None, 2000]
    assert (tracks["artist"], tracks["artist_name"]) == ([0, 2, 3], ["A4", "A2", "A0"])
    # "a4 " is "A4" again, so each track has two artists.
    assert tables["artists"] == {
        "artist": [0, 1, 2, 3],
        "name": ["A4", "Guest", "A2", "A0"],
        "n_tracks": [1, 3, 1, 1],
    }
    assert tables["track_artists"] == {
        "track": [0, 0, 1, 1, 2, 2],
        "artist": [0, 1, 2, 1, 3, 1],
        "position": [0, 1, 0, 1, 0, 1],
    }
    assert counts["duplicate_rows"] == 2
    assert counts["after_pruning"] == {"playlists": 2, "tracks": 3, "pairs": 4}


def test_unmatched_tracks_are_one_across_chunks_and_keep_their_id() -> None:
    parts = [part_of([("p", -1), ("p", 3)], ["new"]), part_of([("q", -2), ("q", -1)], ["b", "new"])]
    keep = DataConfig(min_playlist_tracks=1, unmatched="keep")
    tables, counts = build(parts, keep)
    tracks = tables["tracks"]
    # blake2b of 8 bytes, of "new" and "b" with "\x1fx"
    assert tracks["id"] == ["key:6f64d6cc760ce8f6", "id3", "key:b82903ffd7c9b80e"]
    assert tracks["name"] == ["new", "t3", "b"]
    assert tracks["artist_name"] == ["x", "A3", "x"]
    assert tracks["n_playlists"][0] == 2
    assert tracks["missing_features"] == [True, False, True]
    assert tracks["energy"] == [None, 0.25, None]
    assert tracks["album"] == [None, 0, None]
    assert tracks["year"] == [None, 2003, None]
    assert counts["unmatched_tracks_kept"] == 2


def test_an_unmatched_track_takes_no_id_that_another_has() -> None:
    """A features file made of an earlier run's tables has such ids."""
    features = features_of(2)
    features = replace(features, ids=pa.array(["id0", "key:6f64d6cc760ce8f6"], pa.string()))
    keep = DataConfig(min_playlist_tracks=1, unmatched="keep")
    parts = [part_of([("p", -1), ("p", 1), ("p", -2)], ["new", "b"])]
    tables, _ = build_tables(parts, features, keep, "p.csv")
    ids = tables["tracks"]["id"].to_pylist()
    assert ids[1:] == ["key:6f64d6cc760ce8f6", "key:b82903ffd7c9b80e"]
    assert ids[0].startswith("key:")
    assert len(set(ids)) == 3


PAIRS = st.lists(st.tuples(st.sampled_from("pqrstu"), st.integers(0, 8)), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(PAIRS, st.integers(1, 4), st.integers(1, 4))
def test_pruning_is_the_largest_part_in_which_all_are_frequent(
    pairs: list[tuple[str, int]], few_tracks: int, few_playlists: int
) -> None:
    config = DataConfig(min_playlist_tracks=few_tracks, min_track_playlists=few_playlists)
    left = set(pairs)
    while True:  # one at a time: whatever the order, the same part is left
        playlists, tracks = Counter(p for p, _ in left), Counter(t for _, t in left)
        rare = [x for x in left if playlists[x[0]] < few_tracks or tracks[x[1]] < few_playlists]
        if not rare:
            break
        left.remove(min(rare))
    if not left:
        with pytest.raises(InputError, match="0 of"):
            build([part_of(pairs)], config)
        return
    cut = len(pairs) // 2
    tables, _ = build([part_of(pairs[:cut]), part_of(pairs[cut:])], config)
    names, ids = tables["playlists"]["name"], tables["tracks"]["id"]
    found = {
        (names[p], int(ids[t][2:]))
        for p, t in zip(
            tables["playlist_tracks"]["playlist"], tables["playlist_tracks"]["track"], strict=True
        )
    }
    assert found == left


def test_the_same_playlists_are_chosen_whatever_the_order() -> None:
    pairs = [(f"p{i}", track) for i in range(40) for track in range(3)] + [("short", 1)]
    chosen = []
    for order in (pairs, pairs[::-1]):
        for seed in (0, 1):
            config = DataConfig(min_playlist_tracks=3, max_playlists=10, seed=seed)
            tables, _ = build([part_of(order)], config)
            chosen.append(set(tables["playlists"]["name"]))
    assert chosen[0] == chosen[2]
    assert chosen[1] == chosen[3]
    assert chosen[0] != chosen[1]
    assert all(len(names) == 10 and "short" not in names for names in chosen)


def test_nothing_matched_is_an_error() -> None:
    with pytest.raises(InputError, match=r"p\.csv: 100 % of rows are unmatched.*unmatched=keep"):
        build([part_of([])])


def test_too_few_playlists_are_an_error_that_names_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entities, "FEWEST_PLAYLISTS", 20)
    config = DataConfig(min_playlist_tracks=2, min_track_playlists=2)
    with pytest.raises(InputError, match=r"0 of 2 playlists .*tracks \(2\) or lower .*\(2\)"):
        build([part_of([("p", 1), ("q", 2)])], config)

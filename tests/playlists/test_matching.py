from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotify_engine.names import normalise, normalise_all
from spotify_engine.playlists.schema import AUDIO, TABLES
from spotify_engine.playlists.tables import matching
from spotify_engine.playlists.tables.features import Features, OtherNames, no_features
from spotify_engine.playlists.tables.matching import (
    KeyTable,
    factorise,
    match_chunk,
    track_key,
    track_keys,
)
from spotify_engine.playlists.tables.reading import Chunk
from spotify_engine.reading.chunks import CodedColumn


def strings(values: Sequence[str]) -> pa.StringArray:
    return pa.array(values, pa.string())


def features_of(
    rows: Sequence[tuple[str, str, str]],
    unknown: Sequence[int] = (),
    others: Sequence[tuple[int, str, str]] = (),
) -> Features:
    """Features of (id, name, artist) rows of which the first ``unknown[i]`` values are unknown.

    ``others``: (row, name, artist) of rows that were rejected for their id.
    """
    audio = np.full((len(rows), len(AUDIO)), 0.5, np.float32)
    for row, count in enumerate(unknown):
        audio[row, :count] = np.nan
    ids, names, artists = (strings([row[i] for row in rows]) for i in range(3))
    literals = strings([repr([row[2]]) for row in rows])
    empty = TABLES["rejects"].empty_table()
    also = OtherNames(
        strings([each[1] for each in others]),
        strings([each[2] for each in others]),
        np.array([each[0] for each in others], np.int64),
    )
    albums, years = pa.nulls(len(rows), pa.string()), np.full(len(rows), np.nan, np.float32)
    return Features(
        ids, names, literals, artists, audio, len(rows), empty, {}, also, 0, albums, years
    )


def chunk_of(rows: Sequence[tuple[str, str, str, str]]) -> Chunk:
    """A chunk of (user, artist, track, title) rows."""

    def coded(values: list[str]) -> CodedColumn:
        column = strings(values).dictionary_encode()
        return CodedColumn(column.indices.to_numpy(), column.dictionary)

    users, artists, tracks, titles = ([row[i] for row in rows] for i in range(4))
    empty = TABLES["rejects"].empty_table()
    return Chunk(
        coded(users), coded(titles), strings(tracks), strings(artists), len(rows), empty, len(rows)
    )


TEXT = st.text(st.sampled_from(list("abAB É7’–\u0301")), max_size=20)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=30)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(PAIRS, PAIRS)
def test_finds_what_a_dictionary_finds(
    known: list[tuple[str, str]], asked: list[tuple[str, str]]
) -> None:
    keys = KeyTable.of(features_of([(f"{i:03}", *pair) for i, pair in enumerate(known)]))
    rows: dict[tuple[str, str], int] = {}
    for row, (name, artist) in enumerate(known):
        rows.setdefault((normalise(name), normalise(artist)), row)
    asked = asked + known
    names, artists = (normalise_all(strings([pair[i] for pair in asked])) for i in range(2))
    expected = [rows.get((normalise(n), normalise(a)), -1) for n, a in asked]
    assert keys.find(names, artists).tolist() == expected
    # A slice shares its buffers with the rest.
    assert keys.find(names.slice(1), artists.slice(1)).tolist() == expected[1:]
    assert len(keys.rows) == len(rows)


def test_one_row_stands_for_several_ids() -> None:
    rows = [("z", "Song", "X"), ("b", " song ", "x"), ("a", "SONG", "X"), ("c", "Other", "X")]
    keys = KeyTable.of(features_of(rows, unknown=[0, 0, 1, 7]))
    # "a" knows less than the others; of the two that know all, "b" is smaller.
    assert keys.find(strings(["song", "other"]), strings(["x", "x"])).tolist() == [1, 3]
    assert keys.with_several_ids == 1


def test_all_names_of_an_id_mean_its_track() -> None:
    rows = [("a", "Song", "X"), ("b", "Other", "X"), ("c", "song", "x"), ("a", "Song", "X")]
    others = [
        (0, "Song - Remastered", "X"),
        (0, "Song - REMASTERED", "X"),
        (2, "Song - Live", "Y"),
        (1, "Song", "X"),  # has a row of its own
    ]
    keys = KeyTable.of(features_of(rows, [1, 0, 0, 2], others))
    asked = ["song", "other", "song - remastered", "song - live"]
    found = keys.find(strings(asked), strings(["x", "x", "x", "y"]))
    # Of the rows called "Song", "c" knows most, so it stands for "a", too, whatever that is called.
    assert found.tolist() == [2, 1, 2, 2]
    assert keys.with_several_ids == 1


def test_a_row_twice_is_no_second_id() -> None:
    keys = KeyTable.of(features_of([("a", "Song", "X"), ("a", "SONG", "x")]))
    assert (len(keys.rows), keys.with_several_ids) == (1, 0)


def test_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With seed 0 all keys collide, so that another is taken; a stranger's hash proves nothing."""
    real = matching._hash_keys
    monkeypatch.setattr(
        matching,
        "_hash_keys",
        lambda n, a, seed: real(n, a, seed) * np.uint64(seed > 0),
    )
    keys = KeyTable.of(features_of([("1", "a", "x"), ("2", "b", "x")]))
    assert keys.seed == 1
    monkeypatch.setattr(
        matching, "_hash_keys", lambda n, a, seed: np.repeat(keys.hashes[:1], len(n))
    )
    found = keys.find(strings(["a", "b", "c"]), strings(["x", "x", "x"]))
    assert sorted(found.tolist()) == [-1, -1, keys.rows[0]]


def test_unmatched_rows_are_dropped_or_kept_as_first_spelled() -> None:
    keys = KeyTable.of(features_of([("1", "Song", "X")]))
    rows = [
        ("u", "y", "New", "p"),
        ("u", "X", "song", "p"),
        ("v", "Y", "NEW", "p"),
        ("u", "x", "new", "p"),
        ("u", "x", "SONG", "q"),
    ]
    dropped = match_chunk(chunk_of(rows), keys, keep_unmatched=False)
    assert (dropped.playlist.tolist(), dropped.track.tolist()) == ([0, 1], [0, 0])
    assert dropped.playlists.to_pylist() == [
        {"user_id": "u", "name": "p"},
        {"user_id": "u", "name": "q"},
    ]
    assert (dropped.matched_rows, dropped.unmatched_rows) == (2, 3)
    assert dropped.unmatched.num_rows == 0

    kept = match_chunk(chunk_of(rows), keys, keep_unmatched=True)
    assert (kept.playlist.tolist(), kept.track.tolist()) == ([0, 0, 1, 0, 2], [-1, 0, -1, -2, 0])
    assert kept.unmatched.to_pylist() == [
        {"key": "new\x1fy", "name": "New", "artist": "y"},
        {"key": "new\x1fx", "name": "new", "artist": "x"},
    ]


def test_spellings_of_one_track_are_one_track() -> None:
    keys = KeyTable.of(features_of([("1", "Déjà vu", "Beyoncé")]))
    spellings = ["De\u0301ja\u0300 vu", "DÉJÀ  VU", "Déjà\u00a0vu", "Ｄéjà vu", "Déjà\u200b vu"]
    known = [("u", "Beyonce\u0301", track, "p") for track in spellings]
    new = [
        ("u", "BEYONCÉ", "L’été – Live", "p"),
        ("u", "Beyonce\u0301", "l'e\u0301te\u0301 - live", "p"),
    ]
    matched = match_chunk(chunk_of(known + new), keys, keep_unmatched=True)
    assert matched.track.tolist() == [0] * len(known) + [-1, -1]
    assert matched.unmatched["name"].to_pylist() == ["L’été – Live"]


def test_a_title_composed_otherwise_is_the_same_playlist() -> None:
    keys = KeyTable.of(features_of([("1", "a", "x"), ("2", "b", "x")]))
    titles = ["Été", "E\u0301te\u0301", "été", "Été "]
    rows = [("Zoë", "x", "a", title) for title in titles] + [("Zoe\u0308", "x", "b", "Été")]
    matched = match_chunk(chunk_of(rows), keys, keep_unmatched=False)
    assert matched.playlist.tolist() == [0, 0, 1, 2, 0]
    assert matched.playlists["name"].to_pylist() == ["Été", "été", "Été "]


def test_without_features_nothing_matches() -> None:
    keys = KeyTable.of(no_features())
    matched = match_chunk(chunk_of([("u", "x", "t", "p")]), keys, keep_unmatched=True)
    assert (matched.matched_rows, matched.track.tolist()) == (0, [-1])
    assert match_chunk(chunk_of([]), keys, keep_unmatched=True).track.tolist() == []


def test_keys() -> None:
    assert track_key(" My Song ", "ÉA") == "my song\x1féa"
    assert track_key("a\x1fb", "c") == "a b\x1fc"
    assert track_keys(strings(["A", "b"]), strings(["C", "d"])).to_pylist() == ["a\x1fc", "b\x1fd"]


def test_factorise_numbers_by_first_appearance() -> None:
    codes, first = factorise(np.array([7, 3, 7, 9, 3]))
    assert (codes.tolist(), first.tolist()) == ([0, 1, 0, 2, 1], [0, 1, 3])

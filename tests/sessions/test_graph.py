from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from spotify_engine.errors import InputError
from spotify_engine.graphs import summary
from spotify_engine.sessions.measure.splits import TemporalSplitConfig, split_events
from spotify_engine.sessions.model.graph import (
    SessionGraphConfig,
    build_session_graph,
    load_session_graph,
    normalised_affinity,
    save_session_graph,
)
from spotify_engine.sessions.schema import (
    ARTIST,
    BELONGS_TO,
    BY,
    EDGE_TYPES,
    GENRE,
    HAS_GENRE,
    LISTENING,
    LISTENS_TO,
    PREFERS,
    REVERSE,
    SONG,
    TABLES,
    USER,
)
from spotify_engine.sessions.tables.build import edges_of_events

CONFIG = SessionGraphConfig()


def small_tables() -> dict[str, pa.Table]:
    """Three users (one without history), four songs (one without artist, one never heard)."""
    rows = {
        "users": [[0, 1, 2], ["a", "b", "c"], ["casual", "power", "unknown"]],
        "songs": [[0, 1, 2, 3], list("wxyz"), list("WXYZ"), [0, None, 1, 0], [1, 1, 1, None]],
        "artists": [[0, 1], ["p", "q"], ["P", "Q"]],
        "genres": [[0, 1], ["rock", "jazz"]],
        "artist_genres": [[0, 1], [0, 1]],
        "song_genres": [[0, 2], [0, 1]],
        "user_genre_preferences": [[0, 0, 2], [0, 1, 1], [0.2, 0.4, 0.0]],
    }
    return {name: pa.table(columns, schema=TABLES[name]) for name, columns in rows.items()}


def small_edges() -> pa.Table:
    columns = [[0, 0, 1], [0, 1, 2], [3, 1, 2], [0.5, 1, 0.25], [0.65, 0.8, 0.475]]
    return pa.table(columns, schema=LISTENING)


def test_graph_by_hand() -> None:
    data = build_session_graph(small_tables(), small_edges(), CONFIG)
    assert set(data.edge_types) == set(EDGE_TYPES)
    sizes = {kind: data[kind].num_nodes for kind in (USER, SONG, ARTIST, GENRE)}
    assert sizes == {USER: 3, SONG: 4, ARTIST: 2, GENRE: 2}
    expected = {
        LISTENS_TO: [[0, 0, 1], [0, 1, 2]],
        BY: [[0, 2, 3], [0, 1, 0]],
        PREFERS: [[0, 0, 2], [0, 1, 1]],
        BELONGS_TO: [[0, 1], [0, 1]],
        HAS_GENRE: [[0, 2], [0, 1]],
    }
    for kind, edges in expected.items():
        assert data[kind].edge_index.tolist() == edges
        assert data[kind].edge_index.dtype == torch.int64
        assert data[REVERSE[kind]].edge_index.tolist() == edges[::-1]
    listens = data[LISTENS_TO].edge_attr
    assert listens.dtype == torch.float32
    np.testing.assert_allclose(listens, [[3, 0.5, 0.65], [1, 1, 0.8], [2, 0.25, 0.475]])
    assert torch.equal(listens, data[REVERSE[LISTENS_TO]].edge_attr)
    assert data[PREFERS].edge_attr.tolist() == [[0.5], [1.0], [0.0]]
    assert "edge_attr" not in data[BY]
    assert data.genre_names == ["rock", "jazz"]
    assert data.genre_songs.tolist() == data.genre_artists.tolist() == [1, 1]
    assert data.genre_users.tolist() == [1, 2]
    assert summary(data)["isolated"] == {USER: 0, SONG: 0, ARTIST: 0, GENRE: 0}


def test_nodes_without_edges_stay() -> None:
    tables = small_tables()
    for name in ("user_genre_preferences", "song_genres", "artist_genres"):
        tables[name] = tables[name].slice(0, 0)
    data = build_session_graph(tables, small_edges(), CONFIG)
    assert set(data.edge_types) == {LISTENS_TO, BY, REVERSE[LISTENS_TO], REVERSE[BY]}
    assert summary(data)["isolated"] == {USER: 1, SONG: 0, ARTIST: 0, GENRE: 2}
    assert data.genre_songs.tolist() == [0, 0]


def test_relations_are_switched_off_and_missing_ones_are_left_out() -> None:
    tables = small_tables()
    data = build_session_graph(
        tables, small_edges(), SessionGraphConfig(artists=False, genres=False)
    )
    assert set(data.edge_types) == {LISTENS_TO, REVERSE[LISTENS_TO]}
    place = tables["songs"].schema.get_field_index("artist")
    tables["songs"] = tables["songs"].set_column(
        place, TABLES["songs"].field("artist"), pa.nulls(4, pa.int32())
    )
    assert BY not in build_session_graph(tables, small_edges(), CONFIG).edge_types


def test_affinity_is_a_share_of_the_users_strongest() -> None:
    affinity = normalised_affinity(np.array([1, 1, 0, 3]), np.array([2.0, 8.0, 0.0, 0.1]), 4)
    np.testing.assert_allclose(affinity, [0.25, 1, 0, 1])
    assert affinity.dtype == np.float32


@pytest.mark.parametrize("config", [CONFIG, SessionGraphConfig(artists=False, genres=False)])
def test_saved_and_loaded(tmp_path: Path, config: SessionGraphConfig) -> None:
    data = build_session_graph(small_tables(), small_edges(), config)
    save_session_graph(data, tmp_path / "graph")
    again = load_session_graph(tmp_path / "graph")
    assert set(again.edge_types) == set(data.edge_types)
    for kind in data.edge_types:
        assert torch.equal(again[kind].edge_index, data[kind].edge_index)
        assert ("edge_attr" in again[kind]) == ("edge_attr" in data[kind])
        if "edge_attr" in data[kind]:
            assert torch.equal(again[kind].edge_attr, data[kind].edge_attr)
    assert [again[kind].num_nodes for kind in again.node_types] == [3, 4, 2, 2]
    assert again.genre_names == data.genre_names
    assert torch.equal(again.genre_users, data.genre_users)
    with pytest.raises(InputError, match=r"graph\.json is missing"):
        load_session_graph(tmp_path)


def test_held_out_plays_change_nothing(tables: dict[str, pa.Table]) -> None:
    """Whatever is played in the val and test parts, the graph of the train part is the same."""
    events = tables["events"]
    train = split_events(events, TemporalSplitConfig()).train

    def graph(changed: pa.Table) -> dict[str, np.ndarray]:
        kept = changed.filter(pa.array(train))
        data = build_session_graph(tables, edges_of_events(kept, len(tables["songs"])), CONFIG)
        arrays = {str(kind): data[kind].edge_index.numpy() for kind in data.edge_types}
        return arrays | {"weights": data[LISTENS_TO].edge_attr.numpy()}

    song = events["song"].to_numpy().copy()
    song[~train] = (song[~train] + 1) % len(tables["songs"])
    other = events.set_column(1, "song", pa.array(song))
    before, after = graph(events), graph(other)
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    heard = set(zip(*before[str(LISTENS_TO)].tolist(), strict=True))
    user = events["user"].to_numpy()
    assert heard == set(zip(user[train].tolist(), song[train].tolist(), strict=True))

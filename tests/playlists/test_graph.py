from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from spotify_engine.errors import InputError
from spotify_engine.graphs import summary
from spotify_engine.playlists.model.graph import (
    AudioScale,
    audio_matrix,
    load_graph,
    playlist_features,
    save_graph,
)
from spotify_engine.playlists.schema import (
    ARTIST,
    AUDIO_COLUMNS,
    BY,
    CONTAINS,
    EDGE_TYPES,
    GENRE,
    IN,
    MADE,
    PERFORMED_BY,
    PERFORMS,
    PLAYLIST,
    TRACK,
)
from spotify_engine.ragged import Ragged


def arrays(data, scale):
    """Everything a graph holds, by name."""
    found = {f"x {kind}": data[kind].x.numpy() for kind in data.node_types}
    found |= {str(kind): data[kind].edge_index.numpy() for kind in data.edge_types}
    if scale is not None:
        found |= {"median": scale.median, "mean": scale.mean, "std": scale.std}
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_scale_by_hand():
    audio = np.full((3, 7), 0.5, dtype=np.float32)
    audio[:, 0] = [0.2, np.nan, 0.6]
    audio[:, 1] = np.nan
    scale = AudioScale.fit(audio)
    assert scale.median[:3].tolist() == pytest.approx([0.4, 0.0, 0.5])
    assert scale.mean[:3].tolist() == pytest.approx([0.4, 0.0, 0.5])
    assert scale.std[:3].tolist() == pytest.approx([np.std([0.2, 0.4, 0.6]), 1, 1])
    features = scale.apply(audio)
    assert features.shape == (3, 8)
    assert features.dtype == np.float32
    unit = 0.2 / np.std([0.2, 0.4, 0.6])
    np.testing.assert_allclose(features[:, 0], [-unit, 0, unit], atol=1e-6)
    assert (features[:, 1:7] == 0).all()
    assert features[:, 7].tolist() == [1, 1, 1]


def test_scale_of_no_tracks_changes_nothing():
    scale = AudioScale.fit(np.zeros((0, 7), np.float32))
    assert scale.apply(np.ones((1, 7), np.float32)).tolist() == [[1.0] * 7 + [0.0]]


def test_playlist_features_by_hand():
    tracks = np.arange(24, dtype=np.float32).reshape(3, 8)
    features = playlist_features(Ragged.from_lists([[0, 2], [], [1]]), tracks)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[0], [np.log10(3), *(tracks[[0, 2], :7].mean(0))], rtol=1e-6)
    assert features[1].tolist() == [0] * 8
    np.testing.assert_allclose(features[2], [np.log10(2), *tracks[1, :7]], rtol=1e-6)
    without = playlist_features(Ragged.from_lists([[0, 2], []]), None)
    np.testing.assert_allclose(without, [[np.log10(3)], [0]], rtol=1e-6)


def test_nodes_edges_and_features(world):
    data, scale = world.graph()
    assert set(data.edge_types) == set(EDGE_TYPES)
    pairs = data[CONTAINS].edge_index.numpy()
    np.testing.assert_array_equal(pairs, [world.train.rows, world.train.values])
    for kind, reverse in ((CONTAINS, IN), (BY, MADE), (PERFORMS, PERFORMED_BY)):
        assert torch.equal(data[kind].edge_index.flip(0), data[reverse].edge_index)
    by = world.tables["track_artists"]
    assert data[BY].edge_index.tolist() == [by["track"].to_pylist(), by["artist"].to_pylist()]
    assert data[TRACK].x.shape == (26, 8)
    assert data[TRACK].x[:, 7].nonzero().flatten().tolist() == [7, 24]
    assert data[GENRE].x.shape == (2, 0)
    heard = set(world.train.values.tolist())
    counts = np.zeros(13)
    for track, artist in zip(*data[BY].edge_index.tolist(), strict=True):
        counts[artist] += track in heard
    np.testing.assert_allclose(data[ARTIST].x[:, 0], np.log10(1 + counts), rtol=1e-6)
    assert counts[12] == 0, "the artist of tracks that no playlist trains on"
    assert data[PLAYLIST].x.shape == (40, 8)
    np.testing.assert_allclose(
        data[PLAYLIST].x[3, 1:], data[TRACK].x[world.train[3], :7].mean(0), atol=1e-5
    )
    assert scale is not None


def test_held_out_tracks_change_nothing(world):
    """Neither what is held out where, nor the audio of tracks that only val and test hold."""
    only_held_out = np.array([10, 11])
    train = world.train.filter(~np.isin(world.train.values, only_held_out))
    small = replace(world, train=train)
    expected = arrays(*small.graph())
    tracks = world.tables["tracks"]
    for name in AUDIO_COLUMNS:
        values = tracks[name].to_numpy(zero_copy_only=False).copy()
        missing = np.isnan(values)
        values[only_held_out] = 1e6
        place = tracks.schema.get_field_index(name)
        tracks = tracks.set_column(
            place, tracks.schema.field(name), pa.array(values, pa.float32(), mask=missing)
        )
    pairs = world.tables["playlist_tracks"]
    tables = world.tables | {"tracks": tracks, "playlist_tracks": pairs.slice(0, 5)}
    moved = replace(small, tables=tables, val=world.test, test=world.val)
    found = arrays(*moved.graph())
    # Their own features are theirs; no other row, scale, count or edge may move.
    assert (found["x track"][only_held_out] != expected["x track"][only_held_out]).any()
    for graph in (found, expected):
        graph["x track"] = np.delete(graph["x track"], only_held_out, axis=0)
    assert_same(found, expected)


def test_training_edges_do_change_it(world):
    """The test above could see a difference if there were one."""
    less = replace(world, train=world.train.filter(np.arange(len(world.train.values)) > 2))
    found, expected = arrays(*less.graph()), arrays(*world.graph())
    assert (found["x playlist"][0] != expected["x playlist"][0]).any()
    assert (found["mean"] == expected["mean"]).all(), "the same tracks are heard"


@pytest.mark.parametrize(
    ("config", "absent", "features"),
    [
        ({"audio": False}, set(), {PLAYLIST: 1, TRACK: 0, ARTIST: 1, GENRE: 0}),
        ({"genres": False}, {PERFORMS, PERFORMED_BY}, {PLAYLIST: 8, TRACK: 8, ARTIST: 1, GENRE: 0}),
        (
            {"artists": False},
            {BY, MADE, PERFORMS, PERFORMED_BY},
            {PLAYLIST: 8, TRACK: 8, ARTIST: 0, GENRE: 0},
        ),
    ],
)
def test_switched_off_inputs_take_their_relations_along(world, config, absent, features):
    data, scale = world.graph(**config)
    assert set(data.edge_types) == set(EDGE_TYPES) - absent
    assert {kind: data[kind].x.shape[1] for kind in data.node_types} == features
    assert (scale is None) == ("audio" in config)


def test_missing_inputs_are_as_if_switched_off(world):
    empty = {name: world.tables[name].slice(0, 0) for name in ("track_artists", "artist_genres")}
    tracks = world.tables["tracks"]
    for name in AUDIO_COLUMNS:
        place = tracks.schema.get_field_index(name)
        nothing = pa.nulls(len(tracks), pa.float32())
        tracks = tracks.set_column(place, tracks.schema.field(name), nothing)
    bare = replace(world, tables=world.tables | empty | {"tracks": tracks})
    assert_same(arrays(*bare.graph()), arrays(*world.graph(audio=False, artists=False)))


@pytest.mark.parametrize("config", [{}, {"audio": False, "artists": False}])
def test_saved_and_loaded(tmp_path, world, config):
    data, scale = world.graph(**config)
    save_graph(data, scale, tmp_path / "graph")
    again, same_scale = load_graph(tmp_path / "graph")
    assert_same(arrays(again, same_scale), arrays(data, scale))
    assert [again[kind].num_nodes for kind in again.node_types] == [40, 26, 13, 2]


def test_loaded_pages_are_private(tmp_path, world):
    save_graph(*world.graph(), tmp_path)
    data, _ = load_graph(tmp_path)
    data[TRACK].x[0] = 99
    assert load_graph(tmp_path)[0][TRACK].x[0, 0] != 99


def test_no_graph_here(tmp_path):
    with pytest.raises(InputError, match=r"graph\.json is missing"):
        load_graph(tmp_path)


def test_summary_counts(world):
    counts = summary(world.graph()[0])
    assert counts["nodes"] == {PLAYLIST: 40, TRACK: 26, ARTIST: 13, GENRE: 2}
    assert counts["edges"]["playlist__contains__track"] == 280
    assert counts["isolated"][PLAYLIST] == 0
    assert counts["isolated"][TRACK] == 0, "the two unheard tracks have artists"
    assert summary(world.graph(artists=False)[0])["isolated"][TRACK] == 2


def test_audio_matrix_has_nan_where_nothing_is_known(world):
    audio = audio_matrix(world.tables["tracks"])
    assert audio.dtype == np.float32
    assert np.argwhere(np.isnan(audio)).tolist() == [[7, 6], *([24, i] for i in range(7))]
    assert audio_matrix(world.tables["tracks"].slice(0, 0)).shape == (0, 7)

"""Sampled training and whole-graph encoding are two ways of computing the same vectors."""

import numpy as np
import pytest
import torch

from spotify_engine.learning.attention import Neighbours
from spotify_engine.learning.sampler import NeighbourSampler, neighbours_of
from spotify_engine.playlists.model import encoding
from spotify_engine.playlists.model.encoding import encode_tracks, fold_in, score_tracks
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import playlist_features
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.schema import ARTIST, BY, MADE, PLAYLIST, TRACK
from spotify_engine.ragged import Ragged

THREE = {"layers": (8, 8, 4), "heads": (2, 4, 2)}
CASES = {
    "three layers": ({}, THREE),
    "no skip": ({}, THREE | {"skip": False}),
    "playlist embedding": ({}, THREE | {"playlist_embedding": True}),
    "no audio": ({"audio": False}, THREE),
    "no genres": ({"genres": False}, THREE),
    "no artists": ({"artists": False}, THREE),
    "tracks alone": ({"artists": False, "audio": False}, THREE),
    "one layer": ({}, {"layers": (6,), "heads": (3,)}),
    "two layers": ({}, {"layers": (8, 6), "heads": (1, 2)}),
    "four layers": ({}, {"layers": (8, 8, 8, 6), "heads": (1, 2, 2, 3)}),
}


def make_model(data, **config):
    torch.manual_seed(0)
    model = PlaylistGAT(GraphShape.of(data), PlaylistGATConfig(embedding_dim=5, **config))
    with torch.no_grad():
        model.bias.weight.normal_()
    return model.eval()


def sampled(model, data, candidates, seeds, features, fanout=-1):
    """p and t as training computes them, without dropping an edge."""
    layers = range(len(model.layers))
    relations = {kind for depth in layers for kind in model.layer(depth).relations}
    sampler = NeighbourSampler.from_data(data, (fanout,) * len(layers), relations=relations)
    late = np.setdiff1d(seeds.values, candidates)
    roots = candidates
    if len(model.layers) == 1:  # the only layer needs the seeds' artists
        roots, late = np.concatenate([candidates, late]), late[:0]
    sample = sampler.sample(TRACK, roots, late)
    states = {
        kind: model.inputs(kind, data[kind].x[ids], ids)
        for kind, ids in sample.node.items()
        if kind in {TRACK} | {relation[0] for relation in relations}
    }
    neighbours = {kind: neighbours_of(sample, kind) for kind in relations}
    local = {track: row for row, track in enumerate(sample.node[TRACK].tolist())}
    rows = torch.tensor([local[track] for track in seeds.values.tolist()])
    p, t, attention = model(
        states,
        neighbours,
        model.reach(sample.num_sampled_nodes),
        model.inputs(PLAYLIST, features, None),
        Neighbours(torch.from_numpy(seeds.offsets), rows),
        len(candidates),
    )
    return p, t, attention


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_full_sample_equals_the_whole_graph(world, case):
    graph, config = CASES[case]
    data, _ = world.graph(**graph)
    model = make_model(data, **config)
    playlists = np.array([5, 0, 31])
    seeds = world.train.select(playlists)
    audio = data[TRACK].x.numpy() if data[TRACK].x.shape[1] else None
    features = playlist_features(seeds, audio)
    # Some candidates are seeds, some are not, one is in no playlist.
    candidates = np.array([1, 2, 14, 25])
    with torch.no_grad():
        p, t, attention = sampled(model, data, candidates, seeds, torch.from_numpy(features))
    encoded = encode_tracks(model, data)
    vectors, _ = fold_in(model, encoded.folds, seeds, features)
    torch.testing.assert_close(p, vectors, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(t, encoded.vectors[candidates], atol=1e-5, rtol=1e-4)
    assert len(attention) == len(model.layers)
    for layer in attention:
        for weights in layer.values():
            assert ((weights >= 0) & (weights <= 1)).all()


def test_a_smaller_sample_is_another_neighbourhood(world):
    """The equality above is not there by chance."""
    data, _ = world.graph()
    model = make_model(data, **THREE)
    features = torch.from_numpy(playlist_features(world.train, data[TRACK].x.numpy()))
    with torch.no_grad():
        _, t, _ = sampled(model, data, np.arange(4), world.train, features, fanout=1)
    assert not torch.allclose(t, encode_tracks(model, data).vectors[:4], atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_change_nothing(monkeypatch, world, chunk):
    data, _ = world.graph()
    model = make_model(data, **THREE)
    whole = encode_tracks(model, data)
    monkeypatch.setattr(encoding, "CHUNK", chunk)
    pieces = encode_tracks(model, data)
    for name in ("parts", "vectors", "bias"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name))
    for found, expected in zip(pieces.folds, whole.folds, strict=True):
        torch.testing.assert_close(found.values, expected.values)
        torch.testing.assert_close(found.keys, expected.keys)


def test_parts_sum_to_the_vector(world):
    data, _ = world.graph()
    encoded = encode_tracks(make_model(data, **THREE), data)
    torch.testing.assert_close(encoded.parts.sum(0), encoded.vectors)
    playlists, artists = encoded.parts[1], encoded.parts[2]
    assert (playlists[[24, 25]] == 0).all(), "tracks of no playlist get nothing from playlists"
    assert (playlists[:24].abs().sum(1) > 0).all()
    assert (artists.abs().sum(1) > 0).all()
    without = world.graph(artists=False)[0]
    assert (encode_tracks(make_model(without, **THREE), without).parts[2] == 0).all()


def test_attention_over_seeds_sums_to_one_and_gives_the_vector(world):
    data, _ = world.graph()
    model = make_model(data, **THREE)
    encoded = encode_tracks(model, data)
    seeds = Ragged.from_lists([[3, 4, 20], [], [7]])
    vectors, attention = fold_in(
        model, encoded.folds, seeds, playlist_features(seeds, data[TRACK].x.numpy())
    )
    assert attention.shape == (4, 2)
    torch.testing.assert_close(attention[:3].sum(0), torch.ones(2))
    torch.testing.assert_close(attention[3], torch.ones(2))
    values = encoded.folds[-1].values[[3, 4, 20]]
    by_hand = (attention[:3, :, None] * values).sum(0).flatten()
    torch.testing.assert_close(vectors[0], by_hand / by_hand.norm())
    assert (vectors[1] == 0).all(), "a playlist of nothing scores by bias alone"
    scores = score_tracks(vectors, encoded)
    np.testing.assert_array_equal(scores[1], encoded.bias.numpy())
    np.testing.assert_allclose(
        scores[0], (encoded.vectors @ vectors[0] + encoded.bias).numpy(), rtol=1e-5, atol=1e-6
    )


def test_encoding_leaves_no_gradients_and_turns_dropout_off(world):
    data, _ = world.graph()
    model = make_model(data, **THREE, dropout=0.5)
    model.train()
    first, again = encode_tracks(model, data), encode_tracks(model, data)
    assert torch.equal(first.vectors, again.vectors)
    assert not first.vectors.requires_grad


def test_artists_part_is_all_that_artists_bring_to_the_last_layer(world):
    """Their first states through the skip, by hand, once the last layer's attention is silenced."""
    data, _ = world.graph()
    model = make_model(data, **THREE)
    last = model.layer(len(model.layers) - 1)
    with torch.no_grad():
        last.gat(MADE).value.weight.zero_()
    encoded = encode_tracks(model, data)
    artists = model.inputs(ARTIST, data[ARTIST].x, torch.arange(data[ARTIST].num_nodes))
    track, artist = data[BY].edge_index
    width = artists.shape[1]
    assert model.artist_columns == width
    weight = last.own[TRACK].weight[:, -width:]
    # Whatever it is divided by, a part keeps its share of t, and t its length.
    torch.testing.assert_close(encoded.vectors.norm(dim=1), model.scale.expand(26).detach())
    for row in range(26):
        by_hand = weight @ artists[artist[track == row]].mean(0)
        part = encoded.parts[2][row]
        ratio = part.norm() / by_hand.norm()
        torch.testing.assert_close(part, ratio * by_hand, atol=1e-5, rtol=1e-4)


def test_recommend_on_the_module_is_what_the_encoded_graph_says(world):
    data, _ = world.graph()
    model = make_model(data, **THREE)
    tracks, scores, (edges, attention) = model.recommend(5, data.x_dict, data, k=4)
    encoded = encode_tracks(model, data)
    seeds = world.train.select(np.array([5]))
    features = playlist_features(seeds, data[TRACK].x.numpy())
    vectors, expected_attention = fold_in(model, encoded.folds, seeds, features)
    everything = score_tracks(vectors, encoded)[0]
    everything[seeds.values] = -np.inf
    np.testing.assert_array_equal(tracks, np.argsort(-everything)[:4])
    np.testing.assert_allclose(scores, everything[tracks], rtol=1e-6)
    np.testing.assert_array_equal(edges, [seeds.values, [5] * len(seeds.values)])
    torch.testing.assert_close(attention, expected_attention)

    silent = {kind: x * 0 for kind, x in data.x_dict.items()}
    assert not torch.equal(model.recommend(5, silent, data, k=4)[1], scores), "x_dict counts"
    assert (data[TRACK].x != 0).any(), "the graph itself is left alone"


def test_recommend_for_a_playlist_without_tracks_goes_by_bias(world):
    data, _ = world.graph()
    data[PLAYLIST].x = torch.cat([data[PLAYLIST].x, torch.zeros(1, 8)])
    data[PLAYLIST].num_nodes = 41
    model = make_model(data, **THREE)
    tracks, scores, (edges, attention) = model.recommend(40, data.x_dict, data, k=100)
    assert len(tracks) == 26
    torch.testing.assert_close(scores, model.bias.weight[:, 0].sort(descending=True).values)
    assert edges.shape == (2, 0)
    assert attention.shape[0] == 0

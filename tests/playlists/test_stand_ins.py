import numpy as np
import pytest
import torch

from spotify_engine.playlists.model.encoding import encode_tracks, encode_with_stand_ins
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.recommend.stand_ins import STAND_IN_NOISE, StandIns
from spotify_engine.playlists.schema import TRACK

CASES = {
    "one layer": {"layers": (6,), "heads": (3,)},
    "three layers": {"layers": (8, 8, 4), "heads": (2, 4, 2)},
    "no skip": {"layers": (8, 4), "heads": (2, 2), "skip": False},
}


@pytest.fixture(params=CASES, ids=lambda case: case.replace(" ", "-"))
def encoded(world, request):
    """(model, data, tracks, stand-in values); for comparison, track 24 has no embedding."""
    data, scale = world.graph()
    torch.manual_seed(0)
    model = PlaylistGAT(
        GraphShape.of(data), PlaylistGATConfig(embedding_dim=5, **CASES[request.param])
    )
    with torch.no_grad():
        model.embedding[TRACK].weight[24] = 0
    return model, data, *encode_with_stand_ins(model, data, scale.unknown)


def test_tracks_are_encoded_as_without_stand_ins(encoded):
    model, data, found, _ = encoded
    expected = encode_tracks(model, data)
    for name in ("parts", "vectors", "bias"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    for ours, theirs in zip(found.folds, expected.folds, strict=True):
        torch.testing.assert_close(ours.values, theirs.values)
        torch.testing.assert_close(ours.keys, theirs.keys)


def test_a_stand_in_is_a_track_of_its_artist_without_embedding_audio_or_playlists(encoded):
    """Track 24 is all of that, by artist 12 alone."""
    model, _, found, values = encoded
    assert len(values) == len(model.layers)
    for fold, stand_in in zip(found.folds, values, strict=True):
        assert stand_in.shape == (13, *fold.values.shape[1:])
        torch.testing.assert_close(stand_in[12], fold.values[24])
    # The first of several layers sees no artists yet.
    assert not torch.allclose(stand_in[11], fold.values[24], atol=1e-3)


def test_noise_is_small_of_the_artist_and_the_same_for_the_same_name(encoded):
    model, _, _, values = encoded
    stand_ins = StandIns.of(model, values)
    artists, names = np.array([3, 3, 8]), ["a", "b", "a"]
    first, again = stand_ins.folds(artists, names), stand_ins.folds(artists[[1]], ["b"])
    for depth, (fold, repeated) in enumerate(zip(first, again, strict=True)):
        assert torch.equal(fold.values[1], repeated.values[0])
        assert not torch.equal(fold.values[0], fold.values[1])
        plain = values[depth][artists]
        share = (fold.values - plain).flatten(1).norm(dim=1) / plain.flatten(1).norm(dim=1)
        assert 0 < share.min() <= share.max() < 3 * STAND_IN_NOISE
        # A key is what the layer reads of a value, noise included.
        expected = fold.values * model.layer(depth).gat(("track", "rev_contains", "playlist")).key
        torch.testing.assert_close(fold.keys, expected.sum(-1))
    assert [len(each.values) for each in stand_ins.folds(np.array([], int), [])] == [0] * len(first)


def test_without_artists_there_are_none(world):
    data, scale = world.graph(artists=False)
    model = PlaylistGAT(GraphShape.of(data), PlaylistGATConfig(embedding_dim=5))
    _, values = encode_with_stand_ins(model, data, scale.unknown)
    assert values == []
    assert StandIns.of(model, values) is None

import re

import numpy as np
import pytest
import torch

from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import ranking_metrics, top_k
from spotify_engine.playlists.model.encoding import encode_tracks, fold_in, score_tracks
from spotify_engine.playlists.model.gat import PlaylistGAT
from spotify_engine.playlists.model.graph import playlist_features
from spotify_engine.playlists.model.network import GraphShape, PlaylistGATConfig
from spotify_engine.playlists.model.start import (
    Start,
    StartConfig,
    chosen_of,
    find_start,
    joint_lists,
)
from spotify_engine.playlists.schema import ARTIST, TRACK

CONFIG = StartConfig(regularisation=(0.01, 0.3), unobserved=(5.0, 50.0), popularity=(0.0, 1.0))


def model_config(**changes):
    widths = {"embedding_dim": 6, "layers": (8,), "heads": (2,)}
    return PlaylistGATConfig(**(widths | changes))


def recall_of(start, world, data, config):
    torch.manual_seed(0)
    model = PlaylistGAT(GraphShape.of(data), config)
    start.apply(model)
    encoded = encode_tracks(model, data)
    features = playlist_features(world.train, data[TRACK].x.numpy())
    p, attention = fold_in(model, encoded.folds, world.train, features)
    scores = score_tracks(p, encoded)
    predictions = top_k(scores, world.train, 10)[0]
    return ranking_metrics(predictions, world.val, (10,))["recall@10"], attention


@pytest.mark.parametrize("layers", [{}, {"layers": (8, 8), "heads": (2, 2)}])
def test_the_model_begins_with_the_recall_that_was_promised(world, layers):
    """Measured by the search with plain products, and here by the model's own encoding."""
    data, _ = world.graph()
    config = model_config(**layers)
    start, tried = find_start(data, world.train, world.val, config, CONFIG)
    # Two regularisations, then the other weight with the better one, then more passes with that.
    assert [each["iterations"] for each in tried[::2]] == [3, 3, 3, CONFIG.iterations]
    best = chosen_of(tried)
    assert start.popularity == best["popularity"]
    found, attention = recall_of(start, world, data, config)
    assert found == pytest.approx(best["val_recall@10"])
    lengths = torch.from_numpy(world.train.lengths)
    uniform = torch.repeat_interleave(1 / lengths, lengths)
    torch.testing.assert_close(attention, uniform[:, None].expand_as(attention).float())


def test_the_start_knows_the_two_taste_groups(world):
    data, _ = world.graph()
    start, _ = find_start(data, world.train, world.val, model_config(), CONFIG)
    tracks = start.embeddings[TRACK][:24]
    tracks = tracks / np.linalg.norm(tracks, axis=1, keepdims=True)
    cosine = tracks @ tracks.T
    assert cosine[:12, :12].mean() > cosine[:12, 12:].mean() + 0.5
    assert (start.embeddings[TRACK][24:] == 0).all(), "in no playlist: known by artist alone"


def test_columns_are_tracks_then_artists_then_genres(world):
    data, _ = world.graph()
    lists, sizes = joint_lists(data, world.train)
    assert list(sizes) == ["track", "artist", "genre"]
    assert lists.values.max() < sum(sizes.values())
    first = lists[0]
    assert set(first[first < sizes["track"]]) == set(world.train[0])
    artists = {t // 2 for t in world.train[0]} | {
        (t // 2 + 3) % sizes["artist"] for t in world.train[0] if t % 5 == 0
    }
    held = first[(first >= sizes["track"]) & (first < sizes["track"] + sizes["artist"])]
    assert set(held - sizes["track"]) == artists
    alone, _ = world.graph(artists=False)
    assert list(joint_lists(alone, world.train)[1]) == ["track"]


def test_candidates_on_a_part_the_start_on_all(world):
    data, _ = world.graph()
    part = CONFIG.model_copy(update={"playlists": 20})
    start, _ = find_start(data, world.train, world.val, model_config(), part)
    assert start.counts.sum() == len(world.train.values)
    assert np.isfinite(start.embeddings[ARTIST]).all()


def test_saved_and_loaded(tmp_path, world):
    data, _ = world.graph()
    start, _ = find_start(data, world.train, world.val, model_config(), CONFIG)
    start.save(tmp_path)
    again = Start.load(tmp_path)
    assert again.popularity == start.popularity
    for name in ("value", "counts", "bias"):
        assert (getattr(again, name) == getattr(start, name)).all()
    assert all((again.embeddings[kind] == start.embeddings[kind]).all() for kind in (TRACK, ARTIST))


def test_an_empty_folder_is_no_start(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: no start here")):
        Start.load(tmp_path)

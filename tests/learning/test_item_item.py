import numpy as np
import pytest
from scipy import sparse

from spotify_engine.baselines.ease import EASE, EASEConfig
from spotify_engine.learning.item_item import (
    add_item_item_scores,
    item_item_scores,
    item_item_weights,
)
from spotify_engine.ragged import Ragged

N = 30


@pytest.fixture(scope="module")
def playlists():
    rng = np.random.default_rng(3)
    half = np.arange(N).reshape(2, -1)
    return Ragged.from_lists([rng.permutation(half[i % 2])[: 4 + i % 5] for i in range(600)])


def test_with_all_neighbours_it_is_ease(playlists):
    """A ridge regression on all other tracks, solved column by column and in one inversion."""
    weights = item_item_weights(playlists, N, N, [5.0, 50.0])
    for found, ridge in zip(weights, (5.0, 50.0), strict=True):
        ease = EASE(EASEConfig(regularisation=ridge)).fit(playlists, N)
        seeds = Ragged.from_lists([[i] for i in range(N)])
        expected = ease.score(seeds)
        connected = found.toarray() != 0
        assert connected.sum() == 2 * 15 * 14, "all of a half stand together somewhere"
        np.testing.assert_allclose(found.toarray()[connected], expected[connected], atol=1e-5)


def test_two_tracks_by_hand():
    """Track 1 from track 0: together in 2, track 0 in 3: w = 2 / (3 + ridge)."""
    playlists = Ragged.from_lists([[0, 1], [0, 1], [0], [2]])
    (weights,) = item_item_weights(playlists, 4, 10, [1.0])
    expected = np.zeros((4, 4))
    expected[0, 1], expected[1, 0] = 2 / (3 + 1), 2 / (2 + 1)
    np.testing.assert_allclose(weights.toarray(), expected, rtol=1e-6)


def test_no_more_than_the_nearest_neighbours(playlists):
    (weights,) = item_item_weights(playlists, N, 3, [1.0])
    assert np.diff(weights.tocsc().indptr).max() == 3
    assert (weights.diagonal() == 0).all()
    counts = np.zeros((600, N))
    counts[playlists.rows, playlists.values] = 1
    together = counts.T @ counts
    cosine = together / np.sqrt(np.outer(together.diagonal(), together.diagonal()))
    np.fill_diagonal(cosine, -1)
    for track in range(N):
        near = weights[:, [track]].toarray()[:, 0] != 0
        assert cosine[near, track].min() >= np.sort(cosine[:, track])[-3] - 1e-6


def test_rare_tracks_and_an_empty_part_have_no_weights():
    once = Ragged.from_lists([[0, 1], [2, 3]])
    assert item_item_weights(once, 5, 10, [1.0])[0].nnz == 0
    assert item_item_weights(Ragged.from_lists([[], []]), 5, 10, [1.0])[0].nnz == 0


def test_scores_are_the_mean_over_seeds_times_their_root(playlists):
    (weights,) = item_item_weights(playlists, N, 10, [1.0])
    seeds = Ragged.from_lists([[0, 1, 2, 20], [], [5]])
    found = item_item_scores(weights, seeds).toarray()
    dense = weights.toarray()
    np.testing.assert_allclose(found[0], dense[[0, 1, 2, 20]].sum(0) / 2, rtol=1e-5)
    assert not found[1].any()
    np.testing.assert_allclose(found[2], dense[5], rtol=1e-6)
    scores = np.ones((3, N), np.float32)
    add_item_item_scores(scores, weights, seeds)
    np.testing.assert_allclose(scores, 1 + found, rtol=1e-6)


def test_adding_to_nothing_changes_nothing():
    scores = np.ones((1, 3), np.float32)
    empty = sparse.csr_array((3, 3), dtype=np.float32)
    add_item_item_scores(scores, empty, Ragged.from_lists([[0, 1]]))
    assert (scores == 1).all()

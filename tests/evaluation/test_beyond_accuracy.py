import math

import numpy as np
import pytest
from scipy import sparse

from spotify_engine.evaluation.beyond_accuracy import (
    TrackFacts,
    artist_diversity,
    beyond_accuracy_metrics,
    completion_rate,
    coverage,
    genre_consistency,
    genres_of_tracks,
    novelty,
)
from spotify_engine.ragged import Ragged

PREDICTIONS = np.array([[0, 1, 2], [3, -1, -1], [-1, -1, -1]], np.int32)


def test_completion_rate_is_hits_over_all_held_out():
    truth = Ragged.from_lists([[1, 2, 9, 8], [3], []])
    assert completion_rate(PREDICTIONS, truth, 2) == 2 / 5
    assert completion_rate(PREDICTIONS, truth, 3) == 3 / 5
    assert math.isnan(completion_rate(PREDICTIONS, Ragged.from_lists([[], [], []]), 3))


def test_tracks_have_the_genres_of_their_first_artist():
    genres = genres_of_tracks(
        first_artist=np.array([1, 0, 1, 2]),
        artist=np.array([0, 1, 1]),
        genre=np.array([2, 0, 1]),
        weight=np.array([5.0, 3.0, 1.0], np.float32),
        n_genres=3,
    )
    expected = [[0.75, 0.25, 0], [0, 0, 1], [0.75, 0.25, 0], [0, 0, 0]]
    np.testing.assert_allclose(genres.toarray(), expected)


def test_genre_consistency_by_hand():
    genres = sparse.csr_array(np.array([[1.0, 0], [0, 1], [0.5, 0.5], [0, 0]]))
    predictions = np.array([[1, 3], [0, 2], [3, -1], [1, 0], [-1, -1]])
    train = Ragged.from_lists([[0], [0, 2], [0], [3], [0]])
    found = genre_consistency(predictions, train, genres, 2)
    # playlist 0: (1,0) and (0,1): 0. Playlist 1: twice (1.5,.5): 1. Lists or playlists without a
    # genre: 2 and 3. Playlist 4 was not asked.
    assert found.mean == pytest.approx(0.5)
    assert (found.compared, found.left_out) == (2, 2)
    first = genre_consistency(predictions, train, genres, 1)
    assert first.mean == pytest.approx((0 + 1.5 / math.hypot(1.5, 0.5)) / 2)


def test_genre_consistency_without_genres_is_nan():
    found = genre_consistency(
        PREDICTIONS, Ragged.from_lists([[0], [1], [2]]), sparse.csr_array((4, 2)), 3
    )
    assert math.isnan(found.mean)
    assert (found.compared, found.left_out) == (0, 2)


def test_artist_diversity_by_hand():
    first_artist = np.array([0, 0, 5, 0])
    assert artist_diversity(PREDICTIONS, first_artist, 3) == pytest.approx((2 / 3 + 1) / 2)
    assert artist_diversity(PREDICTIONS, first_artist, 2) == pytest.approx((1 / 2 + 1) / 2)
    assert math.isnan(artist_diversity(PREDICTIONS[2:], first_artist, 2))


def test_coverage_by_hand():
    assert coverage(PREDICTIONS, 8, 3) == 4 / 8
    assert coverage(PREDICTIONS, 8, 1) == 2 / 8
    assert coverage(PREDICTIONS[2:], 8, 3) == 0


def test_novelty_by_hand():
    train = Ragged.from_lists([[0, 1], [0], [0, 3], [], [0], [1]])
    bits = [-math.log2((count + 1) / 8) for count in (4, 2, 0, 1)]
    expected = (sum(bits[:3]) / 3 + bits[3]) / 2
    assert novelty(PREDICTIONS, train, 4, 3) == pytest.approx(expected)
    assert bits[2] == 3, "a track in no playlist is finite"
    assert math.isnan(novelty(PREDICTIONS[2:], train, 4, 3))


def test_all_metrics_at_each_k_and_genres_only_where_known():
    truth = Ragged.from_lists([[1, 2, 9, 8], [3], []])
    train = Ragged.from_lists([[3], [0], [1]])
    without = beyond_accuracy_metrics(
        PREDICTIONS, truth, train, TrackFacts(np.array([0, 0, 5, 0])), [2, 3]
    )
    assert without["completion_rate@3"] == 3 / 5
    assert without["coverage@2"] == 3 / 4
    assert not any("genre" in name for name in without)
    no_overlap = TrackFacts(np.array([0, 0, 5, 0]), sparse.csr_array((4, 2)))
    figures = beyond_accuracy_metrics(PREDICTIONS, truth, train, no_overlap, [2])
    assert figures["genre_consistency@2"] is None
    assert figures["genre_consistency_left_out@2"] == 2


def test_figures_that_no_list_says_are_none():
    """As where every playlist holds every track."""
    truth, train = Ragged.from_lists([[3]]), Ragged.from_lists([[0, 1, 2]])
    facts = TrackFacts(np.array([0, 0, 5, 0]), sparse.csr_array((4, 2)))
    found = beyond_accuracy_metrics(np.full((1, 3), -1), truth, train, facts, [3])
    assert found == {
        "completion_rate@3": 0, "genre_consistency@3": None, "genre_consistency_left_out@3": 0,
        "artist_diversity@3": None, "coverage@3": 0, "novelty@3": None,
    }  # fmt: skip

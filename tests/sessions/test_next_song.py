"""Next-song metrics and baselines, by hand on worlds of a few songs."""

from __future__ import annotations

import numpy as np
import pytest

from spotify_engine.ragged import Ragged
from spotify_engine.sessions.baselines.markov import Markov, MarkovConfig
from spotify_engine.sessions.baselines.session_knn import SessionKNN, SessionKNNConfig
from spotify_engine.sessions.measure.next_song import (
    diversity_across,
    genre_coverage,
    genre_diversity,
    next_song_metrics,
    rank_next,
)
from spotify_engine.sessions.queries import Queries

GENRES = np.array([[1, 0], [1, 0], [0, 1], [0.5, 0.5]])


def asked(*recent: list[int], memory: int = 3) -> Queries:
    """Queries of user 0; songs of the session in the order they were played."""
    window = np.full((len(recent), memory), -1)
    for i, songs in enumerate(recent):
        last = songs[::-1][:memory]
        window[i, : len(last)] = last
    n = len(recent)
    return Queries(np.zeros(n, np.int64), window, np.zeros(n, np.int64), Ragged.from_lists(recent))


def test_songs_of_the_session_are_never_recommended() -> None:
    queries = asked([0, 1], [])
    lists, scores = rank_next(lambda q, _: np.tile([4, 3, 2, 1.0], (len(q), 1)), queries, 3)
    assert lists.tolist() == [[2, 3, -1], [0, 1, 2]]
    assert scores[1].tolist() == [4, 3, 2]


def test_metrics_by_hand() -> None:
    lists = np.array([[0, 1], [2, 3], [1, 0]])
    found = next_song_metrics(lists, np.array([1, 2, 3]), np.array([3, 1, 0, 0]), GENRES, k=2)
    assert found["recall@2"] == pytest.approx(2 / 3)
    assert found["mrr@2"] == pytest.approx((1 / 2 + 1) / 3)
    assert found["ndcg@2"] == pytest.approx((1 / np.log2(3) + 1) / 3)
    assert found["coverage@2"] == 1
    bits = -np.log2(np.array([4, 2, 1, 1]) / 8)
    assert found["novelty@2"] == pytest.approx(bits[lists].mean())


def test_what_lists_do_not_say_is_none() -> None:
    one = next_song_metrics(
        np.array([[0, 1]]), np.array([1]), np.array([1, 1]), np.zeros((2, 0)), 2
    )
    names = {name for name, value in one.items() if value is None}
    assert names == {"genre_diversity@2", "genre_coverage@2", "diversity@2"}
    nothing = np.array([[-1, -1], [-1, -1]])
    empty = next_song_metrics(nothing, np.array([0, 1]), np.array([1, 1]), np.zeros((2, 1)), 2)
    assert {name for name, value in empty.items() if value is None} == {
        "genre_diversity@2", "novelty@2"
    }  # fmt: skip
    assert empty["recall@2"] == empty["coverage@2"] == 0


def test_genres_and_overlap_by_hand() -> None:
    assert genre_diversity(np.array([[0, 1]]), GENRES) == pytest.approx(1)
    assert genre_diversity(np.array([[0, 2]]), GENRES) == pytest.approx(2)
    assert genre_coverage(np.array([[0, 1]]), GENRES) == 0.5
    assert diversity_across(np.array([[0, 1], [0, 1]])) == 0
    assert diversity_across(np.array([[0, 1], [2, 3]])) == 1
    assert diversity_across(np.array([[0, 1], [1, 2]])) == 0.5


def test_markov_follows_counts_and_mixes_in_popularity() -> None:
    train = asked([0], [0], [0], [2], [])
    song = np.array([1, 1, 2, 3, 3])
    scores = Markov(MarkovConfig(shrink=0, decay=0)).fit(train, song, 4).score(asked([0], [2]))
    np.testing.assert_allclose(scores, [[0, 2 / 3, 1 / 3, 0], [0, 0, 0, 1]], rtol=1e-6)
    mixed = Markov(MarkovConfig(shrink=1, decay=0)).fit(train, song, 4).score(asked([0], []))
    popular = np.array([0, 2, 1, 2]) / 5
    np.testing.assert_allclose(mixed[0], (np.array([0, 2, 1, 0]) + popular) / 4, rtol=1e-6)
    np.testing.assert_allclose(mixed[1], popular, rtol=1e-6)
    both = Markov(MarkovConfig(shrink=0, decay=0.5)).fit(train, song, 4).score(asked([2, 0]))
    np.testing.assert_allclose(both, [[0, 2 / 3, 1 / 3, 0.5]], rtol=1e-6)


def test_session_knn_by_hand() -> None:
    session, song = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])
    knn = SessionKNN(SessionKNNConfig(neighbours=1, decay=1, popularity=0))
    scores = knn.fit(session, song, 4).score(asked([0], [3], []))
    np.testing.assert_allclose(scores, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0] * 4], atol=1e-6)
    popular = SessionKNN().fit(session, np.array([0, 0, 2, 3]), 4).score(asked([]))
    assert popular.argmax() == 0

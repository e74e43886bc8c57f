import json
from math import log, sqrt

import numpy as np
import pytest
import torch

from spotify_engine.playlists.model.encoding import EncodedTracks
from spotify_engine.playlists.recommend.titles import (
    TitleConfig,
    TitleModel,
    TitleSettings,
    choose_titles,
    letter_triples,
    title_words,
)
from spotify_engine.ragged import Ragged

WORDS = TitleSettings(letters=0.0, neighbours=10, popularity=0.0)


def model(*titles, settings=WORDS, vectors=None):
    if vectors is None:
        vectors = np.eye(len(titles), dtype=np.float32)
    return TitleModel(np.arange(len(titles)), titles, vectors, settings)


def weights(fitted, *titles, **others):
    return fitted.weights(titles, **others).toarray()


def test_weights_are_squared_cosines_of_idf_vectors_by_hand():
    # Of three titles "a" is in two, "b" and "c" in one: idf log(1 + 3/2), log(1 + 3).
    a, rare = log(1 + 3 / 2), log(1 + 3)
    fitted = model("a b", "a c", "d")
    like_first = 1.0
    like_second = a**2 / (a**2 + rare**2)
    total = like_first**2 + like_second**2
    expected = [like_first**2 / total, like_second**2 / total, 0]
    np.testing.assert_allclose(weights(fitted, "A, b!")[0], expected, rtol=1e-6)


def test_a_word_that_no_title_has_makes_a_title_less_like_the_others():
    fitted = model("a b", "a c", "d")
    plain = fitted._terms[0][1].similarity(["a"]).toarray()[0]
    more = fitted._terms[0][1].similarity(["a unheard"]).toarray()[0]
    a, rare = log(1 + 3 / 2), log(1 + 3)
    assert plain[0] == pytest.approx(a / sqrt(a**2 + rare**2))
    assert more[0] == pytest.approx(plain[0] * a / sqrt(a**2 + rare**2))


@pytest.mark.parametrize("title", ["", None, "unheard words", "!!!", "🎻"])
def test_a_title_like_no_other_has_no_weights(title):
    assert model("rock", "jazz", settings=TitleSettings(0.5, 5, 0)).weights([title]).nnz == 0


def test_a_shared_syllable_is_not_enough():
    fitted = model("rain", "jazz", settings=TitleSettings(0.5, 5, 0))
    assert fitted.weights(["entertainment"]).nnz == 0
    assert fitted.weights(["rainy"]).indices.tolist() == [0]


def test_letters_see_through_spelling_and_words_do_not():
    titles = ["Neo-Soul", "death metal"]
    by_letters = model(*titles, settings=TitleSettings(0.5, 5, 0))
    for title in ("néosoul", "NEOSOULS", "neo soul!"):
        assert weights(by_letters, title)[0].tolist() == [1, 0]
    assert weights(model(*titles), "neosoul")[0].tolist() == [0, 0]


def test_pictograms_are_words():
    assert title_words("🔥 hot, hot 🔥") == ["hot", "hot", "🔥", "🔥"]
    assert weights(model("trap 🔥", "jazz"), "🔥🔥")[0].tolist() == [1, 0]


def test_triples_run_over_the_gaps_between_words():
    assert letter_triples("R n B") == ["<rn", "rnb", "nb>"]
    assert letter_triples("") == ["<>"]


def test_only_the_nearest_speak_and_of_equals_the_first():
    fitted = model("x", "x y", "x", "x", settings=TitleSettings(0.0, 2, 0))
    assert weights(fitted, "x")[0].tolist() == [0.5, 0, 0.5, 0]


def test_a_playlist_says_nothing_about_its_own_title():
    titles = ["x y", "x z", "x y", "q"]
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    fitted = TitleModel(np.array([4, 7, 9, 11]), titles, vectors, WORDS)
    found = weights(fitted, "x y", "x y", "q", leave_out=np.array([4, 0, 11]))
    assert found[0][0] == 0
    assert found[0][[1, 2]].min() > 0
    assert found[1][0] == found[1][2] > found[1][1]
    assert found[2].sum() == 0, "nothing else is like it"
    other = np.concatenate([vectors[:1] * 9, vectors[1:]])
    others = TitleModel(np.array([4, 7, 9, 11]), titles, other, WORDS)
    own = {"leave_out": np.array([4])}
    np.testing.assert_array_equal(
        fitted.weights(["x y"], **own) @ fitted.vectors,
        others.weights(["x y"], **own) @ others.vectors,
    )


def encoded(vectors, bias):
    t = torch.tensor(vectors, dtype=torch.float32)
    return EncodedTracks([], torch.stack([t]), t, torch.tensor(bias, dtype=torch.float32))


def test_scores_are_the_mean_vector_bias_and_popularity_by_hand():
    settings = TitleSettings(0.0, 5, 0.5)
    fitted = model("x", "x", vectors=np.float32([[1, 0], [0, 1]]), settings=settings)
    tracks = encoded([[2, 0], [0, 4], [1, 1]], [0.5, 0, -1])
    popularity = np.array([0, 1, 9])
    scores = fitted.scores(fitted.weights(["x", "else"]), tracks, popularity)
    term = 0.5 * np.log1p(popularity)
    np.testing.assert_allclose(scores[0], np.array([1.5, 2, 0]) + term, rtol=1e-6)
    np.testing.assert_allclose(scores[1], np.array([0.5, 0, -1]) + term, rtol=1e-6)


def test_fitting_leaves_out_what_has_no_words_or_no_tracks():
    train = Ragged.from_lists([[0], [1], [], [2]])
    fitted = TitleModel.fit(["a", "...", "a", "b"], train, np.eye(4, dtype=np.float32), WORDS)
    assert fitted.playlists.tolist() == [0, 3]
    assert fitted.titles == ["a", "b"]
    np.testing.assert_array_equal(fitted.vectors, np.eye(4)[[0, 3]])
    with pytest.raises(ValueError, match="1 titles for 4 playlists"):
        TitleModel.fit(["a"], train, np.eye(4, dtype=np.float32), WORDS)


@pytest.fixture
def groups():
    """Forty playlists of two tastes that their titles tell, of 400 tracks; one held out each."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(200)[:6] + 200 * (i % 2) for i in range(40)]
    titles = [f"{('morning', 'evening')[i % 2]} {'abcde'[i % 5]}" for i in range(40)]
    train = Ragged.from_lists([row[:5] for row in rows])
    val = Ragged.from_lists([row[5:] for row in rows])
    taste = np.eye(2, dtype=np.float32)
    playlists = taste[np.arange(40) % 2]
    tracks = encoded(taste[np.arange(400) // 200] * 5, np.zeros(400))
    return titles, train, val, playlists, tracks


def test_the_best_settings_on_validation_are_taken(groups):
    titles, train, val, vectors, tracks = groups
    config = TitleConfig(letters=(0.0, 0.3), neighbours=(5, 20), popularity=(0.0, 50.0))
    fitted, found = choose_titles(titles, train, val, vectors, tracks, config)
    tried = found["tried"]
    assert len(tried) == 8
    assert len({tuple(each.values())[:3] for each in tried}) == 8
    best = max(tried, key=lambda each: each["val_recall@100"])
    assert vars(fitted.settings) == {k: v for k, v in best.items() if not k.startswith("val")}
    assert fitted.settings.popularity == 0, "popularity drowns what the titles say"
    assert best["val_recall@100"] > found["popularity"]
    assert json.loads(json.dumps(found)) == found
    again, repeated = choose_titles(titles, train, val, vectors, tracks, config)
    assert (again.settings, repeated) == (fitted.settings, found)


def test_titles_that_are_all_different_give_no_model(groups):
    _, train, val, vectors, tracks = groups
    titles = [chr(ord("a") + i) * 4 for i in range(26)] + [f"{i}{i}{i}" for i in range(100, 114)]
    chosen, found = choose_titles(titles, train, val, vectors, tracks, TitleConfig())
    assert (chosen, found["tried"]) == (None, [])


def test_titles_that_mislead_are_not_used(groups):
    titles, train, val, vectors, tracks = groups
    mislead = np.ascontiguousarray(vectors[:, ::-1])
    chosen, found = choose_titles(titles, train, val, mislead, tracks, TitleConfig())
    assert chosen is None
    assert max(each["val_recall@100"] for each in found["tried"]) <= found["popularity"]

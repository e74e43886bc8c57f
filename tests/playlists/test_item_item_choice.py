import numpy as np
import pytest

from spotify_engine.learning.item_item import (
    ItemItemConfig,
    item_item_scores,
    item_item_weights,
)
from spotify_engine.playlists.recommend.item_item_choice import choose_item_item
from spotify_engine.ragged import Ragged

CONFIG = ItemItemConfig(neighbours=10, regularisation=(1.0, 10.0), weights=(0.0, 1.0, 4.0))
N = 40


@pytest.fixture(scope="module")
def parts():
    """Pairs (2i, 2i + 1) always stand together; val holds one of a playlist's last pair."""
    rng = np.random.default_rng(0)
    pairs = [rng.permutation(N // 2)[:4] for _ in range(80)]
    whole = [np.concatenate([[2 * p, 2 * p + 1] for p in row]) for row in pairs]
    train = Ragged.from_lists([row if i % 2 else row[:-1] for i, row in enumerate(whole)])
    val = Ragged.from_lists([[] if i % 2 else row[-1:] for i, row in enumerate(whole)])
    return train, val


def silent(seeds):
    return np.zeros((len(seeds), N), np.float32)


def test_the_term_that_finds_what_is_held_out_is_taken(parts):
    train, val = parts
    weights, tried = choose_item_item(silent, train, val, N, CONFIG)
    best = max(tried, key=lambda each: each["val_recall@10"])
    assert best["weight"] > 0
    assert best["val_recall@10"] == 1
    assert len(tried) == 6
    alone = [each["val_recall@10"] for each in tried if each["weight"] == 0]
    assert max(alone) < 0.5
    assert weights.shape == (N, N)


def test_weight_one_gives_the_top_of_a_list_a_mean_of_one(parts):
    train, val = parts
    config = ItemItemConfig(neighbours=10, regularisation=(1.0,), weights=(1.0,))
    weights, _ = choose_item_item(silent, train, val, N, config)
    asked = train.select(np.flatnonzero(val.lengths))
    tops = []
    for row in item_item_scores(weights, asked).toarray():
        tops.append(np.sort(row[row != 0])[-20:].mean())
    assert np.mean(tops) == pytest.approx(1, rel=1e-4)


def test_a_model_that_is_best_alone_stays_alone(parts):
    train, val = parts
    rows = {tuple(train[i]): val[i] for i in range(len(val))}

    def oracle(seeds):
        scores = silent(seeds)
        for i, row in enumerate(seeds):
            scores[i, rows[tuple(row)]] = 9
        return scores

    weights, tried = choose_item_item(oracle, train, val, N, CONFIG)
    assert weights is None
    assert tried[0] == {"regularisation": 1.0, "weight": 0.0, "val_recall@10": 1.0}


def test_switched_off():
    nothing = Ragged.from_lists([[]])
    assert choose_item_item(silent, nothing, nothing, N, ItemItemConfig(neighbours=0)) == (None, [])


@pytest.mark.parametrize("ties", [False, True])
def test_the_choice_ranks_as_adding_the_term_to_every_track_does(parts, ties):
    """Against dense scores: no track is left out that could be among the best."""
    train, val = parts
    rng = np.random.default_rng(5)
    table = rng.normal(size=(N, N)).astype(np.float32)
    table = np.round(table) if ties else table

    def score(seeds):
        found = np.zeros((len(seeds), N), np.float32)
        np.add.at(found, seeds.rows, table[seeds.values])
        return found

    _, tried = choose_item_item(score, train, val, N, CONFIG)
    asked = np.flatnonzero(val.lengths)
    seeds, truth = train.select(asked), val.select(asked)
    fitted = item_item_weights(train, N, 10, CONFIG.regularisation)
    for each in tried:
        weights = fitted[CONFIG.regularisation.index(each["regularisation"])]
        term = item_item_scores(weights, seeds)
        tops = [np.sort(row[row != 0])[-20:].mean() for row in term.toarray()]
        scores = score(seeds) + each["weight"] / np.mean(tops) * term.toarray()
        scores[seeds.rows, seeds.values] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        hits = [np.isin(truth[i], best[i]).mean() for i in range(len(truth))]
        assert each["val_recall@10"] == pytest.approx(np.mean(hits), abs=0.02 if ties else 1e-6)

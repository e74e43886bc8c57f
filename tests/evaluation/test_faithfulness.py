import numpy as np
import pytest

from spotify_engine.evaluation.faithfulness import deletion_test
from spotify_engine.ragged import Ragged

N_TRACKS = 30
# What each seed adds to each track's score: a sum, so that the true contributions are known.
ADDS = np.random.default_rng(0).exponential(1, (N_TRACKS, N_TRACKS)).astype(np.float32)


def score(seeds):
    return np.stack([ADDS[row].sum(axis=0) for row in seeds])


def score_one(seeds, track):
    return score(seeds)[:, track]


def truth(seeds, track):
    return ADDS[seeds, track]


def playlists(n=60, length=12):
    rng = np.random.default_rng(1)
    return Ragged.from_lists([rng.permutation(N_TRACKS)[:length] for _ in range(n)])


def run(explain, lists=None, **options):
    return deletion_test(
        score, score_one, explain, lists or playlists(), np.random.default_rng(2), **options
    )


def test_true_contributions_pass():
    found = run(truth)
    assert found["passed"] > 0.95
    assert found["mean_change_explained"] > 1.5 * found["mean_change_random"]
    assert found["playlists"] == 60
    assert found["removed"] == 3


def test_shuffled_contributions_do_not():
    rng = np.random.default_rng(3)
    found = run(lambda seeds, track: rng.permutation(truth(seeds, track)))
    assert 0.3 < found["passed"] < 0.7
    assert found["mean_change_explained"] == pytest.approx(found["mean_change_random"], rel=0.15)


def test_contributions_upside_down_fail():
    assert run(lambda seeds, track: -truth(seeds, track))["passed"] < 0.05


def test_change_by_hand():
    """Removing the two strongest of four seeds takes their sum away."""
    lists = Ragged.from_lists([[0, 1, 2, 3]])
    best = int(np.argmax(score(lists)[0] * ~np.isin(np.arange(N_TRACKS), lists[0])))
    found = run(truth, lists, remove=2)
    expected = np.sort(ADDS[lists[0], best])[-2:].sum()
    assert found["mean_change_explained"] == pytest.approx(expected, rel=1e-5)


def test_explains_the_best_track_outside_the_playlist():
    lists, asked = playlists(20), []
    run(lambda seeds, track: asked.append((tuple(seeds), track)) or truth(seeds, track), lists)
    scores = {tuple(row): s for row, s in zip(lists, score(lists), strict=True)}
    for seeds, track in asked:
        outside = np.setdiff1d(np.arange(N_TRACKS), seeds)
        assert track == outside[scores[seeds][outside].argmax()]


def test_only_long_enough_playlists_are_sampled_and_not_more_than_asked():
    lists = Ragged.from_lists([range(5), range(6), range(9), []])
    assert run(truth, lists)["playlists"] == 2
    assert run(truth, sample=7)["playlists"] == 7
    assert run(truth, Ragged.from_lists([[1, 2]])) == {"passed": None, "playlists": 0}

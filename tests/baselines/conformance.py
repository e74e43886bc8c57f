"""What every scorer must do, the baselines and the model alike.

A test takes the fixture ``conformance_check``, which runs it once for each check below:

    def test_mine_conforms(conformance_check):
        conformance_check(lambda: MyScorer(...))

Pass ``personal=False`` for a scorer that gives everybody the same list. Each check makes its own
scorer, so ``make_scorer`` must return an unfitted one each time, seeded alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spotify_engine.baselines.scorer import Scorer
from spotify_engine.evaluation.ranking import top_k
from spotify_engine.ragged import Ragged

N_TRACKS = 24
HALF = N_TRACKS // 2
MakeScorer = Callable[[], Scorer]


def two_blocks(playlists: int = 60, length: int = 7) -> Ragged:
    """Even playlists draw from tracks 0..11, odd ones from 12..23: taste anyone can see."""
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(HALF)[:length] + HALF * (i % 2) for i in range(playlists)]
    return Ragged.from_lists([row.tolist() for row in drawn])


def own_block_comes_first(make_scorer: MakeScorer, personal: bool = True) -> None:
    train = two_blocks()
    scorer = make_scorer().fit(train, N_TRACKS)
    ids, _ = top_k(scorer.score(train), train, HALF - 7)
    if personal:
        blocks = ids // HALF
        assert (blocks == np.arange(len(train))[:, None] % 2).all()


def unseen_playlist_is_folded_in(make_scorer: MakeScorer, personal: bool = True) -> None:
    scorer = make_scorer().fit(two_blocks(), N_TRACKS)
    seeds = Ragged.from_lists([[0, 5], [23], [13, 14, 15, 16]])
    ids, _ = top_k(scorer.score(seeds), seeds, 5)
    assert not (ids[0][:, None] == seeds[0]).any()
    if personal:
        assert (ids // HALF == np.array([[0], [1], [1]])).all()


def shape_and_type(make_scorer: MakeScorer, personal: bool = True) -> None:
    train = two_blocks()
    scorer = make_scorer()
    assert scorer.fit(train, N_TRACKS + 3) is scorer, "fit returns the scorer itself"
    assert scorer.name
    for n in (0, 1, 5):
        scores = scorer.score(train.select(np.arange(n)))
        assert scores.shape == (n, N_TRACKS + 3), "tracks of no playlist are scored too"
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()


def no_seeds_give_finite_scores(make_scorer: MakeScorer, personal: bool = True) -> None:
    scorer = make_scorer().fit(two_blocks(), N_TRACKS)
    scores = scorer.score(Ragged.from_lists([[], [3], []]))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[0], scores[2], rtol=1e-5, atol=1e-6)


def training_survives_empty_playlists(make_scorer: MakeScorer, personal: bool = True) -> None:
    lists = [*two_blocks(), np.array([], np.int32)]
    scorer = make_scorer().fit(Ragged.from_lists([row.tolist() for row in lists]), N_TRACKS)
    assert np.isfinite(scorer.score(Ragged.from_lists([[0, 1]]))).all()


def same_twice(make_scorer: MakeScorer, personal: bool = True) -> None:
    train = two_blocks()
    first = make_scorer().fit(train, N_TRACKS)
    scores = first.score(train)
    np.testing.assert_array_equal(first.score(train), scores, "scoring changes the scorer")
    again = make_scorer().fit(train, N_TRACKS).score(train)
    np.testing.assert_allclose(again, scores, rtol=1e-4, atol=1e-6, err_msg="fit is not seeded")


def playlists_do_not_affect_each_other(make_scorer: MakeScorer, personal: bool = True) -> None:
    scorer = make_scorer().fit(two_blocks(), N_TRACKS)
    seeds = Ragged.from_lists([[0, 1, 2], [12, 13], [5], [20, 21, 22, 23, 12]])
    together = scorer.score(seeds)
    alone = np.concatenate([scorer.score(seeds.select(np.array([i]))) for i in range(len(seeds))])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def order_of_seeds_is_irrelevant(make_scorer: MakeScorer, personal: bool = True) -> None:
    scorer = make_scorer().fit(two_blocks(), N_TRACKS)
    scores = scorer.score(Ragged.from_lists([[0, 4, 9, 2], [9, 2, 4, 0]]))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4, atol=1e-5)


def inputs_are_left_alone(make_scorer: MakeScorer, personal: bool = True) -> None:
    train = two_blocks()
    offsets, values = train.offsets.copy(), train.values.copy()
    make_scorer().fit(train, N_TRACKS).score(train)
    np.testing.assert_array_equal(train.offsets, offsets)
    np.testing.assert_array_equal(train.values, values)


CHECKS = (
    own_block_comes_first,
    unseen_playlist_is_folded_in,
    shape_and_type,
    no_seeds_give_finite_scores,
    training_survives_empty_playlists,
    same_twice,
    playlists_do_not_affect_each_other,
    order_of_seeds_is_irrelevant,
    inputs_are_left_alone,
)

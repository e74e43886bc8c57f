"""The second stage: what is counted, found, learned and answered."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.evaluation.ranking import top_k
from spotify_engine.evaluation.splits import Split
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.playlists.second_stage.counts import (
    AFTER,
    BEFORE,
    SOON,
    SOON_AFTER,
    TOGETHER,
    PairCounts,
    count_pairs,
    strengths,
)
from spotify_engine.playlists.second_stage.features import Question, TrackFeatures, batch_of
from spotify_engine.playlists.second_stage.fit import (
    SecondStageConfig,
    fit_second_stage,
    lists_to_choose_by,
)
from spotify_engine.playlists.second_stage.stage import (
    BELOW,
    LEAST_SEEDS,
    HeadShape,
    SecondStage,
    batches,
    new_head,
)
from spotify_engine.ragged import Ragged

N = 60


def chains(n=400, length=14, seed=0) -> Ragged:
    """Playlists that walk up a circle of tracks, mostly by one, from anywhere."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        steps = rng.choice([1, 1, 1, 2, 3], length)
        rows.append(list(dict.fromkeys(((rng.integers(N) + np.cumsum(steps)) % N).tolist())))
    return Ragged.from_lists(rows)


def split_of(lists: Ragged, held: int = 2, strategy: str = "last") -> Split:
    parts = [[], [], []]
    for row in lists:
        for part, tracks in zip(
            parts, (row[: -2 * held], row[-2 * held : -held], row[-held:]), strict=True
        ):
            part.append(tracks)
    return Split(*(Ragged.from_lists(part) for part in parts), N, strategy, None)


def features(train: Ragged, ordered: bool = True, neighbours: int = 20) -> TrackFeatures:
    rng = np.random.default_rng(1)
    return TrackFeatures(
        count_pairs(train, N, ordered, neighbours),
        np.bincount(train.values, minlength=N).astype(np.int32),
        rng.normal(size=(N, 8)).astype(np.float32),
        np.arange(N) // 3,
        rng.normal(size=(N, 4)).astype(np.float32),
    )


def popular(train: Ragged):
    """A first stage that knows how often tracks stand together, in no order."""
    contains = np.zeros((len(train), N), np.float32)
    contains[train.rows, train.values] = 1
    together = contains.T @ contains

    def score(seeds: Ragged) -> np.ndarray:
        mine = np.zeros((len(seeds), N), np.float32)
        mine[seeds.rows, seeds.values] = 1
        return mine @ together / np.maximum(seeds.lengths, 1)[:, None].astype(np.float32)

    return score


@pytest.fixture(scope="module")
def split() -> Split:
    return split_of(chains())


@pytest.fixture(scope="module")
def fitted(split):
    found = features(split.train)
    return fit_second_stage(popular(split.train), found, split, SecondStageConfig(epochs=6))


# Counts


@given(st.integers(0, 200))
def test_counts_are_those_of_going_through_every_playlist(seed):
    train = chains(30, 8, seed)
    found = count_pairs(train, N, True, N)
    expected = [Counter() for _ in range(4)]
    for row in train:
        for i, first in enumerate(row.tolist()):
            for j, other in enumerate(row.tolist()):
                if i == j:
                    continue
                expected[TOGETHER][first, other] += 1
                expected[AFTER][first, other] += j == i + 1
                expected[BEFORE][first, other] += j == i - 1
                expected[SOON_AFTER][first, other] += 0 < j - i <= SOON
    block = found.block(np.arange(N), np.arange(N))
    for kind, counted in enumerate(expected):
        assert Counter({key: n for key, n in np.ndenumerate(block[:, :, kind]) if n}) == +counted


def test_only_the_strongest_are_kept_but_all_that_came_soon_after():
    train = chains()
    few, all_of_them = count_pairs(train, N, True, 3), count_pairs(train, N, True, N)
    ordered = all_of_them.counts[:, 1:].any(axis=1)
    assert ordered.sum() < len(few.indices) < len(all_of_them.indices)
    plain = count_pairs(train, N, False, 3)
    assert plain.kinds == 1
    assert np.diff(plain.indptr).max() == 3
    whole = count_pairs(train, N, False, N)
    popularity = np.bincount(train.values, minlength=N)
    for track in range(N):
        others = whole.indices[whole.indptr[track] : whole.indptr[track + 1]]
        counts = whole.counts[whole.indptr[track] : whole.indptr[track + 1]].astype(np.int64)
        strength = strengths(counts, np.full(len(others), popularity[track]), popularity[others])
        kept = plain.indices[plain.indptr[track] : plain.indptr[track + 1]]
        least = strength[np.isin(others, kept), TOGETHER].min()
        assert least >= np.sort(strength[:, TOGETHER])[-3] - 1e-6


def test_strengths_by_hand():
    counts = np.array([[4, 2, 0, 3], [0, 0, 0, 0]])
    found = strengths(counts, np.array([9, 5]), np.array([16, 5]))
    assert found[0] == pytest.approx([4 / 12 * 4 / 7, 2 / 12, 0, 3 / 12])
    assert not found[1].any()


def test_arrays_that_do_not_fit_are_refused():
    arrays = count_pairs(chains(), N, True, 5).arrays()
    again = PairCounts.of_arrays(arrays)
    assert all((arrays[name] == again.arrays()[name]).all() for name in arrays)
    with pytest.raises(ValueError, match="counts for"):
        PairCounts.of_arrays(arrays | {"pairs_counts": arrays["pairs_counts"][:-1]})


# Features


def test_features_by_hand():
    train = Ragged.from_lists([[0, 1, 2], [0, 1], [2, 0]])
    tracks = TrackFeatures(
        count_pairs(train, 3, True, 5), np.array([3, 2, 2]), np.eye(3, dtype=np.float32),
        np.array([0, 0, 1]), None,
    )  # fmt: skip
    assert tracks.names == (
        "together", "after", "before", "soon_after", "vector", "artist", "artist run",
        "popular source",
    )  # fmt: skip
    edges = tracks.edges(np.array([0]), np.array([1, 2]))
    cosine = 2 / np.sqrt(6) * 2 / 5
    assert edges[0, 0] == pytest.approx([cosine, 2 / 6, 0, 2 / 6, 0, 1, 0, np.log(4)])
    assert edges[0, 1] == pytest.approx([cosine, 0, 1 / 6, 1 / 6, 0, 0, 0, np.log(4)])
    question = Question(np.array([0]), np.array([1, 2]), np.array([7, 8], np.float32))
    np.testing.assert_allclose(tracks.candidates(question), [[7, np.log(3)], [8, np.log(3)]])


def test_what_a_features_file_knows_by_hand():
    pairs = count_pairs(Ragged.from_lists([[0, 1, 2], [0, 1]]), 5, True, 5)
    tracks = TrackFeatures(
        pairs, np.array([2, 2, 1, 0, 0]), np.eye(5, dtype=np.float32), np.array([0, 0, 1, 0, 2]),
        None, np.array([4, 4, 7, 4, -1]), np.array([1999, 2004, 1999, np.nan, 1999], np.float32),
    )  # fmt: skip
    edges = tracks.edges(np.array([0, 1, 2]), np.array([3, 4]))
    by = dict(zip(tracks.names, np.moveaxis(edges, 2, 0), strict=True))
    # One of the two that have another before them is by the same artist.
    np.testing.assert_allclose(by["artist run"], [[0.5, 0], [0.5, 0], [0, 0]])
    np.testing.assert_allclose(by["album"], [[1, 0], [1, 0], [0, 0]])
    np.testing.assert_allclose(by["year"], [[0, 1], [0, np.exp(-1)], [0, 1]])
    unknown = tracks.edges(np.array([4]), np.array([3, 4]))[0]
    assert not unknown[:, tracks.names.index("album")].any(), "unknown albums are not the same"


@given(st.integers(0, 100))
def test_that_a_playlist_was_counted_itself_tells_only_of_its_own_tracks(seed):
    """What leads from it elsewhere is counted in the others alone: no answer leaks into a feature.

    Only its tracks' own popularity is one less without it.
    """
    train = chains(30, 8, seed)
    without = train.select(np.arange(1, len(train)))
    own = train[0].astype(np.int64)
    others = np.setdiff1d(np.arange(N), own)
    blocks = [count_pairs(each, N, True, N).block(own, others) for each in (train, without)]
    np.testing.assert_array_equal(*blocks)
    mine = features(train).edges(own, others)
    rare = np.bincount(without.values, minlength=N)[own] == 0
    columns = [features(train).names.index("popular source")]
    fewer = features(without).edges(own, others)
    np.testing.assert_allclose(mine[rare][:, :, columns], fewer[rare][:, :, columns])


def test_of_a_long_playlist_the_last_thousand_are_attended_to(split):
    tracks = features(split.train)
    seeds = np.arange(2500) % N
    asked = batch_of([Question(seeds, np.array([1, 2]), np.zeros(2, np.float32))], tracks)
    assert asked.edges.shape[1] == 1000
    assert asked.ages[0, -1] == 0
    assert asked.ages[0, 0] == asked.ages.max()


def test_batches_hold_every_question_with_candidates_once():
    rng = np.random.default_rng(0)
    asked = [
        Question(np.arange(rng.integers(1, 900)), np.arange(n), np.zeros(n, np.float32))
        for n in rng.integers(0, 200, 150)
    ]
    found = batches(asked)
    expected = [i for i, each in enumerate(asked) if len(each.candidates)]
    assert sorted(np.concatenate(found).tolist()) == expected
    assert len(found) > len(asked) // 64


# Fitting


def test_order_that_the_first_stage_cannot_see_is_found(fitted):
    stage, found = fitted
    assert stage is not None
    assert found["used"]
    best = max(each["val_recall@10"] for each in found["epochs"])
    assert best > 1.1 * found["first_stage"]["val_recall@10"]
    assert 0.9 < found["candidates_hold"] <= 1


def test_playlists_are_learned_from_or_chosen_by_never_both(split):
    learn, choose = lists_to_choose_by(split, SecondStageConfig(playlists=100))
    assert len(learn) == 80
    assert len(choose) == 20
    assert not np.isin(learn, choose).any()


def test_what_is_to_be_found_is_in_no_feature(split):
    """Other held-out tracks, and another test part: the same pairs, and the same questions."""
    other = Split(
        split.train, split_of(chains(seed=9)).val, split_of(chains(seed=9)).test, N, "last", None
    )
    seen = []
    for each in (split, other):
        tracks = features(each.train)
        stage = SecondStage.of(tracks, fit_second_stage(
            popular(each.train), tracks, split, SecondStageConfig(epochs=1)
        )[0].head)  # fmt: skip
        scores = popular(each.train)(each.train)
        stage.over_all(scores, each.train)
        seen.append(scores)
    np.testing.assert_array_equal(*seen)


def test_few_playlists_and_a_switched_off_stage_leave_the_first_alone(split):
    few = split_of(chains(20))
    stage, found = fit_second_stage(
        popular(few.train), features(few.train), few, SecondStageConfig()
    )
    assert stage is None
    assert "too few" in found["why"]
    stage, found = fit_second_stage(
        popular(split.train), features(split.train), split, SecondStageConfig(heads=0)
    )
    assert (stage, found["used"]) == (None, False)


def test_a_first_stage_that_knows_the_answer_is_left_alone(split):
    answers = {tuple(row): val for row, val in zip(split.train, split.val, strict=True)}

    def oracle(seeds: Ragged) -> np.ndarray:
        scores = np.zeros((len(seeds), N), np.float32)
        for i, row in enumerate(seeds):
            scores[i, answers.get(tuple(row), [])] = 50
        return scores

    stage, found = fit_second_stage(
        oracle, features(split.train), split, SecondStageConfig(epochs=1)
    )
    assert stage is None
    assert found["first_stage"]["val_recall@10"] == 1


# Answers


def test_one_answer_is_a_row_of_all_scores(split, fitted):
    stage, _ = fitted
    seeds = split.train.select(np.arange(40))
    alone = popular(split.train)(seeds)
    whole = alone.copy()
    stage.over_all(whole, seeds)
    expected, scores = top_k(whole, seeds, 40)
    for row in range(len(seeds)):
        own = seeds[row].astype(np.int64)
        first, first_scores = top_k(alone[[row]], Ragged.from_lists([own]), 100)
        there = first[0] >= 0
        chosen, found = stage.best(own, first[0][there], first_scores[0][there], 40)
        np.testing.assert_array_equal(chosen, expected[row][: len(chosen)])
        np.testing.assert_allclose(found, scores[row][: len(chosen)], rtol=1e-4)


def test_too_few_seeds_leave_the_first_stage_as_it_is(split, fitted):
    stage, _ = fitted
    seeds = Ragged.from_lists([[], [1], list(range(LEAST_SEEDS - 1)), list(range(LEAST_SEEDS))])
    alone = popular(split.train)(seeds)
    scores = alone.copy()
    stage.over_all(scores, seeds)
    np.testing.assert_array_equal(scores[:3], alone[:3])
    assert (scores[3] != alone[3]).all()
    assert scores[3].min() < -BELOW / 2


def test_the_order_of_seeds_decides(split, fitted):
    stage, _ = fitted
    forward = Ragged.from_lists([[10, 11, 12, 40, 41, 42], [40, 41, 42, 10, 11, 12]])
    scores = popular(split.train)(forward)
    stage.over_all(scores, forward)
    margin = scores[:, 43] - scores[:, 13]
    assert margin[0] > 1, "what comes after the last one, not what came after an earlier one"
    assert margin[1] < -1


@given(st.integers(0, 500))
def test_shares_sum_to_the_score(split, fitted, seed):
    stage, _ = fitted
    rng = np.random.default_rng(seed)
    seeds = rng.permutation(N)[: rng.integers(1, 12)]
    tracks = rng.permutation(N)[:5]
    first = rng.normal(size=N).astype(np.float32)
    shares = stage.shares(seeds, tracks)
    order = np.argsort(tracks)
    expected = stage.scores([Question(seeds, tracks[order], first[tracks[order]])])[0]
    found = shares.first * first[tracks] + shares.seeds.sum(0) + shares.popularity
    np.testing.assert_allclose(found[order], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(shares.attention.sum(0), 1, rtol=1e-4)
    block = stage.tracks.pairs.block(seeds, tracks[order])
    np.testing.assert_array_equal(shares.after[:, order], block[:, :, AFTER])


def test_a_stage_comes_back_from_its_arrays_as_it_was(split, fitted):
    stage, _ = fitted
    pairs = PairCounts.of_arrays(stage.arrays())
    tracks = TrackFeatures(pairs, *[getattr(stage.tracks, name) for name in (
        "popularity", "vectors", "artist", "audio",
    )])  # fmt: skip
    again = SecondStage.of_arrays(stage.arrays(), stage.shape, tracks)
    seeds = split.train.select(np.arange(5))
    scores = [popular(split.train)(seeds) for _ in range(2)]
    for each, row in zip((stage, again), scores, strict=True):
        each.over_all(row, seeds)
    np.testing.assert_array_equal(*scores)
    fewer = TrackFeatures(pairs, *[getattr(stage.tracks, name)[:-1] for name in (
        "popularity", "vectors", "artist", "audio",
    )])  # fmt: skip
    with pytest.raises(ValueError, match="pairs of 60 tracks for 59"):
        SecondStage.of_arrays(stage.arrays(), stage.shape, fewer)


# In a recommender


@pytest.fixture(scope="module")
def recommender(world, make_recommender):
    """One with a head of random parameters: what it says is checked, not whether it is good."""
    made = make_recommender()
    pairs = count_pairs(world.train, len(made.ids), True, 10)
    tracks = made.track_features(pairs)
    torch.manual_seed(1)
    head = new_head(tracks, HeadShape(heads=2, hidden=4, ordered=True))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
        head.value.abs_()  # whatever speaks for a track is said
    return made.with_second_stage(SecondStage.of(tracks, head))


def test_completing_ranks_as_score_does_and_reasons_sum_to_it(recommender, world):
    seeds = world.train[0]
    found = recommender.complete([f"id{i}" for i in seeds], k=5)
    scores = recommender.score(Ragged.from_lists([seeds]))
    expected, best = top_k(scores, Ragged.from_lists([seeds]), 5)
    assert [each.id for each in found] == [f"id{i}" for i in expected[0]]
    assert [each.score for each in found] == pytest.approx(best[0].tolist(), rel=1e-4)
    for each in found:
        total = sum(reason.contribution for reason in each.reasons)
        assert total == pytest.approx(each.score, rel=1e-3, abs=1e-3)


def test_explanations_sum_to_the_score_of_any_track(recommender, world):
    seeds = world.train[0]
    others = np.setdiff1d(np.arange(len(recommender.ids)), seeds)[:6]
    explained = recommender.explain([f"id{i}" for i in seeds], [f"id{i}" for i in others])
    for track, each in zip(others, explained, strict=True):
        score = recommender.score_one(Ragged.from_lists([seeds]), int(track))[0]
        assert each.score == pytest.approx(score, rel=1e-3, abs=1e-3)
        assert each.seeds.sum() + each.bias == pytest.approx(score, rel=1e-3, abs=1e-3)
        assert sum(each.parts.values()) + each.bias == pytest.approx(score, rel=1e-3, abs=1e-3)
        assert each.attention.sum() == pytest.approx(1, rel=1e-4)
    assert np.ptp([each.attention[0] for each in explained]) > 1e-3, "each attends differently"


def test_a_track_that_came_right_after_is_said_to(recommender, world):
    seeds = world.train[0]
    after = recommender.second.tracks.pairs.block(seeds, np.arange(len(recommender.ids)))
    pairs = [
        (seed, track, int(n))
        for (seed, track), n in np.ndenumerate(after[:, :, AFTER])
        if n and track not in seeds
    ]
    said = []
    for _, track, _ in pairs:
        [each] = recommender.explain([f"id{i}" for i in seeds], [f"id{track}"])
        said += [reason.text for reason in each.reasons if reason.text.startswith("Right after")]
    assert said, "at least one seed is among the strongest"
    assert any(f", in {n} other" in text for text in said for *_, n in pairs)


def test_a_bundle_keeps_it(recommender, world, tmp_path):
    recommender.save(tmp_path / "bundle", {})
    again = PlaylistRecommender.load(tmp_path / "bundle")
    seeds = world.train.select(np.arange(4))
    np.testing.assert_allclose(again.score(seeds), recommender.score(seeds), rtol=1e-5, atol=1e-5)
    asked = [f"id{i}" for i in world.train[1]]
    assert again.complete(asked) == recommender.complete(asked)

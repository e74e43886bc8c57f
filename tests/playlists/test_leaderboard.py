import io
import json

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console
from scipy import sparse

from spotify_engine.baselines.ials import IALSConfig
from spotify_engine.baselines.popularity import Popularity
from spotify_engine.errors import InputError
from spotify_engine.evaluation.beyond_accuracy import TrackFacts
from spotify_engine.evaluation.ranking import (
    evaluate_scorer,
    load_predictions,
    save_predictions,
)
from spotify_engine.evaluation.splits import HoldoutConfig, load_split, make_split, save_split
from spotify_engine.playlists.measure import leaderboard
from spotify_engine.playlists.measure.challenge import BreakdownConfig, challenge_breakdown
from spotify_engine.playlists.measure.leaderboard import (
    EvaluationConfig,
    baseline_rows,
    measure,
    measured_part,
    render_leaderboard,
    score_row,
)
from spotify_engine.ragged import Ragged

N_TRACKS = 24
SMALL = EvaluationConfig(
    ks=(1, 5),
    selection_k=5,
    top_k=8,
    breakdown=None,
    ials=(
        IALSConfig(factors=2, iterations=3, regularisation=0.03),
        IALSConfig(factors=4, iterations=3, regularisation=0.03),
    ),
)


@pytest.fixture
def split(two_blocks):
    return make_split(two_blocks(), N_TRACKS, HoldoutConfig(n=2, strategy="random"))


@pytest.fixture
def facts():
    block = np.arange(N_TRACKS) // (N_TRACKS // 2)
    return TrackFacts(block, sparse.csr_array(np.eye(2)[block]))


class Recorder:
    """Gives every track its id as the score, and notes what it was shown."""

    name = "recorder"

    def __init__(self):
        self.fitted = []
        self.seeds = []

    def fit(self, train, n_tracks):
        self.fitted.append(train)
        return self

    def score(self, seeds):
        self.seeds.append(seeds)
        return np.tile(np.arange(N_TRACKS, dtype=np.float32), (len(seeds), 1))


def test_every_baseline_beats_chance_on_two_blocks(split, facts):
    rows = {row.name: row for row in baseline_rows(split, facts, SMALL)}
    assert list(rows) == ["popularity", "bpr", "itemknn", "ials", "ease"]
    for name in ("itemknn", "ials", "ease"):
        assert rows[name].test["recall@5"] > rows["popularity"].test["recall@5"]
        assert rows[name].test["genre_consistency@5"] > 0.95
        assert rows[name].tuning_seconds > 0
        assert "best of" in rows[name].note
    assert rows["ials"].settings["factors"] in (2, 4)
    assert rows["popularity"].test["coverage@5"] <= 1
    json.dumps([row.report() for row in rows.values()], allow_nan=False)


def test_seeds_are_all_that_is_known_in_order_and_are_never_listed(split, facts):
    scorer = Recorder()
    row = score_row("recorder", scorer, split, facts, SMALL)
    assert scorer.fitted == []
    before_val, before_test, *_ = scorer.seeds
    np.testing.assert_array_equal(before_val.values, split.train.values)
    np.testing.assert_array_equal(before_test.values, split.known_before_test.values)
    for i, known in enumerate(split.known_before_test):
        assert known.tolist() == [*split.train[i], *split.val[i]]
    for i, known in enumerate(split.known_before_test):
        expected = [track for track in range(N_TRACKS)[::-1] if track not in known]
        assert row.predictions[i].tolist() == expected[:8]


def test_val_ranking_may_list_test_tracks_but_no_train_tracks(split):
    ids, _ = evaluate_scorer(Recorder(), split.train, split.train, split.val, N_TRACKS, N_TRACKS)
    for i, train in enumerate(split.train):
        assert set(ids[i]) - {-1} == set(range(N_TRACKS)) - set(train.tolist())


def test_fitting_sees_train_alone_and_only_the_chosen_settings_rank_test(split, facts, monkeypatch):
    made = []

    class Candidate(Recorder):
        def __init__(self, config):
            super().__init__()
            made.append((config.factors, self))

        def score(self, seeds):
            scores = super().score(seeds)
            return scores if made[-1][0] == 4 else -scores

    monkeypatch.setattr(leaderboard, "IALS", Candidate)
    config = SMALL.model_copy(update={"baselines": ("ials",)})
    [row] = baseline_rows(split, facts, config)
    assert [factors for factors, _ in made][:2] == [2, 4]
    assert len(made) == 3
    assert made[2][0] == row.settings["factors"]
    for _, scorer in made:
        assert [fitted is split.train for fitted in scorer.fitted] == [True]
    assert [len(scorer.seeds) for _, scorer in made] == [1, 1, 2], "val; val; val and test"


def test_groups_of_the_chosen_settings_come_with_each_row(split, facts):
    groups = BreakdownConfig(seed_counts=(1, 2), k=5, list_length=12)
    config = SMALL.model_copy(update={"breakdown": groups})
    rows = {row.name: row for row in baseline_rows(split, facts, config)}
    assert rows["ials"].breakdown["seeds"][0].keys() == rows["ease"].breakdown["seeds"][0].keys()
    popularity = Popularity().fit(split.train, N_TRACKS)
    expected = challenge_breakdown(popularity, split, facts.first_artist, groups)
    assert rows["popularity"].breakdown == expected
    assert "breakdown" not in rows["popularity"].report()
    without = score_row("popularity", popularity, split, facts, SMALL)
    assert without.breakdown is None
    assert without.test == rows["popularity"].test


def test_without_tuning_the_first_settings_are_used(split, facts):
    config = SMALL.model_copy(update={"tune_baselines": False, "baselines": ("ials",)})
    [row] = baseline_rows(split, facts, config)
    assert (row.settings["factors"], row.tuning_seconds, row.note) == (2, None, "")


def test_what_does_not_fit_is_skipped_and_said(split, facts):
    config = SMALL.model_copy(update={"ease_memory_gib": 1e-9, "baselines": ("ease", "itemknn")})
    rows = baseline_rows(split, facts, config)
    assert rows[0].note.startswith("skipped: 60 playlists x 24 tracks need")
    assert rows[0].predictions is None
    assert rows[0].test == {}
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(render_leaderboard(rows, config))
    text = console.export_text()
    assert text.index("itemknn") < text.index("ease"), "best first, skipped last"
    assert "skipped: 60 playlists x 24 tracks need" in text
    assert f"{rows[1].test['recall@5']:.4f}" in text


def test_figures_can_be_recomputed_from_the_two_files(split, facts, tmp_path):
    [row] = baseline_rows(split, facts, SMALL.model_copy(update={"baselines": ("itemknn",)}))
    save_split(split, tmp_path / "split.parquet")
    save_predictions(tmp_path / "predictions.parquet", row.predictions, row.scores)
    again = load_split(tmp_path / "split.parquet", N_TRACKS, len(split.train))
    lists, _ = load_predictions(tmp_path / "predictions.parquet", len(split.train), N_TRACKS)
    truth = measured_part(again.test, SMALL)
    assert measure(lists, truth, again.train, facts, SMALL.ks) == row.test


def test_a_cap_measures_the_same_playlists_for_all(split, facts):
    config = SMALL.model_copy(update={"max_playlists": 7, "tune_baselines": False})
    rows = baseline_rows(split, facts, config)
    asked = [(row.predictions >= 0).any(axis=1) for row in rows]
    assert asked[0].sum() == 7
    assert all((each == asked[0]).all() for each in asked)
    assert rows[0].test["playlists"] == rows[0].val["playlists"] == 7
    other = measured_part(split.test, config.model_copy(update={"seed": 1}))
    assert ((other.lengths > 0) != asked[0]).any()


def test_batches_do_not_change_the_lists(split):
    scorer = leaderboard.ItemKNN().fit(split.train, N_TRACKS)
    runs = [
        evaluate_scorer(scorer.score, split.train, split.train, split.test, N_TRACKS, 5, batch)
        for batch in (1, 7, 1000)
    ]
    for ids, scores in runs[1:]:
        np.testing.assert_array_equal(ids, runs[0][0])
        np.testing.assert_allclose(scores, runs[0][1])


def test_a_scorer_that_is_also_callable_is_asked_for_scores(split):
    class Module(Recorder):  # as a torch module is
        def __call__(self, seeds):
            raise AssertionError

    ids, _ = evaluate_scorer(Module(), split.train, split.train, split.test, N_TRACKS, 5)
    assert (ids >= 0).all()


def test_playlists_with_nothing_held_out_are_not_ranked():
    lists = Ragged.from_lists([[1, 2], [3], [0]])
    truth = Ragged.from_lists([[], [4], []])
    ids, scores = evaluate_scorer(Recorder(), lists, lists, truth, N_TRACKS, 2)
    np.testing.assert_array_equal(ids, [[-1, -1], [23, 22], [-1, -1]])
    assert np.isinf(scores[[0, 2]]).all()


def test_wrong_scores_and_short_playlists_are_refused(split):
    with pytest.raises(ValueError, match=r"scores must be \(60, 24\), got \(60, 3\)"):
        evaluate_scorer(
            lambda seeds: np.zeros((len(seeds), 3), np.float32),
            split.train,
            split.train,
            split.test,
            N_TRACKS,
            2,
        )
    with pytest.raises(InputError, match=r"lower holdout\.n"):
        measured_part(Ragged.from_lists([[], []]), SMALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ks": (5, 30), "selection_k": 5}, "top_k"),
        ({"ks": (0, 5), "selection_k": 5}, "top_k"),
        ({"ks": (5, 20)}, "selection_k 10 must be one of"),
        ({"baselines": ("svd",)}, "svd"),
        ({"ease": ()}, "at least 1"),
        ({"itemknn": ({"shrink": -1},)}, "greater than or equal to 0"),
        ({"metric": "recall"}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        EvaluationConfig(**settings)


def test_warm_recall_counts_only_held_out_tracks_that_training_has():
    """Two held out a playlist; track 4 is in no training playlist."""
    train = Ragged.from_lists([[0, 1], [2, 3]])
    truth = Ragged.from_lists([[2, 4], [4]])
    predictions = np.array([[4, 2], [4, 0]], np.int32)
    figures = measure(predictions, truth, train, TrackFacts(np.zeros(5, np.int64)), (1, 2))
    assert figures["warm_share"] == pytest.approx(1 / 3)
    assert figures["warm_recall@1"] == 0, "the first list finds track 2 at its second place"
    assert figures["warm_recall@2"] == 1, "the second playlist has nothing warm held out"
    unseen = measure(predictions[1:], truth.select(np.array([1])), train.select(np.array([1])),
                     TrackFacts(np.zeros(5, np.int64)), (1,))  # fmt: skip
    assert (unseen["warm_share"], unseen["warm_recall@1"]) == (0, None)

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from pydantic import ValidationError
from rich.console import Console

from spotify_engine.baselines.popularity import Popularity
from spotify_engine.evaluation.splits import Split
from spotify_engine.playlists.measure.challenge import (
    BreakdownConfig,
    challenge_breakdown,
    challenge_ndcg,
    clicks,
    r_precision,
)
from spotify_engine.playlists.report.challenge import plot_breakdown, render_breakdown
from spotify_engine.ragged import Ragged

ARTISTS = np.array([0, 0, 1, 2, 2, 3, -1, -1])


def lists(*rows):
    return np.array(rows, np.int32)


def held_out(*rows):
    return Ragged.from_lists(rows)


# --- R-precision ---------------------------------------------------------------------------------


def test_r_precision_adds_a_quarter_for_each_artist_that_is_found():
    # Of the first three, 0 is a hit; 1 is by the artist of 0, and 3 by that of 4: artists 0 and 2.
    found = r_precision(lists([0, 1, 3, 4, 2]), held_out([0, 2, 4]), ARTISTS)
    assert found == pytest.approx([(1 + 0.25 * 2) / 3])


def test_r_precision_looks_at_no_more_than_were_held_out():
    late = r_precision(lists([5, 6, 0, 2]), held_out([0, 2]), ARTISTS)
    assert late == pytest.approx([0.0])


def test_r_precision_of_a_perfect_list_exceeds_one_by_its_artists():
    perfect = lists([0, 1, 2])
    assert r_precision(perfect, held_out([0, 1, 2]), ARTISTS) == pytest.approx([1 + 0.25 * 2 / 3])
    assert r_precision(perfect, held_out([0, 1, 2]), ARTISTS, artist_credit=0) == pytest.approx([1])


def test_tracks_without_an_artist_share_none():
    assert r_precision(lists([7, 5]), held_out([6, 0]), ARTISTS) == pytest.approx([0.0])


def test_artists_are_matched_within_a_playlist():
    crossed = r_precision(lists([5], [0]), held_out([0], [5]), ARTISTS)
    assert crossed == pytest.approx([0.0, 0.0])


# --- NDCG ----------------------------------------------------------------------------------------


def test_ndcg_counts_ranks_one_and_two_alike():
    first, second, fourth = challenge_ndcg(
        lists([0, 9, 8, 7], [9, 0, 8, 7], [9, 8, 7, 0]), held_out([0], [0], [0])
    )
    assert (first, second, fourth) == pytest.approx((1.0, 1.0, 1 / 2))


def test_ndcg_by_hand_and_by_the_letter_of_the_rules():
    # Hits at 1, 2 and 4: 1 + 1/log2(2) + 1/log2(4) = 2.5; three at the top: 2 + 1/log2(3) = 2.6309.
    predictions, truth = lists([0, 1, 9, 2, 8]), held_out([0, 1, 2, 3])
    assert challenge_ndcg(predictions, truth, "found") == pytest.approx([2.5 / 2.63093], rel=1e-5)
    assert challenge_ndcg(predictions, truth) == pytest.approx([2.5 / (2.63093 + 0.5)], rel=1e-5)


def test_a_single_hit_at_the_top_is_perfect_only_by_the_letter():
    predictions, truth = lists([0, 8, 9]), held_out([0, 1, 2])
    assert challenge_ndcg(predictions, truth, "found") == pytest.approx([1.0])
    assert challenge_ndcg(predictions, truth) == pytest.approx([1 / 2.63093], rel=1e-5)


def test_ndcg_asks_for_no_more_hits_than_a_list_has_places():
    assert challenge_ndcg(lists([0, 1]), held_out([0, 1, 2, 3])) == pytest.approx([1.0])


# --- Clicks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "expected"), [(1, 0), (10, 0), (11, 1), (20, 1), (21, 2), (500, 49)]
)
def test_clicks_are_pages_of_ten_before_the_first_hit(rank, expected):
    predictions = np.arange(1, 501, dtype=np.int32)[None]
    assert clicks(predictions, held_out([rank, 500])) == expected


def test_no_hit_takes_fifty_one_clicks():
    assert clicks(np.arange(500, dtype=np.int32)[None], held_out([500])) == 51
    assert clicks(np.zeros((1, 0), np.int32), held_out([500])) == 51


# --- All three -----------------------------------------------------------------------------------


def test_nothing_held_out_is_nothing_measured():
    empty = held_out([])
    for values in (
        r_precision(lists([0, 1]), empty, ARTISTS),
        challenge_ndcg(lists([0, 1]), empty),
        clicks(lists([0, 1]), empty),
    ):
        assert np.isnan(values).all()


@given(st.data())
def test_metrics_equal_their_definitions_on_sets(data):
    n_tracks = data.draw(st.integers(3, 40))
    artists = np.array(
        data.draw(st.lists(st.integers(-1, 6), min_size=n_tracks, max_size=n_tracks))
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    length = data.draw(st.integers(1, n_tracks))
    predictions, truth = [], []
    for _ in range(data.draw(st.integers(1, 5))):
        filled = rng.integers(0, length + 1)
        row = np.full(length, -1)
        row[:filled] = rng.permutation(n_tracks)[:filled]
        predictions.append(row)
        truth.append(rng.permutation(n_tracks)[: rng.integers(1, n_tracks + 1)])
    given_lists, given_truth = lists(*predictions), held_out(*truth)
    precision = r_precision(given_lists, given_truth, artists)
    full, letter = (
        challenge_ndcg(given_lists, given_truth, ideal) for ideal in ("held_out", "found")
    )
    pages = clicks(given_lists, given_truth)

    for row, (ranked, wanted) in enumerate(zip(predictions, truth, strict=True)):
        tracks, top = set(wanted.tolist()), [t for t in ranked[: len(wanted)].tolist() if t >= 0]
        shared = {artists[t] for t in tracks} & {artists[t] for t in top} - {-1}
        assert precision[row] == pytest.approx(
            (len(tracks & set(top)) + 0.25 * len(shared)) / len(tracks)
        )
        ranks = [place + 1 for place, track in enumerate(ranked.tolist()) if track in tracks]
        gain = sum(_discount(rank) for rank in ranks)
        possible = sum(_discount(rank) for rank in range(1, min(len(tracks), length) + 1))
        assert full[row] == pytest.approx(gain / possible)
        reordered = sum(_discount(rank) for rank in range(1, len(ranks) + 1))
        assert letter[row] == pytest.approx(gain / reordered if ranks else 0)
        assert pages[row] == ((ranks[0] - 1) // 10 if ranks else 51)


def _discount(rank):
    return 1.0 if rank == 1 else 1 / np.log2(rank)


# --- The breakdown -------------------------------------------------------------------------------

N_TRACKS = 60


@pytest.fixture
def split():
    """Twelve playlists of 1 to 34 train tracks, one val and two test tracks each, of 60 tracks."""
    rng = np.random.default_rng(5)
    orders = [rng.permutation(N_TRACKS) for _ in range(12)]
    return Split(
        train=Ragged.from_lists([order[3 : 4 + 3 * i] for i, order in enumerate(orders)]),
        val=Ragged.from_lists([order[:1] for order in orders]),
        test=Ragged.from_lists([order[1:3] for order in orders]),
        n_tracks=N_TRACKS,
        strategy="given",
        order=None,
    )


CONFIG = BreakdownConfig(
    seed_counts=(1, 5, 100), list_length=30, k=5, length_edges=(4, 20), popularity_edges=(0, 4)
)
NO_ARTIST = np.full(N_TRACKS, -1)


class Recording:
    """Scores by id, and remembers the seeds it was given."""

    def __init__(self):
        self.asked = []

    def __call__(self, seeds):
        self.asked.append([row.tolist() for row in seeds])
        return np.tile(-np.arange(N_TRACKS, dtype=np.float32), (len(seeds), 1))


def test_playlists_are_completed_from_exactly_n_of_their_train_tracks(split):
    recording = Recording()
    rows = challenge_breakdown(recording, split, NO_ARTIST, CONFIG)["seeds"]
    assert [(row["group"], row["playlists"]) for row in rows] == [("1", 12), ("5", 10), ("100", 0)]
    assert rows[1]["held_out"] == 20
    assert rows[2]["r_precision"] is None
    one, five, everything = recording.asked
    assert [len(row) for row in one] == [1] * 12
    for row, (drawn, train) in enumerate(zip(five, list(split.train)[2:], strict=True)):
        assert len(set(drawn)) == 5, row
        assert set(drawn) <= set(train.tolist()), row
    assert everything == [row.tolist() for row in split.known_before_test]


def test_seeds_are_drawn_evenly(split):
    first = []
    for seed in range(200):
        recording = Recording()
        config = CONFIG.model_copy(update={"seed": seed, "seed_counts": (1,)})
        challenge_breakdown(recording, split, NO_ARTIST, config)
        first.append(recording.asked[0][1][0])
    counts = [first.count(track) for track in split.train[1].tolist()]
    assert sum(counts) == 200
    assert min(counts) > 30, "four tracks, 50 times each by expectation"


def test_figures_of_a_group_are_those_of_its_lists(split):
    row = challenge_breakdown(Recording(), split, NO_ARTIST, CONFIG)["seeds"][1]
    known = split.known_before_test
    ranked, truth = [], []
    for playlist in range(2, 12):  # the scorer ranks by id: what isn't known, from the smallest
        free = [t for t in range(N_TRACKS) if t not in known[playlist]]
        ranked.append(free[:30] + [-1] * (30 - len(free)))
        truth.append(split.test[playlist])
    expected, of = lists(*ranked), held_out(*truth)
    assert row["ndcg"] == pytest.approx(challenge_ndcg(expected, of).mean())
    assert row["ndcg_found"] == pytest.approx(challenge_ndcg(expected, of, "found").mean())
    assert row["clicks"] == pytest.approx(clicks(expected, of).mean())
    assert row["r_precision"] == pytest.approx(r_precision(expected, of, NO_ARTIST).mean())
    hits = [len(set(r[:5]) & set(t.tolist())) for r, t in zip(ranked, truth, strict=True)]
    assert row["recall@5"] == pytest.approx(np.mean(hits) / 2)


def test_bands_hold_the_playlists_and_tracks_they_say():
    # Track 0 is in three training playlists, 1 in one, 9 in none. The scorer ranks by id.
    split = Split(
        train=held_out([0, 2], [0, 3, 4], [0, 1, 5, 6, 7], [2, 3]),
        val=held_out([], [], [], []),
        test=held_out([1, 9], [1], [], [0, 8]),
        n_tracks=10,
        strategy="given",
        order=None,
    )
    config = BreakdownConfig(k=2, list_length=4, length_edges=(2, 4), popularity_edges=(0, 2))

    def by_id(seeds):
        return np.tile(-np.arange(10, dtype=np.float32), (len(seeds), 1))

    found = challenge_breakdown(by_id, split, np.arange(10), config)
    # Lists of two: 1, 3 | 1, 2 | (not asked) | 0, 1
    assert found["lengths"] == [
        {"group": "1-2", "playlists": 2, "held_out": 4, "recall@2": 0.5},
        {"group": "3-4", "playlists": 1, "held_out": 1, "recall@2": 1.0},
        {"group": ">4", "playlists": 0, "held_out": 0, "recall@2": None},
    ]
    assert found["popularity"] == [
        {"group": "0", "playlists": 2, "held_out": 2, "recall@2": 0.0},
        {"group": "1-2", "playlists": 2, "held_out": 2, "recall@2": 1.0},
        {"group": ">2", "playlists": 1, "held_out": 1, "recall@2": 1.0},
    ]


def test_max_playlists_draws_the_same_for_every_scorer(split):
    config = CONFIG.model_copy(update={"max_playlists": 3})
    recordings = [Recording(), Recording()]
    for recording in recordings:
        breakdown = challenge_breakdown(recording, split, NO_ARTIST, config)
    assert recordings[0].asked == recordings[1].asked
    assert max(row["playlists"] for rows in breakdown.values() for row in rows) == 3
    assert [row["playlists"] for row in breakdown["seeds"]] == [3, 3, 0]


def test_memory_is_bounded_by_the_batch(split):
    small, whole = Recording(), Recording()
    batched = challenge_breakdown(small, split, NO_ARTIST, CONFIG.model_copy(update={"batch": 5}))
    assert max(len(seeds) for seeds in small.asked) == 5
    assert batched == challenge_breakdown(whole, split, NO_ARTIST, CONFIG)


def test_known_tracks_are_never_recommended(split):
    # All the score is on what is known: were it not left out, nothing held out would be found.
    order = np.argsort(np.bincount(split.known_before_test.values, minlength=N_TRACKS))

    def prefers_known(seeds):
        scores = np.zeros((len(seeds), N_TRACKS), np.float32)
        scores[:, order] = np.arange(N_TRACKS)
        return scores

    config = CONFIG.model_copy(update={"list_length": N_TRACKS, "seed_counts": (1,)})
    (row,) = challenge_breakdown(prefers_known, split, NO_ARTIST, config)["seeds"]
    assert row["clicks"] < 6, "all free tracks fit on six pages, so each list has a hit"


def test_one_artist_for_each_track_is_asked_for(split):
    with pytest.raises(ValueError, match=r"first_artist must be \[60\]"):
        challenge_breakdown(Recording(), split, np.zeros(3, int), CONFIG)


@pytest.mark.parametrize(
    "bad",
    [
        {"seed_counts": (0, 5)},
        {"seed_counts": (5, 5)},
        {"length_edges": (10, 5)},
        {"length_edges": (0, 5)},
        {"popularity_edges": (-1, 5)},
        {"popularity_edges": ()},
    ],
)
def test_groups_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValidationError):
        BreakdownConfig(**bad)


# --- Table and picture ---------------------------------------------------------------------------


@pytest.fixture
def breakdowns(split):
    popularity = Popularity().fit(split.train, N_TRACKS)
    return {
        name: challenge_breakdown(scorer, split, NO_ARTIST, CONFIG)
        for name, scorer in (("popularity", popularity), ("by-id", Recording()))
    }


def test_breakdowns_are_json(breakdowns):
    assert json.loads(json.dumps(breakdowns)) == breakdowns


def test_the_table_has_every_group_and_scorer(breakdowns):
    console = Console(width=100, record=True)
    console.print(render_breakdown(breakdowns))
    text = console.export_text()
    for word in ("popularity", "by-id", "1-4", "5-20", ">20", "clicks", "R-precision", "NDCG"):
        assert word in text
    assert f"{breakdowns['by-id']['seeds'][0]['ndcg']:.4f}" in text


def test_breakdowns_of_other_groups_do_not_stand_side_by_side(split, breakdowns):
    other = CONFIG.model_copy(update={"max_playlists": 2})
    breakdowns["fewer"] = challenge_breakdown(Recording(), split, NO_ARTIST, other)
    with pytest.raises(ValueError, match="the groups of fewer are not those of popularity"):
        render_breakdown(breakdowns)
    with pytest.raises(ValueError, match="no breakdown"):
        render_breakdown({})


def test_the_picture_has_a_panel_for_each_figure(breakdowns, tmp_path):
    plot_breakdown(breakdowns, tmp_path / "breakdown.png")
    picture = imread(tmp_path / "breakdown.png")
    height, width = picture.shape[:2]
    for row in range(2):
        for column in range(3):
            panel = picture[
                row * height // 2 : (row + 1) * height // 2,
                column * width // 3 : (column + 1) * width // 3,
            ]
            blue = np.abs(panel[..., :3] - [0x1F / 255, 0x77 / 255, 0xB4 / 255]).max(axis=-1) < 0.02
            assert blue.sum() > 100, (row, column)

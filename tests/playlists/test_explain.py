import numpy as np
import pytest

from spotify_engine.playlists.completing.heatmap import plot_attention
from spotify_engine.ragged import Ragged

SEEDS = [4, 16, 9, 0, 20]
PLAYLIST = [f"id{i}" for i in SEEDS]


@pytest.fixture(scope="module")
def recommender(make_recommender):
    return make_recommender()


@pytest.fixture(scope="module")
def explanations(recommender):
    return recommender.explain(PLAYLIST, ["id1", "id11", "id22", "id25"])


def test_both_ways_of_taking_a_score_apart_give_the_score(recommender, explanations):
    scores = recommender.score(Ragged.from_lists([SEEDS]))[0]
    for each in explanations:
        assert each.score == pytest.approx(scores[each.row], abs=1e-4)
        assert each.seeds.sum() + each.bias == pytest.approx(each.score, abs=1e-5)
        assert sum(each.parts.values()) + each.bias == pytest.approx(each.score, abs=1e-5)
        assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score, abs=1e-5)


def test_attention_sums_to_one_and_is_the_same_for_every_track(explanations):
    for each in explanations:
        assert each.attention.shape == each.seeds.shape == (5,)
        assert each.attention.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(each.attention, explanations[0].attention)


def test_a_seed_that_is_left_out_takes_its_share_along(recommender, explanations):
    """With attention held fixed, contributions are what each seed's value adds: by hand."""
    encoded = recommender.encoded
    _, attention = recommender._fold(Ragged.from_lists([SEEDS]))
    length = (attention[:, :, None] * encoded.folds[-1].values[SEEDS]).sum(0).norm()
    for each in explanations:
        t = encoded.vectors[each.row].view(2, 2)
        for place, seed in enumerate(SEEDS):
            values = encoded.folds[-1].values[seed]
            by_hand = float((attention[place][:, None] * values * t).sum() / length)
            assert each.seeds[place] == pytest.approx(by_hand, abs=1e-5)


def test_genres_in_common_and_their_affinity(explanations):
    # Of the seeds, tracks 4, 9 and 0 are by rock artists (0..5), 16 and 20 by jazz ones (6..10).
    one, eleven, twenty_two, last = explanations
    assert (one.matched_genres, one.affinity) == (["rock"], [pytest.approx(0.6)])
    assert eleven.matched_genres == ["rock", "jazz"]
    assert eleven.affinity == pytest.approx([0.6, 0.4])
    for each in (twenty_two, last):
        assert (each.matched_genres, each.affinity) == ([], [])
        assert "No genre or artist in common" in each.text


def test_influence_is_shares_of_the_movement(explanations):
    for each in explanations:
        moved = [abs(each.parts["track"]) + abs(each.parts["playlists"])]
        moved += [abs(each.parts["artists"]), abs(each.bias)]
        assert list(each.influence.values()) == pytest.approx(np.array(moved) / sum(moved))


def test_reasons_are_listening_by_seed_then_genre_then_popularity(recommender, explanations):
    encoded = recommender.encoded
    _, attention = recommender._fold(Ragged.from_lists([SEEDS]))
    said = set()
    for each in explanations:
        least = 0.01 * abs(each.score)
        heard = (encoded.parts[0] + encoded.parts[1])[each.row].view(2, 2)
        values = encoded.folds[-1].values[SEEDS]
        weighted = attention[:, :, None] * values
        listening = (weighted * heard).sum((1, 2)).numpy() / weighted.sum(0).norm().item()
        order = np.argsort(-listening)
        strongest = [i for i in order[:3] if listening[i] >= least]
        others = [i for i in order[len(strongest) :] if listening[i] > 0]
        genres = bool(each.matched_genres) and each.parts["artists"] >= least
        popular = each.bias >= least and recommender.popularity[each.row] > 0
        rest = listening[others].sum()
        expected = [
            *[("seed", listening[i]) for i in strongest],
            *([("other_seeds", rest)] if others and rest >= least else []),
            *([("genre", each.parts["artists"])] if genres else []),
            *([("popularity", each.bias)] if popular else []),
        ]
        left = each.score - sum(value for _, value in expected)
        expected += [("rest", left)] if abs(left) > 1e-5 else []
        assert [r.kind for r in each.reasons] == [kind for kind, _ in expected]
        assert [r.contribution for r in each.reasons] == pytest.approx(
            [value for _, value in expected], abs=1e-5
        )
        for reason, place in zip(each.reasons, strongest, strict=False):
            assert reason.track == SEEDS[place]
            assert reason.attention == pytest.approx(each.attention[place])
            assert f'"{recommender.names[SEEDS[place]]}"' in str(reason)
        said |= {r.kind for r in each.reasons}
    assert {"seed", "other_seeds", "genre", "popularity", "rest"} <= said


def test_a_track_by_an_artist_of_the_playlist_says_so(recommender):
    artists = recommender.explainer.first_artist
    seed = 0
    same = next(t for t in range(1, 26) if artists[t] == artists[seed])
    (each,) = recommender.explain(["id0"], [f"id{same}"])
    assert f"{recommender.artists[same]} has 1 track in the playlist" in each.text


def test_popularity_in_words(recommender, world):
    counts = np.bincount(world.train.values, minlength=26)
    of = recommender.explainer.popularity_reasons
    for track in np.argsort(counts)[2:]:
        [reason] = of(int(track), 0.5, None)
        above = int(100 * np.mean(counts < counts[track]))
        said = f"above {above}% of tracks (score +0.50)"
        held = f"n {counts[track]} playlists"
        if above >= 50:
            assert reason.text == f"Popular: i{held}, {said}"
        elif above:
            assert reason.text == f"I{held}, {said}"
        [of_genre] = of(int(track), 0.5, "jazz")
        start = "Popular of" if above >= 50 else "A track of"
        assert of_genre.text.startswith(f'{start} the genres in "jazz"')
    assert of(25, 0.5, None) == [], "no playlist holds it"


def test_text_has_the_three_headings(explanations):
    text = explanations[0].text
    assert text.startswith('Recommending "Song 1" by Artist 0 because:')
    headings = [line for line in text.splitlines() if line[:2] in ("1.", "2.", "3.")]
    assert [h.split(" (")[0] for h in headings] == [
        "1. Similar Listening Patterns",
        "2. Genre and Artist Match",
        "3. Popularity Context",
    ]
    assert "Matches the playlist's rock (affinity: 0.60)" in text


def test_one_seed_has_all_attention(recommender):
    (each,) = recommender.explain(["id7"], ["id8"])
    assert each.attention.tolist() == pytest.approx([1.0])
    assert sum(r.attention or 0 for r in each.reasons) == pytest.approx(1)
    assert not any(r.kind == "other_seeds" for r in each.reasons)


def test_without_artists_their_part_is_nothing(make_recommender):
    recommender = make_recommender(graph={"artists": False})
    for each in recommender.explain(PLAYLIST, ["id1", "id25"]):
        assert each.parts["artists"] == 0
        assert each.influence["genre and artist"] == 0


def test_plot_is_a_png_whatever_the_names(tmp_path, explanations):
    names = ["$a_$", "x" * 80, r"\frac", "ünï", "<&>"]
    plot_attention(explanations, names, ["$$", "b", "c", "d"], tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")

import json
import re

import numpy as np
import pytest
from scipy import sparse

from spotify_engine.errors import InputError
from spotify_engine.learning.item_item import item_item_scores, item_item_weights
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.ragged import Ragged
from spotify_engine.store.bundle import write_bundle

ALL = [f"id{i}" for i in range(26)]


@pytest.fixture(scope="module")
def recommender(make_recommender):
    return make_recommender()


@pytest.fixture(scope="module")
def bundle(recommender, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "bundle"
    recommender.save(folder, {"config": {}, "metrics": {}, "data_fingerprint": "abc"})
    return folder


@pytest.mark.parametrize(
    ("graph", "model"),
    [
        ({}, {}),
        ({"audio": False}, {}),
        ({"artists": False}, {"skip": False}),
        ({"genres": False}, {"playlist_embedding": True}),
        ({}, {"layers": (4,), "heads": (1,)}),
    ],
)
def test_a_loaded_bundle_recommends_the_same(make_recommender, tmp_path, graph, model):
    made = make_recommender(graph=graph, **model)
    made.save(tmp_path / "bundle", {"config": {}, "metrics": {}})
    loaded = PlaylistRecommender.load(tmp_path / "bundle")
    for tracks in (["id0", "id5"], ["id20"], ALL[:9]):
        assert loaded.complete(tracks) == made.complete(tracks)
    assert loaded.complete([], title="rock") == made.complete([], title="rock")
    seeds = Ragged.from_lists([[0, 1], [25], []])
    np.testing.assert_array_equal(loaded.score(seeds), made.score(seeds))


def test_lists_are_the_best_of_the_scores(recommender):
    found = recommender.complete(["id3", "id9"], k=24)
    scores = recommender.score(Ragged.from_lists([[3, 9]]))[0]
    expected = [i for i in np.argsort(-scores, kind="stable") if i not in (3, 9)]
    assert [each.id for each in found] == [f"id{i}" for i in expected]
    np.testing.assert_allclose([each.score for each in found], scores[expected], atol=1e-5)
    assert all(each.fallback is None for each in found)
    assert (found[0].name, found[0].artist) == (
        recommender.names[expected[0]],
        recommender.artists[expected[0]],
    )


@pytest.mark.parametrize("seeds", [["id4"], ["id0", "id1", "id2"], ALL[:15]])
def test_contributions_of_the_reasons_sum_to_the_score(recommender, seeds):
    for each in recommender.complete(seeds, k=26):
        total = sum(reason.contribution for reason in each.reasons)
        assert total == pytest.approx(each.score, abs=1e-4)
        attention = sum(reason.attention or 0 for reason in each.reasons)
        assert attention == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "asked",
    [
        "id3",
        ("Duo - One", "Alive - Live"),
        ("DUO - one", "  alive - LIVE "),
        "Duo - One - Alive - Live",
        "duo - one - ALIVE - live",
    ],
)
def test_a_track_is_found_however_it_is_given(recommender, asked):
    rows, unknown = recommender.resolve([asked])
    assert rows.tolist() == [3]
    assert unknown == []
    assert recommender.complete([asked]) == recommender.complete(["id3"])


def test_resolving_keeps_order_drops_repeats_and_lists_the_unknown(recommender):
    rows, unknown = recommender.resolve(
        [
            "id8",
            "Artist 0 - Song 1",
            "nothing",
            "id8",
            ("Artist 0", "song 1"),
            ("Nobody", "Nothing"),
        ]
    )
    assert rows.tolist() == [8, 1]
    assert unknown == ["nothing", "Nobody - Nothing"]
    assert recommender.resolve([])[0].dtype == np.int64


def test_name_and_artist_are_not_swapped(recommender):
    assert recommender.resolve(["Song 1 - Artist 0"])[1] == ["Song 1 - Artist 0"]


def test_seeds_and_excluded_tracks_are_never_recommended(recommender):
    seeds, excluded = ["id0", "Duo - One - Alive - Live"], ["id7", ("Artist 5", "Song 10"), "id0"]
    found = {each.id for each in recommender.complete(seeds, k=99, exclude=excluded)}
    assert found == set(ALL) - {"id0", "id3", "id7", "id10"}
    found = {each.id for each in recommender.complete([], k=99, exclude=excluded)}
    assert found == set(ALL) - {"id0", "id7", "id10"}


def test_more_than_the_catalogue_gives_what_is_there(recommender):
    assert len(recommender.complete(["id0"], k=1000)) == 25
    assert recommender.complete(ALL, k=5) == []
    assert recommender.complete([], exclude=ALL) == []
    assert len(recommender.complete(["id0"], k=3)) == 3


@pytest.mark.parametrize("k", [0, -1])
def test_at_least_one_must_be_asked_for(recommender, k):
    with pytest.raises(InputError, match=f"k is {k}; ask for at least 1"):
        recommender.complete(["id0"], k=k)


def test_too_many_tracks(recommender):
    with pytest.raises(InputError, match=r"10,001 entries; the limit is 10,000"):
        recommender.complete(["id0"] * 10_001)


def test_unknown_tracks_are_left_out(recommender):
    assert recommender.complete(["id2", "nothing"]) == recommender.complete(["id2"])


@pytest.mark.parametrize("title", [None, "", "my summer", "hyperpop"])
def test_without_a_known_track_popularity_answers(recommender, world, title):
    found = recommender.complete(["no such - track"], title=title, k=26)
    counts = np.bincount(world.train.values, minlength=26)
    expected = np.argsort(-counts, kind="stable")
    assert [each.id for each in found] == [f"id{i}" for i in expected]
    assert {each.fallback for each in found} == {"popularity"}
    assert [each.score for each in found] == counts[expected].tolist()
    assert "Popular:" in found[0].reasons[0].text


def test_a_title_that_names_a_genre_answers_first(recommender, world):
    found = recommender.complete([], title="Smooth JAZZ nights", k=26)
    counts = np.bincount(world.train.values, minlength=26)
    # Artists 5 to 10 play jazz: tracks 10 to 21.
    jazz = sorted(range(10, 22), key=lambda i: (-counts[i], i))
    assert [each.id for each in found[:12]] == [f"id{i}" for i in jazz]
    assert [each.fallback for each in found] == ["title"] * 12 + ["popularity"] * 14
    assert 'of the genres in "Smooth JAZZ nights"' in found[0].reasons[0].text


def test_a_known_track_comes_before_the_title(recommender):
    assert recommender.complete(["id0"], title="jazz") == recommender.complete(["id0"])


def test_an_unseen_playlist_needs_no_training(recommender, world):
    """Any mix of known tracks is scored by attention over exactly those."""
    rng = np.random.default_rng(0)
    mixes = [rng.permutation(24)[:n] for n in (1, 4, 13)]
    known = {frozenset(row.tolist()) for row in world.train}
    assert not known & {frozenset(row.tolist()) for row in mixes}
    scores = recommender.score(Ragged.from_lists(mixes))
    for mix, row in zip(mixes, scores, strict=True):
        found = recommender.complete([f"id{i}" for i in mix], k=5)
        expected = row[[int(f.id[2:]) for f in found]]
        np.testing.assert_allclose([f.score for f in found], expected, atol=1e-5)
        assert all(f.fallback is None for f in found)


def test_explain_names_what_is_missing(recommender):
    with pytest.raises(InputError, match="none of the playlist's tracks is known"):
        recommender.explain(["nothing"], ["id0"])
    with pytest.raises(InputError, match="'nothing' is not in the catalogue"):
        recommender.explain(["id0"], ["nothing"])


def edited(bundle, tmp_path, change):
    """A copy of a bundle with other content and fitting checksums."""
    opened = PlaylistRecommender.load(bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    arrays = {p.stem: np.load(p) for p in bundle.glob("*.npy")}
    tables = dict(opened.tables)
    change(manifest, arrays, tables)
    manifest = {k: v for k, v in manifest.items() if k not in ("files", "format_version")}
    write_bundle(tmp_path / "edited", manifest, arrays, tables, opened.model.state_dict())
    return tmp_path / "edited"


def without_model(manifest, arrays, tables):
    del manifest["model"]


def graph_is_null(manifest, arrays, tables):
    manifest["graph"] = None


def other_width(manifest, arrays, tables):
    manifest["model"]["layers"] = [8, 8, 6]


def unknown_setting(manifest, arrays, tables):
    manifest["model"]["depth"] = 3


@pytest.mark.parametrize("change", [without_model, graph_is_null, other_width, unknown_setting])
def test_parts_that_do_not_fit_each_other(bundle, tmp_path, change):
    folder = edited(bundle, tmp_path, change)
    with pytest.raises(InputError, match=re.escape(f"{folder}: parts do not fit")) as caught:
        PlaylistRecommender.load(folder)
    assert "\n" not in str(caught.value)


def fewer_vectors(manifest, arrays, tables):
    arrays["item_vectors"] = arrays["item_vectors"][:-1]


def fewer_tracks(manifest, arrays, tables):
    tables["tracks"] = tables["tracks"].slice(0, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fewer_vectors, r"item_vectors\.npy: 25 rows for 26 tracks"),
        (fewer_tracks, r"tracks\.parquet: 20 rows for 26 tracks"),
    ],
)
def test_rows_must_be_those_of_the_catalogue(bundle, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        PlaylistRecommender.load(edited(bundle, tmp_path, change))


def test_damage_is_named(bundle, tmp_path):
    folder = edited(bundle, tmp_path, lambda *_: None)
    assert PlaylistRecommender.load(folder).complete(["id0"])
    (folder / "fold_keys_1.npy").unlink()
    with pytest.raises(InputError, match=r"fold_keys_1\.npy: listed in the manifest but missing"):
        PlaylistRecommender.load(folder)


@pytest.fixture(scope="module")
def mixed(world, make_recommender):
    (weights,) = item_item_weights(world.train, 26, 5, [10.0])
    return make_recommender().with_items(sparse.csr_array(weights * np.float32(3)))


def test_item_item_term_is_in_the_score_and_in_the_reasons(world, mixed, make_recommender):
    alone = make_recommender()
    term = item_item_scores(mixed.items, world.train).toarray()
    assert np.abs(term).max() > 0.1
    together = mixed.items[world.train[0]].toarray()
    expected = alone.score(world.train) + term
    np.testing.assert_allclose(mixed.score(world.train), expected, rtol=1e-5, atol=1e-5)
    seeds = [f"id{i}" for i in world.train[0]]
    found = mixed.complete(seeds, k=5)
    for each, explained in zip(
        found, mixed.explain(seeds, [each.id for each in found]), strict=True
    ):
        assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score, abs=1e-4)
        assert explained.score == pytest.approx(each.score, abs=1e-4)
        assert explained.seeds.sum() + explained.bias == pytest.approx(each.score, abs=1e-4)
        assert sum(explained.parts.values()) + explained.bias == pytest.approx(each.score, abs=1e-4)
        row = int(each.id[2:])
        assert explained.parts["item_item"] == pytest.approx(term[0, row], abs=1e-5)
        assert any(r.kind == "item_item" for r in each.reasons) == (term[0, row] != 0)
        named = "Often in playlists with" in explained.text
        assert named == (together[:, row] > 0).any()


def test_item_item_term_is_in_the_bundle(tmp_path, world, mixed):
    mixed.save(tmp_path / "bundle", {})
    again = type(mixed).load(tmp_path / "bundle")
    np.testing.assert_array_equal(again.score(world.train), mixed.score(world.train))

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from spotify_engine.errors import InputError
from spotify_engine.learning.item_item import item_item_scores, item_item_weights
from spotify_engine.playlists.recommend import stand_ins
from spotify_engine.playlists.recommend.titles import TitleModel, TitleSettings
from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.ragged import Ragged
from spotify_engine.store.bundle import write_bundle

ALL = [f"id{i}" for i in range(26)]


@pytest.fixture(scope="module")
def recommender(make_recommender):
    return make_recommender()


@pytest.fixture(scope="module")
def titled(recommender, world):
    """Knows its playlists as "Rock morning 0", "Jazz evening 1", ..."""
    titles = [f"{('Rock morning', 'Jazz evening')[i % 2]} {i}" for i in range(40)]
    vectors = recommender.playlist_vectors(world.train)
    settings = TitleSettings(letters=0.4, neighbours=6, popularity=0.3)
    return recommender.with_titles(TitleModel.fit(titles, world.train, vectors, settings))


@pytest.fixture(scope="module")
def bundle(titled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "bundle"
    titled.save(folder, {"config": {}, "metrics": {}, "data_fingerprint": "abc"})
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


def test_a_loaded_bundle_knows_titles_and_stands_in_alike(titled, tmp_path):
    titled.save(tmp_path / "bundle", {"config": {}, "metrics": {}})
    loaded = PlaylistRecommender.load(tmp_path / "bundle")
    for title in ("evening jazz", "Evenings", "rock", "polka"):
        assert loaded.complete([], title=title) == titled.complete([], title=title)
    for tracks in (["Artist 3 - New"], ["id0", "Artist 7 - New", "Artist 8 - Newer"]):
        assert loaded.complete(tracks) == titled.complete(tracks)
    assert not list((tmp_path / "bundle").glob("*.pkl"))


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


@pytest.mark.parametrize(
    "tracks",
    [
        ["Artist 3 - New"],
        [("artist 3 ", "New"), "Artist 8 - Newer"],
        ["id0", "Artist 7 - New"],
        ["id0", "id20", "Artist 7 - New", "Artist 0 - Newer", "Nobody - Nothing"],
        ["id24"],
    ],
)
@pytest.mark.parametrize("with_items", [False, True])
def test_a_new_track_by_a_known_artist_is_a_seed(recommender, world, tracks, with_items):
    of = recommender
    if with_items:
        of = of.with_items(item_item_weights(world.train, 26, 10, [1.0])[0])
    found = of.complete(tracks, k=26)
    seeds = of.resolve(tracks)
    known = [f"id{row}" for row in seeds.rows]
    # Track 24 is in no playlist.
    approximated = not set(known) - {"id24"}
    assert {each.fallback for each in found} == {"artist" if approximated else None}
    assert not {each.id for each in found} & set(known)
    new = [each.name for each in seeds.by_artist]
    for each in found:
        total = sum(reason.contribution for reason in each.reasons)
        assert total == pytest.approx(each.score, abs=1e-4)
        attention = sum(reason.attention or 0 for reason in each.reasons)
        assert attention == pytest.approx(1, abs=1e-5)
        for reason in each.reasons:
            if reason.name in new:
                assert reason.track is None
                assert "of which only the artist Artist" in reason.text
            if reason.name == "Song 24":
                assert "which no training playlist has" in reason.text
    if known and new:
        assert found != of.complete(known, k=26), "it counts"
    explained = of.explain(tracks, [each.id for each in found])
    assert [e.score for e in explained] == pytest.approx([f.score for f in found], abs=1e-4)


def test_new_tracks_of_one_artist_are_nearly_alike_and_always_the_same(recommender):
    def scores(name):
        return {each.id: each.score for each in recommender.complete([("Artist 3", name)], k=26)}

    one, again, other = scores("New"), scores("  NEW"), scores("Newer")
    assert one == again
    assert one != other
    elsewhere = {e.id: e.score for e in recommender.complete(["Artist 9 - New"], k=26)}
    near = max(abs(one[i] - other[i]) for i in one)
    far = max(abs(one[i] - elsewhere[i]) for i in one)
    assert 0 < near < far / 4


def test_scoring_by_artist_is_what_completing_new_tracks_does(recommender, monkeypatch):
    """Whole batches for the measurement and single playlists for the user, but for the noise."""
    seeds = Ragged.from_lists([[0, 15], [7], []])
    noisy = recommender.score_by_artist(seeds)
    monkeypatch.setattr(stand_ins, "STAND_IN_NOISE", 0.0)
    scores = recommender.score_by_artist(seeds)
    for row, new in zip(scores, (["Artist 0 - X", "Artist 7 - X"], ["Artist 3 - X"]), strict=False):
        found = {each.id: each.score for each in recommender.complete(new, k=26)}
        assert [found[f"id{i}"] for i in range(26)] == pytest.approx(row.tolist(), abs=1e-5)
    np.testing.assert_allclose(scores[2], recommender.encoded.bias.numpy(), atol=1e-6)
    difference = np.abs(noisy - scores).max()
    assert 0 < difference < 0.3 * np.abs(scores).max()


def test_a_model_without_artists_has_nobody_to_stand_in(make_recommender):
    without = make_recommender(graph={"artists": False})
    assert without.resolve(["Artist 3 - New"]).unknown == ["Artist 3 - New"]
    assert without.complete(["Artist 3 - New"], k=1)[0].fallback == "popularity"
    with pytest.raises(ValueError, match="without artists"):
        without.score_by_artist(Ragged.from_lists([[0]]))


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
    assert [each.fallback for each in found] == ["title genres"] * 12 + ["popularity"] * 14
    assert 'of the genres in "Smooth JAZZ nights"' in found[0].reasons[0].text


def test_a_known_track_comes_before_the_title(titled):
    assert titled.complete(["id0"], title="jazz") == titled.complete(["id0"])
    new = ["Artist 3 - New"]
    assert titled.complete(new, title="jazz") == titled.complete(new)


def test_a_title_is_answered_by_similarly_named_playlists(titled, world):
    """The mean of the vectors of the nearest, by hand; reasons say so and sum to the score."""
    title = "jazz evening 7"
    weights = titled.fallbacks.titles.weights([title])
    assert (weights.indices % 2 == 1).all()
    assert weights.nnz == 6
    p = weights.data @ titled.playlist_vectors(world.train)[weights.indices]
    counts = np.bincount(world.train.values, minlength=26)
    scores = titled.encoded.vectors.numpy() @ p + titled.encoded.bias.numpy()
    scores = scores + 0.3 * np.log1p(counts)
    found = titled.complete(["no such - track"], title=title, k=24, exclude=["id3", "id4"])
    expected = [i for i in np.argsort(-scores, kind="stable") if i not in (3, 4)]
    assert [each.id for each in found] == [f"id{i}" for i in expected]
    np.testing.assert_allclose([each.score for each in found], scores[expected], atol=1e-5)
    for each in found:
        assert each.fallback == "title"
        assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score, abs=1e-4)
        row = int(each.id[2:])
        alike = titled.playlist_vectors(world.train)[weights.indices]
        shares = weights.data * (alike @ titled.encoded.vectors[row].numpy())
        speaking = int((shares > 0).sum())
        said = {r.kind: r for r in each.reasons}
        assert set(said) <= {"title", "popularity", "rest"}
        share = shares[shares > 0].sum()
        assert ("title" in said) == (share >= 0.01 * abs(each.score) and speaking > 0)
        if "title" in said:
            assert said["title"].contribution == pytest.approx(share, abs=1e-5)
            playlists = f"{speaking} playlist{'s' * (speaking != 1)}"
            assert said["title"].text.startswith(f'Suits {playlists} named like "{title}"')


def test_titles_named_in_a_reason_are_those_that_speak_for_the_track(titled):
    found = titled.complete([], title="jazz evening 7", k=26)
    known = titled.fallbacks.titles
    weights = known.weights(["jazz evening 7"])
    for each in found:
        row = int(each.id[2:])
        alike = known.vectors[weights.indices] @ titled.encoded.vectors[row].numpy()
        shares = weights.data * alike
        best = known.titles[weights.indices[shares.argmax()]]
        said = [reason.text for reason in each.reasons if reason.kind == "title"]
        least = 0.01 * abs(each.score)
        assert bool(said) == (shares.max() > 0 and shares[shares > 0].sum() >= least)
        assert all(f'"{best}"' in text for text in said)


@pytest.mark.parametrize(
    ("title", "fallback"),
    [
        ("Evening jazz", "title"),
        ("smooth JAZZ for polka dancers", "title genres"),
        ("rock morning 7", "title"),
        ("polka", "popularity"),
        ("", "popularity"),
        (None, "popularity"),
    ],
)
def test_each_answer_says_what_stood_in(recommender, titled, title, fallback):
    of = recommender if fallback == "title genres" else titled
    assert of.complete(["Nobody - Nothing"], title=title, k=1)[0].fallback == fallback


def test_a_title_that_shares_no_genre_with_those_it_is_like_goes_by_its_genres(recommender, world):
    titles = [f"my {('morning', 'evening', 'polka')[i % 3]}" for i in range(40)]
    vectors = recommender.playlist_vectors(world.train)
    settings = TitleSettings(letters=0.0, neighbours=5, popularity=0.0)
    known = TitleModel.fit(titles, world.train, vectors, settings)
    of = recommender.with_titles(known)
    assert of.complete([], title="evening soup", k=1)[0].fallback == "title"
    assert of.complete([], title="evening jazz", k=1)[0].fallback == "title genres"
    named = TitleModel.fit(["jazz evening", *titles[1:]], world.train, vectors, settings)
    of_jazz = recommender.with_titles(named)
    assert of_jazz.complete([], title="evening jazz", k=1)[0].fallback == "title"
    asked = ["evening jazz", "my polka", "morning rock"]
    found = of.fallbacks.alike(known, asked)
    assert (np.diff(found.indptr) > 0).tolist() == [False, True, False]
    np.testing.assert_array_equal(found.toarray()[1], known.weights(asked).toarray()[1])


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
    tables = {p.stem: pq.read_table(p) for p in bundle.glob("*.parquet")}
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


def fewer_titles(manifest, arrays, tables):
    tables["titles"] = tables["titles"].slice(1)


def fewer_artists(manifest, arrays, tables):
    arrays["stand_in_values_0"] = arrays["stand_in_values_0"][1:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fewer_vectors, r"item_vectors\.npy: 25 rows for 26 tracks"),
        (fewer_tracks, r"tracks\.parquet: 20 rows for 26 tracks"),
        (fewer_titles, r"title_vectors\.npy: 40 rows for 39 titles"),
        (fewer_artists, r"stand_in_values_0\.npy: 12 rows for 13 artists"),
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
        speaking = together[:, row].clip(0) / np.sqrt(len(seeds))
        said = [r for r in each.reasons if r.kind == "item_item"]
        assert bool(said) == (speaking.sum() >= 0.01 * abs(each.score) and speaking.any())
        if said:
            assert said[0].contribution == pytest.approx(speaking.sum(), abs=1e-5)
            assert said[0].text in explained.text


def test_item_item_term_is_in_the_bundle(tmp_path, world, mixed):
    mixed.save(tmp_path / "bundle", {})
    again = type(mixed).load(tmp_path / "bundle")
    np.testing.assert_array_equal(again.score(world.train), mixed.score(world.train))
    assert again.complete(["id0", "id2"]) == mixed.complete(["id0", "id2"])

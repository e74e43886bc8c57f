"""Recommender, explanations, cold start and bundle of the session pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from spotify_engine.errors import InputError
from spotify_engine.sessions.model.vectors import GATVectors
from spotify_engine.sessions.recommend.explain import percentages
from spotify_engine.sessions.recommend.supplement import (
    SupplementConfig,
    new_song_vectors,
    supplement,
)
from spotify_engine.sessions.recommender import SessionRecommender

Tables = dict[str, pa.Table]


@pytest.fixture(scope="module")
def recommender(
    make_session_recommender: Callable[..., SessionRecommender], tables: Tables
) -> SessionRecommender:
    return make_session_recommender(tables)


def test_next_explained_is_next_and_explain_in_one(recommender: SessionRecommender) -> None:
    user, recent, at = recommender.user_ids[2], recommender.ids[3:6], 1_736_700_000
    asked = (user, recent, at, 7, recommender.ids[8:10])
    found = recommender.next_explained(*asked)
    assert [each for each, _ in found] == recommender.next(*asked)
    songs = [each.id for each, _ in found]
    explained = recommender.explain(songs, user, recent, at, recommender.ids[8:10])
    assert [each for _, each in found] == explained
    assert any(each.neighbours for each in explained)
    assert [each for _, each in recommender.next_explained("nobody")] == [None] * 10


def test_next_leaves_out_the_session_and_its_reasons_sum_to_the_score(
    recommender: SessionRecommender,
) -> None:
    recent = recommender.ids[3:6]
    found = recommender.next(recommender.user_ids[2], recent, datetime(2025, 3, 3, 20), k=7)
    assert len(found) == 7
    assert not {each.id for each in found} & set(recent)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    for each in found:
        assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score, rel=1e-4)


def test_songs_that_are_not_wanted_make_room_for_the_next(recommender: SessionRecommender) -> None:
    for user, recent in (("u0000001", ["t0000001"]), ("nobody", [])):
        whole = [each.id for each in recommender.next(user, recent, k=4)]
        left = recommender.next(user, recent, k=3, exclude=[f"spotify:track:{whole[1]}"])
        assert [each.id for each in left] == [whole[0], *whole[2:]]


def test_time_may_be_seconds_or_a_datetime_with_or_without_zone(
    recommender: SessionRecommender,
) -> None:
    user, moment = recommender.user_ids[0], datetime(2025, 3, 3, 20, 30)
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    first = recommender.next(user, at=moment)
    assert recommender.next(user, at=seconds) == first
    assert recommender.next(user, at=moment.replace(tzinfo=UTC)) == first


def test_fallbacks_are_flagged(recommender: SessionRecommender) -> None:
    nobody = recommender.next("no such user", [], k=3)
    best = np.argsort(-recommender.plays, kind="stable")[:3]
    assert [each.id for each in nobody] == [recommender.ids[i] for i in best]
    assert {each.fallback for each in nobody} == {"popularity"}
    assert {e.fallback for e in recommender.next(recent=recommender.ids[:2])} == {"session"}
    unknown = recommender.next(recent=["no such song"], k=3)
    assert [each.id for each in unknown] == [each.id for each in nobody]
    assert recommender.next(recommender.user_ids[0])[0].fallback is None


def test_songs_are_known_by_id_uri_and_link(recommender: SessionRecommender) -> None:
    user, (a, b) = recommender.user_ids[0], recommender.ids[:2]
    given = [f"spotify:track:{a}", f"https://open.spotify.com/track/{b}?si=x"]
    assert recommender.next(user, given) == recommender.next(user, [a, b])
    found = recommender.resolve([*given, "spotify:track:nowhere"])
    rows, unknown = found.rows, found.unknown
    assert (rows.tolist(), unknown) == ([0, 1], ["spotify:track:nowhere"])


def test_bad_input_is_refused(recommender: SessionRecommender) -> None:
    with pytest.raises(InputError, match="k is 0"):
        recommender.next(k=0)
    with pytest.raises(InputError, match="1,000"):
        recommender.next(recent=["x"] * 1001)
    with pytest.raises(InputError, match="not in the catalogue"):
        recommender.explain(["nope"], recommender.user_ids[0])
    with pytest.raises(InputError, match="nothing to explain"):
        recommender.explain([recommender.ids[0]])
    with pytest.raises(InputError, match="no history"):
        recommender.plot("nobody", [recommender.ids[0]], Path("never.png"))
    everything = recommender.next(recommender.user_ids[0], k=10_000)
    assert len(everything) == len(recommender.ids)


def test_explanations_are_consistent(recommender: SessionRecommender) -> None:
    user, recent = recommender.user_ids[1], recommender.ids[10:13]
    found = recommender.next(user, recent, k=5)
    explained = recommender.explain([each.id for each in found], user, recent)
    for each, why in zip(found, explained, strict=True):
        assert why.score == pytest.approx(each.score, rel=1e-4)
        assert sum(why.terms.values()) == pytest.approx(why.score)
        assert sum(why.percent.values()) == 100
        for value in why.percent.values():
            assert f"({value}% influence)" in why.text
        genre = why.genre
        c, g = genre["collaborative_score"], genre["genre_score"]
        assert genre["final_score"] == pytest.approx(0.8 * c + 0.2 * g)
        assert sum(genre["genre_contributions"].values()) == pytest.approx(g, rel=1e-5)
        influence = abs(0.2 * g) / (abs(0.8 * c) + abs(0.2 * g))
        assert genre["genre_influence"] == pytest.approx(influence)
        assert set(genre["matched_genres"]) <= set(recommender.explainer.genres_of(why.row))
    songs, weights = recommender.vectors.attended(1)
    assert weights.sum() == pytest.approx(1, rel=1e-5)
    assert len(songs) == len(np.unique(songs))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [([1, 1, 1], [34, 33, 33]), ([0, 0], [0, 0]), ([0.125, 0.375, 0.5], [13, 37, 50])],
)
def test_percentages_add_up(parts: list[float], expected: list[int]) -> None:
    assert percentages(parts) == expected


def test_heatmap_is_drawn(recommender: SessionRecommender, tmp_path: Path) -> None:
    path = tmp_path / "attention.png"
    recommender.plot(recommender.user_ids[0], recommender.ids[:4], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_bundle_gives_the_same_answers(recommender: SessionRecommender, tmp_path: Path) -> None:
    recommender.save(tmp_path / "bundle", {})
    opened = SessionRecommender.load(tmp_path / "bundle")
    query = (recommender.user_ids[4], recommender.ids[20:22], 1_740_000_000)
    assert opened.next(*query) == recommender.next(*query)
    assert opened.explain(recommender.ids[:2], *query) == recommender.explain(
        recommender.ids[:2], *query
    )


@pytest.mark.parametrize("name", ["gat_songs.npy", "weights.safetensors", "songs.parquet"])
def test_a_damaged_bundle_is_refused(
    recommender: SessionRecommender, tmp_path: Path, name: str
) -> None:
    recommender.save(tmp_path / "bundle", {})
    path = tmp_path / "bundle" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=name):
        SessionRecommender.load(tmp_path / "bundle")


def test_parts_that_do_not_fit_are_refused(recommender: SessionRecommender, tmp_path: Path) -> None:
    fewer = GATVectors(**(vars(recommender.vectors) | {"users": recommender.vectors.users[:-1]}))
    broken = SessionRecommender(
        recommender.tables, recommender.plays, recommender.listens, recommender.session, fewer
    )
    broken.save(tmp_path / "bundle", {})
    with pytest.raises(InputError, match=r"gat_users\.npy"):
        SessionRecommender.load(tmp_path / "bundle")


def test_a_new_song_gets_its_artists_mean_and_small_noise() -> None:
    vectors = np.array([[1, 0], [3, 0], [9, 9], [0, 4]], np.float32)
    plays, artist = np.array([5, 2, 0, 1]), np.array([0, 0, 0, 1])
    rng = np.random.default_rng(0)
    exact = new_song_vectors(vectors, plays, artist, SupplementConfig(noise=0), rng)
    np.testing.assert_allclose(exact, [[1, 0], [3, 0], [2, 0], [0, 4]])
    noisy = new_song_vectors(vectors, plays, artist, SupplementConfig(noise=0.1), rng)
    assert 0 < np.linalg.norm(noisy[2] - [2, 0]) < 1
    orphan = new_song_vectors(
        vectors, plays, np.array([0, 0, -1, 1]), SupplementConfig(noise=0), rng
    )
    np.testing.assert_allclose(orphan[2], vectors[[0, 1, 3]].mean(0), rtol=1e-6)


def test_sparse_users_get_what_similar_users_play() -> None:
    listens = sparse.csr_array(np.array([[4.0, 4, 0, 0], [0, 0, 5, 5]]))
    few = sparse.csr_array(np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]))
    config = SupplementConfig(similar_users=1, supplement=6)
    found = supplement(few, listens, config).toarray()
    np.testing.assert_allclose(found, [[4, 3, 0, 0], [0, 0, 0, 0]])


def test_sparse_users_and_new_songs_are_flagged(
    recommender: SessionRecommender,
) -> None:
    cold = SessionRecommender(
        recommender.tables,
        np.where(np.arange(len(recommender.ids)) % 2, recommender.plays, 0),
        recommender.listens,
        recommender.session,
        recommender.vectors,
        SupplementConfig(sparse_plays=10_000),
    )
    found = cold.next(recommender.user_ids[0], k=50)
    by_row = {each.id: each.fallback for each in found}
    for row, id_ in enumerate(recommender.ids):
        if id_ in by_row:
            assert by_row[id_] == ("similar users" if row % 2 else "new song")


def test_an_answer_takes_milliseconds(recommender: SessionRecommender) -> None:
    ask = (recommender.user_ids[0], recommender.ids[:3])
    recommender.next(*ask)
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        recommender.next(*ask)
        taken.append(time.perf_counter() - started)
    assert min(taken) < 0.05, "far more than it takes: a busy machine is no failure"

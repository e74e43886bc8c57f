"""Every reason of a playlist is checked against the playlists and genres that it counts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotify_engine.learning.item_item import item_item_weights, playlists_with_both
from spotify_engine.playlists.recommend.explain import Explainer
from spotify_engine.ragged import Ragged
from spotify_engine.recommendation import REST, Reason

N = 26


@pytest.fixture(scope="module")
def mixed(world: Any, make_recommender: Any) -> Any:
    (weights,) = item_item_weights(world.train, N, 5, [1.0])
    return make_recommender().with_items(weights)


def holding(world: Any, *tracks: int) -> int:
    """Training playlists that hold all of these."""
    return sum(set(tracks) <= set(row.tolist()) for row in world.train)


def checked(world: Any, recommender: Any, reason: Reason, track: int, seeds: list[int]) -> None:
    """Check one sentence."""
    text = re.sub(r" \(score [+-]\d+\.\d+\)$", "", reason.text)
    assert not re.search(r"\b1 (tracks|playlists)\b|\bother 1\b|\b0 (tr|pl)|100%", text), text
    assert not re.search(r"\((.*, )?score [+-]0\.00\)", reason.text), reason
    match reason.kind:
        case "seed":
            assert reason.track in seeds
            assert f'Similar to "{recommender.names[reason.track]}" in the playlist' in text
        case "other_seeds":
            count = re.search(r"(\d+) (?:other )?track|the playlist's other track$", text)
            assert count, text
            assert int(count[1] or 1) <= len(seeds)
        case "item_item":
            head, *others = re.split(r", | and some with ", text)
            found = re.fullmatch(r'In (\d+) playlists? with "(.+)"', head)
            assert found, text
            pairs = [found.groups()]
            more = [each for each in others if each.endswith("more of its tracks")]
            pairs += [
                re.fullmatch(r'(\d+) with "(.+)"', each).groups()
                for each in others
                if each not in more
            ]
            for count, name in pairs:
                assert int(count) == holding(world, recommender.names.index(name), track) > 0
        case "genre":
            artist, genres = recommender.explainer.first_artist, recommender.explainer.artist_genres
            for part in text.split("; "):
                if has := re.fullmatch(r"(.+) has (\d+) tracks? in the playlist", part):
                    assert has[1] == recommender.artists[track]
                    assert int(has[2]) == sum(artist[s] == artist[track] for s in seeds) > 0
                else:
                    of = re.fullmatch(r"Matches the playlist's (.+) \(affinity: (.+)\)", part)
                    genre = recommender.explainer.genre_names.index(of[1])
                    assert genre in genres[artist[track]]
                    share = np.mean([genre in genres[artist[seed]] for seed in seeds])
                    assert float(of[2]) == pytest.approx(share, abs=5.1e-3)
                    assert share > 0
        case "popularity":
            counts = np.bincount(world.train.values, minlength=N)
            count = re.search(r"in (\d+) playlist", text, re.IGNORECASE)
            assert int(count[1]) == counts[track] > 0
            above = re.search(r"above (\d+)% of tracks", text)
            share = 100 * np.mean(counts < counts[track])
            assert int(above[1] if above else 0) <= share
            assert text.startswith("Popular") == (share >= 50)
        case _:
            raise AssertionError(reason)


@settings(max_examples=60)
@given(seeds=st.lists(st.integers(0, N - 1), min_size=1, max_size=12, unique=True))
def test_every_reason_is_what_the_playlists_say(world: Any, mixed: Any, seeds: list[int]) -> None:
    asked = [f"id{seed}" for seed in seeds]
    found = mixed.complete(asked, k=N)
    for each, why in zip(found, mixed.explain(asked, [e.id for e in found]), strict=True):
        assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score, abs=1e-4)
        said = re.findall(r"\((\d+)% influence\)", why.text)
        assert sum(map(int, said)) == 100
        for reason in each.reasons:
            if reason.kind != REST:
                assert reason.contribution >= 0.01 * abs(each.score) - 1e-6
                checked(world, mixed, reason, int(each.id[2:]), seeds)


@given(title=st.sampled_from([None, "jazz", "rock and jazz", "x"]))
def test_fallbacks_say_what_the_playlists_say(world: Any, mixed: Any, title: str | None) -> None:
    for each in mixed.complete([], title=title, k=N):
        assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score)
        assert bool(each.reasons) == (each.score > 0), "tracks of no playlist have no reason"
        for reason in each.reasons:
            row = int(each.id[2:])
            text = reason.text.replace(f' of the genres in "{title}"', "").replace(
                "A track, i", "I"
            )
            checked(world, mixed, Reason(reason.kind, text, reason.contribution), row, [])


def test_playlists_with_both_are_counted_by_hand(world: Any, mixed: Any) -> None:
    counts = playlists_with_both(world.train, mixed.items)
    rows, columns = mixed.items.nonzero()
    for seed, track in zip(rows.tolist(), columns.tolist(), strict=True):
        assert counts[seed, track] == holding(world, seed, track) > 0


def test_without_counts_the_item_item_term_gives_no_reason(world: Any, mixed: Any) -> None:
    from copy import copy

    uncounted = copy(mixed)
    uncounted.together = None
    for each in uncounted.complete(["id0", "id2"], k=N):
        assert not any(reason.kind == "item_item" for reason in each.reasons)
        assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score, abs=1e-4)


@pytest.fixture
def explainer(world: Any) -> Explainer:
    tables = dict(world.tables)
    tables["genres"] = tables["genres"].set_column(1, "name", [["drum and bass", "folk"]])
    names, artists = [f"T{i}" for i in range(N)], [f"A{i // 2}" for i in range(N)]
    return Explainer(tables, names, artists, np.arange(N))


def test_lists_of_seeds_read_well(explainer: Explainer, mixed: Any) -> None:
    """0, 1, 2 and many others; those that take away are not said to be similar."""
    seeds = mixed.seeds(mixed.resolve([f"id{i}" for i in range(6)]))
    attention, never = np.full(6, 1 / 6), np.zeros(6, np.int64)

    def others(listening: list[float]) -> list[str]:
        found = explainer._listening_reasons(seeds, attention, never, np.array(listening), 1.0)
        return [r.text for r in found if r.kind == "other_seeds"]

    assert others([0.3, 0.3, 0.3, -0.1, -0.1, 0]) == []
    assert others([0.3, 0.3, 0.3, 0.1, -0.1, -0.1]) == [
        "Similar to 1 other track of the playlist (score +0.10)"
    ]
    assert others([0.3, 0.3, 0.3, 0.1, 0.1, -0.1]) == [
        "Similar to 2 other tracks of the playlist (score +0.20)"
    ]
    assert others([0.3, 0.3, 0.3, 0.1, 0.1, 0.1]) == [
        "Similar to the playlist's other 3 tracks (score +0.30)"
    ]
    four = mixed.seeds(mixed.resolve([f"id{i}" for i in range(4)]))
    last = explainer._listening_reasons(
        four, attention[:4], never[:4], np.array([0.3, 0.3, 0.3, 0.004]), 1.0
    )
    assert last[-1].text == "Similar to the playlist's other track (score +0.004)"


def test_songs_in_playlists_together_read_well(explainer: Explainer, mixed: Any) -> None:
    seeds = mixed.seeds(mixed.resolve([f"id{i}" for i in range(6)]))

    def said(weights: list[float], playlists: list[int]) -> list[str]:
        found = explainer._together_reasons(seeds, np.array(weights), np.array(playlists))
        return [reason.text for reason in found]

    assert said([0, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 9]) == []
    assert said([0.5, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]) == [
        'In 1 playlist with "Song 0" (score +0.50)'
    ]
    assert said([0.1, 0.5, 0, 0, 0, -1], [1, 1200, 0, 0, 0, 4]) == [
        'In 1,200 playlists with "Song 1", 1 with "Song 0" (score +0.60)'
    ]
    assert said([0.5, 0.4, 0.3, 0.1, 0, 0], [9, 8, 7, 6, 0, 0]) == [
        'In 9 playlists with "Song 0", 8 with "Song 1", 7 with "Song 2" and some with 1 more of '
        "its tracks (score +1.30)"
    ]


def test_the_most_popular_track_is_not_above_all(explainer: Explainer) -> None:
    [most] = explainer.popularity_reasons(N - 1, 0.5, None)
    assert most.text == "Popular: in 25 playlists, above 96% of tracks (score +0.50)"
    thousand = Explainer.__new__(Explainer)
    from spotify_engine.shares import standings

    thousand.popularity = np.arange(1000)
    thousand.standing = standings(thousand.popularity)
    [most] = thousand.popularity_reasons(999, 0.5, None)
    assert "above 99% of tracks" in most.text
    [least] = thousand.popularity_reasons(1, 0.5, None)
    assert least.text == "In 1 playlist (score +0.50)"
    assert thousand.popularity_reasons(0, 0.5, None) == []


def test_a_title_suits_those_that_speak_for_the_track(explainer: Explainer) -> None:
    names = ["a", "a", "b", "c", "d", "e"]
    said = [
        [reason.text for reason in explainer.title_reasons("t", names, np.array(shares))]
        for shares in (
            [-1.0, 0, 0, 0, 0, -1], [0.5, 0, -1, 0, 0, 0], [0.1, 0.2, 0.3, 0.01, 0.02, 0],
        )
    ]  # fmt: skip
    assert said == [
        [],
        ['Suits 1 playlist named like "t": "a" (score +0.50)'],
        ['Suits 5 playlists named like "t": "b", "a", "d", ... (score +0.63)'],
    ]


def test_the_picture_says_how_much_of_the_attention_it_shows(mixed: Any, tmp_path: Any) -> None:
    from spotify_engine.playlists.completing.heatmap import plot_attention

    seeds = [f"id{i}" for i in range(20)]
    explained = mixed.explain(seeds, ["id25"])
    assert len(Ragged.from_lists([range(20)])[0]) == len(explained[0].attention)
    plot_attention(explained, seeds, ["x"], tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 5_000

"""Every reason of a session is checked against the plays that it counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from spotify_engine.recommendation import REST, Recommendation
from spotify_engine.sessions.model.session_aware import Counts, SessionModel, SessionModelConfig
from spotify_engine.sessions.model.vectors import GATVectors
from spotify_engine.sessions.queries import queries_of_events
from spotify_engine.sessions.recommend.supplement import SupplementConfig, similar_users
from spotify_engine.sessions.recommender import SessionRecommender, membership_of
from spotify_engine.sessions.schema import TABLES
from spotify_engine.sessions.tables.edges import song_artists

GENRES = ["folk", "drum and bass", "r&b", "rock and roll"]
ARTISTS = ["The And", "Nick and Nora", "X", "Y and Z", "Solo"]
MEMORY = 3


class Plays:
    """A few listeners' sessions, and what they are in the tables.

    Args:
        sessions: (user, songs) each.
        artist: of each song; -1 for none known.
        genres: of each song.
    """

    def __init__(
        self,
        sessions: Sequence[tuple[int, Sequence[int]]],
        artist: Sequence[int],
        genres: Sequence[Sequence[int]],
        n_users: int,
    ) -> None:
        self.sessions = sorted(sessions, key=lambda each: each[0])
        self.artist, self.genres, self.n_songs = artist, genres, len(artist)
        self.plays = [(user, song) for user, songs in self.sessions for song in songs]
        rows = [
            (user, song, 3600 * number + place, number, place, 1000, 1.0)
            for number, (user, songs) in enumerate(self.sessions)
            for place, song in enumerate(songs)
        ]
        pairs = [(song, genre) for song, of in enumerate(genres) for genre in of]
        values: dict[str, list[Any]] = {
            "users": [range(n_users), [f"u{i}" for i in range(n_users)], ["casual"] * n_users],
            "songs": [
                range(self.n_songs), [f"s{i}" for i in range(self.n_songs)],
                [f'Song "{i}"' for i in range(self.n_songs)],
                [each if each >= 0 else None for each in artist], [1000] * self.n_songs,
            ],
            "artists": [range(len(ARTISTS)), [f"a{i}" for i in range(len(ARTISTS))], ARTISTS],
            "genres": [range(len(GENRES)), GENRES],
            "song_genres": [*zip(*pairs, strict=True)] or [[], []],
            "events": [*zip(*rows, strict=True)],
        }  # fmt: skip
        self.tables = {
            name: pa.table(
                [pa.array(list(c), f.type) for c, f in zip(columns, TABLES[name], strict=True)],
                schema=TABLES[name],
            )
            for name, columns in values.items()
        }

    def recommender(self, gat: bool = False, sparse_plays: int = 1) -> SessionRecommender:
        events, n_users = self.tables["events"], len(self.tables["users"])
        song = events["song"].to_numpy().astype(np.int64)
        facts = (song_artists(self.tables), membership_of(self.tables))
        queries = queries_of_events(events, np.arange(len(events)), MEMORY)
        counts = Counts.of(queries, song, *facts, n_users)
        shape = (n_users, self.n_songs)
        listens = sparse.csr_array((np.ones(len(song)), (events["user"].to_numpy(), song)), shape)
        listens.sum_duplicates()
        model = SessionModel(counts, SessionModelConfig(memory=MEMORY))
        return SessionRecommender(
            self.tables,
            np.bincount(song, minlength=self.n_songs),
            listens,
            None if gat else model,
            self.vectors() if gat else None,
            SupplementConfig(sparse_plays=sparse_plays, similar_users=2),
        )

    def vectors(self) -> GATVectors:
        rng = np.random.default_rng(len(self.plays))
        n_users, n = len(self.tables["users"]), len(GENRES)
        heard = [sorted({s for u, s in self.plays if u == user}) for user in range(n_users)]
        share = [np.full(len(each), 1 / max(len(each), 1), np.float32) for each in heard]
        return GATVectors(
            rng.normal(size=(n_users, 4)).astype(np.float32),
            rng.normal(size=(self.n_songs, 4)).astype(np.float32),
            np.cumsum([0, *map(len, heard)]),
            np.concatenate(heard).astype(np.int64),
            np.concatenate(share),
            rng.random((n_users, n)).astype(np.float32),
            membership_of(self.tables),
            0.7,
        )

    # What a person would count, with a pencil.

    def right_after(self, song: int, last: int) -> int:
        return sum(pair == (last, song) for _, songs in self.sessions for pair in pairwise(songs))

    def soon_after(self, artist: int, other: int) -> int:
        return sum(
            self.artist[song] == artist
            and other in [self.artist[s] for s in songs[max(place - MEMORY, 0) : place]]
            for _, songs in self.sessions
            for place, song in enumerate(songs)
        )


@st.composite
def worlds(draw: st.DrawFn) -> Plays:
    n_songs, n_users = draw(st.integers(2, 9)), draw(st.integers(1, 5))
    songs = st.lists(st.integers(0, n_songs - 1), min_size=1, max_size=8)
    sessions = draw(
        st.lists(st.tuples(st.integers(0, n_users - 1), songs), min_size=1, max_size=12)
    )
    artist = draw(st.lists(st.integers(-1, 4), min_size=n_songs, max_size=n_songs))
    of = st.lists(st.integers(0, 3), unique=True, max_size=3)
    genres = draw(st.lists(of, min_size=n_songs, max_size=n_songs))
    return Plays(sessions, artist, genres, n_users)


def checked(
    world: Plays,
    asked: SessionRecommender,
    each: Recommendation,
    user: int | None,
    recent: list[int],
    history: list[int],
) -> set[str]:
    """Check each sentence of a recommendation; returns the kinds of those that were said."""
    song = int(each.id[1:])
    assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score, rel=1e-4)
    mine = [s for u, s in world.plays if u == user] + history
    window = recent[::-1][:MEMORY]
    for reason in each.reasons:
        text = reason.text
        if reason.kind == REST:
            continue
        assert reason.contribution >= 0.01 * abs(each.score) - 1e-9, reason
        assert not re.search(r"\b1 (times|songs|plays|users)\b|\b0 |100%", text), text
        match reason.kind:
            case "transition":
                found = re.fullmatch(r'Played (\d+) times? right after "Song "(\d+)""', text)
                assert found, text
                count, last = map(int, found.groups())
                assert last == recent[-1]
                assert count == world.right_after(song, last) > 0
            case "artist":
                name = ARTISTS[world.artist[song]]
                count = [world.artist[s] for s in window].count(world.artist[song])
                assert count > 0
                assert text.endswith(f"by {name}, too")
                if len(window) > 1:
                    verb = "is" if count == 1 else "are"
                    of = f"{count} of the last {len(window)} songs of this session {verb} by"
                    assert text.startswith(of), text
                else:
                    assert text.startswith("The last song of this session is by")
            case "follow":
                found = re.fullmatch(
                    rf"(.+) was played (\d+) times? within {MEMORY} songs after a song by (.+)",
                    text,
                )
                assert found, text
                artist, other = (ARTISTS.index(found[i]) for i in (1, 3))
                assert artist == world.artist[song]
                assert other in [world.artist[s] for s in window]
                assert int(found[2]) == world.soon_after(artist, other) > 0
            case "genre":
                found = re.fullmatch(r'Its genre "(.+)" is that of (.+)', text)
                assert found, text
                genre = GENRES.index(found[1])
                assert genre in world.genres[song]
                said = []
                for some, whose, one in (
                    (mine, "your", "play"),
                    (recent, "this session's", "song"),
                ):
                    count = sum(genre in world.genres[s] for s in some)
                    if count and len(some) == 1:
                        said.append(f"{whose} only {one}")
                    elif count:
                        said.append(f"{count} of {whose} {len(some)} {one}s")
                assert said
                assert found[2] == " and of ".join(said)
            case "replay" | "collaborative":
                own = re.search(r"You have played it (\d+) time", text)
                if own:
                    assert int(own[1]) == mine.count(song) > 0
                alike = re.search(r"layed by (?:(\d+) of the (\d+) users|the user) who", text)
                assert own or alike, text
                if alike:
                    users = _most_alike(asked, world, user, mine)
                    played = {u for u, s in world.plays if s == song}
                    count, of = (int(alike[1]), int(alike[2])) if alike[1] else (1, 1)
                    assert of == len(users)
                    assert count == len(played & users) > 0
            case "popularity":
                found = re.fullmatch(
                    r"Played (\d+) times?(?:, more often than (\d+)% of songs)?", text
                )
                assert found, text
                counts = np.bincount([s for _, s in world.plays], minlength=world.n_songs)
                assert int(found[1]) == counts[song] > 0
                above = 100 * (counts < counts[song]).mean()
                assert int(found[2] or 0) <= above < int(found[2] or 0) + 1
            case _:
                raise AssertionError(reason)
    return {reason.kind for reason in each.reasons}


def _most_alike(
    asked: SessionRecommender, world: Plays, user: int | None, mine: list[int]
) -> set[int]:
    plays = sparse.csr_array(np.bincount(mine, minlength=world.n_songs)[None].astype(float))
    weight = similar_users(plays, asked.listens, asked.cold)[0]
    return set(np.flatnonzero(weight).tolist()) - {user}


@settings(max_examples=120)
@given(worlds(), st.data())
def test_every_reason_is_what_the_plays_say(world: Plays, data: st.DataObject) -> None:
    songs = st.lists(st.integers(0, world.n_songs - 1), max_size=5)
    user = data.draw(st.none() | st.integers(0, len(world.tables["users"]) - 1))
    recent, history = data.draw(songs), data.draw(st.just([]) | songs)
    gat, few = data.draw(st.booleans()), data.draw(st.sampled_from([1, 1000]))
    asked = world.recommender(gat, few)
    # A user without plays in training isn't known, whatever their row.
    known = user is not None and any(u == user for u, _ in world.plays)
    found = asked.next_explained(
        None if user is None else f"u{user}", [f"s{i}" for i in recent], None, world.n_songs,
        [f"s{i}" for i in history],
    )  # fmt: skip
    for each, explained in found:
        if each.fallback == "popularity":
            assert {r.kind for r in each.reasons} <= {"popularity"}
        checked(world, asked, each, user if known else None, recent, history)
        if explained is not None:
            assert sum(explained.percent.values()) in (0, 100)
            assert f'"{each.name}" in your history' not in explained.text, "like itself"


SESSIONS = [(0, [0, 1, 0, 1, 2]), (0, [0, 1]), (1, [0, 1, 3]), (1, [3, 2]), (2, [4])]


def small() -> Plays:
    return Plays(SESSIONS, [0, 1, 1, 2, -1, 3], [[0], [1], [1, 2], [], [0], [3]], 4)


def test_reasons_by_hand() -> None:
    world = small()
    asked = world.recommender()
    [first, *_] = asked.next("u0", ["s0"], k=1)
    assert first.id == "s1"
    assert {reason.kind: reason.text for reason in first.reasons if reason.kind != REST} == {
        # 0 then 1: twice in the first session, once in the second, once in the third.
        "transition": 'Played 4 times right after "Song "0""',
        "follow": "Nick and Nora was played 5 times within 3 songs after a song by The And",
        "replay": "You have played it 3 times",
        "genre": 'Its genre "drum and bass" is that of 4 of your 7 plays',
        # Song 0 was played as often.
        "popularity": "Played 4 times, more often than 66% of songs",
    }


def test_a_song_that_never_came_after_is_not_said_to_have_come_after() -> None:
    """The smoothing of the counts is popularity, and is counted there; the score stays the same."""
    world = small()
    asked = world.recommender()
    for each, explained in asked.next_explained("u0", ["s0"], k=6):
        after = world.right_after(int(each.id[1:]), 0)
        assert (explained.terms["transition"] > 0) == (after > 0)
        assert any(r.kind == "transition" for r in each.reasons) <= (after > 0)
    model = asked.session
    queries = queries_of_events(world.tables["events"], np.arange(len(world.plays)), MEMORY)
    terms = model.terms(queries)
    # By the definition: counted and smoothed together, each a distribution over songs.
    gates = model.gates(*_states(model, queries)).detach().numpy()
    last = queries.recent[:, 0]
    dense = np.maximum(model.counts.transitions.toarray() - model.config.discount, 0)
    mixed = dense + model.config.shrink_transition * model.song_share
    mixed /= mixed.sum(axis=1, keepdims=True)
    follow = model.changes + model.config.shrink_follow * model.artist_share
    follow /= follow.sum(axis=1, keepdims=True)
    weights = model.attention(*_recency(model, queries)).detach().numpy()
    sources = model.counts.artist[np.maximum(queries.recent, 0)]
    soon = (weights[:, :, None] * follow[sources]).sum(axis=1)[:, model.counts.artist]
    expected = (
        gates[:, [0]] * mixed[last] * (last >= 0)[:, None]
        + gates[:, [2]] * soon * model.within_artist
        + gates[:, [5]] * model.song_share
    )
    np.testing.assert_allclose(terms[:, [0, 2, 5]].sum(axis=1), expected, rtol=1e-4, atol=1e-7)


def _states(model: SessionModel, queries: Any) -> tuple[Any, Any]:
    user, _, _, length = model._tensors(queries)
    return user, length


def _recency(model: SessionModel, queries: Any) -> tuple[Any, Any]:
    return model._tensors(queries)[1], model.recency


def test_what_each_recent_song_adds_is_what_the_terms_are() -> None:
    world = small()
    model = world.recommender().session
    queries = queries_of_events(world.tables["events"], np.arange(len(world.plays)), MEMORY)
    song = np.arange(len(queries)) % world.n_songs
    added = model.by_place(queries, song)
    terms = model.terms(queries)[np.arange(len(queries)), :, song]
    np.testing.assert_allclose(added.sum(axis=1), terms[:, :3].sum(axis=1), rtol=1e-5, atol=1e-9)
    assert (added[queries.recent < 0] == 0).all()


@pytest.mark.parametrize("nobody", [None, "", "   ", "\t"])
def test_a_blank_user_is_nobody_and_not_somebody_unknown(nobody: str | None) -> None:
    asked = small().recommender()
    assert asked.next(nobody, ["s0"]) == asked.next(None, ["s0"])
    assert asked.next(nobody) == asked.next(None)


def test_a_user_with_few_plays_is_told_whose_plays_count() -> None:
    world = small()
    asked = world.recommender(sparse_plays=1000)

    def said(user: str) -> dict[str, str]:
        return {
            each.id: reason.text
            for each in asked.next(user, [], k=6)
            for reason in each.reasons
            if reason.kind == "replay"
        }

    # Of the two most similar users one is u1, who is left out.
    alike = "You have played it 1 time; played by the user who listens most like you"
    assert said("u1") == {"s0": alike, "s1": alike, "s2": alike}
    assert said("u2") == {"s4": "You have played it 1 time"}, "nobody listens like u2"


def test_what_nothing_speaks_for_has_no_reason() -> None:
    """Song 5 was never played; nor was its artist, and nobody plays its genre."""
    world = small()
    asked = world.recommender()
    for user, recent in (("u0", ["s0"]), (None, ["s3"]), (None, [])):
        [each] = [each for each in asked.next(user, recent, k=6) if each.id == "s5"]
        assert {reason.kind for reason in each.reasons} <= {REST}
        assert sum(r.contribution for r in each.reasons) == pytest.approx(each.score)
    [explained] = asked.explain(["s5"], "u0", ["s0"])
    assert "more often than" not in explained.text
    assert explained.text.count("no reason in particular") == 3

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from spotify_engine.errors import InputError
from spotify_engine.sessions.schema import FILES, SESSION_COLUMNS, USER_TYPES
from spotify_engine.sessions.synthetic import SyntheticConfig, write_sessions
from spotify_engine.sessions.synthetic.listeners import draw_listeners, hour_of_week
from spotify_engine.sessions.synthetic.listening import generate_block
from spotify_engine.sessions.synthetic.process import Process, Walk
from spotify_engine.sessions.synthetic.world import Grouped, World, build_world
from spotify_engine.sessions.tables.edges import sessionise
from spotify_engine.store.invented import INVENTED_NOTE

CONFIG = SyntheticConfig.tiny()


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(CONFIG)


@pytest.fixture(scope="module")
def process(world: World) -> Process:
    return Process(world, CONFIG, draw_listeners(np.random.default_rng(0), CONFIG, world, 0))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_same_bytes_and_another_seed_others(generated: Path, tmp_path: Path) -> None:
    counts = write_sessions(tmp_path / "again", CONFIG, oracle=True)
    assert contents(tmp_path / "again") == contents(generated)
    assert set(contents(generated)) == {*FILES, "oracle.parquet", INVENTED_NOTE}
    assert counts["users"] == 30
    assert counts["events"] == contents(generated)["raw_sessions.csv"].count(b"\n") - 1
    write_sessions(tmp_path / "other", SyntheticConfig.tiny(seed=1))
    for name in ("raw_sessions.csv", "tracks.csv", "user_genre_preferences.csv"):
        assert (tmp_path / "other" / name).read_bytes() != (generated / name).read_bytes()


def test_the_files_are_as_the_spec_has_them(generated: Path, tables: dict[str, pa.Table]) -> None:
    header, first, *_ = (generated / "raw_sessions.csv").read_text().splitlines()
    assert header == "user_id,track_id,artist_id,timestamp,ms_played,track_duration_ms"
    assert header == ",".join(SESSION_COLUMNS)
    assert first.split(",")[3].endswith("Z")
    assert tables["rejects"].num_rows == 0
    assert [len(tables[name]) for name in ("songs", "artists", "genres")] == [120, 20, 6]
    artist = tables["songs"]["artist"].to_numpy()
    # Songs have exactly the genres of their artists.
    of_artist: dict[int, set[int]] = {}
    for who, genre in zip(*tables["artist_genres"].to_pydict().values(), strict=True):
        of_artist.setdefault(who, set()).add(genre)
    of_song: dict[int, set[int]] = {}
    for song, genre in zip(*tables["song_genres"].to_pydict().values(), strict=True):
        of_song.setdefault(song, set()).add(genre)
    assert len(of_artist) == 20
    assert all(1 <= len(genres) <= 2 for genres in of_artist.values())
    assert all(genres == of_artist[artist[song]] for song, genres in of_song.items())
    assert len(of_song) == 120


def test_existing_data_is_not_overwritten(generated: Path) -> None:
    before = contents(generated)
    with pytest.raises(InputError, match="already exists"):
        write_sessions(generated, CONFIG)
    assert contents(generated) == before


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("spotify_engine.sessions.synthetic.files._write_metadata", fail)
    with pytest.raises(InputError, match="disk full"):
        write_sessions(tmp_path / "data", CONFIG)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"genres": 3, "artist_genres": (1, 5)}, "up to 5 genres an artist, and there are 3"),
        ({"genres": 3}, "types.casual.genres asks for up to 4 genres a user, and there are 3"),
        ({"artists": 20}, "20 artists can't play all 35 genres"),
        ({"songs": 400}, "400 songs are fewer than 500 artists"),
        ({"songs": 500, "longest_session": 200}, "too few for sessions of up to 200"),
        ({"artist_genres": (3, 1)}, r"artist_genres is \[3, 1\]"),
        ({"users": 0}, "greater than or equal to 1"),
        ({"usrs": 1}, "Extra inputs"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SyntheticConfig(**changes)


def test_grouped_draws_follow_the_weights() -> None:
    group, member = np.array([2, 0, 2, 2]), np.array([5, 7, 6, 1])
    grouped = Grouped.of(group, member, np.array([1.0, 3.0, 2.0, 1.0]), 3)
    assert grouped.offsets.tolist() == [0, 1, 1, 4]
    assert grouped.matrix(8).toarray()[2].tolist() == [0, 0.25, 0, 0, 0, 0.25, 0.5, 0]
    uniform = np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53])
    assert grouped.draw(np.full(6, 2), uniform).tolist() == [5, 5, 6, 6, 1, 1]
    assert grouped.draw(np.zeros(2, int), np.array([0.0, 1 - 2**-53])).tolist() == [7, 7]


@given(st.integers(1, 60), st.integers(0, 5))
@settings(max_examples=30)
def test_grouped_draws_stay_in_their_group(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 9, n)
    grouped = Grouped.of(group, np.arange(n), rng.random(n) + 1e-9, 9)
    asked = group[rng.integers(0, n, 200)]
    drawn = grouped.draw(asked, rng.random(200))
    assert (group[drawn] == asked).all()


def walk_of(process: Process, songs: list[int], user: int, times: int) -> Walk:
    """``times`` copies of a session of ``user`` in which ``songs`` were played."""
    walk = Walk.begin(np.full(times, user), CONFIG.genres)
    for song in songs:
        walk.append(np.full(times, song), process.world, CONFIG)
    return walk


@pytest.mark.parametrize("songs", [[], [3], [40, 41], [7, 90, 8, 30, 2]])
def test_draws_follow_the_density(process: Process, songs: list[int]) -> None:
    """Two ways to the same distribution: 40,000 songs drawn, and their probabilities."""
    n = 40_000
    time = np.full(n, 1_736_683_200)
    walk = walk_of(process, songs, 4, n)
    drawn, found = process.draw(np.random.default_rng(1), walk, time)
    assert found.all()
    density = process.density(walk.select(np.arange(1)), time[:1])[0]
    assert density.sum() == pytest.approx(1)
    assert (density[songs] == 0).all()
    counts = np.bincount(drawn, minlength=120)
    assert (counts[density == 0] == 0).all()
    # Chi-square over songs expected often enough; its mean is the number of songs less one.
    often = density * n > 5
    chi = ((counts - density * n)[often] ** 2 / (density * n)[often]).sum()
    assert chi < often.sum() + 4 * np.sqrt(2 * often.sum())
    # The same statistic finds a distribution that is off by a fifth in its likeliest song.
    wrong = density.copy()
    wrong[density.argmax()] *= 1.2
    assert ((counts - wrong * n)[often] ** 2 / (wrong * n)[often]).sum() > chi


def test_density_by_hand(world: World) -> None:
    """The formula of the module, song by song, without arrays."""
    process = Process(world, CONFIG, draw_listeners(np.random.default_rng(0), CONFIG, world, 0))
    user, time, songs = 4, 1_736_683_200 + 5 * 3600, [7, 90, 8, 30]
    people, hour = process.listeners, int(hour_of_week(np.array([time]))[0])
    weights = people.mixture[user]
    by_artist = world.by_artist.matrix(120).toarray()
    by_genre = world.by_genre.matrix(120).toarray()
    follow = world.followers.matrix(20).toarray()
    drift = world.drift.toarray()
    mood = np.zeros(6)
    for place, song in enumerate(songs):
        genres = world.membership[song]
        mood = (genres if place == 0 else 0.65 * mood + 0.35 * genres) @ drift
    liking = people.taste[user] * world.rhythm[hour] * (CONFIG.mood_floor + mood)
    liking /= liking.sum()
    suits = world.rhythm[hour, world.main_genre[people.favourites[user]]]
    suits = suits * people.favourite_weight[user]
    suits /= suits.sum()
    q = np.zeros(120)
    q[world.next_track[30]] += weights[0]
    for share, back in zip((4 / 7, 2 / 7, 1 / 7), (30, 8, 90), strict=True):
        artist = world.song_artist[back]
        q += weights[1] * share * by_artist[artist]
        q += weights[2] * share * follow[artist] @ by_artist
    q += weights[3] * liking @ by_genre
    for favourite, share in zip(people.favourites[user], suits, strict=True):
        q[favourite] += weights[4] * share
    q += weights[5] * world.popular.probability
    assert q.sum() == pytest.approx(1)
    q[songs] = 0
    walk = walk_of(process, songs, user, 1)
    np.testing.assert_allclose(process.density(walk, np.array([time]))[0], q / q.sum(), rtol=1e-4)


def test_order_hour_and_user_move_the_next_song(process: Process) -> None:
    time = np.array([1_736_683_200])

    def density(songs: list[int], user: int = 4, hours: int = 0) -> np.ndarray:
        return process.density(walk_of(process, songs, user, 1), time + 3600 * hours)[0]

    base = density([7, 90, 8])
    for other in (density([8, 90, 7]), density([7, 90, 8], user=5), density([7, 90, 8], hours=12)):
        assert abs(base - other).sum() / 2 > 0.05, "total variation"


@pytest.mark.parametrize("activity", [1, 10])
def test_plays_are_what_the_sessions_say(world: World, activity: float) -> None:
    """Also of people who listen so much that one session must end for the next to be another."""
    _, plays = generate_block(SyntheticConfig.tiny(activity=activity), world, 1)
    session, _ = sessionise(plays.user, plays.time)
    starts = np.unique(plays.session, return_inverse=True)[1]
    np.testing.assert_array_equal(session, starts)
    assert (plays.ms_played >= 0).all()
    assert (plays.ms_played <= world.duration_ms[plays.song]).all()
    pairs = plays.session * 1000 + plays.song
    assert len(np.unique(pairs)) == len(pairs), "no song twice in a session"
    assert np.bincount(starts).max() <= CONFIG.longest_session


def test_types_differ_in_activity_skips_and_diversity() -> None:
    config = SyntheticConfig(users=300, songs=1500, artists=150, genres=20)
    world = build_world(config)
    listeners, plays = generate_block(config, world, 0)
    kind = listeners.kind[plays.user]
    completion = plays.ms_played / world.duration_ms[plays.song]
    plays_a_user = np.bincount(kind) / np.bincount(listeners.kind)
    assert (plays_a_user[1:] > 2 * plays_a_user[:-1]).all()
    skipped = [(completion[kind == each] < 0.4).mean() for each in range(3)]
    assert skipped[0] < skipped[1] < skipped[2]
    genres = [
        np.mean([
            len(np.unique(world.main_genre[plays.song[plays.user == user][:60]]))
            for user in np.flatnonzero(listeners.kind == each)
        ])
        for each in range(3)
    ]  # fmt: skip
    assert genres[0] < genres[2]
    liked = [listeners.liked[listeners.kind == each].sum(1).mean() for each in range(3)]
    assert liked[0] < liked[1] < liked[2]
    assert len(USER_TYPES) == 3


def test_popularity_is_zipf_and_pareto() -> None:
    config = SyntheticConfig(artists=4000, songs=20_000)
    world = build_world(config)
    ratio = world.genre_share[:-1] / world.genre_share[1:]
    ranks = np.arange(1, 35)
    np.testing.assert_allclose(ratio, ((ranks + 1) / ranks) ** 0.8)
    main = world.artist_genres[1][np.unique(world.artist_genres[0], return_index=True)[1]]
    counts = np.bincount(main, minlength=35)
    assert np.corrcoef(counts, world.genre_share)[0, 1] > 0.97
    fame = np.sort(np.bincount(world.song_artist, weights=world.popular.probability))[::-1]
    assert fame[:400].sum() > 0.25, "the first tenth of the artists has far more than a tenth"


def test_preferences_come_from_taste_not_from_plays(generated: Path, tmp_path: Path) -> None:
    """Half the listening, other songs, the same preferences."""
    write_sessions(tmp_path / "less", SyntheticConfig.tiny(activity=0.5, mood=0.9))
    name = "user_genre_preferences.csv"
    assert (tmp_path / "less" / name).read_bytes() == (generated / name).read_bytes()
    sessions = "raw_sessions.csv"
    assert (tmp_path / "less" / sessions).read_bytes() != (generated / sessions).read_bytes()

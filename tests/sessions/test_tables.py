"""Foreign and faulty CSV files: what is read, what is set aside, what is refused."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spotify_engine.errors import InputError
from spotify_engine.sessions.plays import SessionDataConfig
from spotify_engine.sessions.schema import TABLES
from spotify_engine.sessions.tables import edges_of_events, load_tables, read_tables

LOOSE = SessionDataConfig(max_reject_ratio=1)
SESSIONS = """user_id,track_id,artist_id,timestamp,ms_played,track_duration_ms
bob,t2,a1,2025-01-12T12:10:00Z,100,200
ann,t1,a1,1736683200,200,200
bob,t1,a1,2025-01-12T12:00:00Z,50,200
ann,t3,,1736683260000,0,100
bob,t2,a1,2025-01-12T13:00:00Z,200,200
"""
SMALL = {
    "raw_sessions.csv": SESSIONS,
    "tracks.csv": "track_id,track_name,artist_id,artist_name,duration_ms\n"
    't1,"One, two",a1,Ann,200\nt2,,a1,Ann,200\nt3,Three,,,\nt4,Four,a2,Bea,100\n',
    "genres.csv": "genre_id,genre_name\ng1,rock\ng2,jazz\n",
    "artist_genres.csv": "artist_id,genre_id\na1,g1\na1,g2\na2,g2\n",
    "song_genres.csv": "track_id,genre_id\nt1,g1\nt2,g1\nt4,g2\n",
    "user_genre_preferences.csv": "user_id,genre_id,affinity_score,user_type\n"
    "bob,g1,0.5,Power\nbob,g2,1,power\nzoe,g2,0.25,\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for name, text in SMALL.items():
        (data / name).write_text(text)
    return data


def columns(table: pa.Table, *names: str) -> list[tuple]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def test_tables_by_hand(folder: Path) -> None:
    tables = read_tables(folder)
    assert tables.keys() == TABLES.keys()
    assert all(tables[name].schema.equals(schema) for name, schema in TABLES.items())
    assert columns(tables["users"], "user", "id", "type") == [
        (0, "ann", "unknown"), (1, "bob", "power"), (2, "zoe", "unknown")
    ]  # fmt: skip
    assert columns(tables["songs"], "song", "id", "name", "artist", "duration_ms") == [
        (0, "t1", "One, two", 0, 200), (1, "t2", "t2", 0, 200),
        (2, "t3", "Three", None, None), (3, "t4", "Four", 1, 100),
    ]  # fmt: skip
    assert columns(tables["artists"], "artist", "id", "name") == [
        (0, "a1", "Ann"),
        (1, "a2", "Bea"),
    ]
    assert columns(tables["artist_genres"], "artist", "genre") == [(0, 0), (0, 1), (1, 1)]
    assert columns(tables["song_genres"], "song", "genre") == [(0, 0), (1, 0), (3, 1)]
    assert columns(tables["user_genre_preferences"], "user", "genre", "affinity") == [
        (1, 0, 0.5), (1, 1, 1.0), (2, 1, 0.25)
    ]  # fmt: skip
    start = 1_736_683_200
    assert columns(tables["events"], "user", "song", "time", "session", "position") == [
        (0, 0, start, 0, 0), (0, 2, start + 60, 0, 1),
        (1, 0, start, 1, 0), (1, 1, start + 600, 1, 1), (1, 1, start + 3600, 2, 0),
    ]  # fmt: skip
    assert tables["events"]["completion"].to_pylist() == [1, 0, 0.25, 0.5, 1]
    assert columns(tables["edge_list"], "user", "song", "play_count", "avg_completion") == [
        (0, 0, 1, 1), (0, 2, 1, 0), (1, 0, 1, 0.25), (1, 1, 2, 0.75)
    ]  # fmt: skip
    assert tables["rejects"].num_rows == 0


def test_columns_may_be_in_any_order_and_have_others_between(folder: Path) -> None:
    expected = read_tables(folder)
    for name, text in SMALL.items():
        rows = [line.replace("One, two", "One; two") for line in text.splitlines()]
        turned = [",".join(reversed(["extra", *line.split(",")])) for line in rows]
        (folder / name).write_text("\n".join(turned).replace("One; two", "One, two") + "\n")
    again = read_tables(folder)
    assert all(again[name].equals(expected[name]) for name in TABLES)


def test_chunks_do_not_matter(generated: Path, tables: dict[str, pa.Table]) -> None:
    for chunk_bytes in (1_000, 33_333):
        config = SessionDataConfig(chunk_bytes=chunk_bytes)
        again = read_tables(generated, config)
        assert all(again[name].equals(tables[name]) for name in TABLES)


FAULTY = [
    ("bob,t9,a1,2025-01-12T12:00:00Z,1,2", "unknown track"),
    ("bob,t1,a1,noon,1,2", "unparsable timestamp"),
    ("bob,t1,a1,2025-02-30T12:00:00Z,1,2", "unparsable timestamp"),
    ("bob,t1,a1,2025-01-12T12:00:00Z,-1,2", "negative ms_played"),
    ("bob,t1,a1,2025-01-12T12:00:00Z,3,2", "ms_played above the duration"),
    ("bob,t1,a1,2025-01-12T12:00:00Z,a,2", "unparsable ms_played"),
    ("bob,t1,a1,2025-01-12T12:00:00Z,0,0", "unparsable track_duration_ms"),
    ("bob,t1,a1,2025-01-12T12:00:00Z,0,", "unparsable track_duration_ms"),
    (",t1,a1,2025-01-12T12:00:00Z,1,2", "no user id"),
    ("bob,t1,a1,2025-01-12T12:00:00Z,1", "not 6 fields"),
]


def test_bad_rows_are_set_aside_with_line_and_reason(folder: Path) -> None:
    expected = read_tables(folder)
    lines = SESSIONS.splitlines()
    mixed = [lines[0]]
    for i, (row, _) in enumerate(FAULTY):
        mixed += [row, *lines[1 + i : 2 + i]]
    (folder / "raw_sessions.csv").write_text("\n".join(mixed) + "\n")
    for chunk_bytes in (10, 1 << 20):
        tables = read_tables(folder, LOOSE.model_copy(update={"chunk_bytes": chunk_bytes}))
        assert tables["events"].equals(expected["events"])
        assert columns(tables["rejects"], "source", "line", "reason", "text") == [
            ("raw_sessions.csv", mixed.index(row) + 1, reason, row) for row, reason in FAULTY
        ]


def test_too_many_bad_rows_are_refused(folder: Path) -> None:
    with (folder / "raw_sessions.csv").open("a") as file:
        file.write(f"{FAULTY[0][0]}\n{FAULTY[0][0]}\n")
    with pytest.raises(InputError) as caught:
        read_tables(folder)
    assert str(caught.value) == (
        f"{folder}/raw_sessions.csv: 28.6 % of rows have unknown track (limit 5.0 %); first at "
        f"line 7: '{FAULTY[0][0]}'. Is it raw_sessions.csv of the same folder as tracks.csv?"
    )


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("tracks.csv", ",x,a1,Ann,1", "no track id"),
        ("tracks.csv", "t1,x,a1,Ann,1", "repeated track id"),
        ("genres.csv", "g1,pop", "repeated genre id"),
        ("genres.csv", "g3,", "no genre name"),
        ("artist_genres.csv", "a9,g1", "unknown artist"),
        ("artist_genres.csv", "a1,g9", "unknown genre"),
        ("artist_genres.csv", "a1,g1", "repeated row"),
        ("song_genres.csv", "t9,g1", "unknown track"),
        ("user_genre_preferences.csv", "ann,g1,much,power", "unparsable affinity_score"),
        ("user_genre_preferences.csv", "ann,g1,-1,power", "negative affinity_score"),
        ("user_genre_preferences.csv", "ann,g9,1,power", "unknown genre"),
        ("user_genre_preferences.csv", "bob,g1,1,power", "repeated row"),
    ],
)
def test_bad_rows_of_the_small_files(folder: Path, name: str, row: str, reason: str) -> None:
    expected = read_tables(folder)
    with (folder / name).open("a") as file:
        file.write(f"{row}\n")
    tables = read_tables(folder, LOOSE)
    line = SMALL[name].count("\n") + 1
    assert columns(tables["rejects"], "source", "line", "reason", "text") == [
        (name, line, reason, row)
    ]
    assert all(tables[each].equals(expected[each]) for each in TABLES if each != "rejects")
    with pytest.raises(InputError, match=f"{name}: .* have {reason} .*first at line {line}"):
        read_tables(folder)


def test_optional_files_and_columns_may_be_missing(folder: Path) -> None:
    for name in ("genres.csv", "artist_genres.csv", "song_genres.csv"):
        (folder / name).unlink()
    (folder / "user_genre_preferences.csv").unlink()
    (folder / "tracks.csv").write_text("artist_id,track_id\na1,t1\n,t2\na2,t3\n")
    tables = read_tables(folder)
    assert [len(tables[name]) for name in ("genres", "song_genres", "artist_genres")] == [0, 0, 0]
    assert columns(tables["songs"], "id", "name", "artist", "duration_ms") == [
        ("t1", "t1", 0, None), ("t2", "t2", None, None), ("t3", "t3", 1, None)
    ]  # fmt: skip
    assert tables["artists"]["name"].to_pylist() == ["a1", "a2"]
    assert tables["users"]["type"].to_pylist() == ["unknown"] * 2
    assert len(tables["events"]) == 5


def test_songs_inherit_genres_when_no_file_says_theirs(folder: Path) -> None:
    (folder / "song_genres.csv").unlink()
    links = columns(read_tables(folder)["song_genres"], "song", "genre")
    assert links == [(0, 0), (0, 1), (1, 0), (1, 1), (3, 1)]


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "no such folder; give the one that has raw_sessions.csv, tracks.csv"),
        (_remove("tracks.csv"), "has no tracks.csv; it needs raw_sessions.csv, tracks.csv"),
        (
            _write("raw_sessions.csv", SESSIONS.replace("ms_played", "played")),
            "raw_sessions.csv: no column 'ms_played' in its header",
        ),
        (
            _write("raw_sessions.csv", SESSIONS.replace(",", ";")),
            "raw_sessions.csv: its columns are separated by semicolons",
        ),
        (_write("raw_sessions.csv", SESSIONS.splitlines()[0] + "\n"), "no rows that can be used"),
        (_write("raw_sessions.csv", ""), "raw_sessions.csv: is empty"),
        (_write("genres.csv", "id,genre_name\n"), "genres.csv: no column 'genre_id'"),
    ],
)
def test_what_cannot_be_used_is_one_line(folder: Path, spoil: Callable, said: str) -> None:
    spoil(folder)
    with pytest.raises(InputError) as caught:
        read_tables(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_when_all_rows_are_bad_that_is_said(folder: Path) -> None:
    (folder / "raw_sessions.csv").write_text(f"{SESSIONS.splitlines()[0]}\n{FAULTY[0][0]}\n")
    with pytest.raises(InputError, match="no rows that can be used"):
        read_tables(folder, LOOSE)


def test_blanks_around_ids_do_not_make_other_users(folder: Path) -> None:
    expected = read_tables(folder)
    (folder / "raw_sessions.csv").write_text(SESSIONS.replace("bob,t2", " bob , t2 "))
    assert read_tables(folder)["events"].equals(expected["events"])


def test_a_track_is_one_track_as_id_uri_and_link(folder: Path) -> None:
    expected = read_tables(folder)
    for name, old, new in (
        ("tracks.csv", "\nt2,", "\nspotify:track:t2,"),
        ("raw_sessions.csv", ",t1,", ",https://open.spotify.com/intl-de/track/t1?si=x,"),
        ("song_genres.csv", "t1,", "spotify:track:t1,"),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    tables = read_tables(folder)
    # The catalogue's ids are shown as tracks.csv writes them.
    assert tables["songs"]["id"].to_pylist() == ["t1", "spotify:track:t2", "t3", "t4"]
    assert tables["rejects"].num_rows == 0
    assert all(tables[name].equals(expected[name]) for name in TABLES if name != "songs")
    with (folder / "tracks.csv").open("a") as file:
        file.write("t2,again,a1,Ann,200\n")
    rejects = read_tables(folder, LOOSE)["rejects"]
    assert rejects["reason"].to_pylist() == ["repeated track id"]


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_plays_of_one_second_stay_in_the_files_order(folder: Path, chunk_bytes: int) -> None:
    at = "a1,2025-01-12T12:00:00Z"
    plays = ["b,t2,1", "a,t4,2", "b,t1,3", "b,t4,4", "a,t1,5"]
    rows = [",".join([*play.split(",")[:2], at, play[-1], "9"]) for play in plays]
    (folder / "raw_sessions.csv").write_text("\n".join([SESSIONS.splitlines()[0], *rows]) + "\n")
    events = read_tables(folder, SessionDataConfig(chunk_bytes=chunk_bytes))["events"]
    assert events["ms_played"].to_pylist() == [2, 5, 1, 3, 4]


def test_edges_of_a_selection(tables: dict[str, pa.Table]) -> None:
    events = tables["events"]
    counts = Counter(columns(events.slice(0, 100), "user", "song"))
    edges = edges_of_events(events.slice(0, 100), len(tables["songs"]))
    found = columns(edges, "user", "song", "play_count")
    assert {(user, song): n for user, song, n in found} == counts
    whole = edges_of_events(events, len(tables["songs"]))
    assert whole.equals(tables["edge_list"])


def test_saved_tables_are_loaded(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    again = load_tables(tmp_path)
    assert all(again[name].equals(tables[name]) for name in TABLES)
    (tmp_path / "events.parquet").write_text("x")
    with pytest.raises(InputError, match=r"events\.parquet: not a readable parquet file"):
        load_tables(tmp_path)
    (tmp_path / "events.parquet").unlink()
    with pytest.raises(InputError, match=r"events\.parquet: no such file"):
        load_tables(tmp_path)

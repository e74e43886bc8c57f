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
from spotify_engine.sessions.schema import TABLES
from spotify_engine.sessions.tables.build import (
    check_files,
    edges_of_events,
    load_tables,
    read_tables,
)
from spotify_engine.sessions.tables.columns import (
    AT_ZERO,
    IN_DAYS,
    IN_FUTURE,
    NO_TIME,
    ROUNDED,
    TOO_EARLY,
    UNPARSABLE,
)
from spotify_engine.sessions.tables.plays import PLAY_REMEDIES, SET_ASIDE, SessionDataConfig
from tests.texts import replaced

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
    ("bob,t1,a1,0,1,2", "timestamp 0 or in 1970"),
    ("bob,t1,a1,2147483647000,1,2", "timestamp in the future"),
    ("bob,t1,a1,,1,2", "no timestamp"),
    ("bob,t1,a1,2025-01-12T12:00:00Z,21,2", "ms_played above 10 times the duration"),
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
        f"line 7: '{FAULTY[0][0]}'. Give raw_sessions.csv and tracks.csv of the "
        "same data set, or go on without such rows with --set data.max_reject_ratio=0.29"
    )


def with_rows(folder: Path, *rows: str) -> Path:
    """The folder, with more rows in its sessions file."""
    with (folder / "raw_sessions.csv").open("a") as file:
        file.write("".join(f"{row}\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("played", "completion"), [(201, 1), (250, 1), (2000, 1), (200, 1), (199, 0.995)]
)
def test_a_play_longer_than_its_track_is_whole(
    folder: Path, played: int, completion: float
) -> None:
    row = f"ann,t4,a2,2025-01-13T12:00:00Z,{played},200"
    tables = read_tables(with_rows(folder, row))
    assert tables["rejects"].num_rows == 0
    event = tables["events"].slice(2, 1).to_pylist()[0]
    assert event["ms_played"] == played
    assert event["completion"] == pytest.approx(completion)
    assert max(tables["edge_list"]["avg_completion"].to_pylist()) <= 1


def test_a_play_is_at_most_ten_times_its_track(folder: Path) -> None:
    rows = [f"ann,t4,a2,2025-01-13T12:00:00Z,{played},200" for played in (2000, 2001)]
    tables = read_tables(with_rows(folder, *rows), LOOSE)
    assert columns(tables["rejects"], "line", "reason") == [
        (8, "ms_played above 10 times the duration")
    ]


def test_a_duration_in_seconds_is_refused_not_taken_for_whole_plays(folder: Path) -> None:
    rows = SESSIONS.splitlines()
    units = [row.rpartition(",")[0] + ",0.2" for row in rows[1:]]
    (folder / "raw_sessions.csv").write_text("\n".join([rows[0], *units]) + "\n")
    with pytest.raises(InputError, match="track_duration_ms as whole milliseconds"):
        read_tables(folder)
    units = [f"u,t1,a1,2025-01-12T12:00:00Z,{180_000 + i},180" for i in range(20)]
    (folder / "raw_sessions.csv").write_text("\n".join([rows[0], *units]) + "\n")
    with pytest.raises(InputError) as caught:
        read_tables(folder)
    assert "100 % of rows have ms_played above 10 times the duration" in str(caught.value)
    assert "both as milliseconds" in str(caught.value)


@pytest.mark.parametrize("track", ["", " ", "null", "NaN", "\\N", "spotify:episode:4rOoJ6Egrf8K"])
def test_rows_of_no_track_are_set_aside_however_many(folder: Path, track: str) -> None:
    expected = read_tables(folder)
    podcast = f"bob,{track},,2025-01-12T12:30:00Z,100,200"
    tables = read_tables(with_rows(folder, *[podcast] * 20))
    assert tables["events"].equals(expected["events"])
    assert set(tables["rejects"]["reason"].to_pylist()) <= set(SET_ASIDE)
    assert tables["rejects"]["line"].to_pylist() == list(range(7, 27))
    # They don't make room for rows that are wrong, nor take it: 1 of 6 plays is unusable.
    with_rows(folder, FAULTY[0][0])
    with pytest.raises(InputError, match=r"16\.7 % of rows have unknown track \(limit 5\.0 %\)"):
        read_tables(folder)
    assert len(read_tables(folder, SessionDataConfig(max_reject_ratio=0.17))["events"]) == 5


def test_a_track_that_is_called_null_is_a_track(folder: Path) -> None:
    text = SMALL["tracks.csv"].replace("t4,", "null,")
    (folder / "tracks.csv").write_text(text)
    (folder / "song_genres.csv").unlink()
    tables = read_tables(with_rows(folder, "bob,null,a2,2025-01-14T12:30:00Z,100,200"))
    assert len(tables["events"]) == 6


def test_a_file_of_nothing_but_podcasts_says_so(folder: Path) -> None:
    header = SESSIONS.splitlines()[0]
    rows = ["u,,,2025-01-12T12:00:00Z,1,2"] * 3 + ["u,spotify:episode:4,,2025-01-12,1,2"]
    (folder / "raw_sessions.csv").write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(InputError) as caught:
        read_tables(folder)
    assert "1 have an episode's id in place of a track's; 3 have no track id" in str(caught.value)


@pytest.mark.parametrize("zero", ["0", "0.0", "1970-01-01T00:00:00Z", "1970-01-01 00:00", "999"])
def test_plays_at_1970_are_no_session(folder: Path, zero: str) -> None:
    """Neither a few of them, which are set aside, nor many, for which there is a remedy."""
    expected = read_tables(folder)["events"]
    with_rows(folder, *[f"ann,t{i},a1,{zero},100,200" for i in (1, 2, 4)])
    assert read_tables(folder, LOOSE)["events"].equals(expected)
    with pytest.raises(InputError) as caught:
        read_tables(folder)
    assert "37.5 % of rows have timestamp 0 or in 1970 (limit 5.0 %); first at line 7" in str(
        caught.value
    )
    assert "max_reject_ratio=0.38" in str(caught.value)


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ('"15 Nov 2023, 03:06"', "unparsable timestamp"),
        ("0", "timestamp 0 or in 1970"),
        ("", "no timestamp"),
        ("45245.129", "timestamp in a spreadsheet's days"),
        ("1.70002E+12", "timestamp in scientific notation"),
        ("2099-12-31T00:00:00Z", "timestamp in the future"),
        ("1900-01-01", "timestamp before 2000"),
    ],
)
def test_why_no_row_can_be_used_is_said_whatever_the_limit(
    folder: Path, time: str, reason: str
) -> None:
    header = SESSIONS.splitlines()[0]
    rows = [f"u{i},t1,a1,{time},1,2" for i in range(30)]
    (folder / "raw_sessions.csv").write_text("\n".join([header, *rows]) + "\n")
    for config in (LOOSE, SessionDataConfig()):
        with pytest.raises(InputError) as caught:
            read_tables(folder, config)
        assert f"100 % of rows have {reason}; first at line 2: 'u0,t1,a1," in str(caught.value)
        assert "max_reject_ratio" not in str(caught.value)


def test_every_reason_has_a_remedy() -> None:
    reasons = {reason for _, reason in FAULTY} - {"not 6 fields"}
    times = {NO_TIME, AT_ZERO, TOO_EARLY, IN_FUTURE, IN_DAYS, ROUNDED, UNPARSABLE}
    assert reasons | times <= PLAY_REMEDIES.keys()


def test_tracks_without_rows_are_named(folder: Path) -> None:
    (folder / "tracks.csv").write_text(SMALL["tracks.csv"].splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"tracks\.csv: has no rows; it needs the tracks"):
        read_tables(folder)


def test_optional_files_may_hold_a_header_alone(folder: Path) -> None:
    names = ("genres.csv", "artist_genres.csv", "song_genres.csv", "user_genre_preferences.csv")
    for name in names:
        (folder / name).write_text(SMALL[name].splitlines()[0] + "\n")
    tables = read_tables(folder)
    assert [len(tables[name]) for name in ("genres", "song_genres", "artist_genres")] == [0, 0, 0]
    assert len(tables["events"]) == 5


@pytest.mark.parametrize("chunk_bytes", [1, 200, 1 << 20])
@pytest.mark.parametrize("name", ["raw_sessions.csv", "tracks.csv"])
def test_a_quote_that_is_not_closed_costs_its_line_alone(
    folder: Path, name: str, chunk_bytes: int
) -> None:
    expected = read_tables(folder)
    lines = SMALL[name].splitlines(keepends=True)
    broken = lines[2].replace(",", ',"', 1)
    (folder / name).write_text("".join([*lines[:2], broken, *lines[2:]]))
    tables = read_tables(folder, LOOSE.model_copy(update={"chunk_bytes": chunk_bytes}))
    assert columns(tables["rejects"], "source", "line", "reason", "text") == [
        (name, 3, "a quote that isn't closed", broken.rstrip("\n"))
    ]
    assert all(tables[each].equals(expected[each]) for each in TABLES if each != "rejects")
    with pytest.raises(
        InputError, match=rf"{name}: .* a quote that isn't closed .* line 3: .*Close"
    ):
        read_tables(folder)


@pytest.mark.parametrize("name", list(SMALL))
def test_other_formats_and_encodings_are_refused(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(SMALL[name].encode("utf-16"))
    with pytest.raises(InputError, match=rf"{name}: is in UTF-16; save it as UTF-8"):
        check_files(str(folder), SessionDataConfig())
    path.write_bytes(SMALL[name].replace("1", "\xe9").encode("latin-1"))
    with pytest.raises(InputError, match=rf"{name}: .* it looks like Latin-1/Windows-1252: save"):
        check_files(str(folder), SessionDataConfig())


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


def test_when_all_rows_are_bad_the_reason_is_said(folder: Path) -> None:
    (folder / "raw_sessions.csv").write_text(f"{SESSIONS.splitlines()[0]}\n{FAULTY[0][0]}\n")
    with pytest.raises(InputError, match=r"100 % of rows have unknown track; first at line 2: "):
        read_tables(folder, LOOSE)


def test_blanks_around_ids_do_not_make_other_users(folder: Path) -> None:
    expected = read_tables(folder)
    (folder / "raw_sessions.csv").write_text(replaced(SESSIONS, "bob,t2", " bob , t2 "))
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

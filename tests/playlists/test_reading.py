from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotify_engine.errors import InputError
from spotify_engine.playlists.reading import PLAYLIST_COLUMNS, Chunk, read_chunk
from spotify_engine.reading import records
from spotify_engine.reading.records import (
    BACKSLASH,
    DOUBLED,
    Dialect,
    find_records,
    open_csv,
    split,
)

HEADER = b"user_id,artistname,trackname,playlistname\n"
# Single characters make states, the longer ones make whole fields, lines and sync points likely.
PIECES = ["a", '"', ",", "\\", "\n", "\r", "é", " ", '"b"', '","', 'x"\n', 'x"\r\n']
PIECES += ["x,y,z,w\n", '"p","q","r","s"\n']
SOUP = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "playlists.csv"


def whole(data: bytes, dialect: Dialect) -> tuple[list[tuple[str, ...]], list[str]]:
    """(rows of four fields, texts of other rows) as pyarrow reads them in one go."""
    wrong: list[str] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        wrong.append(row.text)
        return "skip"

    table = pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pa.csv.ParseOptions(
            escape_char="\\" if dialect.escape else False,
            newlines_in_values=True,
            invalid_row_handler=skip,
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(PLAYLIST_COLUMNS, pa.string())
        ),
    )
    columns = (table[name].to_pylist() for name in PLAYLIST_COLUMNS)
    return list(zip(*columns, strict=True)), wrong


def rows_of(chunk: Chunk) -> list[tuple[str, ...]]:
    users, titles = (x.values.take(pa.array(x.codes)) for x in (chunk.users, chunk.titles))
    columns = (x.to_pylist() for x in (users, chunk.artists, chunk.tracks, titles))
    return list(zip(*columns, strict=True))


def read(path: Path, data: bytes, chunk_bytes: int, dialect: Dialect = BACKSLASH) -> list[Chunk]:
    path.write_bytes(data)
    file = open_csv(str(path), dialect, PLAYLIST_COLUMNS)
    ranges = split(file, chunk_bytes)
    assert [start for start, _ in ranges] == [file.body, *(end for _, end in ranges)][: len(ranges)]
    return [read_chunk(file, start, end) for start, end in ranges]


@pytest.mark.parametrize("windows", [(1,), (4, 9), (1 << 16,)])
@pytest.mark.parametrize("dialect", [BACKSLASH, DOUBLED])
def test_chunks_hold_the_records_of_the_whole_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, windows: tuple[int, ...], dialect: Dialect
) -> None:
    """Small windows find no sync point in time, so that records are walked instead."""
    monkeypatch.setattr(records, "_SYNC_WINDOWS", windows)

    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(body=SOUP, chunk_bytes=st.integers(1, 40), block=st.sampled_from([1, 7, 1 << 16]))
    def check(body: str, chunk_bytes: int, block: int) -> None:
        monkeypatch.setattr(records, "_WALK_BLOCK", block)
        data = HEADER + body.encode()
        chunks = read(path, data, chunk_bytes, dialect)
        rows, wrong = whole(data, dialect)
        assert [row for chunk in chunks for row in rows_of(chunk)] == [
            (user, artist.strip(), track.strip(), title)
            for user, artist, track, title in rows
            if all(field.strip() for field in (user, artist, track, title))
        ]
        rejects = [row for chunk in chunks for row in chunk.rejects.to_pylist()]
        assert [row["text"] for row in rejects if row["reason"] == "not 4 fields"] == [
            text.rstrip("\r\n") for text in wrong
        ]
        assert sum(chunk.rows for chunk in chunks) == len(rows) + len(wrong)
        assert sum(chunk.newlines for chunk in chunks) == body.count("\n")
        lines = 1
        for chunk in chunks:
            for row in chunk.rejects.to_pylist():
                assert data[row["byte_offset"] :].decode().startswith(row["text"])
                assert data[: row["byte_offset"]].count(b"\n") == lines + row["line"]
            lines += chunk.newlines

    check()


@pytest.mark.parametrize("dialect", [BACKSLASH, DOUBLED])
def test_records_are_found_by_the_numbers_that_arrow_gives_them(
    path: Path, monkeypatch: pytest.MonkeyPatch, dialect: Dialect
) -> None:
    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(body=SOUP, block=st.sampled_from([1, 7, 1 << 16]), every=st.integers(1, 3))
    def check(body: str, block: int, every: int) -> None:
        monkeypatch.setattr(records, "_WALK_BLOCK", block)
        data = HEADER + body.encode()
        path.write_bytes(data)
        wrong: dict[int, str] = {}

        def skip(row: pa.csv.InvalidRow) -> str:
            wrong[row.number - 2] = row.text  # Arrow counts from 1 and the header too
            return "skip"

        table = pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=dialect.parse_options(skip),
        )
        total = table.num_rows + len(wrong)
        file = open_csv(str(path), dialect, PLAYLIST_COLUMNS)
        numbers = list(range(0, total, every))
        found = list(find_records(file, numbers))
        assert [record.number for record in found] == numbers
        for record in found:
            assert data[record.start :].startswith(record.raw)
            assert record.line == data[: record.start].count(b"\n")
            if record.number in wrong:
                assert record.raw.decode().rstrip("\r\n") == wrong[record.number].rstrip("\r\n")
        if every == 1:
            gaps = set(data[file.body :]) - set(b"".join(record.raw for record in found))
            assert gaps <= set(b"\r\n")
        with pytest.raises(RuntimeError, match=f"record {total} was parsed, {total} were found"):
            list(find_records(file, [total]))

    check()


def test_quoted_files_are_cut_near_the_asked_size_and_others_too(path: Path) -> None:
    for line in (b'"u","a","t","p"\n', b"u,a,t,p\n"):
        path.write_bytes(HEADER + line * 5000)
        ranges = split(open_csv(str(path), BACKSLASH, PLAYLIST_COLUMNS), 1000)
        assert max(end - start for start, end in ranges) <= 1000 + 2 * len(line)


def test_an_unclosed_quote_costs_only_its_neighbours(path: Path) -> None:
    good = b'"u","a","t","p"\n'
    (chunk,) = read(path, HEADER + good * 50 + b'"u","a","open,"p"\n' + good * 50, 1 << 20)
    assert len(chunk.tracks) >= 98


def test_rows_lacking_something_are_named_by_the_first_thing_they_lack(path: Path) -> None:
    body = (
        b'"","a","t","p"\n"u"," ","\xe2\x80\x83","p"\n"u",,"t",\n"u","a","t","\t"\n u , A, T ,p\n'
    )
    (chunk,) = read(path, HEADER + body, 1 << 20)
    assert [row["reason"] for row in chunk.rejects.to_pylist()] == [
        "no user id",
        "no track name",
        "no artist name",
        "no playlist name",
    ]
    assert rows_of(chunk) == [
        (" u ", "A", "T", "p")
    ]  # playlists are told apart as they are spelled


def test_bytes_that_are_not_utf8_cost_only_their_rows(path: Path) -> None:
    body = b'u,a,t\xff,p\n"u","a\xc3","b",""\nu,\xef\xbf\xbd,t,p\nbad \xe9\nu,a,,p\nu,a,t,p\n'
    (chunk,) = read(path, HEADER + body, 1 << 20)
    assert rows_of(chunk) == [("u", "\ufffd", "t", "p"), ("u", "a", "t", "p")]
    rejects = [(row["line"], row["reason"]) for row in chunk.rejects.to_pylist()]
    utf8 = "not valid UTF-8"
    assert rejects == [(0, utf8), (1, utf8), (3, utf8), (4, "no track name")]
    assert chunk.rejects["text"][0].as_py() == "u,a,t\ufffd,p"


def test_byte_order_marks(path: Path) -> None:
    """The file's own is skipped; one in mid-file belongs to its row wherever the file is cut."""
    row = '\ufeff"u","a","t","p"\n'.encode()
    for chunk_bytes in (1, 1 << 20):
        chunks = read(path, "\ufeff".encode() + HEADER + row * 3, chunk_bytes)
        users = [user for chunk in chunks for user, *_ in rows_of(chunk)]
        assert users == ['\ufeff"u"'] * 3


def test_header_with_blanks_other_order_and_more_columns(path: Path) -> None:
    header = b'\r\n"PlaylistName", "trackname", "x","user_id", "artistname"\r\n'
    (chunk,) = read(path, header + b'"p","t","1","u","a"\r\n"p","t","u"\r\n', 1 << 20)
    assert rows_of(chunk) == [("u", "a", "t", "p")]
    assert chunk.rejects["reason"].to_pylist() == ["not 5 fields"]


def test_a_row_too_long_to_parse_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_LONGEST", 500)
    with pytest.raises(InputError, match=r"no row ends within 500 bytes after byte 42; is a quote"):
        read(path, HEADER + b'u,a,t,"p' + b",p\n" * 1000, 100)


def test_rejected_text_is_cut(path: Path) -> None:
    (chunk,) = read(path, HEADER + "é".encode() * 1000 + b"\n", 1 << 20)
    assert chunk.rejects["text"].to_pylist() == ["é" * 200]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n\r\n", "is empty"),
        (HEADER.replace(b",", b";"), "separated by semicolons; save it with commas"),
        (HEADER.replace(b",", b"\t"), "separated by tabs"),
        (b"user_id,trackname,title\n", "no columns 'artistname', 'playlistname' in its header"),
        (b"PK\x03\x04...", "is compressed; unpack it"),
        (b'"' + b"x" * (2 << 20), "no header line"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        open_csv(str(path), BACKSLASH, PLAYLIST_COLUMNS)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_files_and_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_csv(str(tmp_path / "none.csv"), BACKSLASH, PLAYLIST_COLUMNS)
    with pytest.raises(InputError, match="is a directory"):
        open_csv(str(tmp_path), BACKSLASH, PLAYLIST_COLUMNS)
    with pytest.raises(InputError, match="can't be opened"):
        open_csv("nowhere://x/y.csv", BACKSLASH, PLAYLIST_COLUMNS)


def test_a_uri_reads_as_the_path_does(path: Path) -> None:
    path.write_bytes(HEADER + b"u,a,t,p\n")
    file = open_csv(path.as_uri(), BACKSLASH, PLAYLIST_COLUMNS)
    assert file.name == "playlists.csv"
    assert rows_of(read_chunk(file, *split(file, 100)[0])) == [("u", "a", "t", "p")]


@pytest.mark.parametrize("dialect", [BACKSLASH, DOUBLED])
@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_files_without_quotes_are_cut_where_walking_would_cut_them(
    path: Path, monkeypatch: pytest.MonkeyPatch, dialect: Dialect, block: int
) -> None:
    monkeypatch.setattr(records, "_WALK_BLOCK", block)
    path.write_bytes(
        b"user_id,artistname,trackname,playlistname\n" + b"u,a,some track,p\r\nv,,t,\n" * 9
    )
    file = open_csv(str(path), dialect, PLAYLIST_COLUMNS)
    fast = [split(file, size) for size in (1, 10, 23, 60, 1000)]
    monkeypatch.setattr(records, "_plain_cut", lambda *_: None)
    assert fast == [split(file, size) for size in (1, 10, 23, 60, 1000)]
    assert len(fast[0]) == 18


def test_a_quote_makes_newlines_doubtful(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = []
    walk = records._walk
    monkeypatch.setattr(records, "_walk", lambda *given: walked.append(1) or walk(*given))
    rows = b"u,a,t,p\n" * 10
    chunks = read(path, HEADER + rows + b'u,a,"two\nlines",p\n' + rows, 85)
    assert walked
    assert sum(chunk.rows for chunk in chunks) == 21
    assert [name for chunk in chunks for name in chunk.tracks.to_pylist()].count("two\nlines") == 1

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotify_engine.errors import InputError
from spotify_engine.playlists.tables.reading import PLAYLIST_COLUMNS, Chunk, read_chunk
from spotify_engine.reading import records
from spotify_engine.reading.records import (
    BACKSLASH,
    DOUBLED,
    Dialect,
    open_csv,
    split,
)

HEADER = b"user_id,artistname,trackname,playlistname\n"
# Single characters make states, the longer ones make whole fields, lines and sync points likely.
PIECES = ["a", '"', ",", "\\", "\n", "\r", "é", " ", '"b"', '","', 'x"\n', 'x"\r\n']
PIECES += ["x,y,z,w\n", '"p","q","r","s"\n', '"p","q","r","s"\n' * 20]
SOUP = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "playlists.csv"


def record(text: str, at: int, dialect: Dialect) -> tuple[int, int, bool, bool]:
    """(end, fields, whether the end is one, quotes closed well) of a record, by its characters."""
    fields, closed_well, opened = 1, True, at
    state = "start"
    while at < len(text):
        char, next_char = text[at], text[at + 1 : at + 2]
        at += 1
        if char == "\\" and dialect.escape:
            state = "quoted" if state == "quoted" else "bare"
            escaped_end = next_char in ("\r", "\n") and at + 1 == len(text)
            at += 1
            if escaped_end:
                return len(text), fields, False, closed_well
        elif state == "quoted":
            if char == '"' and next_char == '"':
                at += 1
            elif char == '"':
                state = "bare"
                on_one_line = not re.search("[\r\n]", text[opened:at])
                closed_well &= on_one_line or next_char in ("", ",", "\r", "\n")
        elif char == '"' and state == "start":
            state, opened = "quoted", at
        elif char == ",":
            fields, state = fields + 1, "start"
        elif char in "\r\n":
            return at + (char + next_char == "\r\n"), fields, True, closed_well
        else:
            state = "bare"
    return len(text), fields, state != "quoted", closed_well and state != "quoted"


LINES = re.compile("[^\r\n]*(?:\r\n?|\n|\\Z)")


def records_by_hand(
    body: str, dialect: Dialect, longest: int, width: int = 4
) -> list[tuple[str, bool]]:
    """(text, whether it is unfinished) of each record: the rule, said another way."""
    found, at = [], 0
    while at < len(body):
        line = LINES.match(body, at).group()
        end, _, ended, closed_well = record(body, at, dialect)
        if not line.strip("\r\n"):
            end, unfinished = at + len(line), None
        elif end <= at + len(line) and ended:
            unfinished = False
        else:
            text = body[at:end]
            later = LINES.findall(text)[1:]
            unfinished = not (
                ended
                and closed_well
                and len(text.encode()) <= longest
                and not any(neat(each, dialect, width) for each in later)
            )
            end = at + len(line) if unfinished else end
        if unfinished is not None:
            found.append((body[at:end], unfinished))
        at = end
    return found


def neat(line: str, dialect: Dialect, width: int) -> bool:
    """Whether a line is a row of the width by itself, each quote in its place."""
    line = line.rstrip("\r\n")
    quoted = r'"(?:[^"\\]|""|\\.)*"' if dialect.escape else r'"(?:[^"]|"")*"'
    bare = r'(?:[^",\\]|\\.)*' if dialect.escape else r'[^",]*'
    return bool(re.fullmatch(f"(?:{quoted}|{bare})" + f",(?:{quoted}|{bare})" * (width - 1), line))


@cache
def parsed(text: str, dialect: Dialect) -> tuple[str, ...] | None:
    """The fields of one record as pyarrow reads it alone; None if they aren't four."""
    table = pa.csv.read_csv(
        pa.BufferReader(text.encode()),
        read_options=pa.csv.ReadOptions(column_names=list("abcd"), use_threads=False),
        parse_options=dialect.parse_options(lambda _: "skip"),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys("abcd", pa.string())),
    )
    return tuple(table.to_pylist()[0].values()) if len(table) else None


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


@pytest.mark.parametrize("window", [1, 5, 1 << 16])
@pytest.mark.parametrize("dialect", [BACKSLASH, DOUBLED])
def test_records_follow_the_rule_however_the_file_is_cut(
    path: Path, monkeypatch: pytest.MonkeyPatch, window: int, dialect: Dialect
) -> None:
    monkeypatch.setattr(records, "_WINDOW", window)

    @settings(max_examples=80, deadline=None, derandomize=True, database=None)
    @given(body=SOUP, chunk_bytes=st.integers(1, 40), longest=st.sampled_from([3, 12, 30, 1 << 16]))
    def check(body: str, chunk_bytes: int, longest: int) -> None:
        monkeypatch.setattr(records, "LONGEST_RECORD", longest)
        data = HEADER + body.encode()
        chunks = read(path, data, chunk_bytes, dialect)
        rows, rejected = [], []
        for text, unfinished in records_by_hand(body, dialect, longest):
            fields = None if unfinished else parsed(text, dialect)
            if fields is not None and all(field.strip() for field in fields):
                user, artist, track, title = fields
                rows.append((user, artist.strip(), track.strip(), title))
            else:
                lines = [line.rstrip("\r\n") for line in LINES.findall(text)]
                rejected += [line for line in lines if line]
        assert [row for chunk in chunks for row in rows_of(chunk)] == rows
        rejects = [row for chunk in chunks for row in chunk.rejects.to_pylist()]
        assert [row["text"] for row in rejects] == rejected
        assert sum(chunk.rows for chunk in chunks) == len(rows) + len(rejected)
        lines = 1
        for chunk in chunks:
            for row in chunk.rejects.to_pylist():
                before = data[: row["byte_offset"]].decode()
                assert data[row["byte_offset"] :].decode().startswith(row["text"])
                assert len(re.findall("\r\n?|\n", before)) == lines + row["line"]
            lines += chunk.newlines
        assert lines == len(re.findall("\r\n?|\n", data.decode()))

    check()


def test_quoted_files_are_cut_near_the_asked_size_and_others_too(path: Path) -> None:
    for line in (b'"u","a","t","p"\n', b"u,a,t,p\n"):
        path.write_bytes(HEADER + line * 5000)
        ranges = split(open_csv(str(path), BACKSLASH, PLAYLIST_COLUMNS), 1000)
        assert max(end - start for start, end in ranges) <= 1000 + 2 * len(line)


BARE = [f"u{i // 12},Artist {i % 8},Song {i},gym\n" for i in range(480)]
QUOTED = [f'"u{i // 12}","Artist {i % 8}","Song {i}","gym"\n' for i in range(480)]


@pytest.mark.parametrize(
    ("rows", "dialect", "broken"),
    [
        (BARE, BACKSLASH, {265: 'u22,Artist 1,"Song 025,jazz\n'}),
        (BARE, DOUBLED, {0: 'u22,"Artist 1,Song 025,jazz\n'}),
        (BARE, BACKSLASH, {479: 'u22,Artist 1,Song 025,"jazz\n'}),
        (BARE, BACKSLASH, {479: 'u22,Artist 1,Song 025,"jazz'}),
        (BARE, DOUBLED, {478: '"u22,Artist 1,Song 025,jazz\n', 479: '"u,A,S,j\n'}),
        (BARE, DOUBLED, {i: f'u{i},Artist 1,Song 025,"jazz\n' for i in (3, 4, 9, 200, 470)}),
        (BARE, BACKSLASH, {5: "u22,Artist 1,Song 025,jazz\\\n"}),
        (QUOTED, BACKSLASH, {265: '"u22","Artist 1","Song 025","jazz\n'}),
        (QUOTED, DOUBLED, {265: '"u22","Artist 1","Song 025","jazz\n'}),
        (QUOTED, BACKSLASH, {0: '"u22","Artist 1","Song 025","jazz\\"\n', 1: '"u","A","S","j\n'}),
        (QUOTED, BACKSLASH, {479: '"u22","Artist 1","Song 025","jazz'}),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 1000, 1 << 20])
def test_a_quote_that_is_not_closed_costs_its_line_alone(
    path: Path, rows: list[str], dialect: Dialect, broken: dict[int, str], chunk_bytes: int
) -> None:
    lines = [broken.get(i, row) for i, row in enumerate(rows)]
    chunks = read(path, HEADER + "".join(lines).encode(), chunk_bytes, dialect)
    names = [name for chunk in chunks for name in chunk.tracks.to_pylist()]
    assert names == [f"Song {i}" for i in range(480) if i not in broken]
    rejects = pa.concat_tables([chunk.rejects for chunk in chunks])
    assert rejects["text"].to_pylist() == [line.rstrip("\n") for line in broken.values()]
    assert set(rejects["reason"].to_pylist()) <= {
        "a quote that isn't closed",
        "a backslash at the end of the line",
    }
    assert sum(chunk.rows for chunk in chunks) == 480


@pytest.mark.parametrize(
    "following",
    [
        'u23,Artist 2,"Song 2, live",gym\n',  # its first quote seems to close the other
        'u23,Artist 2,"Song 2",gym\n',  # and the fields are four
        'u23,Artist 2,"",gym\nu23,Artist 2,"Song 2",gym\n',
        'u23,Artist 2,Song 2,gym\nu23,Artist 2,Disco 12",gym\n',  # a stray quote closes it
        'u23,Artist 2,Song 2,", gym"\n',
    ],
)
def test_what_seems_to_close_a_quote_lines_later_does_not(path: Path, following: str) -> None:
    body = f'u22,Artist 1,"Song 1,jazz\n{following}u24,Artist 3,Song 3,rock\n'
    for chunk_bytes in (1, 40, 1 << 20):
        chunks = read(path, HEADER + body.encode(), chunk_bytes, DOUBLED)
        users = [user for chunk in chunks for user, *_ in rows_of(chunk)]
        assert users[-1] == "u24"
        assert set(users) == {"u23", "u24"}
        first = next(row for chunk in chunks for row in chunk.rejects.to_pylist())
        assert (first["reason"], first["text"]) == (
            "a quote that isn't closed",
            'u22,Artist 1,"Song 1,jazz',
        )
        assert sum(chunk.rows for chunk in chunks) == body.count("\n")


def test_fields_of_several_lines_are_read_up_to_a_length(path: Path) -> None:
    for text in ("two\nlines", "a\r\n\r\nb, c", 'a ""b""\n,c', "\n" * 9, "x\n" * 9000):
        body = f'u,a,"{text}x",p\nv,"{text}x",t,p\n"x\ny",a,t,p\n'
        for chunk_bytes in (1, 1 << 20):
            chunks = read(path, HEADER + body.encode(), chunk_bytes, DOUBLED)
            assert sum(len(chunk.rejects) for chunk in chunks) == 0
            assert sum(len(chunk.tracks) for chunk in chunks) == 3
    long = "x\n" * 40_000
    (chunk,) = read(path, HEADER + f'u,a,"{long}",p\nu,a,t,p\n'.encode(), 1 << 20)
    assert chunk.tracks.to_pylist() == ["t"]
    assert chunk.rejects["reason"].to_pylist()[:2] == ["a quote that isn't closed", "not 4 fields"]
    assert chunk.rows == 40_002


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


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_what_joined_and_damaged_files_hold_between_their_rows(
    path: Path, chunk_bytes: int
) -> None:
    mark, good = "\ufeff".encode(), b"u,a,t,p\r\n"
    body = good + mark + HEADER + good + HEADER.strip() + b"\r\n" + mark + good
    body += b"\n \n" + b"u,a\0,t,p\n" + b"\0" * 9 + b"\r" + good + b"user_id,artistname\n,,,\n\n"
    chunks = read(path, mark + HEADER + body, chunk_bytes)
    assert [row for chunk in chunks for row in rows_of(chunk)] == [("u", "a", "t", "p")] * 3
    lines, rejects = 1, []
    for chunk in chunks:
        rejects += [(lines + 1 + row["line"], row["reason"]) for row in chunk.rejects.to_pylist()]
        lines += chunk.newlines
    assert rejects == [
        (3, "the header in place of a row"),
        (5, "the header in place of a row"),
        (6, "a byte order mark"),
        (8, "not 4 fields"),
        (9, "a NUL byte"),
        (10, "a NUL byte"),
        (12, "not 4 fields"),
        (13, "no track name"),
    ]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
@pytest.mark.parametrize("chunk_bytes", [1, 50, 1 << 20])
def test_any_line_ends(path: Path, line_end: bytes, chunk_bytes: int) -> None:
    lines = [HEADER.strip(), b'u,a,"t, x",p', b"", b"u,a", b'u,"open,t,p', b"u,a,t,p"]
    chunks = read(path, line_end.join(lines), chunk_bytes)
    assert [row for chunk in chunks for row in rows_of(chunk)] == [
        ("u", "a", "t, x", "p"),
        ("u", "a", "t", "p"),
    ]
    rejected = [row["text"] for chunk in chunks for row in chunk.rejects.to_pylist()]
    assert rejected == ["u,a", 'u,"open,t,p']
    ends = line_end.replace(b"\r\n", b"\n")
    assert sum(chunk.newlines for chunk in chunks) == 5 * len(ends) - 1


def test_header_with_blanks_other_order_and_more_columns(path: Path) -> None:
    header = b'\r\n"PlaylistName", "trackname", "x","user_id", "artistname"\r\n'
    (chunk,) = read(path, header + b'"p","t","1","u","a"\r\n"p","t","u"\r\n', 1 << 20)
    assert rows_of(chunk) == [("u", "a", "t", "p")]
    assert chunk.rejects["reason"].to_pylist() == ["not 5 fields"]


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

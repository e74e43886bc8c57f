"""Files that are no CSV file in UTF-8: each is named, with what to do about it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import sqlite3
import tarfile
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from spotify_engine.errors import InputError
from spotify_engine.reading.records import DOUBLED, open_csv

NEEDED = ("track_id", "track_name", "artist_name")
HEADER = ",".join(NEEDED)
TEXT = HEADER + "\n" + "".join(f"{i},Song {i},Artist\n" for i in range(200))
RAW = TEXT.encode()
TABLE = pa.table({"track_id": ["1"], "track_name": ["Song"], "artist_name": ["Artist"]})


def written(write: object) -> bytes:
    sink = io.BytesIO()
    write(sink)  # type: ignore[operator]
    return sink.getvalue()


def zipped(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, RAW)
    return sink.getvalue()


def tarred() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("tracks.csv"))
    return sink.getvalue()


def arrow(kind: str) -> bytes:
    sink = io.BytesIO()
    with getattr(pa.ipc, kind)(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE tracks (id)")
        return connection.serialize()


def refusal(path: Path, data: bytes, limit: float = 0.05) -> str:
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        open_csv(str(path), DOUBLED, NEEDED, ("popularity",), limit)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(RAW), "is compressed (gzip); unpack it"),
        (bz2.compress(RAW), "is compressed (bzip2)"),
        (lzma.compress(RAW), "is compressed (xz)"),
        (lzma.compress(RAW, lzma.FORMAT_ALONE), "is compressed (LZMA)"),
        (pa.compress(RAW, "zstd", asbytes=True), "is compressed (Zstandard)"),
        (pa.compress(RAW, "lz4", asbytes=True), "is compressed (LZ4)"),
        (zlib.compress(RAW), "holds binary data"),
        (zipped("tracks.csv"), "is compressed (zip)"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "is an Excel workbook; save it as 'CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "is an Excel workbook"),
        (tarred(), "is a tar archive"),
        (written(lambda sink: pa.parquet.write_table(TABLE, sink)), "is a Parquet file; write it"),
        (written(lambda sink: pa.feather.write_feather(TABLE, sink)), "is an Arrow (Feather) file"),
        (arrow("new_file"), "is an Arrow (Feather) file"),
        (arrow("new_stream"), "is an Arrow stream"),
        (database(), "is an SQLite database"),
        (json.dumps([{"track_id": 1}]).encode(), "is JSON; give the CSV file"),
        (json.dumps({"tracks": []}, indent=2).encode(), "is JSON"),
        (b"\n<!DOCTYPE html>\n<html>", "is an HTML page"),
        (b'<?xml version="1.0"?><a/>', "is XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a pointer of Git LFS"),
        (bytes(4096), "holds binary data"),
        (b" \n\r\n", "is empty"),
        *(
            (TEXT.encode(name), "is in UTF-16; save it as UTF-8")
            for name in ("utf-16", "utf-16-be")
        ),
        *(
            (TEXT.encode(name), "is in UTF-32; save it as UTF-8")
            for name in ("utf-32", "utf-32-le")
        ),
        (TEXT.replace("Song", "日本語の歌").encode("utf-16-le"), "is in UTF-16; save it as UTF-8"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, data: bytes, said: str) -> None:
    assert refusal(tmp_path / "tracks.csv", data).startswith(said)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("latin-1", "Café", "it looks like Latin-1/Windows-1252: save it as UTF-8"),
        ("cp1252", "“Naïve” – ", "it looks like Latin-1/Windows-1252: save it as UTF-8"),
        ("cp1251", "Песня", "it is in another encoding: save it as UTF-8"),
        ("shift-jis", "日本語", "it is in another encoding: save it as UTF-8"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    """Where more rows than may be rejected have them, and none is UTF-8 beyond ASCII."""
    path = tmp_path / "tracks.csv"
    lines = TEXT.splitlines(keepends=True)
    lines[20::4] = [line.replace("Song", text) for line in lines[20::4]]
    data = "".join(lines).encode(name)
    problem = refusal(path, data)
    assert problem.startswith(
        "23.0 % of its first 200 rows aren't UTF-8, the first at line 21: '19,"
    )
    assert said in problem
    # These are damaged rows of a UTF-8 file, or few enough to set aside.
    for others, limit in ((b"1,\xc3\xa9,x\n", 0.05), (b"", 0.23), (b"", 1)):
        path.write_bytes(data + others)
        assert open_csv(str(path), DOUBLED, NEEDED, limit=limit).columns == NEEDED


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            "Track ID,track_name,ArtistName",
            "; rename 'track id' to 'track_id'; rename 'artistname'",
        ),
        (
            "track_id,name,artist_name",
            "no column 'track_name' in its header 'track_id,name,artist_",
        ),
        ("1,Yesterday,The Beatles", f"; if that is a row, put a header above it: {HEADER}"),
        ("track_id,track_name,artist_name,track_name", "its header names 'track_name' twice"),
        (f"{HEADER},popularity,Popularity", "its header names 'popularity' twice"),
        (f"sep=,\n{HEADER}", "its header is line 2; take out what is above it"),
        (f"# from the shop\n\n{HEADER}", "its header is line 3"),
        ('track_id,"track_name,artist_name', "its header, line 1, has a quote that isn't closed"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path: Path, header: str, said: str) -> None:
    assert said in refusal(tmp_path / "tracks.csv", TEXT.replace(HEADER, header).encode())


def test_headers_that_can(tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv"
    path.write_text('\ufeff\r\n "x" ,TRACK_ID,"Track_Name", "artist_name",\r\n', encoding="utf-8")
    assert open_csv(str(path), DOUBLED, NEEDED).columns == ("x", *NEEDED, "")
    path.write_text('"a note\nof two lines",track_id,track_name,artist_name\n1,2,3,4\n')
    file = open_csv(str(path), DOUBLED, NEEDED)
    assert (file.body, file.header_lines) == (54, 2)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match=r"pipe\.csv: is a pipe or device; write it to a file"):
        open_csv(str(tmp_path / "pipe.csv"), DOUBLED, NEEDED)

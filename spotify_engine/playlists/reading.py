"""The playlist file: one byte range of it, parsed, and the rows that can't be used set aside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from spotify_engine.playlists.schema import TABLES
from spotify_engine.reading.records import CsvFile, newline_positions, record_starts

PLAYLIST_COLUMNS = ("user_id", "artistname", "trackname", "playlistname")
NOT_UTF8 = "not valid UTF-8"
MAX_TEXT = 200  # characters of a rejected row that are kept


@dataclass(frozen=True)
class CodedColumn:
    """A column of strings as int32 ``codes`` [rows] into its distinct ``values``."""

    codes: np.ndarray
    values: pa.StringArray


@dataclass(frozen=True)
class Chunk:
    """What one byte range of the playlist file holds.

    Attributes:
        users, titles: ``user_id`` and ``playlistname`` of the good rows, in the file's order, as
            they are in the file.
        tracks, artists: ``trackname`` and ``artistname`` of the same rows, trimmed.
        rows: records in the range, good or not.
        rejects: as ``TABLES["rejects"]``, but ``line`` counts from 0 at the start of the range.
        newlines: in the range.
    """

    users: CodedColumn
    titles: CodedColumn
    tracks: pa.StringArray
    artists: pa.StringArray
    rows: int
    rejects: pa.Table
    newlines: int


def read_chunk(file: CsvFile, start: int, end: int) -> Chunk:
    """Parse the records of a range that ``split`` gave."""
    # The line end before the range is an empty line to the parser, which skips it. It keeps a
    # byte order mark that starts a record in mid-file from being taken for the file's own.
    data = file.read(start - 1, end)
    newlines = newline_positions(data, 1)
    if _is_utf8(data):
        table, wrong = _parse(data, file)
        broken = np.zeros(0, np.int64)
    else:
        table, wrong = _parse(data.decode("utf-8", "replace").encode(), file)
        broken = _undecodable(data, record_starts(data, file.dialect, newlines))
    total = table.num_rows + len(wrong)
    reasons: dict[int, str] = dict.fromkeys(wrong.tolist(), f"not {len(file.columns)} fields")
    row_of = np.delete(np.arange(total), wrong)
    good = np.isin(row_of, broken, invert=True) if len(broken) else np.ones(len(row_of), bool)
    users, titles = _coded(table["user_id"]), _coded(table["playlistname"])
    tracks, artists = (
        pc.utf8_trim_whitespace(table[name].combine_chunks())
        for name in ("trackname", "artistname")
    )
    for blank, reason in (
        (_blank(tracks), "no track name"),
        (_blank(artists), "no artist name"),
        (_blank(pc.utf8_trim_whitespace(users.values))[users.codes], "no user id"),
        (_blank(pc.utf8_trim_whitespace(titles.values))[titles.codes], "no playlist name"),
    ):
        hit = good & blank
        good &= ~hit
        reasons.update(dict.fromkeys(row_of[hit].tolist(), reason))
    reasons.update(dict.fromkeys(broken.tolist(), NOT_UTF8))
    if not good.all():
        users, titles = (CodedColumn(x.codes[good], x.values) for x in (users, titles))
        tracks, artists = (x.filter(pa.array(good)) for x in (tracks, artists))
    rejects = TABLES["rejects"].empty_table()
    if reasons:
        starts = record_starts(data, file.dialect, newlines)
        if len(starts) != total:
            raise RuntimeError(
                f"{file.path}: {total} rows parsed in {start}:{end}, {len(starts)} found"
            )
        rejects = _describe(data, file.name, start - 1, starts, newlines, reasons)
    return Chunk(users, titles, tracks, artists, total, rejects, len(newlines))


def _coded(column: pa.ChunkedArray) -> CodedColumn:
    # One block gives one dictionary, or none when it has no rows.
    if column.num_chunks == 0:
        return CodedColumn(np.zeros(0, np.int32), pa.array([], pa.string()))
    whole = column.combine_chunks()
    return CodedColumn(whole.indices.to_numpy(), whole.dictionary)


def _blank(trimmed: pa.StringArray) -> np.ndarray:
    return pc.equal(pc.binary_length(trimmed), 0).to_numpy(zero_copy_only=False)


def _is_utf8(data: bytes) -> bool:
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.StringArray.from_buffers(1, offsets, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _parse(data: bytes, file: CsvFile) -> tuple[pa.Table, np.ndarray]:
    """Returns (rows as dictionary-encoded strings, int64 ordinals of rows of another width)."""
    wrong: list[int] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        wrong.append(row.number - 1)
        return "skip"

    # Columns are named by position: a header may name two of them alike.
    names = [str(position) for position in range(len(file.columns))]
    wanted = [names[file.columns.index(name)] for name in PLAYLIST_COLUMNS]
    # Coding what repeats is cheap; coding tracks and artists takes longer than parsing them.
    coded = pa.dictionary(pa.int32(), pa.string())
    kinds = (coded, pa.string(), pa.string(), coded)
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(
            column_names=names, use_threads=False, block_size=len(data) + 1
        ),
        parse_options=file.dialect.parse_options(skip),
        convert_options=pa.csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict(zip(wanted, kinds, strict=True)),
            check_utf8=False,
        ),
    )
    return table.rename_columns(PLAYLIST_COLUMNS), np.array(wrong, np.int64)


def _undecodable(data: bytes, starts: np.ndarray) -> np.ndarray:
    ends = np.append(starts[1:], len(data))
    bad = []
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        try:
            data[start:end].decode()
        except UnicodeDecodeError:
            bad.append(row)
    return np.array(bad, np.int64)


def _describe(
    data: bytes,
    source: str,
    offset: int,
    starts: np.ndarray,
    newlines: np.ndarray,
    reasons: dict[int, str],
) -> pa.Table:
    """The rejects of a chunk.

    Args:
        offset: where ``data`` starts in the file.
        starts: int64 ``[records]``, where each starts in ``data``.
        newlines: int64, their positions in ``data``.
        reasons: by number of the record.
    """
    rows = np.array(sorted(reasons))
    begins = starts[rows]
    ends = np.append(starts[1:], len(data))[rows]
    return pa.table(
        {
            "source": pa.repeat(source, len(rows)),
            "byte_offset": begins + offset,
            "line": np.searchsorted(newlines, begins),
            "reason": [reasons[row] for row in rows.tolist()],
            "text": [
                row_text(data[begin:end])
                for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
            ],
        },
        schema=TABLES["rejects"],
    )


def row_text(raw: bytes) -> str:
    """What a rejected row looks like, without its line end, cut at ``MAX_TEXT`` characters."""
    return raw[: 4 * MAX_TEXT + 2].decode("utf-8", "replace").rstrip("\r\n")[:MAX_TEXT]

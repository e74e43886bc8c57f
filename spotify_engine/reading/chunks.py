"""One byte range of a CSV file, parsed, and the rows of it that can't be used set aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv

from spotify_engine.reading.records import CsvFile, newline_positions, record_starts
from spotify_engine.reading.rejects import NOT_UTF8, REJECTS, other_width

MAX_TEXT = 200  # characters of a rejected row that are kept


@dataclass(frozen=True)
class CodedColumn:
    """A column of strings as int32 ``codes`` [rows] into its distinct ``values``."""

    codes: np.ndarray
    values: pa.StringArray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> CodedColumn:
        # One block gives one dictionary, or none when it has no rows.
        if column.num_chunks == 0:
            return cls(np.zeros(0, np.int32), pa.array([], pa.string()))
        whole = column.combine_chunks()
        return cls(whole.indices.to_numpy(), whole.dictionary)


CODED = pa.dictionary(pa.int32(), pa.string())


class ParsedRange:
    """The records of one byte range, and why some of them can't be used.

    Attributes:
        table: the wanted columns of the records that have as many fields as the header.
        good: bool ``[table rows]``, not rejected so far.
        total: records in the range, good or not.
        newlines: in the range.
    """

    def __init__(self, file: CsvFile, start: int, end: int, kinds: Mapping[str, pa.DataType]):
        """
        Args:
            start, end: a range that ``records.split`` gave.
            kinds: the wanted columns, in this order; each ``pa.string()`` or ``CODED``.
        """
        self._file, self._offset = file, start - 1
        # The line end before the range is an empty line to the parser, which skips it. It keeps a
        # byte order mark that starts a record in mid-file from being taken for the file's own.
        self._data = data = file.read(start - 1, end)
        self._newlines = newline_positions(data, 1)
        if _is_utf8(data):
            self.table, wrong = _parse(data, file, kinds)
            broken = np.zeros(0, np.int64)
        else:
            self.table, wrong = _parse(data.decode("utf-8", "replace").encode(), file, kinds)
            broken = _undecodable(data, record_starts(data, file.dialect, self._newlines))
        self.total = self.table.num_rows + len(wrong)
        self.newlines = len(self._newlines)
        self._reasons = dict.fromkeys(wrong.tolist(), other_width(len(file.columns)))
        self._reasons.update(dict.fromkeys(broken.tolist(), NOT_UTF8))
        self._row_of = np.delete(np.arange(self.total), wrong)
        intact = np.isin(self._row_of, broken, invert=True) if len(broken) else None
        self.good = np.ones(len(self._row_of), bool) if intact is None else intact

    def reject(self, hit: np.ndarray, reason: str) -> None:
        """Set aside rows of the table (bool ``[table rows]``) that are still good."""
        hit = self.good & hit
        if hit.any():
            self.good &= ~hit
            self._reasons.update(dict.fromkeys(self._row_of[hit].tolist(), reason))

    def rejects(self) -> pa.Table:
        """As ``REJECTS``, but ``line`` counts from 0 at the start of the range."""
        if not self._reasons:
            return REJECTS.empty_table()
        data = self._data
        starts = record_starts(data, self._file.dialect, self._newlines)
        if len(starts) != self.total:
            where = f"{self._offset + 1}:{self._offset + len(data)}"
            raise RuntimeError(
                f"{self._file.path}: {self.total} rows parsed in {where}, {len(starts)} found"
            )
        rows = np.array(sorted(self._reasons))
        begins = starts[rows]
        ends = np.append(starts[1:], len(data))[rows]
        return pa.table(
            {
                "source": pa.repeat(self._file.name, len(rows)),
                "byte_offset": begins + self._offset,
                "line": np.searchsorted(self._newlines, begins),
                "reason": [self._reasons[row] for row in rows.tolist()],
                "text": [
                    row_text(data[begin:end])
                    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
                ],
            },
            schema=REJECTS,
        )


def row_text(raw: bytes) -> str:
    """What a rejected row looks like, without its line end, cut at ``MAX_TEXT`` characters."""
    return raw[: 4 * MAX_TEXT + 2].decode("utf-8", "replace").rstrip("\r\n")[:MAX_TEXT]


def _is_utf8(data: bytes) -> bool:
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.StringArray.from_buffers(1, offsets, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _parse(
    data: bytes, file: CsvFile, kinds: Mapping[str, pa.DataType]
) -> tuple[pa.Table, np.ndarray]:
    """Returns (wanted columns, int64 ordinals of rows of another width)."""
    wrong: list[int] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        wrong.append(row.number - 1)
        return "skip"

    # Columns are named by position: a header may name two of them alike.
    names = [str(position) for position in range(len(file.columns))]
    wanted = [names[file.columns.index(name)] for name in kinds]
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(
            column_names=names, use_threads=False, block_size=len(data) + 1
        ),
        parse_options=file.dialect.parse_options(skip),
        convert_options=pa.csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict(zip(wanted, kinds.values(), strict=True)),
            check_utf8=False,
        ),
    )
    return table.rename_columns(list(kinds)), np.array(wrong, np.int64)


def _undecodable(data: bytes, starts: np.ndarray) -> np.ndarray:
    ends = np.append(starts[1:], len(data))
    bad = []
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        try:
            data[start:end].decode()
        except UnicodeDecodeError:
            bad.append(row)
    return np.array(bad, np.int64)

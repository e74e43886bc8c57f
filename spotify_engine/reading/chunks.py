"""One byte range of a CSV file, parsed, and the rows of it that can't be used set aside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv

from spotify_engine.reading.records import MAX_TEXT, CsvFile, Records, find_records, is_utf8
from spotify_engine.reading.rejects import HEADER, MARK, NOT_UTF8, NUL, REJECTS, other_width

_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class CodedColumn:
    """A column of strings as int32 ``codes`` [rows] into its distinct ``values``."""

    codes: np.ndarray
    values: pa.StringArray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> CodedColumn:
        """The codes and the dictionary of a column that Arrow has coded."""
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
        newlines: line ends in the range.
    """

    def __init__(self, file: CsvFile, start: int, end: int, kinds: Mapping[str, pa.DataType]):
        """Read a range of the file.

        Args:
            start, end: a range that ``records.split`` gave.
            kinds: the wanted columns, in this order; each ``pa.string()`` or ``CODED``.
        """
        self._file, self._offset = file, start - 1
        # The line end before the range is an empty line to the parser, which skips it. It keeps a
        # byte order mark that starts a record in mid-file from being taken for the file's own.
        self._data = data = file.read(start - 1, end)
        self._records = records = find_records(data, file.dialect, len(file.columns))
        self.newlines = len(records.line_ends) - (data[-1] not in b"\r\n")
        self._reasons = dict(records.unfinished)
        for record, reason in _damaged(data, records, file.header):
            self._reasons.setdefault(record, reason)
        self._texts = self._take_out(np.array(sorted(self._reasons), np.int64))
        self.table, wrong = _parse(data, file, kinds)
        numbers = np.delete(np.arange(len(records.first_line)), list(self._reasons))
        self._reasons.update(dict.fromkeys(numbers[wrong].tolist(), other_width(len(file.columns))))
        self._record_of = np.delete(numbers, wrong)
        if len(self._record_of) != len(self.table):
            found = f"{len(self.table)} rows parsed, {len(self._record_of)} found"
            raise RuntimeError(f"{file.path}: {found} in {start}:{start - 1 + len(data)}")
        self.good = np.ones(len(self.table), bool)

    def _take_out(self, records: np.ndarray) -> dict[int, str]:
        """Make records empty lines, which the parser skips; returns what their lines held."""
        texts = {}
        for line in self._records.lines_of(records)[0].tolist():
            start, end = self._records.line_starts[line], self._records.line_ends[line]
            texts[line] = row_text(self._data[start:end])
            self._data[start:end] = b"\n" * int(end - start)
        return texts

    def reject(self, hit: np.ndarray, reason: str) -> None:
        """Set aside rows of the table (bool ``[table rows]``) that are still good."""
        hit = self.good & hit
        if hit.any():
            self.good &= ~hit
            self._reasons.update(dict.fromkeys(self._record_of[hit].tolist(), reason))

    @property
    def total(self) -> int:
        """Records in the range; one that was set aside counts as its lines."""
        return int(self.good.sum()) + len(self._rejected()[0])

    def _rejected(self) -> tuple[np.ndarray, np.ndarray]:
        return self._records.lines_of(np.array(sorted(self._reasons), np.int64))

    def rejects(self) -> pa.Table:
        """As ``REJECTS``, a row for each line, but ``line`` counts from 0 at the range's start."""
        lines, records = self._rejected()
        begins, ends = self._records.line_starts[lines], self._records.line_ends[lines]
        return pa.table(
            {
                "source": pa.repeat(self._file.name, len(lines)),
                "byte_offset": begins + self._offset,
                "line": lines,
                "reason": [self._reasons[record] for record in records.tolist()],
                "text": [
                    self._texts[line] if line in self._texts else row_text(self._data[begin:end])
                    for line, begin, end in zip(
                        lines.tolist(), begins.tolist(), ends.tolist(), strict=True
                    )
                ],
            },
            schema=REJECTS,
        )


def row_text(raw: bytes | bytearray) -> str:
    """The text of a rejected row without its line end, cut at ``MAX_TEXT`` characters."""
    return raw[: 4 * MAX_TEXT + 2].decode("utf-8", "replace").rstrip("\r\n")[:MAX_TEXT]


def _damaged(data: bytearray, records: Records, header: bytes) -> Iterator[tuple[int, str]]:
    """Records that no parser should see, and why."""
    view = np.frombuffer(data, np.uint8)
    starts = records.starts
    ends = np.append(starts[1:], len(data))
    if not _valid_utf8(data):
        for record, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            if not is_utf8(data[start:end]):
                yield record, NOT_UTF8
    longer = records.line_ends[records.first_line] - starts - len(header)
    first = view[starts]
    again = (first == header[0]) & (longer >= 0) & (longer <= 2)
    for record in np.flatnonzero(again | (first == _MARK[0])).tolist():
        line = data[starts[record] : records.line_ends[records.first_line[record]]]
        text = line.removeprefix(_MARK).rstrip(b"\r\n")
        if text == header:
            yield record, HEADER
        elif line.startswith(_MARK):
            yield record, MARK
    at = data.find(b"\0", 1)
    while at >= 0:
        record = int(np.searchsorted(starts, at, side="right")) - 1
        yield record, NUL
        at = data.find(b"\0", int(ends[record]))


def _valid_utf8(data: bytearray) -> bool:
    offsets = pa.py_buffer(np.array([0, len(data)], np.int32))
    try:
        pa.StringArray.from_buffers(1, offsets, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _parse(
    data: bytearray, file: CsvFile, kinds: Mapping[str, pa.DataType]
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

"""Records of a CSV file of any size: where they start, so that it can be read in parallel.

A record is what ``pyarrow.csv`` says it is. Its parser knows five states: at the start of a field,
in a bare field, in a quoted one, and after an escape in either. A file is cut where the parser is
at the start of a record *whatever* state it was in before, which needs no reading from the front:

    a newline after ``X"``, where X is none of: comma, quote, escape, carriage return, newline

X leaves the parser in a bare or in a quoted field. In a bare field the quote is literal; a quoted
one it closes (the next byte is no quote, so it isn't a doubled one). Both ways the newline that
follows ends the record. Files that quote their last column have such a *sync point* on nearly every
line. Where there is none, but no quote or escape either, any newline ends a record; and where there
are, the records are walked, which is exact for any file and slower.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.fs

from spotify_engine.errors import InputError

_SYNC = re.compile(rb'[^,"\\\r\n]"\r?\n')
_SYNC_WINDOWS = (1 << 16, 1 << 20)  # bytes searched for a sync point before walking instead
_WALK_BLOCK = 8 << 20
_HEADER_LIMIT = 1 << 20
_LONGEST = (1 << 31) - 2
_COMMA, _QUOTE, _BACKSLASH, _CR, _LF = b',"\\\r\n'


def _record_pattern(escaping: bool) -> re.Pattern[bytes]:
    escaped = rb"\\(?:.|\Z)" if escaping else rb"(?!)"
    special = rb"\\" if escaping else rb""
    bare = rb"[^,\r\n%b]*+(?:%b[^,\r\n%b]*+)*+" % (special, escaped, special)
    inner = rb'[^"%b]*+(?:(?:%b|"")[^"%b]*+)*+' % (special, escaped, special)
    field = rb'(?:"%b(?:"|\Z)%b|%b)' % (inner, bare, bare)
    return re.compile(rb"%b(?:,%b)*+(?:\r\n?|\n|\Z)" % (field, field), re.DOTALL)


@dataclass(frozen=True)
class Dialect:
    """Quotes inside a field are doubled or, with ``escape``, also written after a backslash."""

    escape: bool

    @property
    def record(self) -> re.Pattern[bytes]:
        """Matches one record with its line end, from where a record starts."""
        return _RECORD[self.escape]

    def parse_options(self, on_invalid: Callable | None = None) -> pa.csv.ParseOptions:
        return pa.csv.ParseOptions(
            escape_char="\\" if self.escape else False,
            newlines_in_values=True,
            invalid_row_handler=on_invalid,
        )


_RECORD = {escaping: _record_pattern(escaping) for escaping in (False, True)}
BACKSLASH = Dialect(escape=True)
DOUBLED = Dialect(escape=False)


@dataclass(frozen=True)
class CsvFile:
    """A file whose header was read and found good.

    Attributes:
        columns: the header's names, trimmed, without quotes, in lower case.
        body: byte at which the first record after the header starts.
        header_lines: newlines before ``body``.
    """

    path: str
    dialect: Dialect
    columns: tuple[str, ...]
    body: int
    size: int
    header_lines: int

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    def read(self, start: int, end: int) -> bytes:
        with open_input(self.path) as source:
            return source.read_at(max(0, min(end, self.size) - start), start)


def _locate(path: str) -> tuple[pa.fs.FileSystem, str]:
    if "://" in path:
        return pa.fs.FileSystem.from_uri(path)
    return pa.fs.LocalFileSystem(), path


def open_input(path: str) -> pa.NativeFile:
    """Open a local path or a URI (``s3://...``) for reading at any offset."""
    filesystem, inner = _locate(path)
    return filesystem.open_input_file(inner)


def open_csv(path: str, dialect: Dialect, needed: Sequence[str]) -> CsvFile:
    """Check that ``path`` is a CSV file with the ``needed`` columns (any order, more are ignored).

    Raises:
        InputError: missing, empty, a directory, compressed, another delimiter, a missing column.
    """
    try:
        filesystem, inner = _locate(path)
        info = filesystem.get_file_info(inner)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: can't be opened: {_one_line(error)}") from error
    if info.type == pa.fs.FileType.NotFound:
        raise InputError(f"{path}: no such file; give the path of the CSV file")
    if info.type == pa.fs.FileType.Directory:
        raise InputError(f"{path}: is a directory; give the path of the CSV file in it")
    try:
        with filesystem.open_input_file(inner) as source:
            head = source.read(_HEADER_LIMIT)
    except OSError as error:
        raise InputError(f"{path}: can't be read: {_one_line(error)}") from error
    if head[:4] == b"PK\x03\x04" or head[:2] == b"\x1f\x8b":
        raise InputError(f"{path}: is compressed; unpack it and give the CSV file")
    start = 3 if head[:3] == b"\xef\xbb\xbf" else 0
    while start < len(head) and head[start] in b"\r\n":
        start += 1
    if start == len(head):
        raise InputError(f"{path}: is empty; it needs a header and rows")
    end = _record_end(head, start, dialect)
    if end == len(head) < info.size:
        raise InputError(f"{path}: no header line in its first {len(head):,} bytes")
    names = _header_names(head[start:end], dialect, b",")
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"{path}: {_header_problem(head[start:end], dialect, needed, missing)}")
    return CsvFile(path, dialect, tuple(names), end, info.size, head.count(b"\n", 0, end))


def _record_end(data: bytes, start: int, dialect: Dialect) -> int:
    match = dialect.record.match(data, start)
    assert match is not None  # the pattern matches any bytes
    return match.end()


def _header_names(line: bytes, dialect: Dialect, delimiter: bytes) -> list[str]:
    text = line.decode("utf-8", "replace").strip()
    names, at = [], 0
    # A quote only opens a field that it is the first character of: after ", " it is a part of it.
    field = re.compile(
        r'"(?:[^"\\]|""|\\.)*"[^%s]*|[^%s]*' % ((re.escape(delimiter.decode()),) * 2)
    )
    while at <= len(text):
        match = field.match(text, at)
        assert match is not None  # the second alternative matches anything
        names.append(match.group().strip().strip('"').strip().lower())
        at = match.end() + 1
    return names


def _header_problem(
    line: bytes, dialect: Dialect, needed: Sequence[str], missing: Sequence[str]
) -> str:
    for delimiter, called in ((b";", "semicolons"), (b"\t", "tabs"), (b"|", "vertical bars")):
        if set(needed) <= set(_header_names(line, dialect, delimiter)):
            return f"its columns are separated by {called}; save it with commas"
    found = line.decode("utf-8", "replace").strip()
    listed = ", ".join(repr(name) for name in missing)
    plural = "s" if len(missing) > 1 else ""
    return f"no column{plural} {listed} in its header {found[:200]!r}; add or rename"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def split(file: CsvFile, chunk_bytes: int) -> list[tuple[int, int]]:
    """Cut the body of ``file`` at ends of records, about every ``chunk_bytes``.

    Returns:
        ``(start, end)`` byte ranges that follow one another from ``file.body`` to ``file.size``.
        A chunk is longer than ``chunk_bytes`` by at most the distance to the next cut.

    Raises:
        InputError: no record ends within 2 GiB, the most that pyarrow parses at once.
    """
    ranges = []
    start = file.body
    while start < file.size:
        end = _next_cut(file, start, start + chunk_bytes)
        if end - start > _LONGEST:
            raise InputError(
                f"{file.path}: no row ends within {_LONGEST:,} bytes after byte {start:,}; is a "
                "quote not closed?"
            )
        ranges.append((start, end))
        start = end
    return ranges


def _next_cut(file: CsvFile, record: int, target: int) -> int:
    """The end of a record at or after ``target``; ``record`` is where some record starts."""
    if target >= file.size:
        return file.size
    for window in _SYNC_WINDOWS:
        found = _SYNC.search(file.read(target, target + window))
        if found:
            return target + found.end()
    plain = _plain_cut(file, record, target)
    if plain is not None:
        return plain
    for offset, match in _walk(file, record):
        if offset + match.end() > target:
            return offset + match.end()
    return file.size


def _plain_cut(file: CsvFile, record: int, target: int) -> int | None:
    """The end of the first line after ``target``; None if a quote or escape may hide a newline.

    Looking for one byte is some twenty times as fast as walking.
    """
    at = record
    while at < file.size:
        data = file.read(at, at + _WALK_BLOCK)
        newline = data.find(b"\n", max(0, target - at))
        end = newline + 1 if newline >= 0 else len(data)
        if data.find(b'"', 0, end) >= 0 or (file.dialect.escape and data.find(b"\\", 0, end) >= 0):
            return None
        if newline >= 0:
            return at + end
        at += len(data)
    return file.size


def _walk(file: CsvFile, start: int) -> Iterator[tuple[int, re.Match[bytes]]]:
    """Records one by one from a known start: exact for any file, at about 150 MB/s.

    Yields:
        (where the block starts that was read, the record and its line end in it).
    """
    block = _WALK_BLOCK
    while start < file.size:
        data = file.read(start, start + block)
        at_end = start + len(data) >= file.size
        done = 0
        for match in file.dialect.record.finditer(data):
            # A match that touches the end of the block may go on after it.
            if match.end() == len(data) and not at_end:
                break
            if match.end() > match.start():
                yield start, match
            done = match.end()
        start += done
        block = _WALK_BLOCK if done else 2 * block


class Record(NamedTuple):
    """One record of a file.

    Attributes:
        number: of records before it, without the header and empty lines.
        start: byte of the file.
        line: counting from 0 at the start of the file.
        raw: its bytes, with their line end.
    """

    number: int
    start: int
    line: int
    raw: bytes


def find_records(file: CsvFile, numbers: Sequence[int]) -> Iterator[Record]:
    """Locate the records with these ``numbers`` (ascending), in memory for one block.

    Raises:
        RuntimeError: the file has fewer records.
    """
    wanted = iter(numbers)
    sought = next(wanted, None)
    number, line, counted = 0, file.header_lines, file.body
    last, last_offset = b"", file.body
    for offset, match in _walk(file, file.body):
        if sought is None:
            return
        data, at = match.string, match.start()
        if offset != last_offset:
            line += last.count(b"\n", counted - last_offset, offset - last_offset)
            counted = offset
        last, last_offset = data, offset
        if data[at] in b"\r\n":
            continue
        if number == sought:
            line += data.count(b"\n", counted - offset, at)
            counted = offset + at
            yield Record(number, counted, line, match.group())
            sought = next(wanted, None)
        number += 1
    if sought is not None:
        raise RuntimeError(f"{file.path}: record {sought} was parsed, {number} were found")


def newline_positions(data: bytes, first: int) -> np.ndarray:
    """int64, ascending: where ``data`` has newlines, from ``first`` on."""
    return np.flatnonzero(np.frombuffer(data, np.uint8)[first:] == _LF) + first


def record_starts(data: bytes, dialect: Dialect, newlines: np.ndarray) -> np.ndarray:
    """int64 ``[records]``: where each record that isn't an empty line starts in ``data``.

    Between two sync points with no other line end lies exactly one record; the rest is walked.

    Args:
        data: the last byte of a line end, then whole records.
        newlines: as ``newline_positions(data, 1)``.
    """
    view = np.frombuffer(data, np.uint8)
    # The byte before the newline, or before the carriage return before it. Positions below 0 wrap
    # around, to be refused by their value.
    quote = newlines - 1
    quote -= view[quote] == _CR
    before = view[quote - 1]
    sure = (view[quote] == _QUOTE) & (quote > 1)
    for special in (_COMMA, _QUOTE, _BACKSLASH, _CR, _LF):
        sure &= before != special
    edges = np.concatenate([[1], newlines[sure] + 1])
    if edges[-1] < len(data):
        edges = np.append(edges, len(data))
    bare = np.flatnonzero(view[1:] == _CR) + 1
    bare = bare[view[np.minimum(bare + 1, len(data) - 1)] != _LF]
    others = np.concatenate([newlines[~sure], bare])
    odd = np.unique(np.searchsorted(edges, others, side="right") - 1)
    walked = []
    for segment in odd.tolist():
        at, stop = int(edges[segment]), int(edges[segment + 1])
        while at < stop:
            if data[at] not in b"\r\n":
                walked.append(at)
            at = _record_end(data, at, dialect)
    whole = np.delete(edges[:-1], odd)
    return np.sort(np.concatenate([whole, np.array(walked, np.int64)]))

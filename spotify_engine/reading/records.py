"""Records of a CSV file of any size: where they start, so that it can be read in parallel.

A record that ends with its line is what ``pyarrow.csv`` says it is. One that goes on past the end
of its line, in quotes or after an escape, may be meant so, or a quote was never closed. It is
*one* record if

- it ends within ``LONGEST_RECORD`` bytes, and each field that holds a line end in quotes has its
  closing quote right before a comma or line end, and
- no later line of it is, by itself, a row as wide as the header without a stray quote.

Otherwise its first line is set aside as *unfinished*, and the next line starts a record. So a quote
that isn't closed costs its own line only, also where a quote further on seems to close it.

The rule looks no further than ``LONGEST_RECORD`` bytes, so where a record starts can be known
without reading from the front: a line starts one when no line of the ``LONGEST_RECORD`` bytes
before it would start a record that spans it, *whichever* of these lines do start records. For the
one that is under way there is among them.

Nearly all lines need no closer look, as the parser ends a record with them whatever state it is in:
lines without quotes and escapes, and those that have none after

    ``X"`` and a comma or line end, where X is no comma, quote, escape, carriage return or newline

X leaves the parser in a bare or in a quoted field. In a bare field the quote is literal; a quoted
one it closes (the next byte is no quote, so it isn't a doubled one).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.fs

from spotify_engine.errors import InputError
from spotify_engine.reading.file_kinds import other_encoding, other_format
from spotify_engine.reading.rejects import ESCAPED_LINE_END, UNCLOSED, percent

LONGEST_RECORD = 1 << 16  # bytes of a record that holds line ends
_WINDOW = 1 << 16  # bytes after a wanted cut that are looked at first
_HEADER_LIMIT = 1 << 20
MAX_TEXT = 200  # characters of a row that are shown or kept
_PARSABLE = (1 << 31) - 2  # bytes that pyarrow parses at once, at most
_COMMA, _QUOTE, _BACKSLASH, _CR, _LF = b',"\\\r\n'
_LINE_END = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True)
class Dialect:
    """Quotes inside a field are doubled or, with ``escape``, also written after a backslash."""

    escape: bool

    def parse_options(self, on_invalid: Callable | None = None) -> pa.csv.ParseOptions:
        """The dialect as Arrow's CSV reader takes it."""
        return pa.csv.ParseOptions(
            escape_char="\\" if self.escape else False,
            newlines_in_values=True,
            invalid_row_handler=on_invalid,
        )


BACKSLASH = Dialect(escape=True)
DOUBLED = Dialect(escape=False)


class _Patterns:
    """Patterns to match from the start of a record.

    Attributes:
        lenient: one record as pyarrow reads it, with its line end; ``open`` if a quote isn't closed
            where the data ends, ``end`` empty if the record doesn't end before.
        strict: the same, but a quote that was opened on another line is closed before a comma or
            line end.
        row: a line that is a row of ``width`` fields, without line end and stray quotes.
    """

    def __init__(self, dialect: Dialect, width: int) -> None:
        escaped = rb"\\(?:.|\Z)" if dialect.escape else rb"(?!)"
        special = rb"\\" if dialect.escape else rb""
        bare = rb"[^,\r\n%b]*+(?:%b[^,\r\n%b]*+)*+" % (special, escaped, special)
        inner = rb'[^"%b]*+(?:(?:%b|"")[^"%b]*+)*+' % (special, escaped, special)
        in_line = inner.replace(rb'[^"', rb'[^"\r\n').replace(rb"\\(?:.|\Z)", rb"\\[^\r\n]")
        clean = bare.replace(rb"[^,", rb'[^",').replace(rb"\\(?:.|\Z)", rb"\\[^\r\n]")
        lenient = rb'(?:"%b(?:"|(?P<open>\Z))%b|%b)' % (inner, bare, bare)
        strict = rb'(?:"%b"(?=[,\r\n]|\Z)|"%b"%b|(?!")%b)' % (inner, in_line, bare, bare)
        neat = rb'(?:"%b"|%b)' % (in_line, clean)
        record = rb"%b(?:,%b)*+(?P<end>\r\n?|\n|\Z)"
        again = lenient.replace(b"open", b"open_again")
        self.lenient = re.compile(record % (lenient, again), re.DOTALL)
        self.strict = re.compile(record % (strict, strict), re.DOTALL)
        self.row = re.compile(rb"%b(?:,%b){%d}(?=[\r\n]|\Z)" % (neat, neat, width - 1), re.DOTALL)


@cache
def _patterns(dialect: Dialect, width: int) -> _Patterns:
    return _Patterns(dialect, width)


@dataclass(frozen=True)
class CsvFile:
    """A file whose header was read and found good.

    Attributes:
        columns: the header's names, trimmed, without quotes, in lower case.
        header: its line, without line end.
        body: byte at which the first record after the header starts.
        header_lines: line ends before ``body``.
    """

    path: str
    dialect: Dialect
    columns: tuple[str, ...]
    header: bytes
    body: int
    size: int
    header_lines: int

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    def read(self, start: int, end: int) -> bytearray:
        """The bytes from start to end, fewer where the file ends before."""
        data = bytearray(max(0, min(end, self.size) - start))
        with open_input(self.path) as source:
            source.seek(start)
            del data[source.readinto(data) :]
        return data


@dataclass(frozen=True)
class Records:
    """Positions of the lines and records in some bytes, int64 and ascending.

    Attributes:
        line_starts, line_ends: ``[lines]``; line ends belong to their lines.
        empty: bool ``[lines]``.
        first_line: ``[records]``; empty lines are no records.
        unfinished: why the first line of a record is all there is of it, by record.
    """

    line_starts: np.ndarray
    line_ends: np.ndarray
    empty: np.ndarray
    first_line: np.ndarray
    unfinished: dict[int, str]

    @property
    def starts(self) -> np.ndarray:
        """int64 ``[records]``, bytes."""
        return self.line_starts[self.first_line]

    def lines_of(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lines of some records but empty ones, and the record that each is of."""
        first = self.first_line[records]
        counts = np.append(self.first_line, len(self.line_starts))[records + 1] - first
        owner = np.repeat(records, counts)
        before = np.cumsum(counts) - counts
        lines = np.arange(len(owner)) + np.repeat(first - before, counts)
        full = ~self.empty[lines]
        return lines[full], owner[full]


def find_records(data: bytes | bytearray, dialect: Dialect, width: int) -> Records:
    """The records of whole lines, of which the first starts a record.

    Args:
        data: a byte that isn't looked at, then the lines.
        width: fields of the header.
    """
    view = np.frombuffer(data, np.uint8)
    starts, ends = _lines(data)
    covered = np.zeros(len(starts), bool)
    unfinished: dict[int, str] = {}
    over = 0
    for line in _doubtful(view, starts, ends, dialect).tolist():
        if starts[line] < over:
            continue
        over, reason = _record(data, int(starts[line]), int(ends[line]), dialect, width)
        if reason is not None:
            unfinished[line] = reason
        else:
            covered[line + 1 : np.searchsorted(starts, over)] = True
    first = view[starts]
    empty = (first == _LF) | (first == _CR)
    first_line = np.flatnonzero(~covered & ~empty)
    numbers = np.searchsorted(first_line, list(unfinished)).tolist()
    reasons = dict(zip(numbers, unfinished.values(), strict=True))
    return Records(starts, ends, empty, first_line, reasons)


def _lines(data: bytes | bytearray) -> tuple[np.ndarray, np.ndarray]:
    """Where lines start and where the next ones do, from byte 1 on; a lone CR ends one, too."""
    view = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(view == _LF) + 1
    if data.find(b"\r", 1) > 0:
        returns = np.flatnonzero(view == _CR) + 1
        lone = view[np.minimum(returns, len(view) - 1)] != _LF
        lone |= returns == len(view)
        ends = np.sort(np.concatenate([ends, returns[lone]]))
    ends = ends[np.searchsorted(ends, 1, side="right") :]
    if len(data) > (ends[-1] if len(ends) else 1):
        ends = np.append(ends, len(data))
    starts = np.ones_like(ends)
    starts[1:] = ends[:-1]
    return starts, ends


def _doubtful(
    view: np.ndarray, starts: np.ndarray, ends: np.ndarray, dialect: Dialect
) -> np.ndarray:
    """int64, ascending: the lines that needn't end a record that goes on at their start."""
    last = ends - 1
    last = last - (view[last] == _LF)
    last -= view[last] == _CR
    doubtful = np.flatnonzero(~_closing(view, last))
    if len(doubtful) < len(starts) // 16:
        return doubtful  # looking at them is quicker than at all quotes
    special = view == _QUOTE
    if dialect.escape:
        special |= view == _BACKSLASH
    places = np.flatnonzero(special)
    number = np.searchsorted(places, ends[doubtful]) - 1
    last = np.append(places, -1)[number]
    after = view[np.minimum(last + 1, len(view) - 1)]
    closed = np.isin(after, (_COMMA, _CR, _LF)) & _closing(view, last)
    return doubtful[(last >= starts[doubtful]) & ~closed]


def _closing(view: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Whether there is a quote that the end of a field has to follow, if it can."""
    before = view[places - 1]
    closing = (view[places] == _QUOTE) & (places > 1)
    for special in (_COMMA, _QUOTE, _BACKSLASH, _CR, _LF):
        closing &= before != special
    return closing


def _record(
    data: bytes | bytearray, start: int, line_end: int, dialect: Dialect, width: int
) -> tuple[int, str | None]:
    """Where the record ends that starts with a line, and why if its line is unfinished."""
    patterns = _patterns(dialect, width)
    line = patterns.lenient.match(data, start, line_end)
    assert line is not None  # the pattern matches any bytes
    is_open = line["open"] is not None or line["open_again"] is not None
    if not is_open and _ends(data, line):
        return line_end, None
    longer = patterns.strict.match(data, start, min(len(data), start + LONGEST_RECORD + 1))
    if longer is not None and longer.end() - start <= LONGEST_RECORD and _ends(data, longer):
        at, end = line_end, longer.end()
        while at < end and not patterns.row.match(data, at, end):
            following = _LINE_END.search(data, at, end)
            at = following.end() if following else end
        if at == end:
            return end, None
    return line_end, UNCLOSED if is_open else ESCAPED_LINE_END


def _ends(data: bytes | bytearray, record: re.Match) -> bool:
    """Whether a record ends with a line end or, being the last, has none: it isn't escaped."""
    return bool(record["end"]) or data[record.end() - 1] not in b"\r\n"


def _locate(path: str) -> tuple[pa.fs.FileSystem, str]:
    if "://" in path:
        return pa.fs.FileSystem.from_uri(path)
    return pa.fs.LocalFileSystem(), path


def open_input(path: str) -> pa.NativeFile:
    """Open a local path or a URI (``s3://...``) for reading at any offset."""
    filesystem, inner = _locate(path)
    return filesystem.open_input_file(inner)


def open_csv(
    path: str,
    dialect: Dialect,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    limit: float = 1,
) -> CsvFile:
    """Check that ``path`` is a CSV file with the ``needed`` columns (any order, more are ignored).

    Args:
        optional: columns that are used where they are there.
        limit: ``data.max_reject_ratio``; a file is refused at once if more of its first lines are
            in another encoding.

    Raises:
        InputError: missing, empty, a directory, another format, encoding or delimiter, a missing or
            repeated column.
    """
    head, size = _read_head(path)
    problem = other_format(head)
    if problem:
        raise InputError(f"{path}: {problem}")
    text = head.removeprefix(b"\xef\xbb\xbf")
    if not text.strip():
        raise InputError(f"{path}: is empty; it needs a header and rows")
    start = len(head) - len(text.lstrip(b"\r\n"))
    line_end = _LINE_END.search(head, start)
    if line_end is None and len(head) < size:
        raise InputError(f"{path}: no header line in its first {len(head):,} bytes")
    end = _header_end(path, head, start, line_end.end() if line_end else len(head), dialect, needed)
    names = _header_names(head[start:end], b",")
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"{path}: {_header_problem(head, start, end, needed, missing)}")
    repeated = [name for name in (*needed, *optional) if names.count(name) > 1]
    if repeated:
        raise InputError(f"{path}: its header names {repeated[0]!r} twice; rename all but one")
    _refuse_encoding(path, head, end, size, limit)
    header = head[start:end].rstrip(b"\r\n")
    lines = len(_LINE_END.findall(head, 0, end))
    return CsvFile(path, dialect, tuple(names), header, end, size, lines)


def _read_head(path: str) -> tuple[bytes, int]:
    """Returns (the first bytes of the file; its size)."""
    try:
        filesystem, inner = _locate(path)
        info = filesystem.get_file_info(inner)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: can't be opened: {_one_line(error)}") from error
    if info.type == pa.fs.FileType.NotFound:
        raise InputError(f"{path}: no such file; give the path of the CSV file")
    if info.type == pa.fs.FileType.Directory:
        raise InputError(f"{path}: is a directory; give the path of the CSV file in it")
    if info.type == pa.fs.FileType.Unknown:
        raise InputError(f"{path}: is a pipe or device; write it to a file and give that")
    try:
        with filesystem.open_input_file(inner) as source:
            return source.read(_HEADER_LIMIT), info.size
    except OSError as error:
        raise InputError(f"{path}: can't be read: {_one_line(error)}") from error


def _header_end(
    path: str, head: bytes, start: int, line_end: int, dialect: Dialect, needed: Sequence[str]
) -> int:
    end, reason = _record(head, start, line_end, dialect, len(needed))
    # Where it seems to go on, the names tell whether it does.
    if end > line_end and not set(needed) <= set(_header_names(head[start:end], b",")):
        reason = UNCLOSED
    if reason is not None:
        line = len(_LINE_END.findall(head, 0, start)) + 1
        raise InputError(f"{path}: its header, line {line}, has {reason}; correct it")
    return end


def _refuse_encoding(path: str, head: bytes, body: int, size: int, limit: float) -> None:
    """Raise InputError if the first lines are in another encoding, not just a few broken."""
    data = head[body:]
    if len(head) < size:  # the last line is cut
        data = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1]
    if not limit < 1 or is_utf8(data):
        return
    lines = [(number, line) for number, line in enumerate(_LINE_END.split(data)) if line]
    broken = [(number, line) for number, line in lines if not is_utf8(line)]
    some_are = any(not line.isascii() and is_utf8(line) for _, line in lines)
    if some_are or len(broken) <= limit * len(lines):
        return
    number, line = broken[0]
    first = len(_LINE_END.findall(head, 0, body)) + number + 1
    share = percent(len(broken), len(lines))
    raise InputError(
        f"{path}: {share} of its first {len(lines):,} rows aren't UTF-8, the first at line "
        f"{first:,}: {line[:MAX_TEXT].decode('utf-8', 'replace')!r}; {other_encoding(data)}"
    )


def is_utf8(data: bytes | bytearray) -> bool:
    """Whether all bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _header_names(line: bytes, delimiter: bytes) -> list[str]:
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
    head: bytes, start: int, end: int, needed: Sequence[str], missing: Sequence[str]
) -> str:
    line = head[start:end]
    for delimiter, called in ((b";", "semicolons"), (b"\t", "tabs"), (b"|", "vertical bars")):
        if set(needed) <= set(_header_names(line, delimiter)):
            return f"its columns are separated by {called}; save it with commas"
    for number, other in enumerate(_LINE_END.split(head[: end + 4096]), 1):
        if set(needed) <= set(_header_names(other, b",")):
            return f"its header is line {number}; take out what is above it"
    names = _header_names(line, b",")
    others = {_letters(name): name for name in names if name not in needed}
    near = {
        name: [others[match] for match in difflib.get_close_matches(_letters(name), others, 1, 0.7)]
        for name in missing
    }
    found = line.decode("utf-8", "replace").strip()[:MAX_TEXT]
    plural = "s" if len(missing) > 1 else ""
    problem = f"no column{plural} {', '.join(map(repr, missing))} in its header {found!r}"
    if len(missing) == len(needed) <= len(names) and not any(near.values()):
        return f"{problem}; if that is a row, put a header above it: {','.join(needed)}"
    renamed = [f"rename {match[0]!r} to {name!r}" for name, match in near.items() if match]
    added = [repr(name) for name, match in near.items() if not match]
    return "; ".join([problem, *renamed, *([f"add {', '.join(added)}"] if added else [])])


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def split(file: CsvFile, chunk_bytes: int) -> list[tuple[int, int]]:
    """Cut the body of ``file`` at ends of records, about every ``chunk_bytes``.

    Returns:
        ``(start, end)`` byte ranges that follow one another from ``file.body`` to ``file.size``.
        A chunk is longer than ``chunk_bytes`` by at most the distance to the next cut.

    Raises:
        InputError: a line is longer than 2 GiB, the most that pyarrow parses at once.
    """
    ranges = []
    start = file.body
    while start < file.size:
        end = _next_cut(file, start, start + chunk_bytes)
        if end - start > _PARSABLE:
            raise InputError(
                f"{file.path}: no line ends within {_PARSABLE:,} bytes after byte {start:,}; is "
                "it a CSV file?"
            )
        ranges.append((start, end))
        start = end
    return ranges


def _next_cut(file: CsvFile, record: int, target: int) -> int:
    """Where a record starts at or after ``target``; one does at ``record``."""
    begin, window = max(record, target - LONGEST_RECORD), _WINDOW
    while target < file.size:
        stop = target + window + LONGEST_RECORD + 1
        data = file.read(begin - 1, stop)
        if begin == record:
            starts = find_records(data, file.dialect, len(file.columns)).starts
        else:
            starts = _sure_starts(data, file.dialect, len(file.columns))
        cuts = starts[starts >= target - begin + 1]
        # What starts further on may go on after the data.
        if len(cuts) and (cuts[0] <= target - begin + 1 + window or stop >= file.size):
            return begin - 1 + int(cuts[0])
        if stop >= file.size or stop - record > _PARSABLE:
            return file.size
        begin, window = record, 4 * window
    return file.size


def _sure_starts(data: bytearray, dialect: Dialect, width: int) -> np.ndarray:
    """int64, ascending: lines that start a record, whichever of those before them do."""
    view = np.frombuffer(data, np.uint8)
    starts, ends = _lines(data)
    if view[0] not in (_CR, _LF) or (view[0] == _CR and view[1] == _LF):
        starts, ends = starts[1:], ends[1:]  # the data begins within a line
    spanned = np.zeros(len(starts), bool)
    for line in _doubtful(view, starts, ends, dialect).tolist():
        end, _ = _record(data, int(starts[line]), int(ends[line]), dialect, width)
        spanned[line + 1 : np.searchsorted(starts, end)] = True
    return starts[~spanned]

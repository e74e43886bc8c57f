"""Rows that can't be used: why, what to do about it, how many may be, and the table of them.

A reason is a text that goes on after "rows have", "rows do not have" (those that start with "not")
or "rows are" (those that start with "not valid"). Each reader says what to do about its own reasons
in a mapping of reason to remedy; those that any file may have are here. A row of several lines that
can't be used counts as so many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from spotify_engine.errors import InputError

REJECTS = pa.schema(
    [
        ("source", pa.string()),
        ("byte_offset", pa.int64()),  # where the row starts in its file; null if not known
        ("line", pa.int64()),  # counting from 1; null if not known
        ("reason", pa.string()),
        ("text", pa.string()),  # cut at 200 characters
    ]
)

# Of any file, whatever is in it.
NOT_UTF8 = "not valid UTF-8"
UNCLOSED = "a quote that isn't closed"
ESCAPED_LINE_END = "a backslash at the end of the line"
NUL = "a NUL byte"
MARK = "a byte order mark"
HEADER = "the header in place of a row"
_REMEDIES = {
    NOT_UTF8: "Save the file as UTF-8; Latin-1 and Windows-1252 are the usual others",
    UNCLOSED: "Close the quote, or double it if it is part of the text",
    ESCAPED_LINE_END: "Double the backslash, or put the field in quotes",
    NUL: "Write the file anew, without NUL bytes",
    MARK: "Take byte order marks out of the rows; files were joined that began with one",
    HEADER: "Leave one header line, the first; files were joined that had one each",
}


def other_width(fields: int) -> str:
    """The reason of a row that hasn't as many fields as the header."""
    return f"not {fields} fields"


def remedy_of(reason: str, remedies: Mapping[str, str]) -> str:
    """The remedy for a reason, of a reader's own or of any file."""
    if reason in remedies:
        return remedies[reason]
    if reason in _REMEDIES:
        return _REMEDIES[reason]
    if reason.startswith("not ") and reason.endswith(" fields"):
        return "Put fields that hold commas in quotes, and double the quotes inside them"
    raise KeyError(f"no remedy for {reason!r}")


@dataclass(frozen=True)
class Rejected:
    """The rejects of one chunk of a file, packed: a file may consist of nothing else.

    Attributes:
        rows: records in the chunk, good or not.
        newlines: in the chunk.
        packed: Arrow IPC stream of ``REJECTS``, compressed.
        reasons: how many of each.
    """

    rows: int
    newlines: int
    packed: bytes
    reasons: dict[str, int]

    @classmethod
    def of(cls, table: pa.Table, rows: int, newlines: int) -> Rejected:
        """Compress a table of rejected rows."""
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        reasons = {
            entry["values"]: entry["counts"]
            for entry in pc.value_counts(table["reason"]).to_pylist()
        }
        return cls(rows, newlines, sink.getvalue().to_pybytes(), reasons)

    def table(self, lines_before: int) -> pa.Table:
        """The rejects, with ``line`` counted in a file of which ``lines_before`` came before."""
        return lines_from(pa.ipc.open_stream(self.packed).read_all(), lines_before + 1)


def lines_from(rejects: pa.Table, first: int) -> pa.Table:
    """``REJECTS`` with the number ``first`` for line 0."""
    place = rejects.schema.get_field_index("line")
    return rejects.set_column(place, "line", pc.add(rejects["line"], first))


def check_rejects(
    path: str,
    parts: Sequence[Rejected],
    header_lines: int,
    limit: float,
    remedies: Mapping[str, str],
) -> dict[str, int]:
    """Count the rejects of a file by reason.

    Args:
        limit: ``data.max_reject_ratio`` of the job.
        remedies: what to do about each of the reader's reasons.

    Raises:
        InputError: they are more than ``limit`` of the rows, or all of them.
    """
    reasons: Counter[str] = Counter()
    for part in parts:
        reasons.update(part.reasons)
    rows, rejected = sum(part.rows for part in parts), sum(reasons.values())
    if rejected > limit * rows or 0 < rejected == rows:
        worst, count = max(reasons.items(), key=lambda item: (item[1], item[0]))
        allowed = f" (limit {percent(limit, 1)})" if rejected < rows else ""
        share = f"{percent(rejected, rows)} of rows {_said(worst)}{allowed}"
        if count < rejected:
            share = (
                f"{percent(rejected, rows)} of rows can't be used{allowed}, "
                f"{percent(count, rows)} {_said(worst)}"
            )
        remedy = remedy_of(worst, remedies)
        if rejected < rows:
            enough = math.ceil(100 * rejected / rows) / 100
            remedy += f", or go on without such rows with --set data.max_reject_ratio={enough:g}"
        first = _first(parts, worst, header_lines)
        raise InputError(f"{path}: {share}; first {first}. {remedy}")
    return dict(sorted(reasons.items()))


def percent(part: float, whole: float) -> str:
    """``28.6 %``; ``100 %`` is said of the whole only."""
    return "100 %" if part == whole else f"{100 * part / whole:.1f} %"


def _said(reason: str) -> str:
    if reason.startswith("not valid"):
        return f"are {reason}"
    return f"do not have {reason[4:]}" if reason.startswith("not ") else f"have {reason}"


def _first(parts: Sequence[Rejected], reason: str, header_lines: int) -> str:
    lines = header_lines
    for part in parts:
        if reason in part.reasons:
            table = part.table(lines)
            row = table.filter(pc.equal(table["reason"], reason)).slice(0, 1).to_pylist()[0]
            text = repr(row["text"])
            return text if row["line"] is None else f"at line {row['line']:,}: {text}"
        lines += part.newlines
    raise ValueError(f"no row was rejected as {reason!r}")


def combine_rejects(parts: Sequence[Rejected], header_lines: int, others: pa.Table) -> pa.Table:
    """The table of all rejects, by source and where they are in it.

    Args:
        parts: of the playlist file, in its order, after ``header_lines`` newlines of header.
        others: rejects of the features file.
    """
    tables, lines = [REJECTS.empty_table()], header_lines
    for part in parts:
        tables.append(part.table(lines))
        lines += part.newlines
    tables.append(others)
    return pa.concat_tables(tables).sort_by([("source", "ascending"), ("byte_offset", "ascending")])

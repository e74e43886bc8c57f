"""The features file: ids, names, artists and audio values of the tracks that Spotify described."""

from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spotify_engine.errors import InputError
from spotify_engine.names import normalise_all
from spotify_engine.playlists.schema import AUDIO, AUDIO_COLUMNS, TABLES, AudioColumn
from spotify_engine.playlists.tables.hashing import hash_strings
from spotify_engine.reading.chunks import ParsedRange
from spotify_engine.reading.records import DOUBLED, CsvFile, open_csv, split
from spotify_engine.reading.rejects import lines_from
from spotify_engine.track_ids import track_ids

FEATURE_COLUMNS = ("id", "name", "artists", *AUDIO_COLUMNS)
OPTIONAL_COLUMNS = ("album_id", "year")
FEATURE_REMEDIES = {
    "no track id": "Fill in the column id",
    "no track name": "Fill in the column name",
    "repeated track id": "Give each track an id of its own",
    "no list of artists": "Write the column artists like ['A', 'B']",
}

_BLOCK_BYTES = 8 << 20
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class OtherNames:
    """Other names of a track: those of later rows of the features file that repeat its id.

    Attributes:
        names, first_artists: strings ``[others]``, trimmed.
        rows: int64 ``[others]``, the row of ``Features`` that has the id.
    """

    names: pa.StringArray
    first_artists: pa.StringArray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Features:
    """Rows of the features file that have an id, a name and an artist.

    An id is one track: a later row that gives it another name or first artist is rejected, and its
    name is one more name of the track. A row that only repeats another is harmless and stays.

    Attributes:
        ids, names, first_artists: strings ``[rows]``, trimmed.
        artists: strings ``[rows]``, Python list literals as in the file.
        audio: float32 ``[rows, 7]``, columns as ``AUDIO``, scaled to [0, 1]; NaN where unknown.
        rows: records in the file, good or not.
        rejects: as ``TABLES["rejects"]``, in the file's order, but ``line`` counts from 0.
        problems: of each audio column, how many values had which.
        others: names of rows that were rejected for their id.
        repeated: rows that have the id, name and first artist of an earlier one.
        albums: strings ``[rows]``, trimmed, null where unknown.
        years: float32 ``[rows]``, of release, NaN where unknown.
    """

    ids: pa.StringArray
    names: pa.StringArray
    artists: pa.StringArray
    first_artists: pa.StringArray
    audio: np.ndarray
    rows: int
    rejects: pa.Table
    problems: dict[str, dict[str, int]]
    others: OtherNames
    repeated: int
    albums: pa.StringArray
    years: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def no_features() -> Features:
    """Features of no track, for a pipeline that runs on the playlist file alone."""
    none = pa.array([], pa.string())
    audio, years = np.zeros((0, len(AUDIO)), np.float32), np.zeros(0, np.float32)
    others = OtherNames(none, none, np.zeros(0, np.int64))
    rejects = TABLES["rejects"].empty_table()
    return Features(none, none, none, none, audio, 0, rejects, {}, others, 0, none, years)


def read_features(path: str) -> Features:
    """Read, check and scale the features file (quotes inside a field are doubled).

    A value out of its column's range is clipped to it; one that isn't a finite number, and a tempo
    of 0 (the file's way to say that none was detected), becomes unknown. All are counted. Albums
    and years are read where the file has their columns.

    Raises:
        InputError: the file can't be used, or lacks a needed column.
    """
    file = open_csv(path, DOUBLED, FEATURE_COLUMNS, OPTIONAL_COLUMNS)
    if file.body == file.size:
        raise InputError(f"{path}: has no rows after its header")
    ranges = split(file, _BLOCK_BYTES)
    with ThreadPoolExecutor(pa.cpu_count()) as threads:
        parts = list(threads.map(lambda cut: _read_part(file, *cut), ranges))
    ids, names, _, first = _joined(parts)
    again, earlier, repeated = _repeated_ids(ids, names, first)
    others = OtherNames(
        names.take(pa.array(again)),
        first.take(pa.array(again)),
        earlier - np.searchsorted(again, earlier),
    )
    ends = np.cumsum([len(part.audio) for part in parts])
    for place in np.unique(np.searchsorted(ends, again, side="right")).tolist():
        before = ends[place] - len(parts[place].audio)
        here = again[(again >= before) & (again < ends[place])] - before
        start, end = ranges[place]
        parts[place] = _read_part(file, start, end, here)
    rejects, lines = [], file.header_lines
    for part in parts:
        rejects.append(lines_from(part.rejects, lines))
        lines += part.newlines
    ids, names, artists, first = _joined(parts)
    return Features(
        ids,
        names,
        artists,
        first,
        np.concatenate([part.audio for part in parts]),
        sum(part.rows for part in parts),
        pa.concat_tables(rejects),
        {
            column.name: {
                problem: sum(part.problems[place][problem] for part in parts)
                for problem in parts[0].problems[place]
            }
            for place, column in enumerate(AUDIO)
        },
        others,
        repeated,
        pa.concat_arrays([part.albums for part in parts]),
        np.concatenate([part.years for part in parts]),
    )


def _repeated_ids(
    ids: pa.StringArray, names: pa.StringArray, artists: pa.StringArray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Find rows whose id an earlier one has.

    Returns:
        (int64, ascending, those that give it another name or first artist; int64, the first row of
        the id of each; how many do not)
    """
    bare = track_ids(ids)
    # Different hashes prove different ids, five times as fast as a table of them.
    hashes = np.sort(hash_strings(bare, seed=0))
    if (hashes[1:] != hashes[:-1]).all():
        return np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    codes = bare.dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    later = np.flatnonzero(first[codes] < np.arange(len(codes)))
    earlier = first[codes[later]]
    other = np.zeros(len(later), bool)
    for texts in (names, artists):
        one, same = (normalise_all(texts.take(pa.array(each))) for each in (later, earlier))
        other |= pc.not_equal(one, same).to_numpy(zero_copy_only=False)
    return later[other], earlier[other], int((~other).sum())


def _joined(parts: list[_Part]) -> list[pa.StringArray]:
    return [pa.concat_arrays([part.text[column] for part in parts]) for column in range(4)]


class _Part(NamedTuple):
    """The content of one byte range of the file; ``text`` has the first four of ``Features``."""

    text: tuple[pa.StringArray, ...]
    audio: np.ndarray
    rows: int
    rejects: pa.Table
    newlines: int
    problems: list[dict[str, int]]
    albums: pa.StringArray
    years: np.ndarray


def _read_part(file: CsvFile, start: int, end: int, repeated: np.ndarray | None = None) -> _Part:
    """Read a part of the file.

    Args:
        repeated: of the rows that are good otherwise, those whose id an earlier one has.
    """
    wanted = [*FEATURE_COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in file.columns)]
    parsed = ParsedRange(file, start, end, dict.fromkeys(wanted, pa.string()))
    table = parsed.table
    ids, names, artists = (
        pc.utf8_trim_whitespace(table.column(name).combine_chunks())
        for name in ("id", "name", "artists")
    )
    first = first_artists(artists)
    columns = [_scaled(table[column.name].combine_chunks(), column) for column in AUDIO]
    audio = np.stack([values for values, _ in columns], axis=1)
    for values, reason in (
        (ids, "no track id"),
        (names, "no track name"),
        (first, "no list of artists"),
    ):
        parsed.reject(pc.equal(pc.binary_length(values), 0).to_numpy(False), reason)
    if repeated is not None:
        hit = np.zeros(len(parsed.good), bool)
        hit[np.flatnonzero(parsed.good)[repeated]] = True
        parsed.reject(hit, "repeated track id")
    keep = pa.array(parsed.good)
    return _Part(
        tuple(each.filter(keep) for each in (ids, names, artists, first)),
        audio[parsed.good],
        parsed.total,
        parsed.rejects(),
        parsed.newlines,
        [counts for _, counts in columns],
        _optional(table, "album_id").filter(keep),
        _years(_optional(table, "year"))[parsed.good],
    )


def _optional(table: pa.Table, name: str) -> pa.StringArray:
    """A column, trimmed; null where it is blank, or the file has none."""
    if name not in table.column_names:
        return pa.nulls(len(table), pa.string())
    values = pc.utf8_trim_whitespace(table[name].combine_chunks())
    return pc.if_else(pc.equal(pc.binary_length(values), 0), None, values)


def _years(values: pa.StringArray) -> np.ndarray:
    """float32 ``[rows]``; what isn't a year of four digits is unknown."""
    legal = pc.match_substring_regex(values, r"^[12]\d{3}$")
    numbers = pc.cast(pc.if_else(legal, values, None), pa.float32())
    years: np.ndarray = numbers.to_numpy(zero_copy_only=False)
    return years


def _scaled(values: pa.StringArray, column: AudioColumn) -> tuple[np.ndarray, dict[str, int]]:
    """Returns (float32 ``[rows]`` in [0, 1], NaN where unknown; how many had which problem)."""
    blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0)
    values = pc.if_else(blank, None, values)
    try:
        numbers = pc.cast(values, pa.float64())
    except pa.ArrowInvalid:
        legal = pc.match_substring_regex(values, _NUMBER)
        numbers = pc.cast(pc.utf8_trim_whitespace(pc.if_else(legal, values, None)), pa.float64())
    array = numbers.to_numpy(zero_copy_only=False)
    unknown = ~np.isfinite(array)
    counts = {"not_a_number": int(unknown.sum()) - (pc.sum(blank).as_py() or 0)}
    if column.name == "tempo":
        counts["not_detected"] = int((array == 0).sum())
        unknown |= array == 0
    outside = ~unknown & ((array < column.low) | (array > column.high))
    counts["clipped"] = int(outside.sum())
    scaled = (np.clip(array, column.low, column.high) - column.low) / (column.high - column.low)
    return np.where(unknown, np.nan, scaled).astype(np.float32), counts


def _plain(literals: pa.StringArray) -> np.ndarray:
    """bool ``[rows]``: lists whose names are all in single quotes and hold none."""
    quoted = pc.and_(pc.starts_with(literals, "['"), pc.ends_with(literals, "']"))
    odd = pc.or_(pc.match_substring(literals, '"'), pc.match_substring(literals, "\\"))
    return pc.and_not(quoted, odd).to_numpy(zero_copy_only=False)


def _names(literal: str) -> list[str]:
    try:
        names = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return []
    # An escape can spell half of a surrogate pair, which no UTF-8 text can hold.
    return [name.encode("utf-8", "replace").decode().strip() for name in names]


def first_artists(literals: pa.StringArray) -> pa.StringArray:
    """The first name of each list literal, trimmed; "" where there is none or no list."""
    plain = _plain(literals)
    pieces = pc.split_pattern(literals.filter(pa.array(plain)), "'", max_splits=2)
    first = pc.utf8_trim_whitespace(pc.list_element(pieces, 1))
    others = [
        (_names(literal) or [""])[0] for literal in literals.filter(pa.array(~plain)).to_pylist()
    ]
    both = pa.concat_arrays([first, pa.array(others, pa.string())])
    order = np.empty(len(literals), np.int64)
    order[plain] = np.arange(len(first))
    order[~plain] = np.arange(len(first), len(literals))
    return both.take(pa.array(order))


def artist_lists(literals: pa.StringArray) -> tuple[np.ndarray, pa.StringArray]:
    """All names of list literals, trimmed, blank ones dropped.

    Returns:
        (which literal each name is of, int64 ``[names]`` ascending; the names, in order).
    """
    plain = _plain(literals)
    inner = pc.utf8_slice_codeunits(literals.filter(pa.array(plain)), 2, -2)
    lists = pc.split_pattern(inner, "', '")
    others = [_names(literal) for literal in literals.filter(pa.array(~plain)).to_pylist()]
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    of = np.concatenate(
        [
            np.repeat(np.flatnonzero(plain), lengths),
            np.repeat(np.flatnonzero(~plain), [len(names) for names in others]),
        ]
    )
    names = pc.utf8_trim_whitespace(
        pa.concat_arrays(
            [pc.list_flatten(lists), pa.array([n for names in others for n in names], pa.string())]
        )
    )
    order = np.argsort(of, kind="stable")
    order = order[pc.greater(pc.utf8_length(names), 0).to_numpy(zero_copy_only=False)[order]]
    return of[order].astype(np.int64), names.take(pa.array(order))

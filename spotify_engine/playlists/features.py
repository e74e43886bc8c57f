"""The features file: ids, names, artists and audio values of the tracks that Spotify described."""

from __future__ import annotations

import ast
import codecs
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from spotify_engine.errors import InputError
from spotify_engine.names import normalise_all
from spotify_engine.playlists.hashing import hash_strings
from spotify_engine.playlists.schema import AUDIO, AUDIO_COLUMNS, TABLES, AudioColumn
from spotify_engine.reading.chunks import MAX_TEXT, NOT_UTF8, row_text
from spotify_engine.reading.records import DOUBLED, CsvFile, find_records, open_csv, open_input
from spotify_engine.track_ids import track_ids

FEATURE_COLUMNS = ("id", "name", "artists", *AUDIO_COLUMNS)

_BLOCK_BYTES = 8 << 20
_REPLACEMENT = "\ufffd"
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class OtherNames:
    """What later rows of the features file call a track whose id an earlier row has.

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

    def __len__(self) -> int:
        return len(self.ids)


def no_features() -> Features:
    """Features of no track, for a pipeline that runs on the playlist file alone."""
    none = pa.array([], pa.string())
    audio = np.zeros((0, len(AUDIO)), np.float32)
    others = OtherNames(none, none, np.zeros(0, np.int64))
    rejects = TABLES["rejects"].empty_table()
    return Features(none, none, none, none, audio, 0, rejects, {}, others, 0)


def read_features(path: str) -> Features:
    """Read, check and scale the features file (quotes inside a field are doubled).

    A value out of its column's range is clipped to it; one that isn't a finite number, and a tempo
    of 0 (the file's way to say that none was detected), becomes unknown. All are counted.

    Raises:
        InputError: the file can't be used, or lacks a needed column.
    """
    file = open_csv(path, DOUBLED, FEATURE_COLUMNS)
    if file.body == file.size:
        raise InputError(f"{path}: has no rows after its header")
    parsed = _parse(file)
    table = parsed.table
    ids, names, artists = (
        pc.utf8_trim_whitespace(table.column(name).combine_chunks())
        for name in ("id", "name", "artists")
    )
    with ThreadPoolExecutor() as threads:
        lists = threads.submit(first_artists, artists)
        columns = list(threads.map(lambda c: _scaled(table[c.name].combine_chunks(), c), AUDIO))
    audio = np.stack([values for values, _ in columns], axis=1)
    first = lists.result()
    good = np.ones(table.num_rows, bool)
    reasons: dict[int, str] = {}
    for values, reason in (
        (ids, "no track id"),
        (names, "no track name"),
        (first, "no list of artists"),
    ):
        hit = good & pc.equal(pc.utf8_length(values), 0).to_numpy(False)
        good &= ~hit
        reasons.update(dict.fromkeys(np.flatnonzero(hit).tolist(), reason))
    rejects = TABLES["rejects"].empty_table()
    if reasons or parsed.n_wrong or len(parsed.doubtful):
        good, rejects = _set_aside(file, parsed, reasons)
    again, earlier, repeated = _repeated_ids(ids, names, first, good)
    if len(again):
        reasons.update(dict.fromkeys(again.tolist(), "repeated track id"))
        good, rejects = _set_aside(file, parsed, reasons)
    others = OtherNames(
        names.take(pa.array(again)), first.take(pa.array(again)), (np.cumsum(good) - 1)[earlier]
    )
    if not good.all():
        keep = pa.array(good)
        ids, names, artists, first = (x.filter(keep) for x in (ids, names, artists, first))
        audio = audio[good]
    return Features(
        ids,
        names,
        artists,
        first,
        audio,
        parsed.rows,
        rejects,
        {column.name: counts for column, (_, counts) in zip(AUDIO, columns, strict=True)},
        others,
        repeated,
    )


def _repeated_ids(
    ids: pa.StringArray, names: pa.StringArray, artists: pa.StringArray, good: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Find good rows whose id an earlier good one has.

    Returns:
        (int64, ascending, those that give it another name or first artist; int64, the first row of
        the id of each; how many do not)
    """
    rows, bare = np.flatnonzero(good), track_ids(ids).filter(pa.array(good))
    # Different hashes prove different ids, five times as fast as a table of them.
    hashes = np.sort(hash_strings(bare, seed=0))
    if (hashes[1:] != hashes[:-1]).all():
        return np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    codes = bare.dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    again = np.flatnonzero(first[codes] < np.arange(len(codes)))
    later, earlier = rows[again], rows[first[codes[again]]]
    other = np.zeros(len(again), bool)
    for texts in (names, artists):
        one, same = (normalise_all(texts.take(pa.array(each))) for each in (later, earlier))
        other |= pc.not_equal(one, same).to_numpy(zero_copy_only=False)
    return later[other], earlier[other], int((~other).sum())


@dataclass(frozen=True)
class _Parsed:
    """What one pass over the file gave.

    Attributes:
        table: the needed columns as strings, of the rows of the right width.
        n_wrong: rows of another width.
        block: bytes that were parsed at a time.
        repaired: some bytes weren't UTF-8 and were replaced.
        doubtful: int64, rows of ``table`` that may have had such bytes.
    """

    table: pa.Table
    n_wrong: int
    block: int
    repaired: bool
    doubtful: np.ndarray

    @property
    def rows(self) -> int:
        return self.table.num_rows + self.n_wrong


def _parse(file: CsvFile) -> _Parsed:
    wrong: list[int] = []

    def read(block: int, repaired: bool) -> pa.Table:
        wrong.clear()
        return _read(file, FEATURE_COLUMNS, block, repaired, wrong, threads=True)

    try:
        table = read(_BLOCK_BYTES, False)
        return _Parsed(table, len(wrong), _BLOCK_BYTES, False, np.zeros(0, np.int64))
    except pa.ArrowInvalid:
        # Either some bytes aren't UTF-8 or a row is longer than a block.
        block = min(max(_BLOCK_BYTES, file.size + 1), (1 << 31) - 1)
    try:
        table = read(block, True)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{file.path}: can't be parsed ({' '.join(str(error).split())[:MAX_TEXT]}); "
            "is it comma-separated with doubled quotes?"
        ) from error
    doubtful = np.zeros(table.num_rows, bool)
    for name in FEATURE_COLUMNS:
        doubtful |= pc.match_substring(table.column(name), _REPLACEMENT).to_numpy()
    return _Parsed(table, len(wrong), block, True, np.flatnonzero(doubtful))


def _read(
    file: CsvFile,
    columns: Sequence[str],
    block: int,
    repaired: bool,
    wrong: list[int],
    threads: bool,
) -> pa.Table:
    """Parse some columns of the file.

    Args:
        wrong: takes in the number of each row of another width; -1 if ``threads``, as Arrow counts
            rows only when it parses them one after another.
    """

    def skip(row: pa.csv.InvalidRow) -> str:
        wrong.append((row.number or 0) - 1)
        return "skip"

    # Columns are named by position: a header may name two of them alike.
    names = [str(position) for position in range(len(file.columns))]
    wanted = [names[file.columns.index(name)] for name in columns]
    with open_input(file.path) as source:
        # The header's line end is an empty line to the parser. It keeps a byte order mark that
        # starts the first row from being taken for the file's own.
        source.seek(file.body - 1)
        return pa.csv.read_csv(
            _replacing(source) if repaired else source,
            read_options=pa.csv.ReadOptions(
                column_names=names, block_size=block, use_threads=threads
            ),
            parse_options=file.dialect.parse_options(skip),
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
            ),
        ).rename_columns(columns)


def _replacing(source: pa.NativeFile) -> pa.NativeFile:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return pa.TransformInputStream(source, lambda data: decoder.decode(data).encode())


def _set_aside(
    file: CsvFile, parsed: _Parsed, reasons: dict[int, str]
) -> tuple[np.ndarray, pa.Table]:
    """Find in the file the rows that can't be used.

    Args:
        reasons: by row of ``parsed.table``.

    Returns:
        (bool, rows of ``parsed.table`` to use; as ``TABLES["rejects"]``, ``line`` from 0).
    """
    wrong: list[int] = []
    if parsed.n_wrong:
        _read(file, FEATURE_COLUMNS[:1], parsed.block, parsed.repaired, wrong, threads=False)
    if len(wrong) != parsed.n_wrong:
        raise RuntimeError(
            f"{file.path}: {parsed.n_wrong} rows of another width, then {len(wrong)}"
        )
    number_of = np.delete(np.arange(parsed.rows), wrong)
    known = dict.fromkeys(wrong, f"not {len(file.columns)} fields")
    known.update({int(number_of[row]): reason for row, reason in reasons.items()})
    numbers, columns = [], []
    for record in find_records(file, sorted({*known, *number_of[parsed.doubtful].tolist()})):
        reason = known.get(record.number) if _is_utf8(record.raw) else NOT_UTF8
        if reason is not None:
            numbers.append(record.number)
            columns.append((record.start, record.line, reason, row_text(record.raw)))
    starts, lines, said, texts = zip(*columns, strict=True) if columns else ((), (), (), ())
    rejects = pa.table(
        [[file.name] * len(numbers), starts, lines, said, texts], schema=TABLES["rejects"]
    )
    return np.isin(number_of, numbers, invert=True), rejects


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


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

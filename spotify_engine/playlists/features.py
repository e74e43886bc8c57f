"""The features file: ids, names, artists and audio values of the tracks that Spotify described."""

from __future__ import annotations

import ast
import codecs
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from spotify_engine.errors import InputError
from spotify_engine.playlists.reading import MAX_TEXT, NOT_UTF8
from spotify_engine.playlists.records import DOUBLED, CsvFile, open_csv, open_input
from spotify_engine.playlists.schema import AUDIO, AUDIO_COLUMNS, TABLES, AudioColumn

FEATURE_COLUMNS = ("id", "name", "artists", *AUDIO_COLUMNS)

_BLOCK_BYTES = 8 << 20
_REPLACEMENT = "\ufffd"
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class Features:
    """Rows of the features file that have an id, a name and an artist.

    Attributes:
        ids, names, first_artists: strings ``[rows]``, trimmed.
        artists: strings ``[rows]``, Python list literals as in the file.
        audio: float32 ``[rows, 7]``, columns as ``AUDIO``, scaled to [0, 1]; NaN where unknown.
        rows: records in the file, good or not.
        rejects: as ``TABLES["rejects"]``; neither offset nor line is known.
        problems: of each audio column, how many values had which.
    """

    ids: pa.StringArray
    names: pa.StringArray
    artists: pa.StringArray
    first_artists: pa.StringArray
    audio: np.ndarray
    rows: int
    rejects: pa.Table
    problems: dict[str, dict[str, int]]

    def __len__(self) -> int:
        return len(self.ids)


def no_features() -> Features:
    """Features of no track, for a pipeline that runs on the playlist file alone."""
    none = pa.array([], pa.string())
    audio = np.zeros((0, len(AUDIO)), np.float32)
    return Features(none, none, none, none, audio, 0, TABLES["rejects"].empty_table(), {})


def read_features(path: str) -> Features:
    """Read, check and scale the features file (quotes inside a field are doubled).

    A value out of its column's range is clipped to it; one that isn't a finite number, and a tempo
    of 0 (the file's way to say that none was detected), becomes unknown. All are counted.

    Raises:
        InputError: the file can't be used, or lacks a needed column.
    """
    file = open_csv(path, DOUBLED, FEATURE_COLUMNS)
    table, rejected = _parse(file)
    rows = table.num_rows + len(rejected)
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
    for values, reason in (
        (ids, "no track id"),
        (names, "no track name"),
        (first, "no list of artists"),
    ):
        hit = good & pc.equal(pc.utf8_length(values), 0).to_numpy(False)
        good &= ~hit
        for row in np.flatnonzero(hit).tolist():
            fields = (ids[row], names[row], artists[row])
            rejected.append((reason, ",".join(str(field) for field in fields)))
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
        rows,
        _rejects_table(file, rejected),
        {column.name: counts for column, (_, counts) in zip(AUDIO, columns, strict=True)},
    )


def _parse(file: CsvFile) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Returns (the needed columns as strings, (reason, text) of rows that can't be parsed)."""
    rejected: list[tuple[str, str]] = []
    reason = f"not {len(file.columns)} fields"

    def skip(row: pa.csv.InvalidRow) -> str:
        rejected.append((reason, row.text[:MAX_TEXT]))
        return "skip"

    names = [str(position) for position in range(len(file.columns))]
    wanted = [names[file.columns.index(name)] for name in FEATURE_COLUMNS]

    def read(block: int, repair: bool) -> pa.Table:
        rejected.clear()
        with open_input(file.path) as source:
            source.seek(file.body)
            return pa.csv.read_csv(
                _replacing(source) if repair else source,
                read_options=pa.csv.ReadOptions(column_names=names, block_size=block),
                parse_options=file.dialect.parse_options(skip),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
                ),
            ).rename_columns(FEATURE_COLUMNS)

    try:
        return read(_BLOCK_BYTES, repair=False), rejected
    except pa.ArrowInvalid:
        # Either some bytes aren't UTF-8 or a row is longer than a block.
        try:
            table = read(min(max(_BLOCK_BYTES, file.size + 1), (1 << 31) - 1), repair=True)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{file.path}: can't be parsed ({' '.join(str(error).split())[:MAX_TEXT]}); "
                "is it comma-separated with doubled quotes?"
            ) from error
    broken = np.zeros(table.num_rows, bool)
    for name in FEATURE_COLUMNS:
        broken |= pc.match_substring(table.column(name), _REPLACEMENT).to_numpy()
    for row in table.filter(pa.array(broken)).select(FEATURE_COLUMNS[:3]).to_pylist():
        rejected.append((NOT_UTF8, ",".join(row.values())))
    return table.filter(pa.array(~broken)), rejected


def _replacing(source: pa.NativeFile) -> pa.NativeFile:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return pa.TransformInputStream(source, lambda data: decoder.decode(data).encode())


def _rejects_table(file: CsvFile, rejected: list[tuple[str, str]]) -> pa.Table:
    # Threads hand over rows in any order.
    rejected = sorted(rejected)
    nothing = pa.nulls(len(rejected), pa.int64())
    return pa.table(
        {
            "source": pa.array([file.name] * len(rejected), pa.string()),
            "byte_offset": nothing,
            "line": nothing,
            "reason": pa.array([reason for reason, _ in rejected], pa.string()),
            "text": pa.array([text[:MAX_TEXT] for _, text in rejected], pa.string()),
        },
        schema=TABLES["rejects"],
    )


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

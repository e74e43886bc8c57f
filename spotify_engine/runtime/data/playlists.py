"""The two CSV files to tables, with Ray Data: one task a chunk of the playlist file."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import ray
from rich.table import Column, Table

from spotify_engine.console import say
from spotify_engine.dotted import Tree, flatten
from spotify_engine.errors import InputError
from spotify_engine.playlists.tables.build import DataConfig, TableCounts, build_tables
from spotify_engine.playlists.tables.features import (
    FEATURE_COLUMNS,
    FEATURE_REMEDIES,
    OPTIONAL_COLUMNS,
    Features,
    no_features,
    read_features,
)
from spotify_engine.playlists.tables.matching import KeyTable, Matched, match_chunk
from spotify_engine.playlists.tables.reading import (
    PLAYLIST_COLUMNS,
    PLAYLIST_REMEDIES,
    Chunk,
    read_chunk,
)
from spotify_engine.reading.records import BACKSLASH, DOUBLED, CsvFile, open_csv, split
from spotify_engine.reading.rejects import Rejected, check_rejects, combine_rejects
from spotify_engine.runtime.cluster import refusals_as_raised
from spotify_engine.runtime.data.tasks import Clock, Row, run_tasks
from spotify_engine.store.atomic import replaced_folder

_ROW_GROUP = 1 << 20
_TASK_BYTES_PER_CHUNK_BYTE = 10  # the text, its columns and their hashes, at their peak
_READ_AHEAD = 4  # chunks that a task holds before it waits for the keys


class KeyCounts(TypedDict):
    """Names of tracks with artists that the features file knows, and those of several tracks."""

    keys: int
    keys_with_several_ids: int


class FeatureCounts(KeyCounts):
    """What the features file had."""

    rows: int
    rejected: dict[str, int]
    repeated_rows: int
    audio: dict[str, dict[str, int]]


class PlaylistCounts(TableCounts):
    """And what was read to make them, with the seconds of each stage."""

    bytes: int
    chunks: int
    rows: int
    rejected: dict[str, int]
    features: FeatureCounts
    seconds: dict[str, float]


def prepare_tables(
    playlists: str,
    features: str | None,
    out_dir: Path,
    config: DataConfig,
    parallelism: int | None = None,
) -> PlaylistCounts:
    """Read, match, prune and number both files; write ``out_dir/*.parquet`` in one go.

    The tables (all of ``TABLES`` but the two of genres) are the same bytes whatever
    ``config.chunk_bytes`` and ``parallelism``. Needs a running Ray session.

    Args:
        playlists: path or URI that every worker can read.
        features: path or URI; None needs ``config.unmatched == "keep"``.
        out_dir: replaced if it is there.
        parallelism: most tasks at a time; all CPUs of the cluster by default.

    Returns:
        Counts of what was read, left out and written, and ``"seconds"`` by stage.

    Raises:
        InputError: a file can't be used, or too little is left of it.
    """
    clock = Clock()
    limit = config.max_reject_ratio
    file = open_csv(playlists, BACKSLASH, PLAYLIST_COLUMNS, limit=limit)
    if file.body == file.size:
        raise InputError(f"{playlists}: has no rows after its header")
    if features is None and config.unmatched == "drop":
        raise InputError(
            "data.unmatched is 'drop' and there is no features file: every row would be dropped; "
            "give --features or set data.unmatched=keep"
        )
    if features is not None:
        open_csv(features, DOUBLED, FEATURE_COLUMNS, OPTIONAL_COLUMNS, limit)
    # The first chunks are parsed, by workers that are only starting, while another reads features.
    both: Any = _read_features.remote(features)  # Ray's types know nothing of num_returns
    described, keys = both
    with refusals_as_raised():
        try:
            matched, rejected = _match(file, keys, config, parallelism)
        except ray.exceptions.RayError:
            ray.get(described)  # without features the chunks fail too, and say less
            raise
        known: Features
        several: KeyCounts
        known, several = ray.get(described)
    features_rejected = Rejected.of(known.rejects, known.rows, 0)
    feature_reasons = check_rejects(str(features), [features_rejected], 0, limit, FEATURE_REMEDIES)
    clock.lap("reading")
    reasons = check_rejects(playlists, rejected, file.header_lines, limit, PLAYLIST_REMEDIES)
    say(f"prepare: making tables of {sum(part.rows for part in rejected):,} rows")
    tables, counts = build_tables(matched, known, config, playlists)
    tables["rejects"] = combine_rejects(rejected, file.header_lines, features_rejected.table(0))
    clock.lap("assembly")
    _write(tables, out_dir)
    clock.lap("writing")
    return {
        "bytes": file.size,
        "chunks": len(rejected),
        "rows": sum(part.rows for part in rejected),
        "rejected": reasons,
        **counts,
        "features": {
            "rows": known.rows,
            "rejected": feature_reasons,
            **several,
            "repeated_rows": known.repeated,
            "audio": known.problems,
        },
        "seconds": clock.seconds,
    }


@ray.remote(num_returns=2)
def _read_features(path: str | None) -> tuple[tuple[Features, KeyCounts], KeyTable]:
    known = no_features() if path is None else read_features(path)
    keys = KeyTable.of(known)
    counts: KeyCounts = {
        "keys": len(keys.rows),
        "keys_with_several_ids": keys.with_several_ids,
    }
    return (known, counts), keys


def _match(
    file: CsvFile, keys: ray.ObjectRef, config: DataConfig, parallelism: int | None
) -> tuple[list[Matched], list[Rejected]]:
    ranges = split(file, config.chunk_bytes)
    say(f"prepare: 0/{len(ranges)} chunks read of {file.name}, {file.size / 1e6:,.1f} MB")
    rows = run_tasks(
        [{"chunk": i, "start": start, "end": end} for i, (start, end) in enumerate(ranges)],
        _read_and_match,
        {"file": file, "keys": keys, "keep_unmatched": config.unmatched == "keep"},
        task_bytes=_TASK_BYTES_PER_CHUNK_BYTE * min(config.chunk_bytes, file.size),
        parallelism=parallelism,
        done=lambda n: f"prepare: {n}/{len(ranges)} chunks read",
    )
    parts = {row["chunk"]: _unpack(row) for row in rows}
    ordered = [parts[i] for i in range(len(ranges))]
    return [part for part, _ in ordered], [part for _, part in ordered]


def _read_and_match(
    ranges: pa.Table, file: CsvFile, keys: ray.ObjectRef, keep_unmatched: bool
) -> Iterator[pa.Table]:
    """Read and match each of a task's chunks; it reads ahead until the keys are there."""
    waiting: deque[tuple[int, Chunk]] = deque()
    for row in ranges.to_pylist():
        waiting.append((row["chunk"], read_chunk(file, row["start"], row["end"])))
        if len(waiting) < _READ_AHEAD and not ray.wait([keys], timeout=0)[0]:
            continue
        yield from _match_all(waiting, ray.get(keys), keep_unmatched)
    yield from _match_all(waiting, ray.get(keys), keep_unmatched)


def _match_all(
    waiting: deque[tuple[int, Chunk]], keys: KeyTable, keep_unmatched: bool
) -> Iterator[pa.Table]:
    while waiting:
        number, chunk = waiting.popleft()
        yield pa.Table.from_pylist([_packed_match(number, chunk, keys, keep_unmatched)])


def _packed_match(number: int, chunk: Chunk, keys: KeyTable, keep_unmatched: bool) -> Row:
    rejected = Rejected.of(chunk.rejects, chunk.rows, chunk.newlines)
    matched = match_chunk(chunk, keys, keep_unmatched)
    numbers = {
        "rows": rejected.rows,
        "newlines": rejected.newlines,
        "reasons": rejected.reasons,
        "matched_rows": matched.matched_rows,
        "unmatched_rows": matched.unmatched_rows,
    }
    return {
        "chunk": number,
        "numbers": json.dumps(numbers),
        "rejects": rejected.packed,
        "playlist": matched.playlist.tobytes(),
        "track": matched.track.tobytes(),
        "playlists": _packed(matched.playlists),
        "unmatched": _packed(matched.unmatched),
    }


def _unpack(row: Row) -> tuple[Matched, Rejected]:
    numbers = json.loads(row["numbers"])
    rejected = Rejected(numbers["rows"], numbers["newlines"], row["rejects"], numbers["reasons"])
    matched = Matched(
        np.frombuffer(row["playlist"], np.int32),
        np.frombuffer(row["track"], np.int32),
        pa.ipc.open_stream(row["playlists"]).read_all(),
        pa.ipc.open_stream(row["unmatched"]).read_all(),
        numbers["matched_rows"],
        numbers["unmatched_rows"],
    )
    return matched, rejected


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _write(tables: dict[str, pa.Table], out_dir: Path) -> None:
    with replaced_folder(out_dir) as fresh:
        for name, table in tables.items():
            pa.parquet.write_table(
                table, fresh / f"{name}.parquet", compression="zstd", row_group_size=_ROW_GROUP
            )


def render_counts(counts: Tree) -> Table:
    """A table of the rows that preparing the tables read, left out and kept."""
    table = Table("what", Column("count", justify="right"), title="Data")
    for name, value in flatten(counts).items():
        # What did not occur is in the report; here it would bury what did.
        if value and not name.startswith("seconds."):
            text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
            table.add_row(name.replace("_", " ").replace(".", ", "), text)
    return table

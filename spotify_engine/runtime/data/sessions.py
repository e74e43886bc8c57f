"""The session CSV files to tables with Ray Data, in memory that doesn't grow with their size.

Two rounds of tasks. The first reads a range of the file each and leaves its plays, by user, in a
file beside the tables. The second sorts a range of users each, picked out of all those files. What
passes through the job itself are the ids and counts of users.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from spotify_engine.console import say
from spotify_engine.reading.records import CsvFile, split
from spotify_engine.reading.rejects import Rejected, combine_rejects
from spotify_engine.runtime.data.tasks import Clock, Row, run_tasks
from spotify_engine.sessions.schema import LISTENING, TABLES
from spotify_engine.sessions.tables.build import (
    Users,
    check_plays,
    edges_of_events,
    events_of_range,
    locate_files,
    user_tables,
)
from spotify_engine.sessions.tables.metadata import FileCounts, open_sessions, read_metadata
from spotify_engine.sessions.tables.plays import (
    KnownSongs,
    SessionDataConfig,
    latest_play,
    read_plays,
)
from spotify_engine.store.atomic import replaced_folder

_ROW_GROUP = 1 << 20
_BYTES_PER_CHUNK_BYTE = 10  # the text, its columns and their numbers, at their peak
_BYTES_PER_EVENT = 200  # plays, their order and the sorted columns, at their peak


class SessionCounts(TypedDict):
    """What was read, set aside and written, and the seconds of each stage."""

    bytes: int
    chunks: int
    rows: int
    rejected: dict[str, int]
    set_aside: dict[str, int]
    longer_than_track: int
    other_artist: int
    users: int
    users_without_history: int
    sessions: int
    events: int
    edges: int
    files: dict[str, FileCounts | int]
    seconds: dict[str, float]


def prepare_sessions(
    folder: str,
    out_dir: Path,
    config: SessionDataConfig,
    parallelism: int | None = None,
    latest: int | None = None,
) -> SessionCounts:
    """Read a folder of session CSVs; write all of ``TABLES`` to ``out_dir/*.parquet`` in one go.

    The tables hold the same rows whatever ``config.chunk_bytes``, ``config.events_per_part`` and
    ``parallelism``. Needs a running Ray session, and storage that all its nodes see.

    Args:
        folder: path or URI that every worker can read.
        out_dir: replaced if it is there.
        parallelism: most tasks at a time; all CPUs of the cluster by default.
        latest: seconds since 1970 before which plays must lie; by default :func:`latest_play`.

    Returns:
        Counts of what was read, set aside and written, and ``"seconds"`` by stage.

    Raises:
        InputError: a file can't be used, or too little is left of it.
    """
    clock = Clock()
    paths = locate_files(folder)
    file = open_sessions(paths, config)
    metadata = read_metadata(paths, config)
    n_songs = len(metadata.tables["songs"])
    ranges = split(file, config.chunk_bytes)
    if not ranges:
        check_plays(file, [], config)
    clock.lap("metadata")
    out_dir = out_dir.resolve()
    with replaced_folder(out_dir) as fresh:
        scratch = fresh / "scratch"
        scratch.mkdir()
        say(f"prepare: 0/{len(ranges)} chunks read of {file.name}, {file.size / 1e6:,.1f} MB")
        chunks = [
            _Chunk(row)
            for row in _by_number(
                run_tasks(
                    [{"number": i, "start": a, "end": b} for i, (a, b) in enumerate(ranges)],
                    _read_ranges,
                    {
                        "file": file,
                        "known_songs": ray.put(metadata.known_songs),
                        "scratch": str(scratch),
                        "latest": latest_play() if latest is None else latest,
                    },
                    task_bytes=_BYTES_PER_CHUNK_BYTE * min(config.chunk_bytes, file.size),
                    parallelism=parallelism,
                    done=lambda n: f"prepare: {n}/{len(ranges)} chunks read",
                )
            )
        ]
        rejected = [chunk.rejected for chunk in chunks]
        reasons, aside = check_plays(file, rejected, config)
        longer = sum(chunk.longer for chunk in chunks)
        for reason, count in aside.items():
            say(f"prepare: {count:,} rows have {reason} and are set aside")
        if longer:
            say(f"prepare: {longer:,} plays are longer than their track; they count as whole")
        users = Users.of([(each.user_ids, each.counts) for each in chunks], metadata.preferences)
        n_events = int(users.events.sum())
        clock.lap("reading")

        parts = users.ranges(config.events_per_part)
        say(f"prepare: sorting {n_events:,} plays of {len(users.ids):,} users")
        sorted_parts = _by_number(
            run_tasks(
                [{"number": i, "first": a, "end": b} for i, (a, b) in enumerate(parts)],
                _sort_users,
                {
                    "users": ray.put(users),
                    "scratch": str(scratch),
                    "gap_seconds": config.gap_seconds,
                    "n_songs": n_songs,
                },
                task_bytes=_BYTES_PER_EVENT
                * max(config.events_per_part, int(users.events.max(initial=0))),
                parallelism=parallelism,
                done=lambda n: f"prepare: {n}/{len(parts)} parts sorted",
            )
        )
        clock.lap("sorting")
        n_edges = _stitch(fresh, scratch, sorted_parts)
        tables = {
            **metadata.tables,
            **user_tables(users, metadata.preferences),
            "rejects": combine_rejects(rejected, file.header_lines, metadata.rejects),
        }
        for name, table in tables.items():
            pq.write_table(table, fresh / f"{name}.parquet", compression="zstd")
        scratch.rmdir()
        clock.lap("writing")
    return {
        "bytes": file.size,
        "chunks": len(chunks),
        "rows": sum(part.rows for part in rejected),
        "rejected": reasons,
        "set_aside": aside,
        "longer_than_track": longer,
        "other_artist": sum(chunk.other_artist for chunk in chunks),
        "users": len(users.ids),
        "users_without_history": int((users.events == 0).sum()),
        "sessions": sum(row["sessions"] for row in sorted_parts),
        "events": n_events,
        "edges": n_edges,
        "files": metadata.counts,
        "seconds": clock.seconds,
    }


class _Chunk:
    """A task's report on the range that it read."""

    def __init__(self, row: Row) -> None:
        self.user_ids = pa.ipc.open_stream(row["user_ids"]).read_all()["id"].combine_chunks()
        self.counts = np.frombuffer(row["counts"], np.int64)
        self.rejected = Rejected(
            row["rows"], row["newlines"], row["rejects"], json.loads(row["reasons"])
        )
        self.other_artist: int = row["other_artist"]
        self.longer: int = row["longer"]


def _by_number(rows: Iterator[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["number"])


def _read_ranges(
    ranges: pa.Table, file: CsvFile, known_songs: ray.ObjectRef, scratch: str, latest: int
) -> Iterator[pa.Table]:
    known: KnownSongs = ray.get(known_songs)
    for row in ranges.to_pylist():
        chunk = read_plays(file, row["start"], row["end"], known, latest)
        with pa.ipc.new_file(_plays_path(scratch, row["number"]), chunk.plays.schema) as writer:
            writer.write_table(chunk.plays)
        rejected = Rejected.of(chunk.rejects, chunk.rows, chunk.newlines)
        ids = pa.table({"id": chunk.user_ids})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, ids.schema) as stream:
            stream.write_table(ids)
        yield pa.Table.from_pylist(
            [
                {
                    "number": row["number"],
                    "user_ids": sink.getvalue().to_pybytes(),
                    "counts": chunk.counts.astype(np.int64).tobytes(),
                    "rows": rejected.rows,
                    "newlines": rejected.newlines,
                    "rejects": rejected.packed,
                    "reasons": json.dumps(rejected.reasons),
                    "other_artist": chunk.other_artist,
                    "longer": chunk.longer,
                }
            ]
        )


def _sort_users(
    ranges: pa.Table, users: ray.ObjectRef, scratch: str, gap_seconds: int, n_songs: int
) -> Iterator[pa.Table]:
    everyone: Users = ray.get(users)
    for row in ranges.to_pylist():
        parts = []
        for chunk in range(len(everyone.numbers)):
            start, end, owner = everyone.slice(chunk, row["first"], row["end"])
            if end > start:
                plays = pa.ipc.open_file(pa.memory_map(_plays_path(scratch, chunk))).read_all()
                parts.append((owner, plays.slice(start, end - start)))
        events = events_of_range(parts, gap_seconds)
        edges = edges_of_events(events, n_songs)
        for name, table in (("events", events), ("edge_list", edges)):
            pq.write_table(table, _part_path(scratch, name, row["number"]), compression="zstd")
        sessions = int(events["session"][-1].as_py()) + 1 if len(events) else 0
        yield pa.Table.from_pylist([{"number": row["number"], "sessions": sessions}])


def _plays_path(scratch: str, number: int) -> str:
    return f"{scratch}/plays-{number}.arrow"


def _part_path(scratch: str, name: str, number: int) -> str:
    return f"{scratch}/{name}-{number}.parquet"


def _stitch(fresh: Path, scratch: Path, parts: Sequence[Row]) -> int:
    """Join the parts of events and edges, one in memory at a time; returns the number of edges."""
    for path in scratch.glob("plays-*.arrow"):
        path.unlink()
    before, n_edges = 0, 0
    with (
        _writer(fresh / "events.parquet", TABLES["events"]) as events,
        _writer(fresh / "edge_list.parquet", LISTENING) as edges,
    ):
        for part in parts:
            path = Path(_part_path(str(scratch), "events", part["number"]))
            table = pq.read_table(path)
            place = table.schema.get_field_index("session")
            session = table["session"].to_numpy() + np.int32(before)
            table = table.set_column(place, TABLES["events"].field("session"), pa.array(session))
            events.write_table(table, row_group_size=_ROW_GROUP)
            before += part["sessions"]
            path.unlink()
            path = Path(_part_path(str(scratch), "edge_list", part["number"]))
            table = pq.read_table(path)
            edges.write_table(table, row_group_size=_ROW_GROUP)
            n_edges += len(table)
            path.unlink()
    return n_edges


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd")

"""From the plays of all chunks to the tables of users and events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spotify_engine.errors import InputError
from spotify_engine.reading.records import CsvFile, split
from spotify_engine.reading.rejects import Rejected, check_rejects, combine_rejects
from spotify_engine.sessions.schema import (
    FILES,
    REQUIRED_FILES,
    TABLES,
    UNKNOWN_TYPE,
)
from spotify_engine.sessions.tables.edges import listening_edges, sessionise
from spotify_engine.sessions.tables.metadata import (
    Preferences,
    open_metadata,
    open_sessions,
    read_metadata,
)
from spotify_engine.sessions.tables.plays import (
    PLAY_REMEDIES,
    PLAYS_SCHEMA,
    SET_ASIDE,
    SessionDataConfig,
    latest_play,
    read_plays,
)


@dataclass(frozen=True)
class Users:
    """Numbers for all users, and where the plays of each lie in the chunks.

    Attributes:
        ids: sorted; a user's place is the user's number.
        numbers: for each chunk int64 ``[its users]``, ascending.
        offsets: for each chunk int64 ``[its users + 1]``, where each user's plays start in it.
        events: int64 ``[users]``, plays of each.
    """

    ids: pa.StringArray
    numbers: list[np.ndarray]
    offsets: list[np.ndarray]
    events: np.ndarray

    @classmethod
    def of(
        cls, chunks: Sequence[tuple[pa.StringArray, np.ndarray]], preferences: Preferences
    ) -> Users:
        """Number the users of all chunks, given as (ids, plays of each), and of the preferences."""
        everyone = pa.chunked_array([*(ids for ids, _ in chunks), preferences.user_id])
        ids = pc.unique(everyone)
        ids = ids.take(pc.sort_indices(ids))
        numbers = [pc.index_in(each, ids).to_numpy().astype(np.int64) for each, _ in chunks]
        events = np.zeros(len(ids), np.int64)
        for number, (_, counts) in zip(numbers, chunks, strict=True):
            events[number] += counts
        offsets = [np.concatenate([[0], np.cumsum(counts)]) for _, counts in chunks]
        return cls(ids, numbers, offsets, events)

    def ranges(self, size: int) -> list[tuple[int, int]]:
        """Cut the users into ranges of about ``size`` plays, never one user in two."""
        total = np.cumsum(self.events)
        cuts = np.searchsorted(total, np.arange(size, total[-1] if len(total) else 0, size)) + 1
        borders = np.unique(np.concatenate([[0], cuts, [len(self.ids)]]))
        return list(zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True))

    def slice(self, chunk: int, first: int, end: int) -> tuple[int, int, np.ndarray]:
        """Where users ``first..end - 1`` are in a chunk.

        Returns:
            (first row, row after the last, int32 user number of each row).
        """
        low, high = np.searchsorted(self.numbers[chunk], [first, end])
        offsets = self.offsets[chunk][low : high + 1]
        owner = np.repeat(self.numbers[chunk][low:high], np.diff(offsets)).astype(np.int32)
        return int(offsets[0]), int(offsets[-1]), owner


def events_of_range(parts: Sequence[tuple[np.ndarray, pa.Table]], gap_seconds: int) -> pa.Table:
    """Events of a range of users, as ``TABLES["events"]``; sessions count from 0 within it.

    Args:
        parts: (user of each row, plays) from every chunk, in the file's order.
    """
    user = np.concatenate([owner for owner, _ in parts] or [np.zeros(0, np.int32)])
    plays = pa.concat_tables([PLAYS_SCHEMA.empty_table(), *(table for _, table in parts)])
    # Stable, so what happened at the same second stays in the file's order.
    order = np.lexsort((plays["time"].to_numpy(), user))
    columns = {name: plays[name].to_numpy()[order] for name in PLAYS_SCHEMA.names}
    columns["user"] = user[order]
    columns["session"], columns["position"] = sessionise(
        columns["user"], columns["time"], gap_seconds
    )
    return pa.table([columns[f.name] for f in TABLES["events"]], schema=TABLES["events"])


def edges_of_events(events: pa.Table, n_songs: int) -> pa.Table:
    """``listening_edges`` of an events table, or of a selection of its rows."""
    return listening_edges(
        events["user"].to_numpy(),
        events["song"].to_numpy(),
        events["completion"].to_numpy(),
        n_songs,
    )


def user_tables(users: Users, preferences: Preferences) -> dict[str, pa.Table]:
    """The tables ``users`` and ``user_genre_preferences``."""
    ids = users.ids.to_pylist()
    number = pc.index_in(preferences.user_id, users.ids).to_numpy().astype(np.int32)
    order = np.lexsort((preferences.genre, number))
    affinity = preferences.affinity
    # Scores above 1 are on another scale; on 0..1 they may stay as they are.
    if len(affinity) and affinity.max() > 1:
        affinity = affinity / affinity.max()
    return {
        "users": pa.table(
            [
                np.arange(len(ids), dtype=np.int32),
                users.ids,
                [preferences.types.get(name, UNKNOWN_TYPE) for name in ids],
            ],
            schema=TABLES["users"],
        ),
        "user_genre_preferences": pa.table(
            [
                number[order],
                preferences.genre[order].astype(np.int32),
                affinity[order].astype(np.float32),
            ],
            schema=TABLES["user_genre_preferences"],
        ),
    }


def locate_files(folder: str) -> dict[str, str]:
    """Paths of the CSV files in a folder (or under a URI), those that are there.

    Raises:
        InputError: one that is needed is missing.
    """
    paths = {name: f"{folder.rstrip('/')}/{name}" for name in FILES}
    if "://" not in folder:
        if not Path(folder).is_dir():
            raise InputError(
                f"{folder}: no such folder; give the one that has {', '.join(REQUIRED_FILES)}"
            )
        paths = {name: path for name, path in paths.items() if Path(path).exists()}
    for name in REQUIRED_FILES:
        if name not in paths:
            raise InputError(
                f"{folder}: has no {name}; it needs {', '.join(REQUIRED_FILES)}, and may have "
                f"{', '.join(each for each in FILES if each not in REQUIRED_FILES)}"
            )
    return paths


def check_files(folder: str, config: SessionDataConfig) -> None:
    """Refuse missing files, other formats and wrong headers; no rows are read.

    Raises:
        InputError: a file can't be used.
    """
    paths = locate_files(folder)
    open_sessions(paths, config)
    open_metadata(paths, config)


def check_plays(
    file: CsvFile, parts: Sequence[Rejected], config: SessionDataConfig
) -> tuple[dict[str, int], dict[str, int]]:
    """Count the rows of the sessions file that are no plays, by reason.

    Returns:
        (those that can't be used, those that are set aside because they are of no track)

    Raises:
        InputError: too many of the others can't be used, or no row is left.
    """
    aside: Counter[str] = Counter()
    plays = []
    for part in parts:
        other = {reason: n for reason, n in part.reasons.items() if reason in SET_ASIDE}
        aside.update(other)
        reasons = {reason: n for reason, n in part.reasons.items() if reason not in SET_ASIDE}
        plays.append(replace(part, rows=part.rows - sum(other.values()), reasons=reasons))
    limit = config.max_reject_ratio
    rejected = check_rejects(file.path, plays, file.header_lines, limit, PLAY_REMEDIES)
    if not sum(part.rows for part in plays):
        found = "".join(f"; {n:,} have {reason}" for reason, n in sorted(aside.items()))
        raise InputError(
            f"{file.path}: has no rows that can be used{found}; it needs at least one play of a "
            "track"
        )
    return rejected, dict(sorted(aside.items()))


def read_tables(folder: Path, config: SessionDataConfig | None = None) -> dict[str, pa.Table]:
    """All of ``TABLES`` from a folder of CSV files, in this process and in memory.

    For data that fits; :mod:`spotify_engine.runtime.data.sessions` gives the same tables from any
    size.

    Raises:
        InputError: a file can't be used, or too little of it.
    """
    config = config or SessionDataConfig()
    paths = locate_files(str(folder))
    file = open_sessions(paths, config)
    metadata = read_metadata(paths, config)
    known_songs, latest = metadata.known_songs, latest_play()
    chunks = [
        read_plays(file, start, end, known_songs, latest)
        for start, end in split(file, config.chunk_bytes)
    ]
    rejected = [Rejected.of(each.rejects, each.rows, each.newlines) for each in chunks]
    check_plays(file, rejected, config)
    users = Users.of([(each.user_ids, each.counts) for each in chunks], metadata.preferences)
    parts = []
    for number, chunk in enumerate(chunks):
        start, end, owner = users.slice(number, 0, len(users.ids))
        parts.append((owner, chunk.plays.slice(start, end - start)))
    events = events_of_range(parts, config.gap_seconds)
    return {
        **metadata.tables,
        **user_tables(users, metadata.preferences),
        "events": events,
        "edge_list": edges_of_events(events, len(metadata.tables["songs"])),
        "rejects": combine_rejects(rejected, file.header_lines, metadata.rejects),
    }


def load_tables(folder: Path) -> dict[str, pa.Table]:
    """All of ``TABLES`` from the parquet files that the ETL wrote.

    Raises:
        InputError: one is missing or not readable.
    """
    tables = {}
    for name in TABLES:
        path = folder / f"{name}.parquet"
        try:
            tables[name] = pq.read_table(path, schema=TABLES[name])
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; prepare the tables again") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path}: not a readable parquet file ({error})") from error
    return tables

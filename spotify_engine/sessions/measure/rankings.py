"""The lists that a session run's figures are made of, as files: of test plays and of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spotify_engine.arrays import Flags, Ids, Scores
from spotify_engine.errors import InputError
from spotify_engine.evaluation.ranking import NOTHING
from spotify_engine.evaluation.splits import check_ids, read_columns
from spotify_engine.store.atomic import replaced_file

Of = Literal["event", "user"]
Lists = tuple[Ids, Scores]
"""Songs int32 ``[n, k]``, padded with -1, and scores float32 ``[n, k]``."""


def save_rankings(path: Path, of: Of, rows: Ids, found: Mapping[str, Lists]) -> None:
    """Write lists by scorer: scorer, event or user, rank (from 0), song, score; no padding.

    Args:
        rows: int ``[n]``, events or users that the lists are of.
    """
    parts = [_table(of, rows, lists, name) for name, lists in found.items()]
    _write(path, pa.concat_tables(parts) if parts else _schema(of, True).empty_table())


def save_ranking(path: Path, of: Of, rows: Ids, lists: Lists) -> None:
    """As :func:`save_rankings`, of one scorer, whose name is left out."""
    _write(path, _table(of, rows, lists, None))


def load_rankings(
    path: Path, of: Of, rows: Ids, required: Flags, n_songs: int, k: int
) -> dict[str, Lists]:
    """Read what :func:`save_rankings` wrote.

    Args:
        rows: int ``[n]``, ascending.
        required: bool ``[n]``, where a list can't be empty.

    Raises:
        InputError: unreadable, an id out of range, lists of other rows, or ranks that don't count
            up from 0.
    """
    table = read_columns(path, _schema(of, True))
    names = table["scorer"].to_pylist()
    scorers = list(dict.fromkeys(names))
    code = {name: place for place, name in enumerate(scorers)}
    codes = np.array([code[name] for name in names], np.int64)
    return {
        name: _lists(path, table.filter(pa.array(codes == code[name])), of, rows, required, n_songs,
                     k, f" of {name}")
        for name in scorers
    }  # fmt: skip


def load_ranking(path: Path, of: Of, rows: Ids, required: Flags, n_songs: int, k: int) -> Lists:
    """Read what :func:`save_ranking` wrote; the rest as in :func:`load_rankings`."""
    return _lists(path, read_columns(path, _schema(of, False)), of, rows, required, n_songs, k, "")


def _lists(
    path: Path,
    table: pa.Table,
    of: Of,
    rows: Ids,
    required: Flags,
    n_songs: int,
    k: int,
    whose: str,
) -> Lists:
    row, rank, song, score = (table[name].to_numpy() for name in (of, "rank", "song", "score"))
    check_ids(path, "song", song, n_songs)
    if not np.isin(row, rows).all() or not np.isin(rows[required], row).all():
        raise InputError(
            f"{path}: the lists{whose} are not of the {len(rows):,} {of}s that the run measured"
        )
    place = np.searchsorted(rows, row)
    order = np.lexsort((rank, place))
    first = np.cumsum(np.bincount(place, minlength=len(rows))) - np.bincount(
        place, minlength=len(rows)
    )
    if (rank[order] != np.arange(len(order)) - first[place[order]]).any() or (rank >= k).any():
        raise InputError(
            f"{path}: ranks of {of}s{whose} must count up from 0, each once, below {k}"
        )
    lists = np.full((len(rows), k), NOTHING, np.int32)
    scores = np.full((len(rows), k), -np.inf, np.float32)
    lists[place, rank], scores[place, rank] = song, score
    return lists, scores


def _schema(of: Of, scorer: bool) -> pa.Schema:
    fields = [(of, pa.int64()), ("rank", pa.int32()), ("song", pa.int32()), ("score", pa.float32())]
    return pa.schema([*([("scorer", pa.string())] if scorer else []), *fields])


def _table(of: Of, rows: Ids, lists: Lists, scorer: str | None) -> pa.Table:
    songs, scores = lists
    place, rank = np.nonzero(songs != NOTHING)
    columns: Sequence[np.ndarray | pa.Array] = (
        rows[place], rank, songs[place, rank], scores[place, rank]
    )  # fmt: skip
    if scorer is not None:
        columns = [pa.repeat(pa.scalar(scorer), len(place)), *columns]
    schema = _schema(of, scorer is not None)
    arrays = [pa.array(column).cast(f.type) for column, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _write(path: Path, table: pa.Table) -> None:
    with replaced_file(path) as partial:
        pq.write_table(table, partial, compression="zstd")

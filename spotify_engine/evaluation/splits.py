"""The split of each playlist into training, validation and test tracks, and the file that holds it.

Nothing else decides what is held out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.arrays import Ids
from spotify_engine.errors import InputError
from spotify_engine.ragged import Ragged
from spotify_engine.store.atomic import replaced_file

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
SCHEMA = pa.schema([("playlist", pa.int32()), ("track", pa.int32()), ("split", pa.string())])
ALPHABETICAL_SHARE = 0.9


class HoldoutConfig(BaseModel):
    """The number of tracks of a playlist that are held out, and the way they are chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(default=5, ge=1)
    """Tracks held out for test, and as many for val; a playlist keeps ``n`` or more to train on."""
    strategy: Literal["last", "random", "auto"] = "auto"
    """``auto``: random when the file stores playlists alphabetically, else last."""
    seed: int = Field(default=0, ge=0)
    """Of the random choice."""


@dataclass(frozen=True)
class OrderFinding:
    """Whether the tracks of a playlist stand in alphabetical order.

    Attributes:
        pairs: neighbours within a playlist that were compared.
        share: of those, the share whose case-folded names don't decrease; 0 without pairs.
        expected: the share that a random order would give: half of the pairs whose names differ,
            and all of those with the same name.
        alphabetical: ``share`` is at least 0.9.
    """

    pairs: int
    share: float
    expected: float
    alphabetical: bool


@dataclass(frozen=True)
class Split:
    """Each playlist's tracks in three disjoint parts.

    Attributes:
        train, val, test: over the same playlists; tracks in the order they were given in.
        n_tracks: size of the catalogue.
        strategy: what was done; ``given`` when a file doesn't say how it was made.
        order: what ``detect_order`` found; None when no track names were given.
    """

    train: Ragged
    val: Ragged
    test: Ragged
    n_tracks: int
    strategy: Literal["last", "random", "given"]
    order: OrderFinding | None

    @property
    def ordered(self) -> bool:
        """Whether what is held out comes after what is known, in an order that means something."""
        alphabetical = self.order is not None and self.order.alphabetical
        return self.strategy != "random" and not alphabetical

    @property
    def known_before_test(self) -> Ragged:
        """Train and val tracks of each playlist: what a test ranking leaves out."""
        rows = np.concatenate([self.train.rows, self.val.rows])
        values = np.concatenate([self.train.values, self.val.values])
        return Ragged.from_pairs(rows, values, len(self.train))


def detect_order(playlists: Ragged, track_names: Sequence[str]) -> OrderFinding:
    """Look whether playlists are stored alphabetically; then "the last N tracks" means nothing.

    Args:
        playlists: tracks in file order.
        track_names: ``[tracks]``.
    """
    _, name_rank = np.unique([name.casefold() for name in track_names], return_inverse=True)
    ranks = name_rank[playlists.values]
    rows = playlists.rows
    step = np.diff(ranks)[rows[1:] == rows[:-1]]
    if len(step) == 0:
        return OrderFinding(0, 0.0, 0.0, False)
    share = float(np.mean(step >= 0))
    same = float(np.mean(step == 0))
    return OrderFinding(len(step), share, (1 + same) / 2, share >= ALPHABETICAL_SHARE)


def make_split(
    playlists: Ragged,
    n_tracks: int,
    config: HoldoutConfig,
    track_names: Sequence[str] | None = None,
) -> Split:
    """Hold out min(n, (length - n) // 2) tracks of each playlist for test, and as many for val.

    With ``last``, test is the end of the playlist and val the tracks before it; with ``random``
    both are drawn evenly. A playlist of fewer than n + 2 tracks is all train.

    Args:
        playlists: distinct tracks of each playlist, in file order.
        n_tracks: size of the catalogue.
        track_names: ``[n_tracks]``; ``auto`` needs them.

    Raises:
        InputError: ``auto`` without names.
    """
    order = None if track_names is None else detect_order(playlists, track_names)
    strategy: Literal["last", "random"]
    if config.strategy == "auto":
        if order is None:
            raise InputError(
                "holdout.strategy: auto needs the track names to see how playlists are ordered; "
                "set it to last or random"
            )
        strategy = "random" if order.alphabetical else "last"
    else:
        strategy = config.strategy
    lengths, rows = playlists.lengths, playlists.rows
    starts = playlists.offsets[:-1][rows]
    place = np.arange(len(rows)) - starts
    if strategy == "random":
        keys = np.random.default_rng(config.seed).random(len(rows))
        by_key = np.lexsort((keys, rows))
        drawn = np.empty_like(place)
        drawn[by_key] = place  # the lists are in the same order, so a place is also a rank
        place = drawn
    held_out = np.clip((lengths - config.n) // 2, 0, config.n)[rows]
    from_end = lengths[rows] - place
    test = from_end <= held_out
    val = ~test & (from_end <= 2 * held_out)
    sizes = len(rows), int(val.sum()), int(test.sum())
    log.info("split by %s: of %d tracks %d for validation, %d for test", strategy, *sizes)
    return Split(
        train=playlists.filter(~(test | val)),
        val=playlists.filter(val),
        test=playlists.filter(test),
        n_tracks=n_tracks,
        strategy=strategy,
        order=order,
    )


def save_split(split: Split, path: Path) -> None:
    """Write playlist, track, split; sorted by playlist, then train, val, test, then given order."""
    parts = [split.train, split.val, split.test]
    rows = np.concatenate([part.rows for part in parts])
    part_of = np.repeat(np.arange(len(parts)), [len(part.values) for part in parts])
    by_playlist = np.lexsort((part_of, rows))
    columns = [
        pa.array(rows[by_playlist].astype(np.int32)),
        pa.array(np.concatenate([part.values for part in parts])[by_playlist].astype(np.int32)),
        pa.DictionaryArray.from_arrays(
            pa.array(part_of[by_playlist].astype(np.int8)), list(PARTS)
        ).cast(pa.string()),
    ]
    made_by = {"strategy": split.strategy, "order": asdict(split.order) if split.order else None}
    schema = SCHEMA.with_metadata({"holdout": json.dumps(made_by)})
    with replaced_file(path) as partial:
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), partial)


def load_split(path: Path, n_tracks: int, n_playlists: int) -> Split:
    """Read what ``save_split`` wrote.

    Raises:
        InputError: a missing or unreadable file or column, an unknown split, an id outside
            0..n_tracks or 0..n_playlists, or a track twice in a playlist.
    """
    table = read_columns(path, SCHEMA)
    playlist = table["playlist"].to_numpy()
    track = table["track"].to_numpy()
    check_ids(path, "playlist", playlist, n_playlists)
    check_ids(path, "track", track, n_tracks)
    part_of = pc.index_in(table["split"], pa.array(PARTS))
    if part_of.null_count:
        row = int(np.flatnonzero(part_of.is_null().to_numpy())[0])
        raise InputError(
            f"{path}: row {row}: split is {table['split'][row].as_py()!r}; "
            "it must be train, val or test"
        )
    keys = np.sort(playlist.astype(np.int64) * n_tracks + track)
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        row, column = divmod(int(keys[twice[0]]), n_tracks)
        raise InputError(
            f"{path}: track {column} is in playlist {row} twice; "
            "each track of a playlist belongs to one split"
        )
    part = part_of.to_numpy()
    train, val, test = (
        Ragged.from_pairs(playlist[part == code], track[part == code], n_playlists)
        for code in range(len(PARTS))
    )
    made_by = json.loads((table.schema.metadata or {}).get(b"holdout", b"{}"))
    order = made_by.get("order")
    return Split(
        train=train,
        val=val,
        test=test,
        n_tracks=n_tracks,
        strategy=made_by.get("strategy", "given"),
        order=OrderFinding(**order) if order else None,
    )


def read_columns(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a parquet file that must have ``schema``'s columns, without nulls.

    Raises:
        InputError: the file is missing or unreadable, or a column missing, mistyped or with nulls.
    """
    try:
        there = pq.read_schema(path).names
        table = pq.read_table(path, columns=[name for name in schema.names if name in there])
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; has the run been evaluated?") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file ({error})") from error
    for field in schema:
        if field.name not in table.column_names:
            raise InputError(f"{path}: no column {field.name!r}; it needs {schema.names}")
        if table[field.name].null_count:
            raise InputError(f"{path}: column {field.name!r} has nulls; fill or drop those rows")
    try:
        return table.select(schema.names).cast(schema.with_metadata(table.schema.metadata))
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: columns must be {', '.join(f'{f.name} {f.type}' for f in schema)} ({error})"
        ) from error


def check_ids(path: Path, column: str, ids: Ids, size: int) -> None:
    """Raise InputError unless every id is in 0..size - 1."""
    outside = np.flatnonzero((ids < 0) | (ids >= size))
    if len(outside):
        row = int(outside[0])
        raise InputError(
            f"{path}: row {row}: {column} is {ids[row]}, outside 0..{size - 1}; "
            "does the file belong to these tables?"
        )

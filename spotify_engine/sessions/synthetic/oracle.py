"""The true probabilities of the next song, play by play.

No recommender can rank better than these on average, so a model's distance to the best possible is
known. What decides is the process itself (:mod:`~spotify_engine.sessions.synthetic.process`),
replayed over the songs that were played.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spotify_engine.errors import InputError
from spotify_engine.evaluation.splits import read_columns
from spotify_engine.sessions.measure.splits import TEST, TemporalSplitConfig, temporal_parts
from spotify_engine.sessions.synthetic.config import SyntheticConfig
from spotify_engine.sessions.synthetic.listeners import Listeners
from spotify_engine.sessions.synthetic.listening import GeneratedPlays
from spotify_engine.sessions.synthetic.process import Process, Walk
from spotify_engine.sessions.synthetic.world import World
from spotify_engine.sessions.tables.edges import sessionise

ORACLE_FILE = "oracle.parquet"
MOST_SONGS = 100
# A play is found again by its user, time and song; songs are numbered as in tracks.csv.
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("time", pa.int64()),
        ("song", pa.int32()),
        ("probability", pa.float64()),  # of the song that was played
        ("songs", pa.list_(pa.int32())),  # the likeliest, most likely first
        ("probabilities", pa.list_(pa.float32())),
    ]
)
KEYS = pa.schema([SCHEMA.field(name) for name in ("user_id", "time", "song")])
_ROWS_AT_ONCE = 10_000
_DENSE_CELLS = 1_000_000  # sessions x songs at a time: larger ones don't fit into caches


@dataclass(frozen=True)
class OracleScope:
    """The plays that a job tests. Far from all, and the oracle of a play costs more than the play.

    Attributes:
        split, gap_seconds: as the job cuts its sessions and parts.
    """

    split: TemporalSplitConfig
    gap_seconds: int

    def rows(self, plays: GeneratedPlays) -> np.ndarray:
        """int64, ascending: those of a block. Users are whole in it, and so are their parts."""
        session, _ = sessionise(plays.user, plays.time, self.gap_seconds)
        return np.flatnonzero(temporal_parts(plays.user, session, self.split) == TEST)


@dataclass(frozen=True)
class Oracle:
    """True next-song probabilities of some plays.

    Attributes:
        event: int64 ``[n]``, rows of the events table, ascending.
        probability: float64 ``[n]``, of the song that was played there.
        songs: int32 ``[n, 100]``, the likeliest songs, most likely first; fewer columns if there
            are fewer songs. None was played before in the same session, unless all were.
        probabilities: float32 ``[n, 100]``, theirs; 0 for songs that can't be next.
    """

    event: np.ndarray
    probability: np.ndarray
    songs: np.ndarray
    probabilities: np.ndarray


def oracle_of_block(
    config: SyntheticConfig,
    world: World,
    listeners: Listeners,
    plays: GeneratedPlays,
    asked: OracleScope | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As the fields of :class:`Oracle`, for plays of a block; ``event`` counts in it.

    Args:
        asked: the plays that are wanted; every one by default.
    """
    event = np.arange(len(plays)) if asked is None else asked.rows(plays)
    most = min(MOST_SONGS, world.n_songs)
    probability = np.zeros(len(event))
    songs = np.zeros((len(event), most), np.int32)
    probabilities = np.zeros((len(event), most), np.float32)
    place = np.full(len(plays), -1)
    place[event] = np.arange(len(event))
    process = Process(world, config, listeners)
    # What is wanted may begin in the middle of a session, whose songs before it count.
    whole = np.flatnonzero(np.isin(plays.session, plays.session[event]))
    for rows, walk in replay(config, world, plays, whole):
        step = max(1, _DENSE_CELLS // world.n_songs)
        wanted = np.flatnonzero(place[rows] >= 0)
        for start in range(0, len(wanted), step):
            at_walk = wanted[start : start + step]
            some = rows[at_walk]
            density = process.density(walk.select(at_walk), plays.time[some])
            at = place[some]
            probability[at] = density[np.arange(len(some)), plays.song[some]]
            top = np.argpartition(-density, most - 1, axis=1)[:, :most]
            values = np.take_along_axis(density, top, axis=1)
            # Equal probabilities by the number of the song, whatever argpartition did.
            order = np.lexsort((top, -values), axis=1)
            songs[at] = np.take_along_axis(top, order, axis=1)
            probabilities[at] = np.take_along_axis(values, order, axis=1)
    return event, probability, songs, probabilities


def replay(
    config: SyntheticConfig, world: World, plays: GeneratedPlays, event: np.ndarray
) -> Iterator[tuple[np.ndarray, Walk]]:
    """Walk through whole sessions again, position by position.

    Args:
        event: int64, plays of whole sessions, ascending.

    Yields:
        (rows of ``plays`` at one position, the walk before these songs).
    """
    session = plays.session[event]
    begins = np.concatenate([[True], session[1:] != session[:-1]]) if len(event) else np.zeros(0)
    first = event[np.flatnonzero(begins)]
    length = np.diff(np.append(np.flatnonzero(begins), len(event)))
    walk = Walk.begin(plays.user[first], config.genres)
    while len(first):
        rows = first + walk.position
        yield rows, walk
        walk.append(plays.song[rows], world, config)
        goes_on = length > walk.position
        first, length, walk = first[goes_on], length[goes_on], walk.select(goes_on)


def oracle_table(
    user_id: pa.Array,
    plays: GeneratedPlays,
    found: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> pa.Table:
    """The findings of ``oracle_of_block`` as rows of ``oracle.parquet``.

    Args:
        user_id: of the block's users.
    """
    event, probability, songs, probabilities = found
    offsets = pa.array(np.arange(len(event) + 1, dtype=np.int32) * songs.shape[1])
    return pa.table(
        [
            user_id.take(pa.array(plays.user[event])),
            pa.array(plays.time[event]),
            pa.array(plays.song[event]),
            pa.array(probability),
            pa.ListArray.from_arrays(offsets, pa.array(songs.ravel())),
            pa.ListArray.from_arrays(offsets, pa.array(probabilities.ravel())),
        ],
        schema=SCHEMA,
    )


def find_plays(path: Path, tables: dict[str, pa.Table], wanted: np.ndarray) -> np.ndarray:
    """Which play each row of an oracle is about, without reading its lists.

    Args:
        wanted: int64, rows of the events table that it must have.

    Returns:
        int64 ``[rows of the file]``, rows of the events table.

    Raises:
        InputError: unreadable, not of this data (a play isn't among the events), or without a
            wanted play.
    """
    table = read_columns(path, KEYS)
    events = tables["events"]
    user, time, song = (events[name].to_numpy() for name in ("user", "time", "song"))
    number = {name: i for i, name in enumerate(tables["users"]["id"].to_pylist())}
    codes = table["user_id"].combine_chunks().dictionary_encode()
    known = np.array([number.get(name, -1) for name in codes.dictionary.to_pylist()], np.int64)
    wanted_user = known[codes.indices.to_numpy()]
    wanted_time = table["time"].to_numpy()
    # Events are sorted by user and time, and nobody starts two songs in one second.
    base = min(int(time.min(initial=0)), int(wanted_time.min(initial=0)))
    span = max(int(time.max(initial=0)), int(wanted_time.max(initial=0))) - base + 1
    keys = user.astype(np.int64) * span + (time - base)
    event = np.searchsorted(keys, wanted_user * span + (wanted_time - base))
    inside = np.minimum(event, max(len(events) - 1, 0))
    wanted_song = table["song"].to_numpy()
    same = (user[inside] == wanted_user) & (time[inside] == wanted_time)
    wrong = np.flatnonzero(~(same & (song[inside] == wanted_song)))
    if len(wrong):
        row = table.slice(int(wrong[0]), 1).to_pylist()[0]
        raise InputError(
            f"{path}: {len(wrong):,} of its plays aren't among the events, such as that of user "
            f"{row['user_id']} at {row['time']}; does it belong to this data?"
        )
    missing = len(np.setdiff1d(wanted, event))
    if missing:
        raise InputError(
            f"{path}: has no row for {missing:,} of the {len(wanted):,} plays that are tested; "
            "generate the data again (spotify-engine generate sessions --oracle), or remove the "
            "file to do without the oracle"
        )
    return event


def load_oracle(path: Path, tables: dict[str, pa.Table], wanted: np.ndarray) -> Oracle:
    """The oracle of some plays of a generated data set.

    Memory is bounded by what is wanted, and not by the file.

    Args:
        wanted: int64, rows of the events table, ascending.

    Raises:
        InputError: see :func:`find_plays`.
    """
    event = find_plays(path, tables, wanted)
    start, found = 0, []
    try:
        for batch in pq.ParquetFile(path).iter_batches(_ROWS_AT_ONCE, columns=SCHEMA.names):
            here = np.isin(event[start : start + len(batch)], wanted)
            start += len(batch)
            found.append(batch.filter(pa.array(here)))
        table = pa.Table.from_batches(found).select(SCHEMA.names).cast(SCHEMA).combine_chunks()
    except (KeyError, OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not an oracle ({error}); generate the data again") from error
    event = event[np.isin(event, wanted)]
    order = np.argsort(event, kind="stable")

    def matrix(name: str) -> np.ndarray:
        flat = table[name].combine_chunks().flatten().to_numpy()
        return flat.reshape(len(table), -1)[order]

    return Oracle(
        event[order],
        table["probability"].to_numpy()[order],
        matrix("songs"),
        matrix("probabilities"),
    )

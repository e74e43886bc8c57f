"""The true probabilities of the next song, for the plays of the test part.

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

from spotify_engine.errors import InputError
from spotify_engine.evaluation.splits import read_columns
from spotify_engine.sessions.splits import TEST, TemporalSplitConfig, temporal_parts
from spotify_engine.sessions.synthetic.config import SyntheticConfig
from spotify_engine.sessions.synthetic.listeners import Listeners
from spotify_engine.sessions.synthetic.listening import Plays
from spotify_engine.sessions.synthetic.process import Process, Walk
from spotify_engine.sessions.synthetic.world import World

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
_DENSE_CELLS = 1_000_000  # sessions x songs at a time: larger ones don't fit into caches


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
    plays: Plays,
    split: TemporalSplitConfig,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As the fields of :class:`Oracle`, for the test plays of a block; ``event`` counts in it."""
    part = temporal_parts(plays.user, plays.session, split)
    event = np.flatnonzero(part == TEST)
    most = min(MOST_SONGS, world.n_songs)
    probability = np.zeros(len(event))
    songs = np.zeros((len(event), most), np.int32)
    probabilities = np.zeros((len(event), most), np.float32)
    place = np.full(len(plays), -1)
    place[event] = np.arange(len(event))
    process = Process(world, config, listeners)
    for rows, walk in replay(config, world, plays, event):
        step = max(1, _DENSE_CELLS // world.n_songs)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            density = process.density(
                walk.select(np.arange(start, start + len(some))), plays.time[some]
            )
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
    config: SyntheticConfig, world: World, plays: Plays, event: np.ndarray
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
    user_id: pa.Array, plays: Plays, found: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> pa.Table:
    """What ``oracle_of_block`` found, as rows of ``oracle.parquet``.

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


def load_oracle(path: Path, tables: dict[str, pa.Table]) -> Oracle:
    """The oracle of a generated data set, joined to its events.

    Raises:
        InputError: unreadable, or not of this data: a play isn't among the events.
    """
    table = read_columns(path, SCHEMA)
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

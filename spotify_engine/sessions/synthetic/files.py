"""The generated data as the six CSV files, and the oracle beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spotify_engine.invented_names import GENRE_NAMES, Namer, quote_rfc4180, write_text
from spotify_engine.sessions.schema import (
    ARTIST_GENRES_FILE,
    GENRES_FILE,
    METADATA_COLUMNS,
    PREFERENCES_FILE,
    SESSION_COLUMNS,
    SESSIONS_FILE,
    SONG_GENRES_FILE,
    TRACKS_FILE,
    USER_TYPES,
)
from spotify_engine.sessions.synthetic.config import SyntheticConfig
from spotify_engine.sessions.synthetic.listeners import Listeners
from spotify_engine.sessions.synthetic.listening import GeneratedPlays, generate_block
from spotify_engine.sessions.synthetic.oracle import (
    ORACLE_FILE,
    SCHEMA,
    OracleScope,
    oracle_of_block,
    oracle_table,
)
from spotify_engine.sessions.synthetic.world import World, build_world
from spotify_engine.store.atomic import new_folder
from spotify_engine.store.invented import mark_invented

_DAY = 86_400


def write_sessions(
    out: Path, config: SyntheticConfig, oracle: bool = False, asked: OracleScope | None = None
) -> dict[str, int]:
    """Write the six files (and ``oracle.parquet``) under ``out``, block after block.

    Args:
        asked: the plays that the oracle is about; every one by default.

    Returns:
        Counts: users, songs, artists, genres, sessions, events, and oracle_events if asked for.

    Raises:
        InputError: ``out`` exists and isn't an empty folder.
    """
    world = build_world(config)

    def blocks(scratch: Path) -> Iterator[dict[str, int]]:
        for block in range(config.blocks):
            yield write_block(scratch, config, block, oracle, world, asked)

    return write_folder(out, config, world, blocks)


def write_folder(
    out: Path,
    config: SyntheticConfig,
    world: World,
    blocks: Callable[[Path], Iterator[dict[str, int]]],
) -> dict[str, int]:
    """Put ``out`` together from its blocks, and a note that all is invented.

    It appears once complete.

    Args:
        blocks: calls :func:`write_block` for every block on the folder given, in any order and
            wherever it likes, and yields what that returned.

    Raises:
        InputError: ``out`` exists and isn't an empty folder.
    """
    with new_folder(out) as partial:
        scratch = partial / "blocks"
        scratch.mkdir()
        totals: dict[str, int] = {}
        for counts in blocks(scratch):
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
        _write_metadata(partial, config, world)
        for name, columns in (
            (SESSIONS_FILE, SESSION_COLUMNS),
            (PREFERENCES_FILE, METADATA_COLUMNS[PREFERENCES_FILE]),
        ):
            _join_texts(partial / name, columns, scratch, config.blocks)
        if (scratch / f"0.{ORACLE_FILE}").exists():
            _join_oracle(partial / ORACLE_FILE, scratch, config.blocks)
        shutil.rmtree(scratch)
        mark_invented(partial)
    sizes = {name: getattr(config, name) for name in ("users", "songs", "artists", "genres")}
    return {**sizes, **totals}


def write_block(
    scratch: Path,
    config: SyntheticConfig,
    block: int,
    oracle: bool,
    world: World,
    asked: OracleScope | None = None,
) -> dict[str, int]:
    """Generate one block of users and write its rows into ``scratch``, without headers."""
    listeners, plays = generate_block(config, world, block)
    user_id = _ids("u", 7, listeners.first + np.arange(len(listeners)))
    for name, rows in (
        (SESSIONS_FILE, _session_rows(world, user_id, plays)),
        (PREFERENCES_FILE, _preference_rows(listeners, user_id)),
    ):
        with (scratch / f"{block}.{name}").open("wb") as file:
            _write_rows(file, rows)
    counts = {"sessions": len(np.unique(plays.session)), "events": len(plays)}
    if oracle:
        found = oracle_of_block(config, world, listeners, plays, asked)
        table = oracle_table(user_id, plays, found)
        pq.write_table(table, scratch / f"{block}.{ORACLE_FILE}", compression="zstd")
        counts["oracle_events"] = len(table)
    return counts


def _ids(letter: str, width: int, numbers: np.ndarray) -> pa.Array:
    """Such as ``u0000012``: sorted as the numbers are."""
    text = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), width=width, padding="0")
    return pc.binary_join_element_wise(letter, text, "")


def _session_rows(world: World, user_id: pa.Array, plays: GeneratedPlays) -> list[pa.Array]:
    songs = np.arange(world.n_songs)
    track_id, artist_id = _ids("t", 7, songs), _ids("a", 6, world.song_artist)
    song = pa.array(plays.song)
    # Formatting every day and every second of a day once is faster than every timestamp.
    first = int(plays.time.min()) // _DAY
    days = np.arange(first, int(plays.time.max()) // _DAY + 1)
    day = pc.cast(pa.array(days.astype("datetime64[D]")), pa.string())
    clock = pa.array(np.arange(_DAY, dtype=np.int32)).cast(pa.time32("s"))
    second = pc.binary_join_element_wise("T", pc.cast(clock, pa.string()), "Z", "")
    time = pc.binary_join_element_wise(
        day.take(pa.array(plays.time // _DAY - first)),
        second.take(pa.array(plays.time % _DAY)),
        "",
    )
    return [
        user_id.take(pa.array(plays.user)),
        track_id.take(song),
        artist_id.take(song),
        time,
        pa.array(plays.ms_played),
        pa.array(world.duration_ms[plays.song]),
    ]


def _preference_rows(listeners: Listeners, user_id: pa.Array) -> list[pa.Array]:
    """The preferences that users state: their true taste, the genre liked most at 1.

    It comes from how the user was drawn and not from any play, so nothing of the test part is in
    it.
    """
    user, genre = np.nonzero(listeners.liked)
    affinity = listeners.taste[user, genre] / listeners.taste.max(axis=1)[user]
    return [
        user_id.take(pa.array(user)),
        _ids("g", 3, genre),
        pa.array(np.round(affinity.astype(np.float64), 4)),
        pa.array(USER_TYPES).take(pa.array(listeners.kind[user])),
    ]


def _write_metadata(folder: Path, config: SyntheticConfig, world: World) -> None:
    rng = np.random.default_rng((config.seed, 3))
    namer = Namer(rng, GENRE_NAMES[: config.genres])
    artist, genre = world.artist_genres
    main = genre[np.unique(artist, return_index=True)[1]]  # the first of each
    artist_name = pa.array(namer.artists(rng, main))
    track_name = namer.tracks(rng, world.main_genre, config.songs + 1)
    songs = np.arange(config.songs)
    by = pa.array(world.song_artist)
    columns = {
        TRACKS_FILE: [
            _ids("t", 7, songs),
            quote_rfc4180(track_name),
            _ids("a", 6, world.song_artist),
            quote_rfc4180(artist_name.take(by)),
            pa.array(world.duration_ms),
        ],
        GENRES_FILE: [
            _ids("g", 3, np.arange(config.genres)),
            pa.array(GENRE_NAMES[: config.genres]),
        ],
        ARTIST_GENRES_FILE: [
            _ids("a", 6, world.artist_genres[0]),
            _ids("g", 3, world.artist_genres[1]),
        ],
        SONG_GENRES_FILE: [
            _ids("t", 7, world.song_genres[0]),
            _ids("g", 3, world.song_genres[1]),
        ],
    }
    for name, arrays in columns.items():
        with (folder / name).open("wb") as file:
            file.write(f"{','.join(METADATA_COLUMNS[name])}\n".encode())
            _write_rows(file, arrays)


def _write_rows(file: BinaryIO, columns: Sequence[pa.Array]) -> None:
    """Write columns as rows of a CSV file; what needs quotes must have them already."""
    step = 1 << 20  # more text would not fit into one array
    for start in range(0, len(columns[0]), step):
        fields = [pc.cast(column.slice(start, step), pa.string()) for column in columns]
        rows = pc.binary_join_element_wise(*fields, ",")
        write_text(file, pc.binary_join_element_wise(rows, "\n", ""))


def _join_texts(path: Path, columns: Sequence[str], scratch: Path, blocks: int) -> None:
    with path.open("wb") as file:
        file.write(f"{','.join(columns)}\n".encode())
        for block in range(blocks):
            part = scratch / f"{block}.{path.name}"
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, 16 << 20)
            part.unlink()


def _join_oracle(path: Path, scratch: Path, blocks: int) -> None:
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for block in range(blocks):
            writer.write_table(pq.read_table(scratch / f"{block}.{ORACLE_FILE}"))

"""The small files: songs, artists, genres, and who prefers what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from spotify_engine.errors import InputError
from spotify_engine.reading.chunks import ParsedRange
from spotify_engine.reading.records import DOUBLED, CsvFile, open_csv
from spotify_engine.reading.rejects import REJECTS, Rejected, check_rejects
from spotify_engine.sessions.schema import (
    ARTIST_GENRES_FILE,
    GENRES_FILE,
    METADATA_COLUMNS,
    OPTIONAL_COLUMNS,
    PREFERENCES_FILE,
    SESSION_COLUMNS,
    SESSIONS_FILE,
    SONG_GENRES_FILE,
    TABLES,
    TRACKS_FILE,
    UNKNOWN_TYPE,
)
from spotify_engine.sessions.tables.columns import read_floats, read_integers
from spotify_engine.sessions.tables.plays import KnownSongs, SessionDataConfig
from spotify_engine.track_ids import track_ids

_REMEDIES = {
    "no track id": "Fill in the column track_id",
    "no genre id": "Fill in the column genre_id",
    "no genre name": "Fill in the column genre_name",
    "no user id": "Fill in the column user_id",
    "repeated track id": "Keep one row of each track",
    "repeated genre id": "Keep one row of each genre",
    "repeated row": "Keep one of rows that are alike",
    "unknown track": f"Add the tracks to {TRACKS_FILE}",
    "unknown artist": f"Add the artists to {TRACKS_FILE}",
    "unknown genre": f"Add the genres to {GENRES_FILE}",
    "unparsable affinity_score": "Write affinity_score as a number, 0 or more",
    "negative affinity_score": "Write affinity_score as a number, 0 or more",
}


@dataclass(frozen=True)
class Preferences:
    """Rows of user_genre_preferences.csv, before users have numbers; ``[rows]`` each.

    Attributes:
        user_id: trimmed.
        genre: int64.
        affinity: float64, 0 or more.
        types: of each user id that has one.
    """

    user_id: pa.StringArray
    genre: np.ndarray
    affinity: np.ndarray
    types: dict[str, str]


class FileCounts(TypedDict):
    """Rows of one file, and those that can't be used by reason."""

    rows: int
    rejected: dict[str, int]


@dataclass(frozen=True)
class Metadata:
    """The content of the small files: songs, artists, genres and preferences.

    Attributes:
        tables: songs, artists, genres, artist_genres and song_genres, as ``TABLES``.
        rejects: rows that can't be used, as ``TABLES["rejects"]``.
        counts: rows and rejects by reason of each file.
    """

    tables: dict[str, pa.Table]
    preferences: Preferences
    rejects: pa.Table
    counts: dict[str, FileCounts | int]

    @property
    def known_songs(self) -> KnownSongs:
        """The songs, to be found by name."""
        artist = self.tables["songs"]["artist"].fill_null(-1).to_numpy()
        return KnownSongs(
            track_ids(self.tables["songs"]["id"].combine_chunks()),
            self.tables["artists"]["id"].combine_chunks(),
            artist.astype(np.int64),
        )


def open_sessions(paths: Mapping[str, str], config: SessionDataConfig) -> CsvFile:
    """Check the head of the sessions file; no rows are read yet.

    Raises:
        InputError: it is missing or no CSV file, or a column of it is missing.
    """
    limit = config.max_reject_ratio
    return open_csv(paths[SESSIONS_FILE], DOUBLED, SESSION_COLUMNS, limit=limit)


def open_metadata(paths: Mapping[str, str], config: SessionDataConfig) -> dict[str, CsvFile]:
    """Check the heads of the small files; ``paths`` leaves out those that aren't there.

    Raises:
        InputError: one is no CSV file, or a column of it is missing.
    """
    files = {}
    for name, columns in METADATA_COLUMNS.items():
        if name in paths:
            optional = OPTIONAL_COLUMNS.get(name, ())
            needed = [each for each in columns if each not in optional]
            limit = config.max_reject_ratio
            files[name] = open_csv(paths[name], DOUBLED, needed, optional, limit)
    return files


def read_metadata(paths: Mapping[str, str], config: SessionDataConfig) -> Metadata:
    """Read the small files; ``paths`` leaves out those that aren't there.

    A song keeps its place in tracks.csv as its number, a genre that in genres.csv. Without
    song_genres.csv, songs have the genres of their artists.

    Raises:
        InputError: a file lacks a column, or too many rows can't be used.
    """
    reader = _Reader(open_metadata(paths, config), config.max_reject_ratio)
    songs, artists = _songs_and_artists(reader.read(TRACKS_FILE))
    if not len(songs):
        reader.finish()  # which says why, if there are rows
        raise InputError(f"{paths[TRACKS_FILE]}: has no rows; it needs the tracks that are played")
    song_ids = track_ids(songs["id"].combine_chunks())
    artist_ids = artists["id"].combine_chunks()
    genre_ids, genres = _genres(reader.read(GENRES_FILE))
    artist_genres = _links(reader.read(ARTIST_GENRES_FILE), "artist", artist_ids, genre_ids)
    if SONG_GENRES_FILE in paths:
        song_genres = _links(reader.read(SONG_GENRES_FILE), "track", song_ids, genre_ids)
    else:
        song_genres = _inherited(songs, artist_genres)
    preferences = _preferences(reader.read(PREFERENCES_FILE), genre_ids)
    rejects, counts = reader.finish()
    columns = {
        "artist_genres": artist_genres,
        "song_genres": song_genres,
    }
    tables = {
        name: pa.table([pair.astype(np.int32) for pair in links], schema=TABLES[name])
        for name, links in columns.items()
    }
    return Metadata(
        {"songs": songs, "artists": artists, "genres": genres, **tables},
        preferences,
        rejects,
        {**counts, "songs_without_artist": songs["artist"].null_count},
    )


class _Rows:
    """The rows of one file, all of them text; none if there is no such file."""

    def __init__(self, name: str, file: CsvFile | None) -> None:
        self.parsed: ParsedRange | None = None
        columns = METADATA_COLUMNS[name]
        self._columns: dict[str, pa.StringArray] = dict.fromkeys(columns, pa.array([], pa.string()))
        if file is None:
            return
        self.file = file
        present = [each for each in columns if each in self.file.columns]
        if self.file.body < self.file.size:
            kinds = dict.fromkeys(present, pa.string())
            self.parsed = ParsedRange(self.file, self.file.body, self.file.size, kinds)
            n = len(self.parsed.table)
            self._columns = {
                each: pc.utf8_trim_whitespace(self.parsed.table[each].combine_chunks())
                if each in present
                else pa.repeat("", n)
                for each in columns
            }

    def __getitem__(self, column: str) -> pa.StringArray:
        return self._columns[column]

    def reject(self, hit: np.ndarray, reason: str) -> None:
        if self.parsed is not None:
            self.parsed.reject(hit, reason)

    def reject_repeated(self, *columns: np.ndarray, reason: str) -> None:
        """Keep the first of the good rows that agree in all columns."""
        frame = pd.DataFrame(dict(enumerate(columns)))[self.good]
        again = np.zeros(len(self.good), bool)
        again[np.flatnonzero(self.good)] = frame.duplicated().to_numpy()
        self.reject(again, reason)

    @property
    def good(self) -> np.ndarray:
        return np.zeros(0, bool) if self.parsed is None else self.parsed.good

    def kept(self, values: Any) -> Any:
        """The values of the good rows: an Arrow or a numpy array."""
        return (
            values.filter(pa.array(self.good))
            if isinstance(values, pa.Array)
            else values[self.good]
        )


class _Reader:
    """Reads the files one by one and keeps account of what can't be used."""

    def __init__(self, files: Mapping[str, CsvFile], limit: float) -> None:
        self._files, self._limit = files, limit
        self._read: dict[str, _Rows] = {}

    def read(self, name: str) -> _Rows:
        self._read[name] = _Rows(name, self._files.get(name))
        return self._read[name]

    def finish(self) -> tuple[pa.Table, dict[str, FileCounts]]:
        """The rejects of all files, and their numbers.

        Raises:
            InputError: too many of a file.
        """
        tables = [REJECTS.empty_table()]
        counts: dict[str, FileCounts] = {}
        for name, rows in self._read.items():
            if rows.parsed is None:
                continue
            part = Rejected.of(rows.parsed.rejects(), rows.parsed.total, rows.parsed.newlines)
            header = rows.file.header_lines
            reasons = check_rejects(rows.file.path, [part], header, self._limit, _REMEDIES)
            tables.append(part.table(header))
            counts[name] = {"rows": part.rows, "rejected": reasons}
        return pa.concat_tables(tables), counts


def _blank(text: pa.StringArray) -> np.ndarray:
    return pc.equal(text, "").to_numpy(zero_copy_only=False)


def _songs_and_artists(rows: _Rows) -> tuple[pa.Table, pa.Table]:
    rows.reject(_blank(rows["track_id"]), "no track id")
    rows.reject_repeated(
        track_ids(rows["track_id"]).to_numpy(zero_copy_only=False), reason="repeated track id"
    )
    ids, artist_of = rows.kept(rows["track_id"]), rows.kept(rows["artist_id"])
    artist_of = pc.if_else(pc.equal(artist_of, ""), pa.scalar(None, pa.string()), artist_of)
    codes = artist_of.dictionary_encode()
    artist_ids = codes.dictionary
    _, first = np.unique(codes.indices.drop_null().to_numpy(), return_index=True)
    has = np.flatnonzero(artist_of.is_valid().to_numpy(zero_copy_only=False))
    artist_name = rows.kept(rows["artist_name"]).take(pa.array(has[first]))
    duration, known = read_integers(rows.kept(rows["duration_ms"]))
    names = rows.kept(rows["track_name"])
    songs = pa.table(
        [
            pa.array(np.arange(len(ids), dtype=np.int32)),
            ids,
            pc.if_else(pc.equal(names, ""), ids, names),
            codes.indices.cast(pa.int32()),
            pa.array(duration, mask=~(known & (duration > 0))),
        ],
        schema=TABLES["songs"],
    )
    artists = pa.table(
        [
            pa.array(np.arange(len(artist_ids), dtype=np.int32)),
            artist_ids,
            pc.if_else(pc.equal(artist_name, ""), artist_ids, artist_name),
        ],
        schema=TABLES["artists"],
    )
    return songs, artists


def _genres(rows: _Rows) -> tuple[pa.StringArray, pa.Table]:
    rows.reject(_blank(rows["genre_id"]), "no genre id")
    rows.reject(_blank(rows["genre_name"]), "no genre name")
    rows.reject_repeated(
        rows["genre_id"].to_numpy(zero_copy_only=False), reason="repeated genre id"
    )
    ids = rows.kept(rows["genre_id"])
    number = np.arange(len(ids), dtype=np.int32)
    return ids, pa.table([number, rows.kept(rows["genre_name"])], schema=TABLES["genres"])


def _places(text: pa.StringArray, ids: pa.StringArray) -> np.ndarray:
    return pc.index_in(text, ids).fill_null(-1).to_numpy().astype(np.int64)


def _links(
    rows: _Rows, what: str, ids: pa.StringArray, genre_ids: pa.StringArray
) -> tuple[np.ndarray, np.ndarray]:
    owner = _places(track_ids(rows[f"{what}_id"]), ids)
    genre = _places(rows["genre_id"], genre_ids)
    rows.reject(owner < 0, f"unknown {what}")
    rows.reject(genre < 0, "unknown genre")
    rows.reject_repeated(owner, genre, reason="repeated row")
    return rows.kept(owner), rows.kept(genre)


def _inherited(
    songs: pa.Table, artist_genres: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    artist = songs["artist"].fill_null(-1).to_numpy()
    by = pd.DataFrame({"artist": artist, "song": np.arange(len(artist))})
    has = pd.DataFrame(dict(zip(("artist", "genre"), artist_genres, strict=True)))
    both = by.merge(has, on="artist").sort_values(["song", "genre"])
    return both["song"].to_numpy(), both["genre"].to_numpy()


def _preferences(rows: _Rows, genre_ids: pa.StringArray) -> Preferences:
    genre = _places(rows["genre_id"], genre_ids)
    affinity, readable = read_floats(rows["affinity_score"])
    rows.reject(_blank(rows["user_id"]), "no user id")
    rows.reject(genre < 0, "unknown genre")
    rows.reject(~readable, "unparsable affinity_score")
    rows.reject(affinity < 0, "negative affinity_score")
    rows.reject_repeated(
        rows["user_id"].to_numpy(zero_copy_only=False), genre, reason="repeated row"
    )
    user_id = rows.kept(rows["user_id"])
    kinds = pc.utf8_lower(rows.kept(rows["user_type"]))
    said = pc.if_else(pc.equal(kinds, ""), UNKNOWN_TYPE, kinds)
    types = dict(zip(reversed(user_id.to_pylist()), reversed(said.to_pylist()), strict=True))
    return Preferences(user_id, rows.kept(genre), rows.kept(affinity), types)

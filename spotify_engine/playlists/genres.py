"""Which genres an artist performs: read from a file, or mined from the titles of playlists."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.errors import InputError
from spotify_engine.playlists.genre_vocabulary import GenreVocabulary
from spotify_engine.playlists.schema import TABLES
from spotify_engine.ragged import Ragged


class GenreConfig(BaseModel):
    """Which of an artist's genres are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_votes: int = Field(1, ge=1)
    """Votes (or the file's count) below which an artist hasn't a genre."""
    max_genres_per_artist: int = Field(8, ge=1)
    """Most votes first, ties by the genre's name."""
    min_artists: int = Field(2, ge=1)
    """A genre kept for fewer artists is dropped."""


class Votes(NamedTuple):
    """How often each artist was put in each genre, one entry a pair; arrays are ``[pairs]``."""

    artist: np.ndarray
    genre: np.ndarray  # position in names
    votes: np.ndarray  # float64, above 0
    names: Sequence[str]


class GenreFile(NamedTuple):
    """What ``read_artist_genres`` returns."""

    genres: pa.Table
    artist_genres: pa.Table
    rejects: pa.Table
    counts: dict[str, int]


def mine_artist_genres(
    titles: Sequence[str],
    train: Ragged,
    track_artist: np.ndarray,
    n_artists: int,
    config: GenreConfig,
    vocabulary: GenreVocabulary,
) -> tuple[pa.Table, pa.Table]:
    """Genres of artists from the titles of the playlists they are in.

    Every artist with a training track in a playlist gets one vote for each genre in its title,
    however many of the tracks are theirs.

    Args:
        titles: ``[playlists]``.
        train: the training tracks of each playlist, ``[playlists]`` lists of track ids. A track
            that is held out must not be in it: it would vote.
        track_artist: int ``[tracks]``, the first artist of each track.

    Returns:
        Tables ``genres`` and ``artist_genres``: genre ids in the order of their names, rows in
        the order of (artist, genre), an artist's weights sum to 1.
    """
    if len(titles) != len(train):
        raise ValueError(f"{len(titles)} titles for {len(train)} lists of training tracks")
    genre_of = {name: i for i, name in enumerate(vocabulary.names)}
    of_title = {title: [genre_of[name] for name in vocabulary.find(title)] for title in set(titles)}
    named = Ragged.from_lists([of_title[title] for title in titles])
    titled = np.flatnonzero(named.lengths)
    named, tracks = named.select(titled), train.select(titled)
    in_genre = _binary(named.rows, named.values, (len(titled), len(genre_of)))
    has_artist = _binary(tracks.rows, track_artist[tracks.values], (len(titled), n_artists))
    votes = (has_artist.T.tocsr() @ in_genre).tocoo()
    return _tables(Votes(votes.row, votes.col, votes.data, vocabulary.names), config)


def _binary(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    matrix = sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.data[:] = 1.0  # building it summed repeated pairs
    return matrix


def _tables(votes: Votes, config: GenreConfig) -> tuple[pa.Table, pa.Table]:
    """Cut the votes as configured, number the genres by name, normalise per artist."""
    names, rank = np.unique(np.asarray(votes.names, dtype=object), return_inverse=True)
    enough = votes.votes >= config.min_votes
    artist, genre, weight = votes.artist[enough], rank[votes.genre[enough]], votes.votes[enough]
    order = np.lexsort((genre, -weight, artist))
    artist, genre, weight = artist[order], genre[order], weight[order]
    # A cut can leave a genre too few artists, and its going makes room for others' next genre.
    while True:
        starts = np.flatnonzero(np.diff(artist, prepend=-1))
        place = np.arange(len(artist)) - np.repeat(starts, np.diff(starts, append=len(artist)))
        top = place < config.max_genres_per_artist
        n_artists = np.bincount(genre[top], minlength=len(names))
        keep = n_artists[genre] >= config.min_artists
        if keep.all():
            break
        artist, genre, weight = artist[keep], genre[keep], weight[keep]
    order = np.lexsort((genre[top], artist[top]))
    artist, genre, weight = artist[top][order], genre[top][order], weight[top][order]
    kept, genre = np.unique(genre, return_inverse=True)
    if len(artist):
        weight = weight / np.bincount(artist, weights=weight)[artist]
    genres = pa.table(
        [pa.array(np.arange(len(kept)), pa.int32()), pa.array(list(names[kept]), pa.string())],
        schema=TABLES["genres"],
    )
    columns = (artist.astype(np.int32), genre.astype(np.int32), weight.astype(np.float32))
    return genres, pa.table([pa.array(c) for c in columns], schema=TABLES["artist_genres"])


def read_artist_genres(path: str, artists: pa.Table, config: GenreConfig) -> GenreFile:
    """Genres of artists from a CSV file with the columns ``artist, genre[, count]``, in any order.

    Artists match on the lower-cased, trimmed name. Counts of repeated rows add up; without a count
    column each row counts 1.

    Args:
        artists: the table ``artists``; of two artists with one name the first is taken.

    Returns:
        ``genres`` and ``artist_genres`` as in ``mine_artist_genres``; ``rejects``, the rows that
        can't be used; ``counts``: rows, rejected, duplicates (rows added to an earlier one),
        unknown_artist_rows and unknown_artists (not in ``artists``), artists_with_genres.

    Raises:
        InputError: the file is missing, empty, not UTF-8, or lacks a column.
    """
    names = pc.utf8_trim_whitespace(pc.utf8_lower(artists["name"])).to_pylist()
    artist_id = dict(zip(reversed(names), reversed(artists["artist"].to_pylist()), strict=True))
    genre_id: dict[str, int] = {}
    pairs: dict[tuple[int, int], float] = {}
    rejects: list[dict[str, object]] = []
    unknown: set[str] = set()
    counts = {"rows": 0, "duplicates": 0, "unknown_artist_rows": 0}
    for row in _rows(path):
        counts["rows"] += 1
        if isinstance(row, _Reject):
            rejects.append({"source": path, **row._asdict()})
            continue
        name = row.artist.strip().lower()
        if name not in artist_id:
            counts["unknown_artist_rows"] += 1
            unknown.add(name)
            continue
        genre = " ".join(row.genre.lower().split())
        pair = artist_id[name], genre_id.setdefault(genre, len(genre_id))
        counts["duplicates"] += pair in pairs
        pairs[pair] = pairs.get(pair, 0.0) + row.votes
    index = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    votes = Votes(index[:, 0], index[:, 1], np.array(list(pairs.values())), list(genre_id))
    genres, artist_genres = _tables(votes, config)
    counts |= {
        "rejected": len(rejects),
        "unknown_artists": len(unknown),
        "artists_with_genres": len(pc.unique(artist_genres["artist"])),
    }
    reject_table = pa.Table.from_pylist(rejects, schema=TABLES["rejects"])
    return GenreFile(genres, artist_genres, reject_table, counts)


class _Row(NamedTuple):
    artist: str
    genre: str
    votes: float


class _Reject(NamedTuple):
    line: int
    reason: str
    text: str


def _rows(path: str) -> Iterator[_Row | _Reject]:
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            yield from _parse(path, file)
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}). Give a CSV file with the columns "
            "artist, genre and optionally count, or leave it out to mine genres from titles"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: isn't UTF-8 text ({error.reason}). Convert it") from error


def _parse(path: str, file: TextIO) -> Iterator[_Row | _Reject]:
    raw: list[str] = []  # the lines of the current row

    def recorded() -> Iterator[str]:
        for line in file:
            raw.append(line)
            yield line

    reader = csv.reader(recorded(), strict=True)
    header = [field.strip().lower() for field in next(reader, [])]
    if "artist" not in header or "genre" not in header:
        found = ", ".join(header)[:200] or "an empty file"
        raise InputError(
            f"{path}: needs a header line with the columns artist, genre and optionally count "
            f"(comma-separated), found: {found}"
        )
    while True:
        raw.clear()
        first_line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Reject(first_line, f"not CSV: {error}", "".join(raw)[:200])
            continue
        if fields:
            row = _row(header, fields)
            text = "".join(raw).rstrip("\r\n")[:200]
            yield _Reject(first_line, row, text) if isinstance(row, str) else row


def _row(header: Sequence[str], fields: Sequence[str]) -> _Row | str:
    """A row, or the reason it can't be used."""
    if len(fields) != len(header):
        return "wrong number of fields"
    value = dict(zip(header, fields, strict=True))
    if not value["artist"].strip():
        return "no artist"
    if not value["genre"].strip():
        return "no genre"
    try:
        count = float(value.get("count", 1))
    except ValueError:
        return "count isn't a number"
    if not 0 < count < math.inf:
        return "count isn't above 0"
    return _Row(value["artist"], value["genre"], count)

"""Which genres an artist performs: read from a file, or mined from the titles of playlists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from spotify_engine.errors import InputError
from spotify_engine.playlists.genre_vocabulary import GenreVocabulary
from spotify_engine.playlists.schema import TABLES
from spotify_engine.ragged import Ragged
from spotify_engine.reading.chunks import ParsedRange
from spotify_engine.reading.records import DOUBLED, open_csv
from spotify_engine.reading.rejects import Rejected, check_rejects


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


GENRE_COLUMNS, COUNT_COLUMN = ("artist", "genre"), ("count",)
GENRE_REMEDIES = {
    "no artist": "Fill in the column artist",
    "no genre": "Fill in the column genre",
    "a count that isn't a number": "Write the column count as numbers, or leave it out",
    "a count that isn't above 0": "Write the column count as numbers above 0, or leave it out",
}


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


def read_artist_genres(
    path: str, artists: pa.Table, config: GenreConfig, max_reject_ratio: float = 1
) -> GenreFile:
    """Genres of artists from a CSV file with the columns ``artist, genre[, count]``, in any order.

    Artists match on the lower-cased, trimmed name. Counts of repeated rows add up; without a count
    column each row counts 1.

    Args:
        artists: the table ``artists``; of two artists with one name the first is taken.
        max_reject_ratio: share of the rows that may be unusable.

    Returns:
        ``genres`` and ``artist_genres`` as in ``mine_artist_genres``; ``rejects``, the rows that
        can't be used; ``counts``: rows, rejected, duplicates (rows added to an earlier one),
        unknown_artist_rows and unknown_artists (not in ``artists``), artists_with_genres.

    Raises:
        InputError: the file is missing, empty, not UTF-8, or lacks a column; or too many of its
            rows can't be used.
    """
    file = open_csv(path, DOUBLED, GENRE_COLUMNS, COUNT_COLUMN, max_reject_ratio)
    if file.body == file.size:
        raise InputError(f"{path}: has no rows after its header")
    kinds = {name: pa.string() for name in (*GENRE_COLUMNS, *COUNT_COLUMN) if name in file.columns}
    parsed = ParsedRange(file, file.body, file.size, kinds)
    row_artists, row_genres, row_votes = _usable(parsed)
    part = Rejected.of(parsed.rejects(), parsed.total, parsed.newlines)
    rejected = check_rejects(path, [part], file.header_lines, max_reject_ratio, GENRE_REMEDIES)

    names = pc.utf8_trim_whitespace(pc.utf8_lower(artists["name"])).to_pylist()
    artist_id = dict(zip(reversed(names), reversed(artists["artist"].to_pylist()), strict=True))
    genre_id: dict[str, int] = {}
    pairs: dict[tuple[int, int], float] = {}
    unknown: set[str] = set()
    counts = {"rows": part.rows, "duplicates": 0, "unknown_artist_rows": 0}
    for artist, genre, count in zip(row_artists, row_genres, row_votes, strict=True):
        name = artist.strip().lower()
        if name not in artist_id:
            counts["unknown_artist_rows"] += 1
            unknown.add(name)
            continue
        genre = " ".join(genre.lower().split())
        pair = artist_id[name], genre_id.setdefault(genre, len(genre_id))
        counts["duplicates"] += pair in pairs
        pairs[pair] = pairs.get(pair, 0.0) + count
    index = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    votes = Votes(index[:, 0], index[:, 1], np.array(list(pairs.values())), list(genre_id))
    genres, artist_genres = _tables(votes, config)
    counts |= {
        "rejected": sum(rejected.values()),
        "unknown_artists": len(unknown),
        "artists_with_genres": len(pc.unique(artist_genres["artist"])),
    }
    return GenreFile(genres, artist_genres, part.table(file.header_lines), counts)


def _usable(parsed: ParsedRange) -> tuple[list[str], list[str], list[float]]:
    """Artists, genres and counts of the rows that have them; the others are set aside."""
    artists, genres = (parsed.table[name].to_pylist() for name in GENRE_COLUMNS)
    parsed.reject(np.array([not text.strip() for text in artists], bool), "no artist")
    parsed.reject(np.array([not text.strip() for text in genres], bool), "no genre")
    votes = np.ones(len(artists))
    if COUNT_COLUMN[0] in parsed.table.column_names:
        votes = np.array([_number(text) for text in parsed.table[COUNT_COLUMN[0]].to_pylist()])
        parsed.reject(np.isnan(votes), "a count that isn't a number")
        parsed.reject(~((votes > 0) & (votes < math.inf)), "a count that isn't above 0")
    good = np.flatnonzero(parsed.good).tolist()
    return [artists[row] for row in good], [genres[row] for row in good], votes[good].tolist()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

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
from spotify_engine.names import normalise_all
from spotify_engine.playlists.schema import TABLES
from spotify_engine.playlists.tables.genre_vocabulary import GenreVocabulary
from spotify_engine.ragged import Ragged
from spotify_engine.reading.chunks import ParsedRange
from spotify_engine.reading.records import DOUBLED, CsvFile, open_csv
from spotify_engine.reading.rejects import Rejected, check_rejects

GENRE_COLUMNS = ("artist", "genre")
COUNT = "count"  # a column that may be there
INSTEAD = "leave out --genres to take genres from the titles of playlists"
GENRE_REMEDIES = {
    "no artist": f"Fill in the column artist, or {INSTEAD}",
    "no genre": f"Fill in the column genre, or {INSTEAD}",
    "no number as count": f"Write the column count as numbers or without it, or {INSTEAD}",
    "no count above 0": f"Write the column count as numbers above 0, or {INSTEAD}",
}


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
    """The result of ``read_artist_genres``."""

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


def open_genres(path: str, max_reject_ratio: float = 1) -> CsvFile:
    """Check the head of a file of genres; no rows are read yet.

    Raises:
        InputError: it is missing, has no rows, or lacks a column.
    """
    file = open_csv(path, DOUBLED, GENRE_COLUMNS, (COUNT,), max_reject_ratio)
    if file.body == file.size:
        raise InputError(f"{path}: has no rows after its header; add some, or {INSTEAD}")
    return file


def read_artist_genres(
    path: str, artists: pa.Table, config: GenreConfig, max_reject_ratio: float = 1
) -> GenreFile:
    """Genres of artists from a CSV file with the columns ``artist, genre[, count]``, in any order.

    Artists and genres are told apart as ``names`` tells them, and genres called what they are
    called first, in small letters. Counts of repeated rows add up; without a count column each row
    counts 1.

    Args:
        artists: the table ``artists``; of two artists with one name the first is taken.
        max_reject_ratio: share of the rows that may be unusable.

    Returns:
        ``genres`` and ``artist_genres`` as in ``mine_artist_genres``; ``rejects``, the rows that
        can't be used; ``counts``: rows, rejected, duplicates (rows added to an earlier one),
        known_artists, unknown_artist_rows and unknown_artists (in ``artists`` and not), and
        artists_with_genres.

    Raises:
        InputError: the file is missing, not UTF-8 or lacks a column, too many of its rows can't be
            used, or no artist has a genre by it.
    """
    file = open_genres(path, max_reject_ratio)
    columns = [*GENRE_COLUMNS, *([COUNT] if COUNT in file.columns else [])]
    parsed = ParsedRange(file, file.body, file.size, dict.fromkeys(columns, pa.string()))
    written, called = (parsed.table[name].combine_chunks() for name in GENRE_COLUMNS)
    names, kinds = normalise_all(written), normalise_all(called)
    votes = np.ones(len(names))
    if COUNT in columns:
        votes = np.array([_number(text) for text in parsed.table[COUNT].to_pylist()], np.float64)
    for hit, reason in (
        (pc.equal(names, "").to_numpy(zero_copy_only=False), "no artist"),
        (pc.equal(kinds, "").to_numpy(zero_copy_only=False), "no genre"),
        (np.isnan(votes), "no number as count"),
        (~((votes > 0) & np.isfinite(votes)), "no count above 0"),
    ):
        parsed.reject(hit, reason)
    part = Rejected.of(parsed.rejects(), parsed.total, parsed.newlines)
    rejected = check_rejects(path, [part], file.header_lines, max_reject_ratio, GENRE_REMEDIES)
    good = pa.array(np.flatnonzero(parsed.good))

    spelled = normalise_all(artists["name"].combine_chunks()).to_pylist()
    artist_id = dict(zip(reversed(spelled), reversed(artists["artist"].to_pylist()), strict=True))
    genre_id: dict[str, int] = {}
    genre_names: list[str] = []
    pairs: dict[tuple[int, int], float] = {}
    known: set[str] = set()
    unknown: dict[str, str] = {}
    counts = {"rows": parsed.total, "duplicates": 0, "unknown_artist_rows": 0}
    columns_of_good = (each.take(good).to_pylist() for each in (names, kinds, written, called))
    for name, kind, artist, genre, vote in zip(*columns_of_good, votes[good], strict=True):
        if name not in artist_id:
            counts["unknown_artist_rows"] += 1
            unknown.setdefault(name, artist.strip())
            continue
        known.add(name)
        if kind not in genre_id:
            genre_id[kind] = len(genre_names)
            genre_names.append(" ".join(genre.lower().split()))
        pair = artist_id[name], genre_id[kind]
        counts["duplicates"] += pair in pairs
        pairs[pair] = pairs.get(pair, 0.0) + float(vote)
    if not known:
        raise InputError(
            f"{path}: none of its {len(unknown):,} artists is one of the {len(artists):,} of "
            f"the playlists' tracks (it has {next(iter(unknown.values()))!r}, they have "
            f"{artists['name'][0].as_py()!r}); give one of the same data, or {INSTEAD}"
        )
    index = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    all_votes = Votes(index[:, 0], index[:, 1], np.array(list(pairs.values())), genre_names)
    genres, artist_genres = _tables(all_votes, config)
    if not len(genres):
        raise InputError(
            f"{path}: no genre is left for its {len(known):,} known artists: each has fewer than "
            f"genres.min_artists={config.min_artists} artists with at least "
            f"genres.min_votes={config.min_votes} votes; lower these, or {INSTEAD}"
        )
    counts |= {
        "rejected": sum(rejected.values()),
        "known_artists": len(known),
        "unknown_artists": len(unknown),
        "artists_with_genres": len(pc.unique(artist_genres["artist"])),
    }
    return GenreFile(genres, artist_genres, part.table(file.header_lines), counts)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

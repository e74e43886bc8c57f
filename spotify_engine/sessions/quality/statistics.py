"""Statistics of listening data, measured before it is judged: counts, distributions, components."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TypedDict

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from spotify_engine.sessions.schema import USER_TYPES

DAY = 86_400


class OfType(TypedDict):
    """Users of one type."""

    users: int
    plays: int
    hours: list[int]
    completion: list[int]


class Facts(TypedDict):
    """Counts and distributions: what the plots show."""

    users: int
    songs: int
    events: int
    sessions: int
    genres: dict[str, float]
    types: dict[str, OfType]
    weekdays: list[int]
    session_lengths: list[int]
    components: list[int]
    song_ranks: list[int]
    song_plays: list[int]


class Measured:
    """The tables, and what several checks need of them."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self.tables = tables
        events = tables["events"]
        self.user, self.song, self.time, self.session, self.ms, self.completion = (
            events[name].to_numpy()
            for name in ("user", "song", "time", "session", "ms_played", "completion")
        )
        self.n_users, self.n_songs = len(tables["users"]), len(tables["songs"])
        self.n_genres = len(tables["genres"])
        self.types = np.array(tables["users"]["type"].to_pylist(), dtype=object)

    @property
    def same_user(self) -> np.ndarray:
        """bool ``[events - 1]``: a play and the one before are of one user."""
        return self.user[1:] == self.user[:-1]

    @cached_property
    def plays_of_user(self) -> np.ndarray:
        """Int ``[users]``: plays of each one."""
        return np.bincount(self.user, minlength=self.n_users)

    @cached_property
    def plays_of_song(self) -> np.ndarray:
        """Int ``[songs]``: plays of each one."""
        return np.bincount(self.song, minlength=self.n_songs)

    @cached_property
    def genres_of_song(self) -> sparse.csr_matrix:
        """float ``[songs, genres]``; the genres of a song share its plays."""
        links = self.tables["song_genres"]
        song, genre = links["song"].to_numpy(), links["genre"].to_numpy()
        shape = (self.n_songs, self.n_genres)
        matrix = sparse.csr_matrix((np.ones(len(song)), (song, genre)), shape=shape)
        total = np.asarray(matrix.sum(axis=1)).ravel()
        return sparse.csr_matrix(sparse.diags(1 / np.maximum(total, 1)) @ matrix)

    @cached_property
    def genre_plays(self) -> np.ndarray:
        """Float ``[genres]``: plays of each one."""
        return np.asarray(self.plays_of_song @ self.genres_of_song).ravel()

    @cached_property
    def hours(self) -> np.ndarray:
        """int ``[24]``: plays in each hour of the day, UTC."""
        return np.bincount(self.time % DAY // 3600, minlength=24)

    @cached_property
    def components(self) -> np.ndarray:
        """Sizes of the connected components of users and songs that played each other."""
        n = self.n_users + self.n_songs
        links = sparse.coo_matrix(
            (np.ones(len(self.user), np.int8), (self.user, self.n_users + self.song)), shape=(n, n)
        )
        _, label = connected_components(links, directed=False)
        part_of = np.concatenate([self.plays_of_user > 0, self.plays_of_song > 0])
        sizes = np.bincount(label[part_of])
        return np.sort(sizes[sizes > 0])[::-1]


def facts(data: Measured) -> Facts:
    """Counts and distributions of the listening, as plain values."""
    others = sorted(set(data.types) - set(USER_TYPES))
    of_kind = {kind: data.types == kind for kind in (*USER_TYPES, *others)}
    sessions = int(data.session.max()) + 1
    lengths = np.minimum(np.bincount(data.session, minlength=sessions), 50)
    ranks = np.unique(np.geomspace(1, data.n_songs, 60).astype(int))
    names = data.tables["genres"]["name"].to_pylist()
    genres = sorted(zip(data.genre_plays.tolist(), names, strict=True), reverse=True)
    return {
        "users": data.n_users,
        "songs": data.n_songs,
        "events": len(data.user),
        "sessions": sessions,
        "genres": {name: plays for plays, name in genres},
        "types": {kind: _of_type(data, hit) for kind, hit in of_kind.items() if hit.any()},
        "weekdays": np.bincount((data.time // DAY + 3) % 7, minlength=7).tolist(),  # from Monday
        "session_lengths": np.bincount(lengths).tolist(),  # the last: 50 and more
        "components": data.components[:20].tolist(),
        "song_ranks": ranks.tolist(),
        "song_plays": np.sort(data.plays_of_song)[::-1][ranks - 1].tolist(),
    }


def _of_type(data: Measured, users: np.ndarray) -> OfType:
    plays = users[data.user]
    hours = np.bincount(data.time[plays] % DAY // 3600, minlength=24)
    completion, _ = np.histogram(data.completion[plays], np.linspace(0, 1, 21))
    return {
        "users": int(users.sum()),
        "plays": int(plays.sum()),
        "hours": hours.tolist(),
        "completion": completion.tolist(),
    }

"""The process that chooses the next song: one distribution, drawn from and written down.

With u the user, h the hour of the week, r_0, r_1, ... the songs of this session from the last one
back, and a(s) the artist of song s, the next song is s with a probability in proportion to

    q(s) = w_album     [s is the track after r_0]
         + w_artist    sum_j b_j P(s | artist a(r_j))
         + w_follow    sum_j b_j sum_a' F(a' | a(r_j)) P(s | artist a')
         + w_genre     sum_g T(g) P(s | genre g)
         + w_favourite sum_i V_i [s is favourite i of u]
         + w_popular   P(s)

unless s was played in this session already: then it is 0. P are popularities; b_j halves with every
song back, over the last ``memory`` songs; F are the followers of an artist; and

    T(g) ~ taste_u(g) x rhythm(h, g) x (floor + mood(g))
    V_i  ~ weight_u(i) x rhythm(h, main genre of favourite i)

Mood starts at the first song's genres; with every further song m it becomes
(1 - rate) mood + rate genres(m), and the drift matrix then moves a part of it on to other genres.
At the start of a session there is no mood and no song before: T lacks its third factor, and the
last three weights stand alone. All weights are normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from spotify_engine.sessions.synthetic.config import SyntheticConfig
from spotify_engine.sessions.synthetic.listeners import Listeners, hour_of_week
from spotify_engine.sessions.synthetic.world import World

ALBUM_WAY, ARTIST_WAY, FOLLOW_WAY, GENRE_WAY, FAVOURITE_WAY, POPULAR_WAY = range(6)
_MOST_DRAWS = 200


@dataclass
class Walk:
    """Many sessions, all of them before the song of the same position.

    Attributes:
        user: int64 ``[sessions]``, in the block.
        played: int32 ``[sessions, position]``, the songs so far, in order.
        mood: float32 ``[sessions, genres]``; all 0 before the first song.
    """

    user: np.ndarray
    played: np.ndarray
    mood: np.ndarray

    @classmethod
    def begin(cls, user: np.ndarray, n_genres: int) -> Walk:
        """The beginning of a session of each user."""
        n = len(user)
        return cls(user, np.zeros((n, 0), np.int32), np.zeros((n, n_genres), np.float32))

    @property
    def position(self) -> int:
        """How many songs have been played."""
        return self.played.shape[1]

    def select(self, rows: np.ndarray) -> Walk:
        """The walks of some rows."""
        return Walk(self.user[rows], self.played[rows], self.mood[rows])

    def append(self, song: np.ndarray, world: World, config: SyntheticConfig) -> None:
        """Play ``song`` (int ``[sessions]``)."""
        genres = world.membership[song]
        rate = config.mood if self.position else 1.0
        # Sparse times dense adds in one order always; what BLAS does may depend on its threads.
        mixed = np.float32(1 - rate) * self.mood + np.float32(rate) * genres
        self.mood = np.ascontiguousarray((world.drift.T @ mixed.T).T)
        self.played = np.column_stack([self.played, song.astype(np.int32)])


class Process:
    """The distribution of the next song for the users of one block."""

    def __init__(self, world: World, config: SyntheticConfig, listeners: Listeners) -> None:
        self.world, self.config, self.listeners = world, config, listeners
        self._recency = 0.5 ** np.arange(config.memory)
        self._favourite_genre = world.main_genre[listeners.favourites]

    def draw(
        self, rng: np.random.Generator, walk: Walk, time: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose the next song of every session at ``time`` (int64 ``[sessions]`` seconds).

        Drawing again whenever the song was played already is what the condition of q means.

        Returns:
            ``(song, found)``: int32 and bool ``[sessions]``; not found where 200 draws gave played
            songs only.
        """
        n = len(walk.user)
        hour = hour_of_week(time)
        weights = np.cumsum(self._weights(walk), axis=1)
        genre_ends = np.cumsum(self._genres(walk, hour), axis=1, dtype=np.float64)
        favourite_ends = np.cumsum(self._favourites(walk, hour), axis=1, dtype=np.float64)
        recency = np.cumsum(self._recency[: walk.position])
        song, open_rows = np.zeros(n, np.int32), np.arange(n)
        for _ in range(_MOST_DRAWS):
            if not len(open_rows):
                break
            uniform = rng.random((3, len(open_rows)))
            part = _pick(weights[open_rows], uniform[0])
            drawn = np.empty(len(open_rows), np.int32)
            for code in range(6):
                here = np.flatnonzero(part == code)
                if not len(here):
                    continue
                rows, u, v = open_rows[here], uniform[1, here], uniform[2, here]
                if code == ALBUM_WAY:
                    drawn[here] = self.world.next_track[walk.played[rows, -1]]
                elif code in (ARTIST_WAY, FOLLOW_WAY):
                    back = np.searchsorted(recency, u * recency[-1], side="right")
                    artist = self.world.song_artist[walk.played[rows, walk.position - 1 - back]]
                    if code == FOLLOW_WAY:
                        artist = self.world.followers.draw(artist, rng.random(len(rows)))
                    drawn[here] = self.world.by_artist.draw(artist, v)
                elif code == GENRE_WAY:
                    drawn[here] = self.world.by_genre.draw(_pick(genre_ends[rows], u), v)
                elif code == FAVOURITE_WAY:
                    place = _pick(favourite_ends[rows], u)
                    drawn[here] = self.listeners.favourites[walk.user[rows], place]
                else:
                    drawn[here] = self.world.popular.draw(np.zeros(len(rows), np.int64), v)
            again = (walk.played[open_rows] == drawn[:, None]).any(axis=1)
            song[open_rows[~again]] = drawn[~again]
            open_rows = open_rows[again]
        found = np.ones(n, bool)
        found[open_rows] = False
        return song, found

    def density(self, walk: Walk, time: np.ndarray) -> np.ndarray:
        """float64 ``[sessions, songs]``, rows sum to 1: the probabilities that ``draw`` follows."""
        world = self.world
        n = len(walk.user)
        rows = np.arange(n)
        hour = hour_of_week(time)
        weights = self._weights(walk)
        artists = np.zeros((n, len(world.followers.offsets) - 1))
        q = np.zeros((n, world.n_songs))
        if walk.position:
            q[rows, world.next_track[walk.played[:, -1]]] = weights[:, ALBUM_WAY]
            recency = self._recency[: walk.position]
            for back, share in enumerate(recency / recency.sum()):
                recent = world.song_artist[walk.played[:, walk.position - 1 - back]]
                artists[rows, recent] += weights[:, ARTIST_WAY] * share
                artists += (
                    self._follow[recent]
                    .multiply((weights[:, FOLLOW_WAY] * share)[:, None])
                    .toarray()
                )
        q += artists[:, world.song_artist] * world.by_artist.probability
        genres = self._genres(walk, hour)
        genres = genres / genres.sum(axis=1, keepdims=True) * weights[:, [GENRE_WAY]]
        # Sparse, for the same reason as in Walk.append.
        q += (self._genre_of_song @ genres.T).T
        favourites = self._favourites(walk, hour).astype(np.float64)
        favourites *= weights[:, [FAVOURITE_WAY]] / favourites.sum(axis=1, keepdims=True)
        np.add.at(q, (rows[:, None], self.listeners.favourites[walk.user]), favourites)
        q += weights[:, [POPULAR_WAY]] * world.popular.probability
        q[rows[:, None], walk.played] = 0
        return q / q.sum(axis=1, keepdims=True)

    @cached_property
    def _follow(self) -> sparse.csr_matrix:
        return self.world.followers.matrix(len(self.world.followers.offsets) - 1)

    @cached_property
    def _genre_of_song(self) -> sparse.csr_matrix:
        """float64 ``[songs, genres]``: P(s | genre g)."""
        return self.world.by_genre.matrix(self.world.n_songs).T.tocsr()

    def _weights(self, walk: Walk) -> np.ndarray:
        weights = self.listeners.mixture[walk.user]
        if not walk.position:
            weights = weights * np.array([0, 0, 0, 1, 1, 1])
        return weights / weights.sum(axis=1, keepdims=True)

    def _genres(self, walk: Walk, hour: np.ndarray) -> np.ndarray:
        """float32 ``[sessions, genres]``, in proportion to T."""
        liking = self.listeners.taste[walk.user] * self.world.rhythm[hour]
        if walk.position:
            liking *= np.float32(self.config.mood_floor) + walk.mood
        return liking

    def _favourites(self, walk: Walk, hour: np.ndarray) -> np.ndarray:
        """float32 ``[sessions, favourites]``, in proportion to V."""
        suits = self.world.rhythm[hour[:, None], self._favourite_genre[walk.user]]
        return self.listeners.favourite_weight[walk.user] * suits


def _pick(ends: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """int64 ``[n]``: a column for each row of cumulative weights ``[n, choices]``."""
    below = (ends <= (uniform * ends[:, -1])[:, None]).sum(axis=1)
    return np.minimum(below, ends.shape[1] - 1)

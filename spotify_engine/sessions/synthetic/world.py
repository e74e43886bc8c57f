"""The invented world of music: genres, artists and songs, and how they are related."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from spotify_engine.sessions.synthetic.config import SyntheticConfig

HOURS = 7 * 24  # of a week, from Monday 0:00


@dataclass(frozen=True)
class Grouped:
    """A probability distribution over members for each of several groups.

    Attributes:
        offsets: int64 ``[groups + 1]``.
        members: int32 ``[total]``, the members of group g at ``offsets[g]:offsets[g + 1]``.
        probability: float64 ``[total]``, sums to 1 in each group that has members.
    """

    offsets: np.ndarray
    members: np.ndarray
    probability: np.ndarray

    @classmethod
    def of(cls, group: np.ndarray, member: np.ndarray, weight: np.ndarray, n: int) -> Grouped:
        """Sort members by their group, with weights as probabilities within it."""
        order = np.argsort(group, kind="stable")
        offsets = np.searchsorted(group[order], np.arange(n + 1))
        total = np.bincount(group, weights=weight, minlength=n)
        probability = weight[order] / total[group[order]]
        return cls(offsets, member[order].astype(np.int32), probability)

    @cached_property
    def _ends(self) -> np.ndarray:
        """The cumulative probability at each member, plus the number of its group."""
        group = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        running = np.cumsum(self.probability)
        before = np.concatenate([[0.0], running])[self.offsets[:-1]]
        return running - before[group] + group

    def draw(self, group: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One member of each ``group`` (int ``[n]``), for ``uniform`` in [0, 1) ``[n]``."""
        place = np.searchsorted(self._ends, group + uniform, side="right")
        # Rounding may put the last cumulative probability of a group just below 1.
        return self.members[np.clip(place, self.offsets[group], self.offsets[group + 1] - 1)]

    def matrix(self, n_members: int) -> sparse.csr_matrix:
        """float64 ``[groups, n_members]``."""
        shape = (len(self.offsets) - 1, n_members)
        return sparse.csr_matrix((self.probability, self.members, self.offsets), shape=shape)


@dataclass(frozen=True)
class World:
    """The catalogue and its regularities.

    Attributes:
        genre_share: float64 ``[genres]``, Zipf, sums to 1.
        artist_genres: two int32 ``[links]``: artist, genre; an artist's first is its main one.
        song_genres: two int32 ``[links]``: song, genre.
        song_artist: int32 ``[songs]``; the songs of an artist have consecutive numbers.
        next_track: int32 ``[songs]``, the next song of the same artist, the first after the last.
        duration_ms: int64 ``[songs]``.
        main_genre: int32 ``[songs]``.
        by_artist, by_genre: songs of each, by popularity.
        followers: artists that come after each artist.
        popular: one group, all songs.
        membership: float32 ``[songs, genres]``, an even share for each genre of a song.
        drift: sparse float32 ``[genres, genres]``, rows sum to 1: where the mood goes after a song.
        rhythm: float32 ``[HOURS, genres]``, above 0: how well a genre suits an hour of the week.
    """

    genre_share: np.ndarray
    artist_genres: tuple[np.ndarray, np.ndarray]
    song_genres: tuple[np.ndarray, np.ndarray]
    song_artist: np.ndarray
    next_track: np.ndarray
    duration_ms: np.ndarray
    main_genre: np.ndarray
    by_artist: Grouped
    by_genre: Grouped
    followers: Grouped
    popular: Grouped
    membership: np.ndarray
    drift: sparse.csr_matrix
    rhythm: np.ndarray

    @property
    def n_songs(self) -> int:
        """How many songs there are."""
        return len(self.song_artist)


def build_world(config: SyntheticConfig) -> World:
    """The world of a seed; depends on no user."""
    rng = np.random.default_rng((config.seed, 1))
    n_genres, n_artists, n_songs = config.genres, config.artists, config.songs
    share = np.arange(1, n_genres + 1) ** -config.genre_zipf
    share /= share.sum()

    # The first artists see to it that every genre is played.
    main = np.concatenate(
        [np.arange(n_genres), rng.choice(n_genres, size=n_artists - n_genres, p=share)]
    )
    low, high = config.artist_genres
    several = rng.integers(low, high + 1, n_artists)
    # Gumbel noise on log weights sorts genres as drawing without replacement would.
    order = np.log(share) + rng.gumbel(size=(n_artists, n_genres))
    order[np.arange(n_artists), main] = np.inf
    ranked = np.argsort(-order, axis=1)[:, :high].astype(np.int32)
    has = np.arange(high) < several[:, None]
    artist_of_link, place = np.nonzero(has)
    genre_of_link = ranked[artist_of_link, place]

    fame = 1 + rng.pareto(config.artist_pareto, n_artists)
    size = fame**0.3
    per_artist = 1 + np.floor(size / size.sum() * (n_songs - n_artists)).astype(np.int64)
    per_artist[: n_songs - per_artist.sum()] += 1
    first = np.concatenate([[0], np.cumsum(per_artist)])
    song_artist = np.repeat(np.arange(n_artists, dtype=np.int32), per_artist)
    song = np.arange(n_songs)
    within = song - first[song_artist]
    next_track = first[song_artist] + (within + 1) % per_artist[song_artist]

    # Which of its artist's songs is how popular: ranks in a random order.
    shuffled = np.lexsort((rng.random(n_songs), song_artist))
    rank = np.empty(n_songs, np.int64)
    rank[shuffled] = within
    appeal = (rank + 1.0) ** -config.song_zipf
    by_artist = Grouped.of(song_artist, song, appeal, n_artists)
    popularity = by_artist.probability * fame[song_artist] ** 0.7

    counts = several[song_artist]
    starts = np.concatenate([[0], np.cumsum(several)])[song_artist]
    link_song = np.repeat(song, counts).astype(np.int32)
    offset = np.arange(len(link_song)) - np.repeat(np.cumsum(counts) - counts, counts)
    link_genre = genre_of_link[np.repeat(starts, counts) + offset]
    membership = np.zeros((n_songs, n_genres), np.float32)
    membership[link_song, link_genre] = 1 / counts[link_song]
    by_genre = Grouped.of(
        link_genre, link_song, popularity[link_song] / counts[link_song], n_genres
    )
    zero = np.zeros(n_songs, np.int64)
    return World(
        genre_share=share,
        artist_genres=(artist_of_link.astype(np.int32), genre_of_link),
        song_genres=(link_song, link_genre),
        song_artist=song_artist,
        next_track=next_track.astype(np.int32),
        duration_ms=(1000 * np.clip(rng.lognormal(5.3, 0.28, n_songs), 90, 600)).astype(np.int64),
        main_genre=main[song_artist].astype(np.int32),
        by_artist=by_artist,
        by_genre=by_genre,
        followers=_followers(rng, config, main, fame),
        popular=Grouped.of(zero, song, popularity, 1),
        membership=membership,
        drift=_drift(rng, config, share),
        rhythm=_rhythm(rng, config),
    )


def _followers(
    rng: np.random.Generator, config: SyntheticConfig, main: np.ndarray, fame: np.ndarray
) -> Grouped:
    """Artists after each artist: four in five of the same main genre, the better known likelier."""
    n, k = config.artists, config.followers
    artist = np.arange(n)
    in_genre = Grouped.of(main, artist, fame**0.5, config.genres)
    anyone = Grouped.of(np.zeros(n, np.int64), artist, fame**0.5, 1)
    near = in_genre.draw(np.repeat(main, k), rng.random(n * k))
    far = anyone.draw(np.zeros(n * k, np.int64), rng.random(n * k))
    drawn = np.where(rng.random(n * k) < 0.8, near, far).reshape(n, k)
    # Nobody follows himself: that is what the artist part of the mixture is for.
    drawn = np.where(drawn == artist[:, None], (drawn + 1) % n, drawn)
    weight = np.broadcast_to(0.5 ** np.arange(k), (n, k))
    return Grouped.of(np.repeat(artist, k), drawn.ravel(), weight.ravel(), n)


def _drift(
    rng: np.random.Generator, config: SyntheticConfig, share: np.ndarray
) -> sparse.csr_matrix:
    """Every genre passes a part of the mood on to two others; which, is not symmetric."""
    n = config.genres
    drift = (1 - config.drift) * np.eye(n)
    for weight in (0.7, 0.3):
        drift[np.arange(n), rng.choice(n, size=n, p=share)] += weight * config.drift
    return sparse.csr_matrix(drift.astype(np.float32))


def _rhythm(rng: np.random.Generator, config: SyntheticConfig) -> np.ndarray:
    """Each genre has an hour at which it is heard most, and likes weekends more or less."""
    hour = np.arange(HOURS)
    peak = rng.uniform(0, 24, config.genres)
    daily = config.rhythm * np.cos(2 * np.pi * (hour[:, None] - peak) / 24)
    liking = rng.choice([-1.0, 1.0], config.genres) * config.weekend
    return np.exp(daily + liking * (hour[:, None] >= 5 * 24)).astype(np.float32)

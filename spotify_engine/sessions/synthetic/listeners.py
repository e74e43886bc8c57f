"""The generated listeners, and when their sessions start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spotify_engine.sessions.synthetic.config import SyntheticConfig
from spotify_engine.sessions.synthetic.world import HOURS, World
from spotify_engine.sessions.tables.edges import GAP_SECONDS

_LEAST_APART = GAP_SECONDS + 15 * 60  # seconds between the starts of two sessions of a user


@dataclass(frozen=True)
class Listeners:
    """One block of users.

    Attributes:
        first: number of its first user.
        kind: int64 ``[users]``, index into ``schema.USER_TYPES``.
        taste: float32 ``[users, genres]``, sums to 1; above 0 for liked genres and a little
            for all others.
        liked: bool ``[users, genres]``.
        favourites: int32 ``[users, most]`` songs, a song may stand there twice.
        favourite_weight: float32 ``[users, most]``, sums to 1; 0 beyond a user's number of them.
        mixture: float64 ``[users, 6]``, in the order of ``Mixture``.
    """

    first: int
    kind: np.ndarray
    taste: np.ndarray
    liked: np.ndarray
    favourites: np.ndarray
    favourite_weight: np.ndarray
    mixture: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)


def draw_listeners(
    rng: np.random.Generator, config: SyntheticConfig, world: World, block: int
) -> Listeners:
    """The users of a block."""
    kinds = config.types.all
    first = block * config.users_per_block
    n = min(config.users_per_block, config.users - first)
    share = np.array([kind.share for kind in kinds])
    kind = rng.choice(len(kinds), size=n, p=share / share.sum())
    low, high = np.array([each.genres for each in kinds])[kind].T
    several = rng.integers(low, high + 1)

    order = np.log(world.genre_share) + rng.gumbel(size=(n, config.genres))
    place = np.argsort(np.argsort(-order, axis=1), axis=1)
    liked = place < several[:, None]
    strength = np.where(liked, rng.gamma(2.0, size=liked.shape), 0)
    strength /= strength.sum(axis=1, keepdims=True)
    taste = (0.96 * strength + 0.04 * world.genre_share).astype(np.float32)

    most = max(each.favourites for each in kinds)
    genre = _draw_rows(strength, rng.random((n, most)))
    favourites = world.by_genre.draw(genre, rng.random((n, most)))
    number = np.array([each.favourites for each in kinds])[kind]
    weight = np.where(np.arange(most) < number[:, None], (np.arange(most) + 1.0) ** -0.7, 0)
    weight /= weight.sum(axis=1, keepdims=True)
    mixture = np.array([each.mixture.weights for each in kinds])[kind]
    return Listeners(first, kind, taste, liked, favourites, weight.astype(np.float32), mixture)


def _draw_rows(probability: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """For each row of ``[n, choices]``, as many choices as ``uniform`` ``[n, m]`` has columns."""
    ends = np.cumsum(probability, axis=1)
    flat = (ends / ends[:, -1:] + np.arange(len(ends))[:, None]).ravel()
    rows = np.arange(len(ends))[:, None]
    drawn = np.searchsorted(flat, uniform + rows, side="right") - rows * ends.shape[1]
    # Never a choice of probability 0 by rounding: at most the last one above 0.
    last = ends.shape[1] - 1 - np.argmax(probability[:, ::-1] > 0, axis=1)
    return np.minimum(drawn, last[:, None])


@dataclass(frozen=True)
class Starts:
    """Sessions of a block, by user, then time.

    Attributes:
        user: int64 ``[sessions]``, counting from 0 in the block.
        time: int64 ``[sessions]``, seconds since 1970.
        limit: int64 ``[sessions]``, before which the session must end: the user's next one is near.
        length: int64 ``[sessions]``, songs aimed at.
    """

    user: np.ndarray
    time: np.ndarray
    limit: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


def draw_starts(rng: np.random.Generator, config: SyntheticConfig, listeners: Listeners) -> Starts:
    """Draw the starts of sessions, at hours that suit type and weekday, and their aimed lengths."""
    kinds = config.types.all
    mean = np.array([kind.sessions for kind in kinds])[listeners.kind] * config.activity
    # A gamma mean makes some of a type far more active than others.
    count = np.maximum(rng.poisson(mean * rng.gamma(4.0, 0.25, len(listeners))), 1)
    user = np.repeat(np.arange(len(listeners)), count)
    kind = listeners.kind[user]

    daily = daily_rhythm()
    begin = (config.start - type(config.start)(1970, 1, 1)).days
    day = rng.integers(0, config.days, len(user))
    weekend = (begin + 3 + day) % 7 >= 5
    hour = _draw_rows(daily[kind * 2 + weekend], rng.random((len(user), 1))).ravel()
    time = (begin + day) * 86_400 + hour * 3_600 + rng.integers(0, 3_600, len(user))

    order = np.lexsort((time, user))
    user, time = user[order], time[order]
    apart = np.ones(len(user), bool)
    apart[1:] = (user[1:] != user[:-1]) | (np.diff(time) >= _LEAST_APART)
    user, time = user[apart], time[apart]
    following = np.append(time[1:], np.iinfo(np.int64).max)
    last = np.append(user[1:] != user[:-1], True)
    limit = np.where(last, np.iinfo(np.int64).max, following - GAP_SECONDS)
    mean_length = np.array([kind.length for kind in kinds])[listeners.kind[user]]
    aimed = 1 + rng.poisson((mean_length - 1) * rng.gamma(3.0, 1 / 3, len(user)))
    return Starts(user, time, limit, np.minimum(aimed, config.longest_session))


def daily_rhythm() -> np.ndarray:
    """float64 ``[2 x types, 24]``: at which hour sessions start, on weekdays and at weekends.

    Casual listeners commute, regular ones listen in the evening as well, power users all day.
    """
    hour = np.arange(24)

    def bump(centre: float, width: float) -> np.ndarray:
        distance = np.minimum(abs(hour - centre), 24 - abs(hour - centre))
        return np.exp(-((distance / width) ** 2) / 2)

    weekdays = (
        bump(8, 1.3) + 0.9 * bump(18, 1.8),
        0.7 * bump(8, 1.5) + 0.5 * bump(13, 2) + 1.1 * bump(20, 2.5),
        0.5 * bump(9, 2) + 0.8 * bump(14, 4) + 0.9 * bump(22, 3),
    )
    weekends = (
        0.9 * bump(12, 3) + 0.6 * bump(20, 2.5),
        0.8 * bump(13, 3.5) + bump(21, 2.5),
        0.7 * bump(14, 4) + bump(23, 3),
    )
    rows = [row + 0.03 for pair in zip(weekdays, weekends, strict=True) for row in pair]
    return np.array([row / row.sum() for row in rows])


def hour_of_week(time: np.ndarray) -> np.ndarray:
    """int64, 0..167 from Monday 0:00 UTC, of seconds since 1970 (a Thursday)."""
    return (time // 3_600 + 3 * 24) % HOURS

"""The sessions of one block of users, all stepped through at once, position by position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spotify_engine.sessions.synthetic.config import SyntheticConfig
from spotify_engine.sessions.synthetic.listeners import Listeners, draw_listeners, draw_starts
from spotify_engine.sessions.synthetic.process import Process, Walk
from spotify_engine.sessions.synthetic.world import World


@dataclass(frozen=True)
class GeneratedPlays:
    """The plays of a block of users, by user, then time.

    Attributes:
        user: int64 ``[plays]``, in the block.
        session: int64 ``[plays]``, in the block.
        song: int32 ``[plays]``.
        time: int64 ``[plays]``, seconds since 1970 at which the song starts.
        ms_played: int64 ``[plays]``, up to the song's duration.
    """

    user: np.ndarray
    session: np.ndarray
    song: np.ndarray
    time: np.ndarray
    ms_played: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


def generate_block(
    config: SyntheticConfig, world: World, block: int
) -> tuple[Listeners, GeneratedPlays]:
    """Users ``block * users_per_block`` and following, and what they play.

    Depends on the configuration and the block's number only.
    """
    rng = np.random.default_rng((config.seed, 2, block))
    listeners = draw_listeners(rng, config, world, block)
    starts = draw_starts(rng, config, listeners)
    process = Process(world, config, listeners)
    suits = _suits(listeners)
    skip = np.array([kind.skip for kind in config.types.all])[listeners.kind]

    session, time = np.arange(len(starts)), starts.time.copy()
    walk = Walk.begin(starts.user, config.genres)
    parts: list[tuple[np.ndarray, ...]] = []
    while len(session):
        song, found = process.draw(rng, walk, time)
        if not found.all():
            session, time, song, walk = session[found], time[found], song[found], walk.select(found)
        completion = _completion(rng, skip[walk.user], _suit(suits, world, walk.user, song))
        ms_played = np.floor(completion * world.duration_ms[song]).astype(np.int64)
        parts.append((walk.user, session, song, time, ms_played))
        walk.append(song, world, config)
        time = time + 1 + ms_played // 1000 + _pause(rng, len(time))
        goes_on = (walk.position < starts.length[session]) & (time < starts.limit[session])
        session, time, walk = session[goes_on], time[goes_on], walk.select(goes_on)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((columns[3], columns[1]))
    return listeners, GeneratedPlays(*(column[order] for column in columns))


def _suits(listeners: Listeners) -> np.ndarray:
    """float32 ``[users, genres]`` in 0..1: taste beside the genre liked most."""
    return listeners.taste / listeners.taste.max(axis=1, keepdims=True)


def _suit(suits: np.ndarray, world: World, user: np.ndarray, song: np.ndarray) -> np.ndarray:
    """float32 ``[n]`` in 0..1: how well each song suits its user's taste."""
    return np.einsum("ng,ng->n", suits[user], world.membership[song])


def _completion(rng: np.random.Generator, skip: np.ndarray, suit: np.ndarray) -> np.ndarray:
    """float64 ``[n]`` in 0..1: Beta(1.2, 5) of a skipped song, Beta(9, 1.5) of another.

    Songs that suit are skipped a fifth as often. Every third of those not skipped is heard in full.
    """
    n = len(skip)
    skipped = rng.random(n) < skip * (1 - 0.8 * suit)
    completion = rng.beta(np.where(skipped, 1.2, 9.0), np.where(skipped, 5.0, 1.5))
    return np.where(~skipped & (rng.random(n) < 1 / 3), 1.0, completion)


def _pause(rng: np.random.Generator, n: int) -> np.ndarray:
    """int64 ``[n]`` seconds between songs: a few, and up to ten minutes once in 40."""
    short = rng.exponential(3.0, n)
    return np.where(rng.random(n) < 1 / 40, rng.uniform(0, 600, n), short).astype(np.int64)

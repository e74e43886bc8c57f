"""The engines with what they keep outside: cached vectors and stored events, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.serving.api.requests import CompleteRequest, EventsRequest, NextRequest
from spotify_engine.serving.engines.playlists import PlaylistEngine
from spotify_engine.serving.settings import EngineSettings, ServeSettings
from spotify_engine.store.cache import MemoryCache, VectorCache, make_cache
from spotify_engine.store.events import EventStore
from spotify_engine.store.registry import Registry
from tests.serving.conftest import serving


class Counting:
    """A cache that counts what it had."""

    def __init__(self, inner: VectorCache) -> None:
        self.inner, self.hits, self.misses = inner, 0, 0

    def get(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        found = self.inner.get(keys)
        missing = sum(each is None for each in found)
        self.misses += missing
        self.hits += len(found) - missing
        return found

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        self.inner.put(vectors)


@pytest.fixture(scope="module")
def recommender(bundles: dict[str, Path]) -> PlaylistRecommender:
    return PlaylistRecommender.load(bundles["playlists"])


@pytest.fixture
def make_engine(recommender: PlaylistRecommender, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    events = EventStore.open(f"sqlite:///{tmp_path}/events.db")
    yield lambda cache, version="v", **settings: PlaylistEngine(
        recommender, version, EngineSettings(**settings), events, cache
    )
    events.close()


ASKED = [
    CompleteRequest(tracks=["id0", "id4"]),
    CompleteRequest(tracks=["id13"], k=3),
    CompleteRequest(tracks=["Artist 3 - New", "id1"]),
    CompleteRequest(tracks=["Artist 3 - Newer", "id1"]),
    CompleteRequest(tracks=[], title="rock"),
]


def scores(answers: Sequence[Any]) -> list[list[tuple[str, Any]]]:
    return [
        [(each.id, pytest.approx(each.score, abs=1e-5)) for each in answer.recommendations]
        for answer in answers
    ]


def test_together_or_alone_cached_or_not_the_answers_are_the_same(
    make_engine: Callable[..., PlaylistEngine],
) -> None:
    cache = Counting(MemoryCache(1 << 20))
    engine = make_engine(cache)
    together = engine.answer(ASKED)
    assert (cache.hits, cache.misses) == (0, 4)
    assert scores(engine.answer(ASKED)) == scores(together)
    assert (cache.hits, cache.misses) == (4, 4)
    alone = [make_engine(MemoryCache(1 << 20)).answer([ask])[0] for ask in ASKED]
    assert scores(alone) == scores(together)


def test_another_version_does_not_take_cached_vectors(
    make_engine: Callable[..., PlaylistEngine],
) -> None:
    cache = Counting(MemoryCache(1 << 20))
    make_engine(cache, "first").answer(ASKED[:1])
    make_engine(cache, "second").answer(ASKED[:1])
    assert (cache.hits, cache.misses) == (0, 2)


def test_redis_serves_several_replicas_and_its_death_only_costs_time(
    make_engine: Callable[..., PlaylistEngine], redis_server: Any
) -> None:
    first, second = (Counting(make_cache(redis_server.url, 0)) for _ in range(2))
    expected = make_engine(first, "redis").answer(ASKED)
    found = make_engine(second, "redis").answer(ASKED)
    assert scores(found) == scores(expected)
    assert (first.misses, second.hits) == (4, 4)
    redis_server.kill()
    try:
        assert scores(make_engine(second, "redis").answer(ASKED)) == scores(expected)
    finally:
        redis_server.start()


def test_above_a_size_an_approximate_index_answers_the_same_here(
    make_engine: Callable[..., PlaylistEngine],
) -> None:
    exact = make_engine(MemoryCache(1 << 20))
    approximate = make_engine(MemoryCache(1 << 20), approximate_above=10)
    assert type(exact.index) is not type(approximate.index)
    assert approximate.recall == 1  # a small catalogue is searched whole
    assert scores(approximate.answer(ASKED)) == scores(exact.answer(ASKED))


def test_events_in_postgresql_count_in_another_process_replica(
    settings: ServeSettings, registry: Registry, postgresql: Any
) -> None:
    with_database = settings.model_copy(update={"events": postgresql.new_database()})
    events = [
        {"type": "play", "user": "pg", "track": "t0000003", "ms_played": 5},
        {"type": "add", "playlist": "pg", "track": "id0"},
    ]

    async def scenario() -> tuple[Any, Any]:
        with serving(with_database) as one, serving(with_database) as other:
            stored = await one.add_events(EventsRequest(events=events).events)
            assert stored.stored == 2
            played = await other.next(NextRequest(user="pg"))
            added = await other.complete(CompleteRequest(playlist="pg"))
            assert (await other.ready()).status == "ok"
            return played, added

    played, added = asyncio.run(scenario())
    assert (played.learned, played.fallback) == (1, "session")
    assert (added.learned, added.fallback) == (1, None)

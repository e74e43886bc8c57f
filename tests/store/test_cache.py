"""Vectors come back as they were put, or not at all, and Redis may die at any time."""

from __future__ import annotations

import signal
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotify_engine.errors import InputError
from spotify_engine.store.cache import (
    ENTRY_BYTES,
    HEADER,
    PREFIX,
    MemoryCache,
    RedisCache,
    VectorCache,
    make_cache,
)


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> VectorCache:
    if request.param == "memory":
        return make_cache(None, 1 << 20)
    server = request.getfixturevalue("redis_server")
    server.client.flushall()
    return make_cache(server.url, 1 << 20)


@pytest.fixture
def ours(redis_server: Any) -> Iterator[RedisCache]:
    """On an empty Redis, which runs again afterwards whatever happened to it."""
    redis_server.client.flushall()
    yield RedisCache(redis_server.url, pause_s=0.3)
    redis_server.start()


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_what_was_put_comes_back_in_the_order_asked(cache: VectorCache) -> None:
    cache.put({b"a": vector(1, 2), b"b\0\xff": vector(3), b"": vector()})
    found = cache.get([b"b\0\xff", b"none", b"a", b"a", b""])
    assert [None if v is None else v.tolist() for v in found] == [[3], None, [1, 2], [1, 2], []]
    assert {v.dtype for v in found if v is not None} == {np.dtype(np.float32)}
    cache.put({b"a": vector(4)})
    assert cache.get([b"a"])[0].tolist() == [4]  # type: ignore[union-attr]
    assert cache.get([]) == []
    cache.put({})


def test_a_vector_does_not_change_with_what_it_was_made_from(cache: VectorCache) -> None:
    given = vector(1, 2)
    cache.put({b"a": given})
    given[0] = 9
    (found,) = cache.get([b"a"])
    assert found is not None
    assert found.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 9


def test_a_matrix_is_refused(cache: VectorCache) -> None:
    with pytest.raises(ValueError, match="one dimension, not 2"):
        cache.put({b"a": np.zeros((2, 2))})


def test_threads_may_share_it(cache: VectorCache) -> None:
    wrong = []

    def work(number: int) -> None:
        for i in range(50):
            cache.put({b"%d" % i: np.full(8, i, np.float32)})
            wrong.extend(
                (i, found)
                for i, found in enumerate(cache.get([b"%d" % j for j in range(50)]))
                if found is not None and found.tolist() != [i] * 8
            )

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(v is not None for v in cache.get([b"%d" % i for i in range(50)]))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("pg"), st.integers(0, 5), st.integers(0, 6)), max_size=40)
)
def test_memory_holds_the_latest_used_that_fit(steps: list[tuple[str, int, int]]) -> None:
    """Against a list in order of use, oldest first."""
    room = 3 * (ENTRY_BYTES + 1 + 4 * 3)
    cache, expected = MemoryCache(room), []  # type: ignore[var-annotated]
    for step, key, size in steps:
        name = b"%d" % key
        held = next((entry for entry in expected if entry[0] == name), None)
        if step == "g":
            (found,) = cache.get([name])
            assert (None if found is None else len(found)) == (held and held[1])
            if held:
                expected.remove(held)
                expected.append(held)
            continue
        cache.put({name: np.zeros(size, np.float32)})
        if held:
            expected.remove(held)
        expected.append((name, size))
        while sum(ENTRY_BYTES + 1 + 4 * size for _, size in expected) > room:
            expected.pop(0)
        assert cache.bytes == sum(ENTRY_BYTES + 1 + 4 * size for _, size in expected) <= room


def test_memory_keeps_nothing_that_is_too_big_for_it() -> None:
    cache = MemoryCache(ENTRY_BYTES + 100)
    cache.put({b"a": np.zeros(1000)})
    assert cache.get([b"a"]) == [None]
    assert cache.bytes == 0


def good(content: bytes = vector(1, 2).tobytes()) -> bytes:
    return HEADER.pack(len(content) // 4, zlib.crc32(content)) + content


DAMAGED = {
    "empty": b"",
    "cut": good()[:-1],
    "longer": good() + b"\0" * 4,
    "changed": good()[:-1] + b"\7",
    "other length": HEADER.pack(1, zlib.crc32(vector(1, 2).tobytes())) + vector(1, 2).tobytes(),
    "no header": vector(1, 2).tobytes(),
    "NaN": good(vector(1, np.nan).tobytes()),
    "pickle": b"cos\nsystem\n(S'false'\ntR.",
}


@pytest.mark.parametrize("value", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_value_is_a_miss(ours: RedisCache, redis_server: Any, value: bytes) -> None:
    redis_server.client.set(PREFIX + b"a", good())
    redis_server.client.set(PREFIX + b"b", value)
    redis_server.client.rpush(PREFIX + b"c", "a list")
    a, b, c = ours.get([b"a", b"b", b"c"])
    assert a is not None
    assert a.tolist() == [1, 2]
    assert (b, c) == (None, None)
    assert ours.failures == 0


def test_redis_forgets_after_the_time_given(redis_server: Any) -> None:
    cache = RedisCache(redis_server.url, ttl_s=1)
    cache.put({b"t": vector(1)})
    assert 0 < redis_server.client.pttl(PREFIX + b"t") <= 1000
    while cache.get([b"t"]) != [None]:
        time.sleep(0.05)


def test_two_caches_of_one_redis_share_vectors(ours: RedisCache, redis_server: Any) -> None:
    ours.put({b"a": vector(1)})
    assert RedisCache(redis_server.url).get([b"a"])[0] == vector(1)


def test_a_killed_redis_is_a_miss_and_is_used_again_when_back(
    ours: RedisCache, redis_server: Any
) -> None:
    ours.put({b"a": vector(1)})
    assert ours.get([b"a"]) != [None]
    redis_server.kill()
    assert ours.get([b"a", b"b"]) == [None, None]
    assert ours.failures == 1
    # Not asked again so soon.
    ours.put({b"a": vector(2)})
    assert ours.get([b"a"]) == [None]
    assert ours.failures == 1
    redis_server.start()
    while ours.get([b"a"]) == [None]:
        time.sleep(0.05)
        ours.put({b"a": vector(3)})
    assert ours.get([b"a"])[0] == vector(3)


def test_a_redis_that_hangs_holds_up_one_request_only(ours: RedisCache, redis_server: Any) -> None:
    ours.put({b"a": vector(1)})
    ours._pause_s = 1000
    redis_server.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert ours.get([b"a"]) == [None]
        one = time.monotonic() - started
        started = time.monotonic()
        for _ in range(20):
            assert ours.get([b"a"]) == [None]
        assert time.monotonic() - started < one
    finally:
        redis_server.signal(signal.SIGCONT)
    assert ours.failures == 1


def test_a_wrong_password_is_a_miss(redis_server: Any) -> None:
    cache = RedisCache(redis_server.url.replace("//", "//nobody:wrong@"))
    cache.put({b"a": vector(1)})
    assert cache.get([b"a"]) == [None]
    assert cache.failures == 1


@pytest.mark.parametrize(
    "url",
    ["", "memcached://host", "http://h", "redis://:sesame@host:port/0", "redis://h:1/0?db=sesame"],
)
def test_another_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InputError, match=r"^cache: the URL") as caught:
        make_cache(url, 100)
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)

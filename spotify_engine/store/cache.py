"""Vectors that were computed once and may be asked for again: in memory, or in Redis."""

from __future__ import annotations

import logging
import struct
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from spotify_engine.errors import InputError

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

ENTRY_BYTES = 200  # what an entry of a dict and an array's header take, about
PREFIX = b"spotify-engine:vector:"
HEADER = struct.Struct("<II")  # length and CRC-32 of the float32 values after it
TTL_S = 24 * 3600
TIMEOUT_S, PAUSE_S = 0.25, 5.0


class VectorCache(Protocol):
    """Keys are opaque: whoever asks puts into them all that a vector depends on.

    A vector is float32 ``[dimensions]``, finite, and comes back read-only. Any of them may be gone
    at any time. Threads may share a cache.
    """

    def get(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """In the order of the keys; None where there is no vector."""

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep vectors.

        Raises:
            ValueError: a vector has not one dimension.
        """


class MemoryCache:
    """Forgets what was not asked for longest once ``max_bytes`` are used.

    By hand: ``cachetools.LRUCache`` measures no keys, and forgets too many where one is replaced.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._vectors: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """The vector of each key; None where there is none."""
        with self._lock:
            found = [self._vectors.get(key) for key in keys]
            for key, vector in zip(keys, found, strict=True):
                if vector is not None:
                    self._vectors.move_to_end(key)
        return found

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep copies of vectors, and forget those unused the longest."""
        copies = {key: _vector(values).copy() for key, values in vectors.items()}
        with self._lock:
            for key, vector in copies.items():
                vector.flags.writeable = False
                if (old := self._vectors.pop(key, None)) is not None:
                    self.bytes -= _size(key, old)
                self._vectors[key] = vector
                self.bytes += _size(key, vector)
            while self.bytes > self.max_bytes:
                key, vector = self._vectors.popitem(last=False)
                self.bytes -= _size(key, vector)


class RedisCache:
    """Shared by all servers that name the same Redis.

    When Redis doesn't answer within a quarter of a second, or with an error, that is a miss and
    counts as a failure; then it isn't asked for some seconds, so that few requests wait for it.

    Args:
        url: ``redis://[[user]:password@]host[:port][/database]``.
        ttl_s: seconds after which a vector is forgotten.

    Attributes:
        failures: how often Redis failed to answer.
    """

    def __init__(self, url: str, ttl_s: int = TTL_S, pause_s: float = PAUSE_S) -> None:
        """Connect to Redis on first use.

        Raises:
            InputError: the URL can't be understood. Whether Redis answers is not asked.
        """
        if not url.startswith("redis://") or "?" in url:
            raise InputError("cache: the URL is not of the form redis://host:port/database")
        try:
            self._redis = redis.Redis.from_url(
                url,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            # Its text may hold the password.
            raise InputError("cache: the URL's port or database is not a number") from error
        self.failures = 0
        self._ttl_s, self._pause_s = ttl_s, pause_s
        self._resume = 0.0  # by the monotonic clock
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """The vector of each key; None where there is none, or Redis fails."""
        if not keys:
            return []
        values = self._ask(lambda: self._redis.mget([PREFIX + key for key in keys]))
        if values is None:
            return [None] * len(keys)
        return [_decode(value) for value in values]

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep vectors for as long as was set; nothing where Redis fails."""
        values = {key: _encode(_vector(values)) for key, values in vectors.items()}

        def send() -> list[object]:
            pipeline = self._redis.pipeline(transaction=False)
            for key, value in values.items():
                pipeline.set(PREFIX + key, value, ex=self._ttl_s)
            return pipeline.execute()

        if values:
            self._ask(send)

    def _ask(self, question: Callable[[], Answer]) -> Answer | None:
        if time.monotonic() < self._resume:
            return None
        try:
            return question()
        except (redis.RedisError, OSError) as error:
            kind = type(error).__name__  # its text may hold the password
            log.info("no answer from Redis (%s); not asked for %g s", kind, self._pause_s)
            with self._lock:
                self.failures += 1
                self._resume = time.monotonic() + self._pause_s
            return None


def make_cache(url: str | None, max_bytes: int) -> VectorCache:
    """Redis where a URL names one, else memory, of at most ``max_bytes``.

    Raises:
        InputError: the URL is of something else.
    """
    return MemoryCache(max_bytes) if url is None else RedisCache(url)


def _vector(values: np.ndarray) -> np.ndarray:
    vector = np.asarray(values, dtype="<f4")
    if vector.ndim != 1:
        raise ValueError(f"a vector has one dimension, not {vector.ndim}")
    return vector


def _size(key: bytes, vector: np.ndarray) -> int:
    return ENTRY_BYTES + len(key) + vector.nbytes


def _encode(vector: np.ndarray) -> bytes:
    content = vector.tobytes()
    return HEADER.pack(len(vector), zlib.crc32(content)) + content


def _decode(value: object) -> np.ndarray | None:
    """None for what is not exactly what :func:`_encode` gave for finite values."""
    if not isinstance(value, bytes) or len(value) < HEADER.size:
        return None
    length, checksum = HEADER.unpack_from(value)
    content = value[HEADER.size :]
    if len(content) != 4 * length or zlib.crc32(content) != checksum:
        return None
    vector = np.frombuffer(content, dtype="<f4")
    return vector if np.isfinite(vector).all() else None

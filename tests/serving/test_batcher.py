"""Batches are of what waited, and belong to one engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from spotify_engine.serving.engines.batcher import Batcher


class Doubler:
    """Doubles numbers once it is let; negative ones are wrong, 13 breaks the whole batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()

    def answer(self, requests: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(requests))
        assert self.open.wait(10)
        if 13 in requests:
            raise RuntimeError("13")
        return [ValueError(n) if n < 0 else 2 * n for n in requests]


@pytest.fixture
def executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def test_what_arrives_meanwhile_is_answered_together(executor: ThreadPoolExecutor) -> None:
    async def work() -> None:
        sizes: list[int] = []
        batcher: Batcher[int, int] = Batcher(executor, 4, sizes.append)
        engine = Doubler()
        asked = [asyncio.create_task(batcher.submit(engine, n)) for n in range(8)]
        await asyncio.sleep(0.05)
        first = list(engine.batches)
        engine.open.set()
        assert await asyncio.gather(*asked) == [2 * n for n in range(8)]
        # The first starts alone or with those that were submitted before the loop came round.
        assert first == [[0, 1, 2, 3]]
        assert engine.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert sizes == [4, 4]

    asyncio.run(work())


def test_one_that_finds_nobody_does_not_wait(executor: ThreadPoolExecutor) -> None:
    async def work() -> None:
        batcher: Batcher[int, int] = Batcher(executor, 4)
        engine = Doubler()
        engine.open.set()
        assert [await batcher.submit(engine, n) for n in (1, 2)] == [2, 4]
        assert engine.batches == [[1], [2]]

    asyncio.run(work())


def test_a_batch_is_of_one_engine(executor: ThreadPoolExecutor) -> None:
    async def work() -> None:
        batcher: Batcher[int, int] = Batcher(executor, 8)
        old, new = Doubler(), Doubler()
        asked = [
            asyncio.create_task(batcher.submit(engine, n))
            for n, engine in enumerate([old, old, new, old])
        ]
        old.open.set()
        new.open.set()
        assert await asyncio.gather(*asked) == [0, 2, 4, 6]
        assert (old.batches, new.batches) == ([[0, 1], [3]], [[2]])

    asyncio.run(work())


def test_a_failure_is_its_own(executor: ThreadPoolExecutor) -> None:
    async def work() -> None:
        batcher: Batcher[int, int] = Batcher(executor, 8)
        engine = Doubler()
        engine.open.set()
        asked = [batcher.submit(engine, n) for n in (1, -2, 13, 4)]
        one, wrong, broken, four = await asyncio.gather(*asked, return_exceptions=True)
        assert (one, four) == (2, 8)
        assert isinstance(wrong, ValueError)
        assert isinstance(broken, RuntimeError)

    asyncio.run(work())


def test_who_has_gone_is_not_computed(executor: ThreadPoolExecutor) -> None:
    async def work() -> None:
        batcher: Batcher[int, int] = Batcher(executor, 1)
        engine = Doubler()
        asked = [asyncio.create_task(batcher.submit(engine, n)) for n in range(3)]
        await asyncio.sleep(0.05)
        asked[1].cancel()
        engine.open.set()
        assert [await asked[0], await asked[2]] == [0, 4]
        assert engine.batches == [[0], [2]]

    asyncio.run(work())

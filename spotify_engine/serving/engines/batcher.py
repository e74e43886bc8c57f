"""Requests that arrive while others are computed are computed together next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Generic, Protocol, TypeVar

Ask = TypeVar("Ask")
Reply = TypeVar("Reply")
AskIn = TypeVar("AskIn", contravariant=True)
ReplyOut = TypeVar("ReplyOut", covariant=True)


class Answers(Protocol[AskIn, ReplyOut]):
    """Answers requests together, in order; an exception fails only the request in its place."""

    def answer(self, requests: Sequence[AskIn], /) -> Sequence[ReplyOut | Exception]:
        """Answer requests together: to each a reply or what is wrong with it."""


class Batcher(Generic[Ask, Reply]):
    """Hands requests to an engine's ``answer`` in an executor, several at once.

    A request that finds nothing in progress starts at once; nothing ever waits for company. Each is
    answered by the engine that it was submitted to.
    """

    def __init__(
        self, executor: Executor, most: int, measure: Callable[[int], None] = lambda size: None
    ) -> None:
        """Begin without a queue.

        Args:
            most: requests at once.
            measure: told the size of each batch.
        """
        self._executor, self._most, self._measure = executor, most, measure
        self._waiting: deque[tuple[Answers[Ask, Reply], Ask, asyncio.Future[Reply]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, engine: Answers[Ask, Reply], request: Ask) -> Reply:
        """The engine's answer.

        Raises:
            Exception: what the engine answered or raised for this request.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((engine, request, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            engine = self._waiting[0][0]
            batch: list[tuple[Ask, asyncio.Future[Reply]]] = []
            while self._waiting and self._waiting[0][0] is engine and len(batch) < self._most:
                _, request, future = self._waiting.popleft()
                # Who asked may have gone.
                if not future.done():
                    batch.append((request, future))
            if batch:
                self._measure(len(batch))
                await self._run(engine, batch)

    async def _run(
        self, engine: Answers[Ask, Reply], batch: Sequence[tuple[Ask, asyncio.Future[Reply]]]
    ) -> None:
        loop = asyncio.get_running_loop()
        replies: Sequence[Any]
        try:
            replies = await loop.run_in_executor(
                self._executor, engine.answer, [request for request, _ in batch]
            )
        except Exception as error:
            if len(batch) > 1:
                # One request must not fail those that happened to come with it.
                for one in batch:
                    await self._run(engine, [one])
                return
            replies = [error]
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

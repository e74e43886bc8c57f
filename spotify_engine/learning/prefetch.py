"""Preparing the next step while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")


def prepared_ahead(
    items: Iterable[Item], prepare: Callable[[Item], Prepared]
) -> Iterator[Prepared]:
    """``prepare`` of each item, in order, each computed while its predecessor is in use.

    One item is prepared ahead and no more, in one thread of its own, in which ``items`` advance
    too. What either raises is raised here, in its turn.
    """
    source = iter(items)
    done = object()

    def following() -> Prepared | object:
        item = next(source, done)
        return done if item is done else prepare(item)  # type: ignore[arg-type]

    with ThreadPoolExecutor(1, "prepare") as thread:
        waiting = thread.submit(following)
        while (prepared := waiting.result()) is not done:
            waiting = thread.submit(following)
            yield prepared  # type: ignore[misc]

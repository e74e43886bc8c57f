"""Progress of long work, reported to whoever watches; the work itself knows nothing of printing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Protocol, TypeVar

T = TypeVar("T")
QUIET_SECONDS = 3.0  # what is done sooner needs no news
SECONDS_BETWEEN_NEWS = 5.0


class Watch(Protocol):
    """Passes steps on one by one, and may tell of each."""

    def __call__(self, steps: Iterable[T], what: str, total: int) -> Iterable[T]:
        """Watch steps go by.

        Args:
            what: is done, in words.
            total: how many steps there are.
        """


def unwatched(steps: Iterable[T], what: str, total: int) -> Iterable[T]:
    """Nobody watches."""
    return steps


def telling(say: Callable[[str], None], clock: Callable[[], float] = perf_counter) -> Watch:
    """Tells now and then how many steps are done, and about how long the others take.

    In whole lines: a bar that is redrawn doesn't survive a log.

    Args:
        say: prints a line.
        clock: seconds.
    """

    def watch(steps: Iterable[T], what: str, total: int) -> Iterator[T]:
        began = clock()
        next_news = began + QUIET_SECONDS
        for done, step in enumerate(steps):
            now = clock()
            if done and now >= next_news:
                next_news = now + SECONDS_BETWEEN_NEWS
                left = (now - began) / done * (total - done)
                say(f"{what}: {done} of {total}, about {_rounded(left)} left")
            yield step

    return watch


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"

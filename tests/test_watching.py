"""What is told of long work: nothing of short work, and how much is left of the rest."""

from __future__ import annotations

from collections.abc import Iterator

from spotify_engine.watching import telling, unwatched


def told(seconds: list[float]) -> list[str]:
    """What is said of steps that take so long."""
    now = 0.0
    lines: list[str] = []

    def steps() -> Iterator[int]:
        nonlocal now
        for number, each in enumerate(seconds):
            yield number
            now += each

    watch = telling(lines.append, lambda: now)
    assert list(watch(steps(), "fitted", len(seconds))) == list(range(len(seconds)))
    return lines


def test_short_work_is_not_told_of() -> None:
    assert told([0.5] * 5) == []


def test_what_is_left_is_judged_by_what_is_done() -> None:
    assert told([4.0] * 4) == ["fitted: 1 of 4, about 12 s left", "fitted: 3 of 4, about 4 s left"]


def test_many_short_steps_are_told_of_now_and_then() -> None:
    lines = told([0.1] * 200)
    assert 3 <= len(lines) <= 5
    assert lines[-1].startswith("fitted: 1")


def test_long_work_is_told_of_in_minutes() -> None:
    assert told([100.0] * 4)[0] == "fitted: 1 of 4, about 5 min left"


def test_unwatched_work_is_the_work() -> None:
    assert list(unwatched([1, 2], "fitted", 2)) == [1, 2]

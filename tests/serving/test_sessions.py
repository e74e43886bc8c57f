"""Which stored plays are of this session."""

from __future__ import annotations

import pytest

from spotify_engine.serving.engines.sessions import Heard, split_plays
from spotify_engine.store.events import Play

MINUTE = 60_000


@pytest.mark.parametrize(
    ("minutes", "now", "expected"),
    [
        ([], 100, Heard([], [])),
        ([95, 98], 100, Heard([], ["95", "98"])),
        ([10, 95, 98], 100, Heard(["10"], ["95", "98"])),
        ([10, 40, 70, 100], 130, Heard([], ["10", "40", "70", "100"])),
        ([10, 40, 70, 100], 131, Heard(["10", "40", "70", "100"], [])),
        ([95, 98, 101], 100, Heard([], ["95", "98"])),
    ],
)
def test_a_pause_ends_a_session(minutes: list[int], now: int, expected: Heard) -> None:
    plays = [Play("u", str(minute), 1, minute * MINUTE) for minute in minutes]
    assert split_plays(plays, now * MINUTE, 30 * MINUTE) == expected

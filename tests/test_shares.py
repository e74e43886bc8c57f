"""When attention tells tracks apart, and when it doesn't."""

from __future__ import annotations

import numpy as np
import pytest

from spotify_engine.shares import EVEN, is_even


@pytest.mark.parametrize("n", [1, 2, 10, 300])
def test_equal_shares_are_even_whatever_their_number(n: int) -> None:
    assert is_even(np.full(n, 1 / n, np.float32))


def test_what_differs_by_more_than_two_decimals_show_is_not_even() -> None:
    shares = np.full(4, 0.25)
    assert is_even(shares + 0.25 * EVEN * np.array([0.9, -0.9, 0, 0]))
    assert not is_even(shares + 0.25 * EVEN * np.array([1.1, -1.1, 0, 0]))
    assert not is_even(np.array([0.7, 0.3]))

"""Parts of a whole, and standings among all, as whole percentages that are true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EVEN = 0.02
"""Attention within so much of 1/n, relatively, tells nobody apart: two decimals show none of it."""


def percentages(parts: Sequence[float]) -> list[int]:
    """Whole percentages of non-negative parts that add up to exactly 100 (0s if all are 0).

    What rounding down leaves goes to the largest remainders (Hamilton's method).
    """
    values = np.asarray(parts, np.float64)
    if values.sum() <= 0:
        return [0] * len(values)
    exact = 100 * values / values.sum()
    whole = np.floor(exact).astype(int)
    missing = 100 - int(whole.sum())
    order = np.lexsort((np.arange(len(values)), -(exact - whole)))
    whole[order[:missing]] += 1
    return [int(value) for value in whole]


def standings(popularity: np.ndarray) -> np.ndarray:
    """int ``[n]``: above how many whole percent of all each one is, 0 to 99; rounded down."""
    below = np.searchsorted(np.sort(popularity), popularity, side="left")
    found: np.ndarray = 100 * below // max(len(popularity), 1)
    return found


def shown_of(weights: np.ndarray, shown: np.ndarray) -> str:
    """A note, in brackets, of how much of many weights a picture shows; empty where it shows all.

    Args:
        weights: ``[n]``.
        shown: places in ``weights``.
    """
    if len(shown) == len(weights):
        return ""
    covered = int(100 * weights[shown].sum() / weights.sum())
    return f" ({len(shown)} of {len(weights)}, {covered}% of it)"


def is_even(weights: np.ndarray) -> bool:
    """Whether attention ``[n]`` that sums to 1 gives each the same, as far as anyone could see."""
    return bool(np.all(np.abs(weights * len(weights) - 1) <= EVEN))

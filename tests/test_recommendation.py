"""What may be said as a reason, and how numbers and counts are said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.recommendation import (
    REST,
    Reason,
    counted,
    part_of,
    reasons_for,
    written,
)
from spotify_engine.shares import percentages, standings

NUMBERS = st.floats(-10, 10, allow_subnormal=False)


@given(st.lists(NUMBERS, max_size=8), NUMBERS)
def test_reasons_are_at_least_a_hundredth_and_sum_to_the_score(
    terms: list[float], unsaid: float
) -> None:
    score = sum(terms) + unsaid
    found = reasons_for(score, [Reason(str(i), "so", term) for i, term in enumerate(terms)])
    assert sum(each.contribution for each in found) == pytest.approx(score, rel=1e-4, abs=1e-4)
    said = [each for each in found if each.kind != REST]
    assert all(each.contribution > 0 for each in said)
    assert all(each.contribution >= 0.01 * abs(score) for each in said)
    assert len(found) - len(said) <= 1, "one rest"
    wanted = [str(i) for i, term in enumerate(terms) if term > 0 and term >= 0.01 * abs(score)]
    assert [each.kind for each in said] == wanted, "in their order, and none is lost"


def test_the_rest_is_said_by_hand() -> None:
    found = reasons_for(1.0, [Reason("a", "so", 0.9), Reason("b", "hardly", 0.009)])
    assert [(each.kind, each.contribution) for each in found] == [
        ("a", 0.9), (REST, pytest.approx(0.1)),
    ]  # fmt: skip
    assert [each.kind for each in reasons_for(1.0, [Reason("a", "so", 1.0)])] == ["a"]
    assert reasons_for(0.0, []) == []
    lowered = reasons_for(0.5, [Reason("a", "so", 0.9), Reason("b", "no", -0.4)])
    assert [(each.kind, each.contribution) for each in lowered] == [
        ("a", 0.9), (REST, pytest.approx(-0.4)),
    ]  # fmt: skip


def test_attention_that_no_reason_has_is_the_rests() -> None:
    said = [Reason("seed", "so", 1.0, attention=0.75)]
    assert reasons_for(1.0, said, attention=1.0)[-1].attention == 0.25
    assert reasons_for(1.0, [Reason("seed", "so", 1.0, attention=1.0)], attention=1.0)[-1].text


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9))
def test_percentages_are_whole_and_add_up(parts: list[float]) -> None:
    found = percentages(parts)
    assert sum(found) == (100 if sum(parts) > 0 else 0)
    for value, part in zip(found, parts, strict=True):
        assert abs(value - 100 * part / (sum(parts) or 1)) < 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=400))
def test_nothing_stands_above_all_and_ties_are_not_above_each_other(counts: list[int]) -> None:
    popularity = np.array(counts)
    for count, above in zip(counts, standings(popularity).tolist(), strict=True):
        assert 0 <= above <= 99
        assert above <= 100 * (popularity < count).mean() < above + 1


def test_numbers_are_said_in_words() -> None:
    assert [counted(n, "track") for n in (0, 1, 2, 1000)] == [
        "0 tracks", "1 track", "2 tracks", "1,000 tracks",
    ]  # fmt: skip
    assert part_of(1, 1, "your", "play") == "your only play"
    assert part_of(1, 3, "your", "play") == "1 of your 3 plays"
    assert [written(x) for x in (0.5, 0.004, 0.0, -0.0004)] == ["0.50", "0.004", "0.00", "-0.0004"]
    assert written(0.004, "+") == "+0.004"

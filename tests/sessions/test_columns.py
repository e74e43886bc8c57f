from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.sessions.columns import read_floats, read_integers, read_times

NOON = 1_736_683_200  # 2025-01-12T12:00:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-01-12T12:00:00Z", NOON),
        ("2025-01-12T12:00:00", NOON),
        (" 2025-01-12 12:00:00 ", NOON),
        ("2025-01-12T12:00", NOON),
        ("2025-01-12", NOON - 12 * 3600),
        ("2025-01-12T12:00:00.999Z", NOON),
        ("2025-01-12T14:00:00+02:00", NOON),
        ("2025-01-12T07:00:00-0500", NOON),
        ("2025-01-12T17:30:00+05:30", NOON),
        ("2025-01-12 12:00:00 UTC", NOON),
        (str(NOON), NOON),
        (f"{NOON}.25", NOON),
        (f"{NOON}987", NOON),
        ("2024-02-29T00:00:00Z", 1_709_164_800),
    ],
)
def test_times_that_are_read(text: str, seconds: int) -> None:
    # Alone, and beside a text that isn't a time, which takes the slower way.
    for others in ([], ["nonsense"]):
        found, ok = read_times(pa.array([text, *others]))
        assert (found[0], ok[0]) == (seconds, True)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2025-02-30T00:00:00Z", "2025-13-01T00:00:00Z", "2025-01-12T24:00:01Z",
     "2023-02-29", "1960-01-01T00:00:00Z", "2150-01-01T00:00:00Z", "99999999999999", "-5",
     "12/01/2025 12:00", "2025-01-12T12:00:00Zzz", "nan"],
)  # fmt: skip
def test_times_that_are_refused(text: str) -> None:
    found, ok = read_times(pa.array([text, "2025-01-12T12:00:00Z"]))
    assert ok.tolist() == [False, True]
    assert found.tolist() == [0, NOON]


@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30)),
            st.integers(-14 * 4, 14 * 4),
            st.integers(0, 4),
        ),
        max_size=20,
    )
)
def test_times_agree_with_datetime_in_any_mixture(moments) -> None:
    texts, expected = [], []
    for moment, quarters, form in moments:
        moment = moment.replace(microsecond=0)
        zone = timezone(timedelta(minutes=15 * quarters))
        aware = moment.replace(tzinfo=zone if form == 1 else UTC)
        seconds = int(aware.timestamp())
        forms = [f"{moment.isoformat()}Z", aware.isoformat(), moment.isoformat(" "), str(seconds)]
        # Before 1973, milliseconds look like seconds.
        in_ms = f"{seconds}000" if seconds >= 10**8 else str(seconds)
        texts.append([*forms, in_ms][form])
        expected.append(seconds)
    found, ok = read_times(pa.array(texts, pa.string()))
    inside = [0 <= seconds < 4_102_444_800 for seconds in expected]
    assert ok.tolist() == inside
    assert found[ok].tolist() == [each for each, good in zip(expected, inside, strict=True) if good]


def test_integers() -> None:
    values, ok = read_integers(pa.array(["12", " 7 ", "3.0", "-4", "+5", "", "1.5", "1e3", "x"]))
    assert ok.tolist() == [True] * 5 + [False] * 4
    assert values.tolist() == [12, 7, 3, -4, 5, 0, 0, 0, 0]
    assert read_integers(pa.array(["1", "-2"]))[0].tolist() == [1, -2]


def test_floats() -> None:
    values, ok = read_floats(
        pa.array(["0.5", "1", ".25", "-1e-3", "+2.", "nan", "inf", "", "1e999"])
    )
    assert ok.tolist() == [True] * 5 + [False] * 4
    np.testing.assert_allclose(values, [0.5, 1, 0.25, -0.001, 2, 0, 0, 0, 0])

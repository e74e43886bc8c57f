from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotify_engine.sessions.tables.columns import (
    AT_ZERO,
    IN_DAYS,
    IN_FUTURE,
    NO_TIME,
    ROUNDED,
    TOO_EARLY,
    UNPARSABLE,
    read_floats,
    read_integers,
    read_times,
    time_faults,
)

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
        (f"{NOON}987654", NOON),
        (f"{NOON}987654321", NOON),
        ("2025/01/12 12:00:00", NOON),
        ("2025/1/12 12:00", NOON),
        ("2025.01.12 12:00", NOON),
        ("2025-01-12 9:30", NOON - 9000),
        ("-5", -5),
        ("1960-01-01T00:00:00Z", -315_619_200),
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
     "2023-02-29", "2025/02/30", "12/01/2025 12:00", "2025-01-12T12:00:00Zzz", "nan",
     "2025-01-12 03:06 PM", "1.7E+09", "1736683200987654321987"],
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
    assert ok.all()
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # Unknown times that became the beginning of unix time, in seconds, milliseconds and ISO.
        ("0", AT_ZERO),
        ("0.0", AT_ZERO),
        ("000", AT_ZERO),
        ("-1", AT_ZERO),
        ("86399999", TOO_EARLY),  # 1972
        ("1000", AT_ZERO),
        ("1970-01-01", AT_ZERO),
        ("1970-01-01T00:00:00Z", AT_ZERO),
        ("1969-12-31 19:00:00", AT_ZERO),
        ("1970-01-20T16:13:37Z", AT_ZERO),  # seconds taken for milliseconds by whoever wrote it
        # The zeros of other clocks.
        ("1904-01-01 00:00:00", TOO_EARLY),
        ("1900-01-01", TOO_EARLY),
        ("0001-01-01 00:00:00", TOO_EARLY),
        ("-2208988800", TOO_EARLY),
        ("-2208988800000", TOO_EARLY),
        ("1999-12-31T23:59:59Z", TOO_EARLY),
        # Stand-ins for never, and units mixed up.
        ("9999-12-31 23:59:59", IN_FUTURE),
        ("2147483647", IN_FUTURE),
        ("4294967295", IN_FUTURE),
        ("99999999999999999", IN_FUTURE),
        ("9223372036854775807", IN_FUTURE),
        ("2025-01-13T00:00:00Z", IN_FUTURE),
        ("", NO_TIME),
        ("null", NO_TIME),
        ("NaT", NO_TIME),
        ("0000-00-00 00:00:00", NO_TIME),
        ("45669.5", IN_DAYS),
        ("45669", IN_DAYS),
        ("1.73668E+12", ROUNDED),
        ("15 Nov 2023, 03:06", UNPARSABLE),
        ("12/01/2025 12:00", UNPARSABLE),
        ("12.01.2025 12:00", UNPARSABLE),
        ("2025-02-30", UNPARSABLE),
    ],
)
def test_what_is_no_time_of_a_play_is_told_apart(text: str, reason: str) -> None:
    latest = NOON + 12 * 3600
    for others in ([], ["2025-01-12T12:00:00Z", f"{NOON}000"], ["nonsense", "", "0"]):
        found, faults = time_faults(pa.array([*others, text]), latest)
        assert [name for name, hit in faults.items() if hit[-1]] == [reason]
        if len(others) == 2:
            assert found[:2].tolist() == [NOON, NOON]
            assert not any(hit[:2].any() for hit in faults.values())


def test_plays_lie_from_2000_to_now() -> None:
    text = pa.array(["2000-01-01", "2025-01-12T11:59:59Z"])
    assert time_faults(text, NOON)[1] == {}


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

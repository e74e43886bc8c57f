"""Columns of text to numbers and times, with what can't be read marked instead of raised."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Date, clock (with seconds or without), fraction, zone: those of ISO 8601, with "T" or a blank, and
# with slashes or dots, as long as the year comes first.
_ISO = (
    r"^(?P<year>\d{4})(?:-(?P<month>\d{2})-|/(?P<slashed>\d{1,2})/|\.(?P<dotted>\d{1,2})\.)"
    r"(?P<day>\d{1,2})(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?(?:[.,]\d+)?"
    r"[ ]?(?:Z|z|UTC|(?P<sign>[+-])(?P<zone_hour>\d{2}):?(?P<zone_minute>\d{2})?)?)?$"
)
_NUMBER = r"^-?\d{1,19}(?:\.\d*)?$"
# From here on a number is in milliseconds, in microseconds: the year 5138 in the unit before.
_MILLISECONDS_FROM, _MICROSECONDS_FROM = 10**11, 10**14
DAY = 86_400
EARLIEST = 946_684_800  # 2000: nobody's listening was written down before
LATEST = 4_102_444_800  # 2100
NO_TIME = "no timestamp"
AT_ZERO = "timestamp 0 or in 1970"
TOO_EARLY = "timestamp before 2000"
IN_FUTURE = "timestamp in the future"
IN_DAYS = "timestamp in a spreadsheet's days"
ROUNDED = "timestamp in scientific notation"
UNPARSABLE = "unparsable timestamp"
_NOTHING = r"(?i)^(?:|null|none|nan|nat|n/?a|\\n|0000-00-00(?:[T ]00:00:00)?Z?)$"
_SCIENTIFIC = r"^\d(?:[.,]\d+)?[eE]\+?\d{1,2}$"
_YEAR_OF_ZERO = (-DAY, 365 * DAY)  # 1970, and what it is west of Greenwich
_DAYS = (36_526, 73_051)  # 2000 to 2100, as spreadsheets count since 1900


def read_times(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since 1970 of ISO 8601 texts and unix times, mixed as they may be.

    A text without a zone is UTC; fractions of a second are dropped. A number is in seconds, or in
    milliseconds, microseconds and nanoseconds from 10^11, 10^14 and 10^18 on.

    Returns:
        ``(seconds, ok)``: int64 and bool ``[n]``; not ok, and 0, where a text is none of these.
    """
    text = pc.utf8_trim_whitespace(text)
    try:
        # One format throughout is the usual case, and many times as fast.
        bare = pc.utf8_rtrim(text, characters="Z")
        seconds = bare.cast(pa.timestamp("s")).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return seconds, np.ones(len(text), bool)
    except pa.ArrowInvalid:
        seconds, ok = _mixed_times(text)
        return np.where(ok, seconds, 0), ok


def time_faults(text: pa.StringArray, latest: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """:func:`read_times`, and why some can't be when somebody listened.

    Args:
        latest: seconds since 1970; plays lie from ``EARLIEST`` up to this.

    Returns:
        (seconds int64 ``[n]``; bool ``[n]`` by reason, no row in two of them)
    """
    seconds, ok = read_times(text)
    low, high = _YEAR_OF_ZERO
    odd = np.flatnonzero(~ok | (seconds < EARLIEST) | (seconds >= latest))
    faults: dict[str, np.ndarray] = {}
    if len(odd):
        kind = pc.utf8_trim_whitespace(text.take(pa.array(odd)))
        told, at = ok[odd], seconds[odd]

        def like(pattern: str) -> np.ndarray:
            return pc.match_substring_regex(kind, pattern).to_numpy(zero_copy_only=False)

        in_days = told & like(_NUMBER) & (at >= _DAYS[0]) & (at < _DAYS[1])
        left = np.ones(len(odd), bool)
        for reason, hit in (
            (NO_TIME, like(_NOTHING)),
            (ROUNDED, ~told & like(_SCIENTIFIC)),
            (UNPARSABLE, ~told),
            (IN_DAYS, in_days),
            (AT_ZERO, (at >= low) & (at < high)),
            (IN_FUTURE, at >= latest),
            (TOO_EARLY, at < EARLIEST),
        ):
            if (left & hit).any():
                faults[reason] = np.zeros(len(text), bool)
                faults[reason][odd[left & hit]] = True
                left &= ~hit
    return seconds, faults


def _mixed_times(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    seconds, ok = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    number = pc.match_substring_regex(text, _NUMBER).to_numpy(zero_copy_only=False)
    # The fraction; and of nanoseconds, which alone have 19 digits, what is finer than microseconds.
    whole = pc.replace_substring_regex(text.filter(pa.array(number)), r"\..*$", "")
    if (pc.max(pc.utf8_length(whole)).as_py() or 0) > 18:
        whole = pc.replace_substring_regex(whole, r"^(-?\d{16})\d{3}$", r"\1")
    value = whole.cast(pa.int64()).to_numpy()
    size = np.abs(value)
    unit = np.where(
        size >= _MICROSECONDS_FROM, 10**6, np.where(size >= _MILLISECONDS_FROM, 1000, 1)
    )
    seconds[number], ok[number] = value // unit, True
    rest = np.flatnonzero(~number)
    parts = pc.extract_regex(text.take(pa.array(rest)), _ISO)
    matched = parts.is_valid().to_numpy(zero_copy_only=False)
    rest, parts = rest[matched], parts.filter(pa.array(matched))
    found = {
        field.name: _integer(parts.field(field.name))
        for field in parts.type
        if field.name != "sign"
    }
    month = found["month"] + found["slashed"] + found["dotted"]
    local, real = _calendar(
        found["year"], month, found["day"], found["hour"], found["minute"], found["second"]
    )
    zone = 3600 * found["zone_hour"] + 60 * found["zone_minute"]
    behind = pc.equal(parts.field("sign"), "-").to_numpy(zero_copy_only=False)
    seconds[rest] = local - np.where(behind, -zone, zone)
    ok[rest] = real
    return seconds, ok


def _integer(text: pa.StringArray) -> np.ndarray:
    """int64 ``[n]``; a part that isn't there is 0."""
    return pc.if_else(pc.equal(text, ""), "0", text).cast(pa.int64()).to_numpy()


def _calendar(
    year: np.ndarray,
    month: np.ndarray,
    day: np.ndarray,
    hour: np.ndarray,
    minute: np.ndarray,
    second: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since 1970; not ok where the calendar or the clock hasn't such a moment."""
    ok = (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    months = (year - 1970) * 12 + np.where(ok, month, 1) - 1
    first = months.astype("datetime64[M]")
    days = first.astype("datetime64[D]").astype(np.int64)
    ok &= day <= (first + 1).astype("datetime64[D]").astype(np.int64) - days
    return (days + day - 1) * DAY + hour * 3600 + minute * 60 + second, ok


def read_integers(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """``(values, ok)``: int64 and bool ``[n]``; not ok, and 0, where a text is no whole number.

    ``12.0`` is one: spreadsheets and pandas write integers so.
    """
    text = pc.utf8_trim_whitespace(text)
    try:
        return text.cast(pa.int64()).to_numpy(zero_copy_only=False), np.ones(len(text), bool)
    except pa.ArrowInvalid:
        ok = pc.match_substring_regex(text, r"^[+-]?\d{1,18}(?:\.0*)?$")
        whole = pc.replace_substring_regex(pc.if_else(ok, text, "0"), r"\.0*$|^\+", "")
        return whole.cast(pa.int64()).to_numpy(), ok.to_numpy(zero_copy_only=False)


def read_floats(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """``(values, ok)``: float64 and bool ``[n]``; not ok, and 0, where a text isn't finite."""
    text = pc.utf8_trim_whitespace(text)
    ok = pc.match_substring_regex(text, r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?$")
    values = pc.replace_substring_regex(pc.if_else(ok, text, "0"), r"^\+", "").cast(pa.float64())
    return values.to_numpy(), ok.to_numpy(zero_copy_only=False)

"""Columns of text to numbers and times, with what can't be read marked instead of raised."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Date, clock (with seconds or without), fraction, zone: those of ISO 8601, with "T" or a blank.
_ISO = (
    r"^(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<clock>\d{2}:\d{2})(?P<second>:\d{2})?(?:[.,]\d+)?"
    r"[ ]?(?:Z|z|UTC|(?P<sign>[+-])(?P<zone_hour>\d{2}):?(?P<zone_minute>\d{2})?)?)?$"
)
_NUMBER = r"^\d{1,18}(?:\.\d*)?$"
# Seconds would be in the year 5138, milliseconds are in 1973.
_MILLISECONDS_FROM = 10**11
EARLIEST, LATEST = 0, 4_102_444_800  # 1970 and 2100, seconds


def read_times(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since 1970 of ISO 8601 texts, unix seconds and unix milliseconds, mixed as they may.

    A text without a zone is UTC; fractions of a second are dropped. A number from 10^11 on is
    milliseconds.

    Returns:
        ``(seconds, ok)``: int64 and bool ``[n]``; not ok, and 0, where a text is none of these or
        isn't between 1970 and 2100.
    """
    text = pc.utf8_trim_whitespace(text)
    try:
        # One format throughout is the usual case, and many times as fast.
        bare = pc.utf8_rtrim(text, characters="Z")
        seconds = bare.cast(pa.timestamp("s")).cast(pa.int64()).to_numpy(zero_copy_only=False)
        ok = np.ones(len(text), bool)
    except pa.ArrowInvalid:
        seconds, ok = _mixed_times(text)
    ok = ok & (seconds >= EARLIEST) & (seconds < LATEST)
    return np.where(ok, seconds, 0), ok


def _mixed_times(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    seconds, ok = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    number = pc.match_substring_regex(text, _NUMBER).to_numpy(zero_copy_only=False)
    whole = pc.replace_substring_regex(text.filter(pa.array(number)), r"\..*$", "")
    value = whole.cast(pa.int64()).to_numpy()
    seconds[number] = np.where(value >= _MILLISECONDS_FROM, value // 1000, value)
    ok[number] = True
    rest = np.flatnonzero(~number)
    parts = pc.extract_regex(text.take(pa.array(rest)), _ISO)
    matched = parts.is_valid().to_numpy(zero_copy_only=False)
    rest, parts = rest[matched], parts.filter(pa.array(matched))
    found = {field.name: parts.field(field.name) for field in parts.type}
    clock = _or(found["clock"], "00:00")
    moment = pc.binary_join_element_wise(found["date"], clock, " ")
    moment = pc.binary_join_element_wise(moment, _or(found["second"], ":00"), "")
    # Such as February 30: only a few hundred thousand texts differ in a chunk, at worst.
    local, real = _calendar(moment)
    zone = 3600 * _integer(found["zone_hour"]) + 60 * _integer(found["zone_minute"])
    behind = pc.equal(found["sign"], "-").to_numpy(zero_copy_only=False)
    seconds[rest] = local - np.where(behind, -zone, zone)
    ok[rest] = real
    return seconds, ok


def _or(text: pa.StringArray, default: str) -> pa.StringArray:
    return pc.if_else(pc.equal(text, ""), default, text)


def _integer(text: pa.StringArray) -> np.ndarray:
    return _or(text, "0").cast(pa.int64()).to_numpy()


def _calendar(text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of ``2025-01-31 12:00:00``; not ok where the calendar or the clock hasn't it."""
    year, month, day, hour, minute, second = (
        pc.utf8_slice_codeunits(text, start, stop).cast(pa.int64()).to_numpy()
        for start, stop in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
    )
    ok = (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    months = (year - 1970) * 12 + np.where(ok, month, 1) - 1
    first = months.astype("datetime64[M]")
    days = first.astype("datetime64[D]").astype(np.int64)
    ok &= day <= (first + 1).astype("datetime64[D]").astype(np.int64) - days
    return (days + day - 1) * 86_400 + hour * 3600 + minute * 60 + second, ok


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

"""Changing texts that a test starts from."""

from __future__ import annotations

from typing import AnyStr


def replaced(text: AnyStr, old: AnyStr, new: AnyStr) -> AnyStr:
    """``text`` with ``new`` where ``old`` stands; a test that would change nothing fails."""
    assert old in text, f"{old!r} is not there, so nothing would be tested"
    return text.replace(old, new)

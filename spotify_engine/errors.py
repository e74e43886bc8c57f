"""The one exception that a person is meant to read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """Something the user gave (a file, a flag, a configuration key) can't be used.

    The message is one line that names the file, line or field, says what is wrong with it and what
    to do. Jobs print it without a traceback and exit with code 2.
    """


def problem(error: Mapping[str, Any]) -> str:
    """One of a pydantic ``ValidationError``'s errors in a line."""
    where = ".".join(str(part) for part in error["loc"]) or "configuration"
    message = error["msg"].removeprefix("Value error, ")
    # Of a whole section that does not fit together, the message says what is wrong.
    got = "" if isinstance(error["input"], Mapping) else f" (got {error['input']!r})"
    return f"{where}: {message}{got}"


def hint(name: str, known: Collection[str], cutoff: float = 0.5) -> str:
    """Which of the known names may be meant by one that isn't; all of them where none is alike.

    Args:
        cutoff: how alike at least, 0 to 1.
    """
    near = get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"

"""The cause of a trial's failure, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spotify_engine.tuning.trials import State

MEMORY = ("OutOfMemoryError", "MemoryError", "_ArrayMemoryError")
MEMORY_TEXTS = ("can't allocate memory", "out of memory", "oom killer", "unable to allocate")
LONGEST_TEXT = 500


def failure(error: BaseException) -> tuple[State, str]:
    """State and error, in a line, of a trial that raised this."""
    causes = list(_causes(error))
    memory = [
        each
        for each in causes
        if type(each).__name__ in MEMORY or any(text in str(each).lower() for text in MEMORY_TEXTS)
    ]
    root = (memory or causes)[-1]
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    # Of an error that carries a traceback in its text, the last line says what it was.
    text = f"{type(root).__name__}: {lines[-1] if lines else ''}"[:LONGEST_TEXT]
    return ("out of memory" if memory else "failed"), text


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what lies behind it, the deepest last; also what Ray wraps in its own."""
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        each = pending.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [getattr(each, name, None) for name in ("cause", "_base_exc", "__cause__")]
        pending.append(getattr(each, "controller_failure", None))
        pending += dict(getattr(each, "worker_failures", None) or {}).values()

"""What goes wrong in writing as an error of the user's, and one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spotify_engine.errors import InputError


@contextmanager
def writing(path: Path, remedy: str = "give an --out that can be written") -> Iterator[None]:
    """Let what goes wrong in writing to ``path`` be an error of the user's, with its remedy.

    Raises:
        InputError: the block raised an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InputError(f"{path}: can't be written ({reason}); {remedy}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; the others wait. ``path`` is the lock's own file.

    Closing the file lets the lock go, and so does the death of the process.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""Writing files that a crash, or a loss of power, leaves whole or absent."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
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
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` to write into; it takes that place at the end, or disappears.

    Raises:
        InputError: ``path`` can't be written, or is there and not an empty folder.
    """
    with writing(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(
                f"{path}: already exists and isn't an empty folder; choose another one"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            yield partial
            partial.chmod(0o755)
            os.replace(partial, path)
        except BaseException:
            shutil.rmtree(partial)
            raise


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step, so that a crash leaves the old text or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; the others wait. ``path`` is the lock's own file.

    Closing the file lets the lock go, and so does the death of the process.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or deleted in a folder outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file that is never written to again, in one step."""
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    _link_or_copy(source, partial)
    partial.replace(target)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder whose files are never written to again, in one step; replaces ``target``."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link_or_copy)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _link_or_copy(source: Path | str, target: Path | str) -> None:
    """A hard link costs nothing; another file system needs a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

"""Files and folders that a crash, or a loss of power, leaves as they were or as they were to be.

Everything is written beside its place, put on disk, and moved there in one step. What a killed
writer leaves is hidden, and goes when its place is next written to.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spotify_engine.errors import InputError
from spotify_engine.store.files import writing

log = logging.getLogger(__name__)

_LEFT = re.compile(r"\..+\.[0-9a-f]{12}\.partial(\.[^.]*)?")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A path to write to, of the same suffix; the file takes the place of ``path`` at the end.

    With an error in the block, ``path`` stays as it was.
    """
    clear_leftovers(path.parent, path.name)
    partial = _beside(path)
    try:
        with _held(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)):
            yield partial
            _sync(partial)
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of ``path`` at the end.

    With an error in the block, ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path.parent, path.name)
    partial = _beside(path)
    partial.mkdir()
    try:
        with _held(os.open(partial, os.O_RDONLY | os.O_DIRECTORY)):
            yield partial
            for folder, _, files in os.walk(partial):
                for name in files:
                    _sync(Path(folder, name))
                _sync(Path(folder))
            old = _put(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder as of :func:`replaced_folder`, where there is none yet.

    Raises:
        InputError: ``path`` can't be written, or is there and not an empty folder.
    """
    with writing(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(
                f"{path}: already exists and isn't an empty folder; choose another one"
            )
        with replaced_folder(path) as partial:
            yield partial


def write_text(path: Path, text: str) -> None:
    """Write or replace a file of UTF-8."""
    with replaced_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file that is never written to again."""
    with replaced_file(target) as partial:
        partial.unlink()
        _link_or_copy(source, partial)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder whose files are never written to again; replaces ``target``."""
    with replaced_folder(target) as partial:
        shutil.copytree(source, partial, copy_function=_link_or_copy, dirs_exist_ok=True)


def remove_folder(path: Path) -> None:
    """Delete a folder: it is there, whole, or it isn't."""
    aside = _beside(path)
    path.rename(aside)
    _sync(path.parent)
    shutil.rmtree(aside)


def is_leftover(path: Path) -> bool:
    """Whether this is what a killed writer left, or a living one is about to move."""
    return _LEFT.fullmatch(path.name) is not None


def clear_leftovers(folder: Path, name: str | None = None) -> None:
    """Delete what killed writers left in a folder, of all places in it or of one.

    What a living process writes is held by it, on this machine or another, and stays.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if not is_leftover(path) or not (name is None or path.name.startswith(f".{name}.")):
            continue
        with suppress(OSError):  # held, or somebody else was faster
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                log.info("deleted %s, which a killed process had left", path)
            finally:
                os.close(descriptor)


def _beside(path: Path) -> Path:
    # Some libraries choose a format by the suffix, or add theirs.
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial{path.suffix}")


@contextmanager
def _held(descriptor: int) -> Iterator[None]:
    """Keep others from clearing it as a leftover; the death of the process lets it go."""
    try:
        with suppress(OSError):  # without locks, as on some networks, others leave it alone
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _put(partial: Path, path: Path) -> Path | None:
    """Move a folder to its place; where the old one is now, if there was one."""
    if not path.exists():
        partial.replace(path)
        return None
    if _exchanged(partial, path):
        return partial
    # Killed between these two, there is none: who needs it finds it missing and makes it again.
    aside = _beside(path)
    path.rename(aside)
    try:
        partial.rename(path)
    except OSError:
        aside.rename(path)
        raise
    return aside


def _exchanged(one: Path, other: Path) -> bool:
    """Swap two paths in one step; False where the system or the file system can't."""
    try:
        swap = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    done: int = swap(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE)
    return done == 0


def _sync(path: Path) -> None:
    """Make what was written to a file, or created, moved or deleted in a folder, last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_or_copy(source: Path | str, target: Path | str) -> None:
    """A hard link costs nothing; another file system needs a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

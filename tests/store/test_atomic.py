"""What is written is there whole, or as it was before: whatever ends the writer, and when."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from spotify_engine.errors import InputError
from spotify_engine.store import atomic
from spotify_engine.store.atomic import (
    clear_leftovers,
    copy_file,
    copy_folder,
    is_leftover,
    new_folder,
    remove_folder,
    replaced_file,
    replaced_folder,
    write_text,
)

ROOT = Path(__file__).parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(path: Path, text: str) -> None:
    """Write a file, or a folder of two."""
    if path.suffix:
        write_text(path, text)
        return
    with replaced_folder(path) as partial:
        (partial / "a").write_text(text)
        (partial / "inner").mkdir()
        (partial / "inner" / "b").write_text(text)


def read(path: Path) -> str:
    if path.is_file():
        return path.read_text()
    first, second = (path / "a").read_text(), (path / "inner" / "b").read_text()
    assert first == second
    return first


@pytest.mark.parametrize("name", ["report.json", "folder"])
def test_a_new_one_replaces_the_old_one_and_leaves_nothing_else(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    put(path, "old")
    put(path, "new")
    assert read(path) == "new"
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("replaced", [replaced_file, replaced_folder])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_changes_nothing(
    replaced: Callable[[Path], AbstractContextManager[Path]],
    there: bool,
    error: type[BaseException],
    tmp_path: Path,
) -> None:
    path = tmp_path / ("file.txt" if replaced is replaced_file else "folder")
    if there:
        put(path, "old")

    def fail() -> None:
        with replaced(path) as partial:
            (partial if partial.is_file() else partial / "a").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ([path.name] if there else [])
    assert not there or read(path) == "old"


def test_the_name_that_is_written_to_ends_as_it_should(tmp_path: Path) -> None:
    """Libraries append the suffix that they miss."""
    with replaced_file(tmp_path / "a.npz") as partial:
        sparse.save_npz(partial, sparse.eye(3, format="csr"))
    with replaced_file(tmp_path / "b.npy") as partial:
        np.save(partial, np.arange(3))
    assert names(tmp_path) == ["a.npz", "b.npy"]
    assert sparse.load_npz(tmp_path / "a.npz").shape == (3, 3)


# Dies before the Nth call that changes the disk; says whether it came to its end.
DIES = """
import os, signal, sys
from itertools import count
from pathlib import Path
from spotify_engine.store import atomic

calls, path, n = count(), Path(sys.argv[1]), int(sys.argv[2])
if sys.argv[3] == "renames":
    atomic._exchanged = lambda one, other: False

def dying(function):
    def call(*arguments, **options):
        if next(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

os.fsync, atomic._put = dying(os.fsync), dying(atomic._put)
atomic.shutil.rmtree = dying(atomic.shutil.rmtree)
for name in ("rename", "replace", "write_text", "mkdir"):
    setattr(Path, name, dying(getattr(Path, name)))
if path.suffix:
    atomic.write_text(path, "new")
else:
    with atomic.replaced_folder(path) as partial:
        (partial / "a").write_text("new")
        (partial / "inner").mkdir()
        (partial / "inner" / "b").write_text("new")
print("survived")
"""


@pytest.mark.parametrize(
    ("name", "way"), [("report.json", "swap"), ("folder", "swap"), ("folder", "renames")]
)
def test_a_writer_that_is_killed_leaves_the_old_or_the_new(
    name: str, way: str, tmp_path: Path
) -> None:
    path, deaths, seen = tmp_path / name, 0, set()
    while True:
        put(path, "old")
        assert names(tmp_path) == [name], "what was left is cleared"
        done = subprocess.run(
            [sys.executable, "-c", DIES, path, str(deaths), way],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        if done.stdout == "survived\n":
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        deaths += 1
        if path.exists() or way == "swap":
            seen.add(read(path))
        others = [each for each in tmp_path.iterdir() if each != path]
        assert all(map(is_leftover, others))
    assert read(path) == "new"
    assert names(tmp_path) == [name]
    assert seen == {"old", "new"}
    assert deaths >= 4


def test_without_a_swap_a_failed_rename_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename = tmp_path / "folder", Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == path and read(self) == "new":
            raise OSError("no")
        return rename(self, target)

    put(path, "old")
    monkeypatch.setattr(atomic, "_exchanged", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no"):
        put(path, "new")
    assert read(path) == "old"
    assert names(tmp_path) == ["folder"]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "folder") as first, replaced_file(tmp_path / "a.txt") as second:
        assert is_leftover(first)
        assert is_leftover(second)
        clear_leftovers(tmp_path)
        put(tmp_path / "folder", "another's")
        assert first.exists()
        assert second.exists()
        second.write_text("ours")
    assert (tmp_path / "a.txt").read_text() == "ours"
    assert names(tmp_path / "folder") == []


def test_what_is_not_ours_is_no_leftover(tmp_path: Path) -> None:
    kept = [".hidden", ".a.partial", "a.partial", ".a.0123.partial", ".a.0123456789ab.partial.d.e"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".a.0123456789ab.partial").touch()
    clear_leftovers(tmp_path)
    assert names(tmp_path) == sorted(kept)


def test_a_new_folder_replaces_an_empty_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "folder"
    with new_folder(path) as partial:
        assert not path.exists()
        (partial / "a").touch()
    assert names(path) == ["a"]
    with pytest.raises(InputError, match="already exists and isn't an empty folder"):
        new_folder(path).__enter__()
    (path / "a").unlink()
    with new_folder(path) as partial:
        (partial / "b").touch()
    assert names(path) == ["b"]


def test_copies_and_removals_are_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    put(source, "new")
    put(target, "old")
    copy_folder(source, target)
    assert read(target) == "new"
    put(tmp_path / "a.txt", "old")
    copy_file(source / "a", tmp_path / "a.txt")
    assert read(tmp_path / "a.txt") == "new"
    remove_folder(target)
    assert names(tmp_path) == ["a.txt", "source"]

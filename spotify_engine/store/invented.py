"""A note beside generated data, so that nothing made from it is taken for real."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spotify_engine.store.atomic import write_text

INVENTED_NOTE = "INVENTED.txt"
_TEXT = (
    "The data in this folder is invented by spotify_engine: its tracks, artists and listeners "
    "don't exist.\nKeep this note beside the files: what is trained on them says so.\n"
)


def mark_invented(folder: Path) -> None:
    """Leave the note in a folder of generated files."""
    write_text(folder / INVENTED_NOTE, _TEXT)


def is_invented(inputs: Iterable[str | Path | None]) -> bool:
    """Whether the note lies in, or beside, any of these folders and files."""
    paths = [Path(path) for path in inputs if path]
    return any(
        ((path if path.is_dir() else path.parent) / INVENTED_NOTE).is_file() for path in paths
    )

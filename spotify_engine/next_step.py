"""Commands of this installation, printed for a person to paste."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

SCRIPT = "spotify-engine"


def command(*words: str | Path) -> str:
    """``spotify-engine WORDS`` as a shell of the present folder runs it, whatever it has activated.

    Relative paths among the words stay so: they are meant from the present folder, too.
    """
    return " ".join([_program(), *(shlex.quote(str(word)) for word in words)])


def _program() -> str:
    python = Path(sys.executable)
    script = python.with_name(SCRIPT)
    if not script.exists():  # the package is there without having been installed
        return f"{shlex.quote(_short(python))} -m spotify_engine"
    on_path = shutil.which(SCRIPT)
    if on_path is not None and Path(on_path).samefile(script):
        return SCRIPT
    return shlex.quote(_short(script))


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)

"""Which code a run ran."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from spotify_engine import __version__

HERE = Path(__file__).resolve().parents[2]


@cache
def code_version() -> str:
    """Git commit, with ``+changes`` where tracked files differ from it; else the release."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    # An installed package may lie inside somebody else's repository.
    if commit is None or _git("ls-files", "--error-unmatch", __file__) is None:
        return __version__
    return f"{commit}+changes" if _git("status", "--porcelain", "-uno") else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=HERE, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

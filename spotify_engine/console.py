"""The console that jobs print to."""

from __future__ import annotations

import sys

from rich.console import Console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a reader that went away to the job's shell, in place of exit code 1."""
        raise


# In a file or a job's log nobody says how wide a line may be, and 80 columns cut the tables.
# Names of files, tracks and settings are printed as they are: brackets in them are no markup.
console = _Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)


def say(line: str, style: str | None = None) -> None:
    """Print a whole line as it is, however long: a path that is broken in two can't be copied."""
    console.out(line, style=style, highlight=False)

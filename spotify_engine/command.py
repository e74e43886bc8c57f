"""Running a job from the shell: its exit code, its error messages and its end by a signal.

Imports little, since every job imports it before anything else.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from spotify_engine.errors import InputError
from spotify_engine.ray_address import named_cluster

BAD_INPUT = 2
_BROKEN_PIPE = 128 + signal.SIGPIPE
_STOPS = (signal.SIGINT, signal.SIGTERM)
_SECONDS_TO_STOP = 5.0  # whoever sends SIGTERM usually sends SIGKILL ten seconds later

GOES_ON = "stopped; the same command again goes on from there"
NOTHING_WRITTEN = "stopped; nothing was written"
STOPPED = "stopped"

_LOG_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
_OURS = logging.getLogger("spotify_engine")


class Main(Protocol):
    """A job: flags, or None for those of the process, to an exit code."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Run the command with these arguments; returns the exit status."""


def job(stopped: str, *, uses_ray: bool = False, ends_well: bool = False) -> Callable[[Main], Main]:
    """Make a job's ``main`` end as a command should.

    An :class:`InputError`, and an ``OSError`` that names a file, is one line and exit code 2.
    SIGINT and SIGTERM print ``stopped`` and end the job the same way, within ten seconds, with 128
    + the signal's number as the exit code; what doesn't unwind in time is cut off. A reader that
    goes away (``| head``) ends it without a word. A console that can't show a character gets a
    question mark. Warnings are logged to standard error, and all news after :func:`log_all`.

    Args:
        stopped: the line that says how to go on.
        uses_ray: whether to refuse a ``RAY_ADDRESS`` that can't be used before anything is done.
        ends_well: whether being stopped is how the job is meant to end: the exit code is 0, and who
            supervises it decides how long it may take.
    """

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            for stream in (sys.stdout, sys.stderr):
                if hasattr(stream, "reconfigure"):
                    stream.reconfigure(errors="replace")
            with _logged(), stopped_by_signals(stopped, ends_well) as code:
                try:
                    if uses_ray:
                        named_cluster()
                    status = main(argv)
                    sys.stdout.flush()
                    return status
                except InputError as error:
                    return _refused(str(error))
                except BrokenPipeError:
                    # Python flushes once more at its end.
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                    return _BROKEN_PIPE
                except OSError as error:
                    if error.filename is None or error.strerror is None:
                        raise
                    return _refused(f"{error.filename}: {error.strerror}; fix it and try again")
                except KeyboardInterrupt:  # also what Ray makes of any signal
                    return code()

        return run

    return decorate


class LogHandler(logging.Handler):
    """Writes to what is standard error at the time, in the one format that there is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        try:
            print(_LOG_FORMAT.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


@contextmanager
def _logged() -> Iterator[None]:
    """Log in one format while a job lasts; one that is part of another leaves it to that."""
    root = logging.getLogger()
    if any(isinstance(each, LogHandler) for each in root.handlers):
        yield
        return
    handler = start_logging()
    level = _OURS.level
    try:
        yield
    finally:
        root.removeHandler(handler)
        _OURS.setLevel(level)


def start_logging() -> logging.Handler:
    """Log warnings, of ours and of others, from here on."""
    handler = LogHandler()
    logging.getLogger().addHandler(handler)
    return handler


def log_all() -> None:
    """Log what we do, not warnings alone: ``--verbose``."""
    _OURS.setLevel(logging.DEBUG)


def logs_all() -> bool:
    """Whether ``--verbose`` was given."""
    return _OURS.getEffectiveLevel() <= logging.INFO


def _refused(message: str) -> int:
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)
    return BAD_INPUT


@contextmanager
def stopped_by_signals(line: str, ends_well: bool = False) -> Iterator[Callable[[], int]]:
    """Raise ``KeyboardInterrupt`` in the block on SIGINT and SIGTERM, even if SIGINT was ignored.

    Args:
        line: the last that is printed, to standard error.
        ends_well: whether the exit code is then 0, and nothing is cut off.

    Yields:
        Gives the exit code of a job that was stopped.
    """
    told: list[int] = []
    late = threading.Timer(_SECONDS_TO_STOP, lambda: os._exit(code()))
    late.daemon = True

    def code() -> int:
        return 0 if ends_well else 128 + (told or [signal.SIGINT])[0]

    def stop(number: int, frame: FrameType | None) -> None:
        told.append(number)
        if len(told) > 1:  # whoever asks again doesn't make the cleaning up fail
            return
        if not ends_well:
            late.start()
        # The streams may be in the middle of a line of their own.
        os.write(2, f"\n{line}\n".encode())
        # What processes say that end around this one is of no use to anybody.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield code
        return
    before = {each: signal.signal(each, stop) for each in _STOPS}
    try:
        yield code
    finally:
        late.cancel()
        if not told:
            for each, handler in before.items():
                signal.signal(each, handler)

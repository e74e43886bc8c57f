"""A job in a process of its own, which ends when it is told to, with all that it started."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil

GRACE_S = 7.0
STOPS = {signal.SIGINT, signal.SIGTERM}


def supervised(job: Callable[[], int]) -> int:
    """Do a job in a child of this process, until it ends or SIGINT or SIGTERM ends it.

    A signal to the whole process group would reach Ray's processes as well, and the job, now
    without them, would abort in C++. So the child has a session of its own, and hears from this
    process only: one ``KeyboardInterrupt``, after ``GRACE_S`` a kill. What it leaves behind ends
    with it: processes, and folders that :func:`temporary_prefix` named.

    Call it before anything starts a thread, such as importing Ray.

    Returns:
        What the job returned; 0 if it was told to end.
    """
    told: list[int] = []
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    parent_lives, parent = os.pipe()
    if (child := os.fork()) == 0:
        os.close(parent)
        _do(job, parent_lives)

    def tell(number: int, _: object) -> None:
        if not told:
            os.kill(child, signal.SIGINT)
            signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        told.append(number)

    for stop in STOPS:
        signal.signal(stop, tell)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    # Not reaped yet, so that the handlers can't hit a stranger.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    signal.setitimer(signal.ITIMER_REAL, 0)
    _end_session(child)
    _, status = os.waitpid(child, 0)
    for left in Path(tempfile.gettempdir()).glob(f"{_prefix('*', child)}*"):
        shutil.rmtree(left, ignore_errors=True)
    code = os.waitstatus_to_exitcode(status)
    return 0 if told else code if code >= 0 else 128 - code


def temporary_prefix(name: str) -> str:
    """For names of temporary folders of this process that :func:`supervised` is to remove."""
    return _prefix(name, os.getpid())


def _prefix(name: str, process: int) -> str:
    return f"spotify_engine-{name}-{process}-"


def _do(job: Callable[[], int], parent_lives: int) -> NoReturn:
    """Do the child's work."""
    told: list[int] = []

    def interrupt(number: int, _: object) -> None:
        told.append(number)
        if len(told) == 1:
            raise KeyboardInterrupt

    def end_with_parent() -> None:
        os.read(parent_lives, 1)  # until the other end is closed
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE_S)
        _end_session(os.getpid())
        os._exit(1)

    code, parent = 1, os.getppid()
    try:
        os.setsid()
        for stop in STOPS:
            signal.signal(stop, interrupt)
        threading.Thread(target=end_with_parent, daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        code = job()
    except KeyboardInterrupt:
        code = 0
    except SystemExit as exit:  # argparse's
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        if os.getppid() != parent:
            _end_session(os.getpid())
        os._exit(code)  # what the parent would do on exit is left to it


def _end_session(session: int) -> None:
    """Kill what is left of a session, but for its leader, which has ended."""
    while left := [pid for pid in psutil.pids() if pid != session and _lives_in(pid, session)]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid) for pid in left if psutil.pid_exists(pid)], 1)


def _lives_in(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False

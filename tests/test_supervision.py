"""A supervised job ends when it is told to, with all that it started; in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

Start = Callable[[str], subprocess.Popen[str]]
# What a job may be, once it has started a process and made a temporary folder.
BEGIN = """
import os, signal, subprocess, sys, tempfile, time
from spotify_engine import supervision

def begin():
    print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
    time.sleep(600)

def job():
    tempfile.mkdtemp(prefix=supervision.temporary_prefix("test"))
    BODY

supervision.GRACE_S = GRACE
sys.exit(supervision.supervised(job))
"""
PATIENT = "begin()"
TIDY = """
    try:
        begin()
    except KeyboardInterrupt:
        time.sleep(0.2)
        print("tidied", flush=True)
    return 0
"""
STUBBORN = """
    try:
        begin()
    except KeyboardInterrupt:
        print("never", flush=True)
        time.sleep(600)
"""
ABORTING = """
    try:
        begin()
    finally:
        os.abort()
"""


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def begin(body: str) -> subprocess.Popen[str]:
        grace = "0.3" if body == STUBBORN else "60"
        return subprocess.Popen(
            [sys.executable, "-c", BEGIN.replace("BODY", body).replace("= GRACE", f"= {grace}")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )

    return begin


def begun(process: subprocess.Popen[str]) -> psutil.Process:
    """What the job has started."""
    assert process.stdout is not None
    return psutil.Process(int(process.stdout.readline()))


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "body", [PATIENT, TIDY, STUBBORN, ABORTING], ids=["patient", "tidy", "stubborn", "aborting"]
)
@pytest.mark.parametrize(
    ("stops", "group"),
    [([signal.SIGTERM], True), ([signal.SIGINT, signal.SIGTERM], False)],
    ids=["the whole group", "twice"],
)
def test_it_ends_with_all_that_it_started(
    body: str, stops: list[signal.Signals], group: bool, start: Start, tmp_path: Path
) -> None:
    job = start(body)
    other = begun(job)
    for stop in stops:
        (os.killpg if group else os.kill)(job.pid, stop)
        time.sleep(0.05)
    said, errors = job.communicate(timeout=30)
    assert (job.returncode, errors) == (0, "")
    assert said == {TIDY: "tidied\n", STUBBORN: "never\n"}.get(body, "")
    assert ended(other)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return 2", 2),
        ("sys.exit(3)", 3),
        ("raise ValueError('why')", 1),
        ("signal.raise_signal(signal.SIGKILL)", 137),
    ],
)
def test_its_end_is_passed_on(body: str, code: int, start: Start, tmp_path: Path) -> None:
    job = start(body)
    _, errors = job.communicate(timeout=30)
    assert job.returncode == code
    assert ("ValueError: why" in errors) == (code == 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("body", [TIDY, STUBBORN], ids=["tidy", "stubborn"])
def test_it_does_not_outlive_who_watches_it(body: str, start: Start) -> None:
    job = start(body)
    other = begun(job)
    [child] = psutil.Process(job.pid).children()
    job.kill()
    job.communicate(timeout=30)  # until nobody holds its output
    assert ended(other)
    psutil.wait_procs([child], 10)
    assert ended(child)

"""How a job ends: its exit code, its one line, and what it leaves to be printed."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest

from spotify_engine.cli.flags import new_parser
from spotify_engine.command import BAD_INPUT, GOES_ON, job
from spotify_engine.errors import InputError

ROOT = Path(__file__).parents[1]
BEGIN = "from spotify_engine.command import job\nimport os, sys, threading, time\n"


def ended(raised: Callable[[], object], **options: bool) -> int:
    @job(GOES_ON, **options)
    def main(argv: Sequence[str] | None = None) -> int:
        raised()
        return 0

    return main([])


def fail(error: BaseException) -> Callable[[], None]:
    def raised() -> None:
        raise error

    return raised


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.csv: is empty; give another"), "error: a.csv: is empty; give another\n"),
        (InputError("two\nlines"), "error: two lines\n"),
        (
            PermissionError(13, "Permission denied", "runs/x"),
            "error: runs/x: Permission denied; fix it and try again\n",
        ),
        (
            OSError(28, "No space left on device", "runs/y"),
            "error: runs/y: No space left on device; fix it and try again\n",
        ),
    ],
    ids=["input", "in two lines", "rights", "room"],
)
def test_what_the_user_can_mend_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(fail(error)) == BAD_INPUT
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("error", [ValueError("ours"), ConnectionResetError("no file's")])
def test_a_fault_of_ours_is_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)):
        ended(fail(error))


def test_signals_are_handled_by_whoever_did_before() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    assert ended(lambda: None) == 0
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001", "127.0.0.1", "LOCAL", "h:0",
                "h:65536", "[::1]", "[::g]:6379", "a b:6379", "127.0.0.1:6379/"],
)  # fmt: skip
def test_an_address_of_another_form_is_refused_before_anything_is_done(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    done: list[int] = []
    assert ended(lambda: done.append(1), uses_ray=True) == BAD_INPUT
    assert not done
    said = capsys.readouterr().err
    assert said.startswith(f"error: RAY_ADDRESS={address}: must be HOST:PORT")
    assert said.count("\n") == 1
    assert ended(lambda: done.append(1)) == 0  # a job without Ray doesn't care
    assert done


@pytest.mark.parametrize("address", ["", "local", "auto", "127.0.0.1:6379", "head.svc:6379",
                                     "[::1]:6379"])  # fmt: skip
def test_an_address_of_ray_is_none_of_our_business(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert ended(lambda: None, uses_ray=True) == 0


NEWS = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ (\w+) ([\w.]+): (.*)")


def logged(*flags: str) -> list[tuple[str, ...]]:
    """Level, module and text of what a job within a job logs."""
    with redirect_stderr(StringIO()) as printed:

        @job(GOES_ON)
        def inner(argv: Sequence[str] | None = None) -> int:
            for name in ("spotify_engine.store.x", "theirs"):
                for level in ("debug", "info", "warning"):
                    getattr(logging.getLogger(name), level)("%s %d", level, 1)
            return 0

        @job(GOES_ON)
        def outer(argv: Sequence[str] | None = None) -> int:
            new_parser("", "").parse_args(argv)
            return inner([])

        assert outer(flags) == 0
    found = [NEWS.fullmatch(line) for line in printed.getvalue().splitlines()]
    return [each.groups() if each else () for each in found]


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_warnings_are_logged_and_all_of_ours_when_asked(
    flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root.manager, "disable", 0)  # another test may have left it so
    before = logging.getLogger().handlers.copy()
    usual = [("WARNING", "spotify_engine.store.x", "warning 1"), ("WARNING", "theirs", "warning 1")]
    assert logged() == usual
    news = [(level.upper(), "spotify_engine.store.x", f"{level} 1") for level in ("debug", "info")]
    assert logged(flag) == [*news, *usual]
    assert logged() == usual, "and the next job's logs are its own"
    assert logging.getLogger().handlers == before


def start(script: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + script],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="latin-1",
    )


WAITS = """
@job("stopped; go on", ends_well={well})
def main(argv=None):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        time.sleep(.3)
        print("noise", flush=True)
        open({left!r}, "w").write("cleaned up")
    return 0
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("number", "well", "code"),
    [(signal.SIGTERM, False, 143), (signal.SIGINT, False, 130), (signal.SIGTERM, True, 0)],
)
def test_a_stopped_job_cleans_up_and_says_how_to_go_on(
    number: int, well: bool, code: int, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    process = start(WAITS.format(well=well, left=str(left)))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.send_signal(number)  # impatient
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert printed == ""
    assert errors == "\nstopped; go on\n"
    assert left.read_text() == "cleaned up"


def test_what_does_not_unwind_is_cut_off() -> None:
    script = """
@job("stopped; go on")
def main(argv=None):
    print("ready", flush=True)
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
sys.exit(main())
"""
    process = start(script.replace("\n@job", "\nimport spotify_engine.command as command\n"
                                   "command._SECONDS_TO_STOP = .2\n@job"))  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


PRINTS = """
from spotify_engine.console import console, say
from rich.table import Table
@job("stopped")
def main(argv=None):
    for _ in range({lines}):
        say("[bold]Bj\\u00f6rk \\u2014 \\u6771\\u4eac :smile:[/b] " + "x" * 200)
    table = Table("[red]name[/red]", title="[/x]")
    table.add_row("[b]\\u6771\\u4eac[/c]")
    console.print(table)
    return 0
sys.exit(main())
"""


def test_a_console_of_another_encoding_gets_what_it_can_show() -> None:
    process = start(PRINTS.format(lines=1), PYTHONIOENCODING="latin-1")
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert printed.startswith("[bold]Björk ? ?? :smile:[/b] " + "x" * 200 + "\n")
    assert "[red]name[/red]" in printed
    assert "[b]??[/c]" in printed


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = start(PRINTS.format(lines=20_000))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE

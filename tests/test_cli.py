"""The command ``spotify-engine``: its verbs, its help, what it prints for people and programs."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from spotify_engine import __version__, next_step
from spotify_engine.cli.main import VERBS, main
from spotify_engine.cli.output import print_csv
from spotify_engine.playlists.measure.leaderboard import found_in_words

ROOT = Path(__file__).parents[1]
CALLS = [
    [name, *word]
    for name, verb in VERBS.items()
    for word in ([[each] for each in verb.modules] or [[]])
]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_help_says_every_default_and_has_an_example(
    call: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsers: list[argparse.ArgumentParser] = []
    real = argparse.ArgumentParser.__init__

    def noted(self: argparse.ArgumentParser, *given: object, **named: object) -> None:
        real(self, *given, **named)  # type: ignore[arg-type]
        parsers.append(self)

    monkeypatch.setattr(argparse.ArgumentParser, "__init__", noted)
    with pytest.raises(SystemExit) as end:
        main([*call, "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    called = " ".join(["spotify-engine", *call])
    assert printed.startswith(f"usage: {called}")
    assert f"\n  {called}" in printed[printed.index("\nexample") :]
    assert all("--verbose" in parser._option_string_actions for parser in parsers)
    flags = [action for parser in parsers for action in parser._actions if action.option_strings]
    for flag in flags:
        if flag.dest != "help":
            assert flag.help is not None
            assert flag.help.endswith(")"), f"{flag.option_strings}: {flag.help}"


def test_all_verbs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, verb in VERBS.items():
        assert f"\n  {name} " in printed
        assert verb.does in printed
    assert max(map(len, printed.splitlines())) < 100
    assert main([]) == 2


def test_a_misspelt_verb_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "error: trian: no such command; did you mean train?\n"


def test_every_job_calls_what_the_command_calls() -> None:
    modules = {m for verb in VERBS.values() for m in (verb.module, *verb.modules.values()) if m}
    of_jobs = {}
    for job in (ROOT / "jobs").glob("*.py"):
        line = next(
            x for x in job.read_text().splitlines() if x.startswith("from spotify_engine.cli")
        )
        of_jobs[line.split()[1].rsplit(".", 1)[1]] = job.name
    assert of_jobs.keys() == modules
    for module in modules:
        assert callable(importlib.import_module(f"spotify_engine.cli.{module}").main)


def test_a_word_chooses_the_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sys.argv
    for word, message in (("playlists", "data/kaggle"), ("sessions", "nowhere/raw_sessions.csv")):
        more = ["--data", "nowhere"] if word == "sessions" else []
        assert main(["train", word, *more]) == 2
        assert message in capsys.readouterr().err
    assert sys.argv is before
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with ``.venv/bin/spotify-engine``, which prints its arguments; not activated."""
    folder = tmp_path / "a place"
    scripts = folder / ".venv" / "bin"
    scripts.mkdir(parents=True)
    script = scripts / "spotify-engine"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.chdir(folder)
    return folder


def pasted(command: str) -> list[str]:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_next_step_runs_as_printed_from_any_folder(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["recommend", "--run", "runs/it's here", "--tracks", "AC/DC - $HOME"]
    printed = next_step.command(*words)
    assert printed.startswith(".venv/bin/spotify-engine recommend ")
    assert pasted(printed) == words
    monkeypatch.chdir(environment.parent)
    printed = next_step.command(*words)
    assert shlex.split(printed)[0] == "a place/.venv/bin/spotify-engine"
    assert pasted(printed) == words
    monkeypatch.chdir("/")
    assert pasted(next_step.command(*words)) == words
    monkeypatch.setenv("PATH", f"{environment / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    printed = next_step.command(*words)
    assert printed.startswith("spotify-engine recommend "), "what is on the path needs no folder"
    assert pasted(printed) == words


def test_without_an_installed_script_the_module_is_called(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (environment / ".venv" / "bin" / "spotify-engine").unlink()
    assert next_step.command("demo") == ".venv/bin/python -m spotify_engine demo"


def test_the_configurations_are_the_package_s_own() -> None:
    # What a wheel has, by the path that a checkout's users know.
    named = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    inside = ROOT / "spotify_engine" / "configs"
    assert named == {path.relative_to(inside) for path in inside.rglob("*.yaml")}
    assert Path("serve.yaml") in named
    assert (ROOT / "configs").resolve() == inside


def test_a_wheel_runs_from_an_empty_folder(tmp_path: Path) -> None:
    wheels, place, folder = (tmp_path / name for name in ("wheels", "place", "empty"))
    source = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE", "spotify_engine"):
        source.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    folder.mkdir()
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(wheels)!r})"
    wheels.mkdir()
    subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=300
    )
    [wheel] = wheels.glob("*.whl")
    assert wheel.name.startswith(f"spotify_engine-{__version__}-")
    zipfile.ZipFile(wheel).extractall(place)
    done = subprocess.run(
        [
            sys.executable, "-m", "spotify_engine", "generate", "--demo", "--out", "data",
            "--rows=4500", "--users=30", "--playlists=160", "--tracks=600", "--artists=120",
            "--groups=6", "--feature-rows=900",
        ],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(place)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "data" / "spotify_dataset.csv").exists()
    [points] = place.glob("*.dist-info/entry_points.txt")
    assert "spotify-engine = spotify_engine.cli.main:main" in points.read_text()
    packed = {path.relative_to(place) for path in place.rglob("*.yaml")}
    assert packed == {path.relative_to(ROOT) for path in (ROOT / "spotify_engine").rglob("*.yaml")}
    modes = place / "spotify_engine" / "configs" / "kaggle"
    assert yaml.safe_load((modes / "mini.yaml").read_text())["cluster"] == {"workers": 1}


def test_csv_has_a_header_and_whole_cells(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([{"a": 'x, "y"', "b": ["one", "two"], "c": 0}], ("a", "b"))
    print_csv([], ("a", "b"))
    assert capsys.readouterr().out == 'a,b\n"x, ""y""",one; two\na,b\n'


def test_the_leaderboard_in_words() -> None:
    recalls = {"gat": 0.2349, "gat alone": 0.9, "itemknn": 0.176, "ease": None}
    said = found_in_words("gat", recalls, ("ease", "itemknn", "ials"), "held-out tracks", 10)
    assert said == (
        "gat finds 23.5 % of held-out tracks in its first ten; the best baseline, itemknn, 17.6 %."
    )
    alone = found_in_words("gat", recalls, (), "next songs", 7)
    assert alone == "gat finds 23.5 % of next songs in its first 7."

"""The examples of README, documentation and Swagger run as they are printed."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from spotify_engine.cli.main import VERBS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVER = "http://127.0.0.1:8000"


def blocks(language: str) -> Iterator[Any]:
    """Each fenced block of a language, named by its page and line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, found.start()) + 1
            yield pytest.param(found[1], id=f"{page.name}:{line}")


@pytest.fixture
def place(bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which the examples' runs are."""
    for run, pipeline in (("demo", "playlists"), ("synthetic", "sessions")):
        (tmp_path / "runs" / run).mkdir(parents=True)
        shutil.copytree(bundles[pipeline], tmp_path / "runs" / run / "bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(
    code: str, place: Path, shared_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SERVER in code or "load(" in code, "an example that shows nothing of ours"
    exec(compile(code.replace(SERVER, shared_url), "example", "exec"), {})
    assert capsys.readouterr().out.strip(), "it prints what it found"


def commands(block: str) -> list[list[str]]:
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.mark.parametrize("block", blocks("sh"))
def test_commands_are_ones_that_there_are(block: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for words in commands(block):
        match words:
            case [program, verb, *rest] if program.endswith("spotify-engine"):
                if verb != "--help":
                    _require_flags(verb, rest)
            case ["make", target]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
            case ["ray", "job", "submit", *rest] if "--" in rest:
                job = rest[rest.index("--") + 1 :]
                assert (ROOT / job[1]).is_file(), job


def _require_flags(verb: str, rest: list[str]) -> None:
    """That the command's own parser takes them."""
    chosen = VERBS[verb]
    module = chosen.module
    if chosen.modules:
        named = rest.pop(0) if rest and rest[0] in chosen.modules else next(iter(chosen.modules))
        module, rest = chosen.modules[named], [*chosen.flags.get(named, []), *rest]
    found = import_module(f"spotify_engine.cli.{module}")
    make = getattr(found, "parser", None) or getattr(found, "training_parser", None)
    if make is None:
        assert not rest, f"{verb} takes no flags"
        return
    parser: argparse.ArgumentParser = make()
    parser.exit_on_error = False
    parser.parse_args([word for word in rest if word != "..."])


CURLS = [each for each in blocks("sh") if "curl " in each.values[0]]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", CURLS)
def test_requests_are_answered(block: str, shared_url: str) -> None:
    asked = 0
    for line in block.replace("\\\n", " ").splitlines():
        if not line.startswith("curl"):
            continue
        there = shared_url.removeprefix("http://")
        text = line.replace("localhost:8000", there)
        said = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=30)
        answer = json.loads(said.stdout)
        assert "status" not in answer, f"{line}: {answer}"
        asked += 1
    assert asked


def test_swagger_s_examples_are_answered(shared_url: str) -> None:
    described = httpx.get(f"{shared_url}/openapi.json").json()
    tried = set()
    for path, calls in described["paths"].items():
        body = calls.get("post", {}).get("requestBody")
        if body is None or "version" in path:
            continue
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for example in described["components"]["schemas"][name]["examples"]:
            answer = httpx.post(f"{shared_url}{path}", json=example)
            assert answer.status_code == 200, (path, answer.text)
            tried.add(path)
    assert len(tried) >= 6

"""versions.py: what a person does with published versions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spotify_engine.sessions.synthetic import SyntheticConfig, write_sessions
from spotify_engine.sessions.tables.build import read_tables

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """(exit code, printed, errors) of a command."""

    def run(*flags: str) -> tuple[int, str, str]:
        import versions

        capsys.readouterr()
        code = versions.main([*flags, "--registry", str(tmp_path / "registry")])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def bundles(tmp_path: Path, make_recommender: Callable[..., Any]) -> list[Path]:
    recommender, found = make_recommender(), []
    for i in (1, 2):
        metrics = {"test": {"recall@10": i / 8}}
        recommender.save(tmp_path / str(i), {"metrics": metrics, "data_fingerprint": "ab" * 32})
        found.append(tmp_path / str(i))
    return found


def published(run: Run, bundle: Path) -> str:
    code, printed, _ = run("publish", str(bundle))
    assert code == 0
    return printed.removeprefix("Published ").strip()


def test_publish_activate_roll_back_and_remove(run: Run, bundles: list[Path]) -> None:
    first, second = (published(run, bundle) for bundle in bundles)
    assert run("activate", first)[:2] == (0, f"Current: {first}\n")
    assert run("activate", second)[0] == 0
    listed = run("list", "--pipeline", "playlists")[1]
    rows = [line for line in listed.splitlines() if "playlists-" in line]
    assert [re.sub(r"\W*(\S+)\W+(current|previous).*", r"\1 \2", row) for row in rows] == [
        f"{second} current",
        f"{first} previous",
    ]
    assert run("rollback", "playlists")[:2] == (0, f"Current: {first}\n")
    code, _, errors = run("remove", second)
    assert (code, errors) == (
        2,
        f"error: {second} is the previous version; activate another one first\n",
    )


def test_show_and_compare(run: Run, bundles: list[Path]) -> None:
    first, second = (published(run, bundle) for bundle in bundles)
    shown = run("show", first)[1]
    assert re.search(rf"id\s+{first}", shown)
    assert re.search(r"test\.recall@10\s+0\.125", shown)
    compared = run("compare", first, second)[1]
    assert re.search(r"test\.recall@10\W+0\.125\W+0\.25\W+\+0\.125", compared)


@pytest.fixture
def session_bundles(
    tmp_path: Path, make_session_recommender: Callable[..., Any]
) -> Callable[..., Path]:
    """Makes a bundle of sessions with these metrics."""
    write_sessions(tmp_path / "data", SyntheticConfig.tiny(), oracle=False)
    recommender = make_session_recommender(read_tables(tmp_path / "data"))

    def make(name: str, **metrics: Any) -> Path:
        recommender.save(tmp_path / name, {"metrics": metrics, "data_fingerprint": "cd" * 32})
        return tmp_path / name

    return make


def test_the_main_figure_is_listed_and_compared_first(
    run: Run, bundles: list[Path], session_bundles: Callable[..., Path]
) -> None:
    def row(recall: float) -> dict[str, Any]:
        return {
            "by_user_type": {"casual": {"recall@10": 0.9}},
            "held_out": {"recall@10": 0.8},
            "next_song": {"ndcg@10": recall / 2, "recall@10": recall},
        }

    playlists = published(run, bundles[0])
    first = published(run, session_bundles("a", **{"basic-gat": row(0.5)}))
    models = {"basic-gat": row(0.5), "session-aware": row(0.25)}
    second = published(run, session_bundles("b", **models))
    third = published(run, session_bundles("c"))
    listed = run("list")[1]
    figure = {
        id: re.search(rf"{id}.*?([\d.]*)\W*$", listed, re.MULTILINE)[1]
        for id in (playlists, first, second, third)
    }
    assert figure == {playlists: "0.1250", first: "0.5000", second: "0.2500", third: ""}
    compared = run("compare", second, second)[1]
    names = re.findall(r"(\S+@10)", compared)
    assert names[:2] == ["session-aware.next_song.ndcg@10", "session-aware.next_song.recall@10"]
    assert names[2:] == sorted(names[2:])
    assert len(names) == 8
    for pair in ((playlists, second), (second, playlists)):
        code, printed, errors = run("compare", *pair)
        assert (code, printed, errors.count("\n")) == (2, "", 1)
        assert errors.startswith("error: ")
        assert "not comparable; give two versions of one pipeline" in errors


def test_a_broken_version_is_listed_with_the_reason(
    run: Run, bundles: list[Path], tmp_path: Path
) -> None:
    id = published(run, bundles[0])
    description = tmp_path / "registry" / "playlists" / id / "version.json"
    description.unlink()
    assert f"broken: {description}: missing or damaged; remove" in run("list")[1]
    assert run("remove", id)[0] == 0
    assert id not in run("list")[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["publish", "nowhere"], "nowhere: not a bundle"),
        (["activate", "../x"], "no version '../x'"),
        (["rollback", "playlists"], "playlists has no previous version"),
        (["rollback", "songs"], "no pipeline 'songs'"),
    ],
)
def test_what_can_not_be_done_is_one_line(run: Run, flags: list[str], message: str) -> None:
    code, _, errors = run(*flags)
    assert code == 2
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1

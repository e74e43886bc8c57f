"""recommend.py with what people have, in this process, on an untrained bundle."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spotify_engine.reading.formats.reader import read_playlists


@pytest.fixture(scope="module")
def run(make_recommender: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    manifest = {"config": {}, "metrics": {}, "data_fingerprint": "x"}
    make_recommender().save(folder / "bundle", manifest)
    return folder


def recommend(run: Path, *flags: str) -> int:
    import recommend as job

    return job.main(["--run", str(run), *flags])


def test_a_file_is_summed_up_and_completed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "late_night.txt"
    path.write_text(
        "1. Artist 0 - Song 0\nSong 4 by Artist 2\nSong 6 - Artist 3\nArtist 4 - New\n"
        "Somebody - Song 9\nspotify:album:1\n"
    )
    assert recommend(run, "--file", str(path), "--k", "2") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 known, 1 by their artist, 1 not found" in printed
    assert "line 6: a link to an album, not to a track: spotify:album:1" in printed
    assert "taken for Artist 3 - Song 6: Song 6 - Artist 3" in printed
    assert "not in the catalogue: Somebody - Song 9 (nearest: Artist 4 - Song 9)" in printed
    assert printed.count("Somebody") == 1
    assert "late night: 3 known tracks, 1 known by artist" in printed


def test_standard_input_and_a_file_out_are_the_whole_playlist(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = b"Artist 0 - Song 0\nArtist 4 - New\nSomebody - Other\nnothing\n"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(given)))
    assert recommend(run, "--file", "-", "--k", "3", "--export", "text") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == given.decode().splitlines()
    assert len(lines) == 7


@pytest.mark.parametrize("format", ["exportify", "soundiiz", "m3u", "text"])
def test_what_is_exported_is_read_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    path = tmp_path / "out"
    flags = ["--tracks", "id3", "id0", "--title", "Mix", "--k", "2"]
    assert recommend(run, *flags, "--export", f"{format}:{path}") == 0
    assert f"{path}: 4 tracks" in "".join(capsys.readouterr().out.splitlines())
    [playlist] = read_playlists(path.read_bytes()).playlists
    assert len(playlist.entries) == 4
    assert recommend(run, "--file", str(path), "--k", "1") == 0
    assert "4 known, 0 by their artist, 0 not found" in capsys.readouterr().out


def test_of_several_playlists_one_is_chosen_by_its_title(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "Playlist1.json"
    items = [{"track": {"trackName": "Song 0", "artistName": "Artist 0"}}]
    playlists = [{"name": name, "items": items} for name in ("One", "Two")]
    path.write_text(json.dumps({"playlists": playlists}))
    assert recommend(run, "--file", str(path)) == 2
    assert "holds 2 playlists; choose one with --title: 'One', 'Two'" in capsys.readouterr().err
    assert recommend(run, "--file", str(path), "--title", "two", "--k", "1") == 0
    assert "1 known, 0 by their artist" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--file", "no such file"], "error: no such file: can't be read"),
        (["--title", "x", "--export", "xspf"], "error: --export: 'xspf' is not a format; give"),
        (["--title", "x", "--export", "uris"], "error: none of the tracks has a Spotify id"),
        (["--title", "x", "--export", "m3u:/no/where"], "error: /no/where: can't be written"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert recommend(run, *flags, "--k", "1") == 2
    errors = capsys.readouterr().err
    assert errors.startswith(said)
    assert errors.count("\n") == 1

"""recommend.py and evaluate.py on a finished run."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import matplotlib.image
import pandas as pd
import pytest
import yaml

from spotify_engine.dotted import flatten
from spotify_engine.runtime.pipelines.audit import audit_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(finished: tuple[Path, str]) -> Path:
    return finished[0]


def recommend(run: Path, *flags: str) -> int:
    import recommend as job

    return job.main(["--run", str(run), *flags])


def test_a_playlist_by_number_and_by_name_gives_the_same_answer(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = pd.read_parquet(run / "tables" / "playlists.parquet")["name"].str.casefold()
    number = names[~names.duplicated(keep=False) & ~names.str.isdigit()].index[0]
    name = pd.read_parquet(run / "tables" / "playlists.parquet")["name"][number]
    assert recommend(run, "--playlist", str(number), "--k", "3") == 0
    by_number = capsys.readouterr().out
    other = unicodedata.normalize("NFD", name.upper()).replace(" ", "\u00a0")
    assert recommend(run, "--playlist", other, "--k", "3") == 0
    assert capsys.readouterr().out == by_number
    assert [n for n in range(1, 11) if re.search(rf"^\W*{n} ", by_number, re.M)] == [1, 2, 3]


def test_a_new_playlist_is_explained_and_drawn(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = pd.read_parquet(run / "tables" / "tracks.parquet").nlargest(3, "n_playlists")
    given = [f"{row.artist_name} - {row.name_}" for row in _named(tracks)]
    picture = tmp_path / "attention.png"
    flags = ["--tracks", *given, "--title", "Evening", "--k", "4", "--explain"]
    assert recommend(run, *flags, "--plot", str(picture)) == 0
    printed = capsys.readouterr().out
    assert "Evening" in printed
    assert "3 known tracks" in printed
    assert printed.count("because:") == 4
    pixels = matplotlib.image.imread(picture)
    assert min(pixels.shape[:2]) > 200
    # A blank picture has one colour and no spread.
    assert pixels[..., :3].std() > 0.02


@pytest.mark.parametrize(
    "form",
    [
        "{artist} – {name}",
        "{artist}—{name}",
        "spotify:track:{id}",
        "https://open.spotify.com/track/{id}?si=x",
        "http://open.spotify.com/intl-de/track/{id}/",
    ],
)
def test_a_track_is_known_in_every_form(
    run: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = pd.read_parquet(run / "tables" / "tracks.parquet")
    plain = tracks[~(tracks["name"] + tracks["artist_name"]).str.contains("[-–—]")]
    row = plain.nlargest(1, "n_playlists").iloc[0]
    given = form.format(artist=row["artist_name"], name=row["name"], id=row["id"])
    assert recommend(run, "--tracks", given, "--k", "3") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 known track" in printed
    assert "not in the catalogue" not in printed


def test_an_unknown_track_is_named_and_a_title_alone_still_gets_an_answer(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--tracks", "Nobody - Nothing", "--title", "rock", "--k", "5"]
    assert recommend(run, *flags) == 0
    printed = capsys.readouterr().out
    assert "Nobody - Nothing" in printed
    assert "0 known tracks" in printed


def test_a_title_alone_is_answered(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    titles = pd.read_parquet(run / "tables" / "playlists.parquet")["name"]
    title = titles[titles.duplicated()].iloc[0]
    assert recommend(run, "--title", title, "--k", "3", "--explain") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{title}: 0 known tracks" in printed
    assert "title: no track is known; by playlists with similar titles" in printed
    assert printed.count(f'named like "{title}"') >= 3


def test_a_new_track_by_a_known_artist_is_said_to_be_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = pd.read_parquet(run / "tables" / "tracks.parquet").nlargest(1, "n_playlists")
    artist = tracks["artist_name"].iloc[0]
    assert recommend(run, "--tracks", f"{artist} - Not Yet Out", "--k", "2", "--explain") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"its artist {artist} stands in: {artist} - Not Yet Out" in printed
    assert "0 known tracks, 1 known by artist" in printed
    assert "artist: no track is in a training playlist" in printed
    assert f'"Not Yet Out" in the playlist, of which only the artist {artist} is known' in printed


def test_something_must_be_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        recommend(run)
    assert stopped.value.code == 2
    assert "give --playlist, --tracks, --file or --title" in capsys.readouterr().err


def test_an_unknown_playlist_is_refused_in_one_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recommend(run, "--playlist", "no such list") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: no playlist 'no such list'")
    assert errors.count("\n") == 1


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import evaluate

    assert recommend(tmp_path, "--playlist", "0") == 2
    assert evaluate.main(["--run", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("error: ") for line in errors)


def test_evaluate_agrees_with_the_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import evaluate

    assert evaluate.main(["--run", str(run)]) == 0
    assert "figures agree with" in capsys.readouterr().out


def test_every_figure_of_the_report_is_recomputed_or_said_not_to_be(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    audit = audit_run(run, again=None)
    assert not audit.differences
    told = {
        "config",
        "data",
        "seconds",
        "epochs",
        "served",
        "start",
        "item_item",
        "second_stage",
        "titles",
    }
    for name, value in flatten(report).items():
        if isinstance(value, int | float) and name not in audit.names:
            assert any(fnmatch(name, pattern) for pattern in audit.left_out), name
            assert name.split(".")[0] in told or name.endswith("_seconds"), name
    assert {"faithfulness.passed", "parameters.total", "fingerprints.predictions"} <= audit.names
    for section in ("cold_start.", "breakdown.", "baselines.ease.test."):
        assert any(name.startswith(section) for name in audit.names)
    if report["without_item_item"]:
        assert "without_item_item.test.recall@10" in audit.names


def test_evaluate_notices_a_changed_score(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    predictions = pd.read_parquet(copy / "predictions.parquet")
    predictions.loc[3, "score"] *= 1.001
    predictions.to_parquet(copy / "predictions.parquet", index=False)
    (noticed,) = audit_run(copy, again=[]).differences
    assert noticed.startswith("fingerprints.predictions: recomputed")


def test_a_baseline_is_added_to_a_finished_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import evaluate

    whole = json.loads((run / "report.json").read_text())
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    # As if the run had been trained without one of its baselines.
    report = json.loads((copy / "report.json").read_text())
    del report["baselines"]["ease"], report["breakdown"]["ease"]
    (copy / "report.json").write_text(json.dumps(report))
    stages = json.loads((copy / "stages.json").read_text())
    for part in ("baselines", "breakdown"):
        del stages["evaluate"]["result"][part]["ease"]
    (copy / "stages.json").write_text(json.dumps(stages))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["evaluation"]["baselines"].remove("ease")
    (copy / "config.yaml").write_text(yaml.safe_dump(config))

    assert evaluate.main(["--run", str(copy), "--baselines", "ease"]) == 0
    assert "Added to" in capsys.readouterr().out
    found = json.loads((copy / "report.json").read_text())
    for row in (found["baselines"]["ease"], whole["baselines"]["ease"]):
        del row["fit_seconds"], row["score_seconds"], row["tuning_seconds"]
    ours, theirs = flatten(found["baselines"]["ease"]), flatten(whole["baselines"]["ease"])
    assert ours == pytest.approx(theirs)
    assert found["breakdown"]["ease"] == whole["breakdown"]["ease"]
    assert found["in_words"] == whole["in_words"]
    assert "ease" in found["config"]["evaluation"]["baselines"]
    # What is there is only compared, and a name that isn't one is refused.
    assert evaluate.main(["--run", str(copy), "--baselines", "ease,popularity"]) == 0
    assert "Added" not in capsys.readouterr().out
    assert evaluate.main(["--run", str(copy), "--baselines", "eas"]) == 2
    assert "did you mean ease" in capsys.readouterr().err


def test_evaluate_notices_changed_predictions(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import evaluate

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    path = copy / "predictions.parquet"
    predictions = pd.read_parquet(path)
    last = predictions["rank"].max()
    # Worst first: the same tracks, other ranks.
    predictions["rank"] = (last - predictions["rank"]).astype(predictions["rank"].dtype)
    predictions.to_parquet(path, index=False)
    assert evaluate.main(["--run", str(copy), "--no-baselines"]) == 1
    assert "playlist-gat test recall@10: recomputed" in capsys.readouterr().out


def _named(tracks: pd.DataFrame) -> list[Any]:
    return list(tracks.rename(columns={"name": "name_"}).itertuples())


def test_the_playlist_notebook_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("SPOTIFY_ENGINE_RUN", str(run))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "notebooks" / "complete_a_playlist.ipynb", as_version=4)
    saved = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    for text in (saved, shown):
        assert "5 known, 0 by their artist, 1 not found" in text
        assert "because:" in text
        assert "image/png" in text

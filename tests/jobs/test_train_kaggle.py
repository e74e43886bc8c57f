"""train_kaggle.py: what it leaves behind, doing nothing twice, and going on after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from spotify_engine.learning.trainers.base import load_state
from spotify_engine.playlists.schema import TABLES

StartJob = Callable[..., subprocess.Popen[str]]
EPOCHS = 3


@pytest.fixture(scope="module")
def run(finished: tuple[Path, str]) -> Path:
    return finished[0]


@pytest.fixture(scope="module")
def report(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "report.json").read_text())
    return content


@pytest.fixture(scope="module")
def split(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "split.parquet")


def test_the_run_directory_holds_what_is_promised(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.yaml", "tables", "split.parquet", "predictions.parquet", "report.json",
        "checkpoints", "bundle", "report.png", "breakdown.png",
    }  # fmt: skip
    assert (run / "checkpoints" / "best").is_dir()
    assert (run / "checkpoints" / "last").is_dir()
    assert (run / "bundle" / "manifest.json").is_file()
    assert {path.stem for path in (run / "tables").glob("*.parquet")} == set(TABLES)
    assert not list(run.rglob("*partial*"))


def test_tables_have_the_columns_of_the_schema(run: Path) -> None:
    import pyarrow.parquet as pq

    for name, schema in TABLES.items():
        assert pq.read_schema(run / "tables" / f"{name}.parquet").names == schema.names, name


def test_config_is_fully_resolved(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["mode"] == "mini"
    assert config["data"]["max_playlists"] == 500
    assert config["training"]["epochs"] == EPOCHS
    assert {"inputs", "holdout", "genres", "graph", "model", "evaluation"} <= config.keys()


def test_the_split_parts_every_pair_of_the_tables(run: Path, split: pd.DataFrame) -> None:
    assert list(split.columns) == ["playlist", "track", "split"]
    pairs = pd.read_parquet(run / "tables" / "playlist_tracks.parquet")[["playlist", "track"]]
    order = ["playlist", "track"]
    assert not split.duplicated(order).any()
    left = split[order].sort_values(order).to_numpy()
    assert (left == pairs.sort_values(order).to_numpy()).all()


def test_five_tracks_of_a_long_playlist_are_tested_and_five_validated(split: pd.DataFrame) -> None:
    counts = split.pivot_table(index="playlist", columns="split", aggfunc="size", fill_value=0)
    long = counts[counts.sum(axis=1) >= 15]
    assert len(long) > 50
    assert (long[["test", "val"]] == 5).all(axis=None)
    assert counts[["test", "val"]].max(axis=None) == 5
    assert (counts["train"] >= 1).all()


def test_predictions_are_one_full_list_a_test_playlist(run: Path, split: pd.DataFrame) -> None:
    predictions = pd.read_parquet(run / "predictions.parquet")
    assert list(predictions.columns) == ["playlist", "rank", "track", "score"]
    top_k = yaml.safe_load((run / "config.yaml").read_text())["evaluation"]["top_k"]
    assert set(predictions["playlist"]) == set(split[split["split"] == "test"]["playlist"])
    for _, each in predictions.groupby("playlist"):
        assert each["rank"].tolist() == list(range(top_k))
        assert each["score"].is_monotonic_decreasing
        assert each["track"].is_unique


def test_predictions_hold_no_track_that_was_trained_or_validated_on(
    run: Path, split: pd.DataFrame
) -> None:
    predictions = pd.read_parquet(run / "predictions.parquet")
    known = split[split["split"] != "test"]
    assert predictions.merge(known, on=["playlist", "track"]).empty


def test_recall_in_the_report_follows_from_the_two_files(
    run: Path, split: pd.DataFrame, report: dict[str, Any]
) -> None:
    predictions = pd.read_parquet(run / "predictions.parquet")
    test = split[split["split"] == "test"]
    hits = predictions[predictions["rank"] < 10].merge(test, on=["playlist", "track"])
    held_out = test.groupby("playlist").size()
    recall = hits.groupby("playlist").size().reindex(held_out.index, fill_value=0) / held_out
    assert report["metrics"]["test"]["recall@10"] == pytest.approx(recall.mean())
    assert report["metrics"]["test"]["playlists"] == len(held_out)


def test_the_report_is_complete(run: Path, report: dict[str, Any], split: pd.DataFrame) -> None:
    tables = {name: pd.read_parquet(run / "tables" / f"{name}.parquet") for name in TABLES}
    data = report["data"]
    assert data["after_pruning"]["playlists"] == len(tables["playlists"])
    assert data["after_pruning"]["tracks"] == len(tables["tracks"])
    assert data["after_pruning"]["pairs"] == len(tables["playlist_tracks"])
    assert sum(data["rejected"].values()) == len(tables["rejects"])
    assert data["rows"] == (
        data["matched_rows"] + data["unmatched_rows"] + sum(data["rejected"].values())
    )
    assert {part: data["split"][part] for part in ("train", "val", "test")} == (
        split["split"].value_counts().to_dict()
    )
    assert data["genres"]["genres"] == len(tables["genres"])
    assert data["graph"]["nodes"]["playlist"] == len(tables["playlists"])
    assert data["graph"]["edges"]["playlist__contains__track"] == data["split"]["train"]

    stages = {
        "prepare", "split", "genres", "graph", "start", "train", "item_item", "second_stage",
        "titles", "evaluate", "bundle",
    }  # fmt: skip
    assert report["seconds"].keys() == stages
    assert all(seconds > 0 for seconds in report["seconds"].values())
    assert sum(report["parameters"].values()) > 0
    assert report["baselines"].keys() == {"popularity", "bpr", "itemknn", "ials", "ease"}
    assert report["faithfulness"]
    assert report["start"]["chosen"] in report["start"]["tried"]
    assert report["item_item"]["chosen"] in report["item_item"]["tried"]
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(EPOCHS))
    families = (
        "recall", "precision", "ndcg", "completion_rate", "genre_consistency",
        "artist_diversity", "coverage", "novelty",
    )  # fmt: skip
    for row in (report["metrics"], *report["baselines"].values()):
        for part in ("val", "test"):
            assert {f"{name}@10" for name in families} <= row[part].keys()
            assert {f"recall@{k}" for k in (5, 10, 20)} <= row[part].keys()


def test_groups_are_measured_for_every_scorer(report: dict[str, Any]) -> None:
    breakdown = report["breakdown"]
    ours = ["playlist-gat"]
    if report["without_item_item"]:
        ours.append("playlist-gat alone")
    if report["without_second_stage"]:
        ours.append("playlist-gat first stage")
    assert list(breakdown) == [*ours, *report["baselines"]]
    for part in ("seeds", "lengths", "popularity"):
        measured = [[row["playlists"] for row in each[part]] for each in breakdown.values()]
        assert all(each == measured[0] for each in measured)
        assert sum(measured[0]) > 100
    # All train tracks are seeds in both: groups by length part the leaderboard's playlists.
    rows = [row for row in breakdown["playlist-gat"]["lengths"] if row["playlists"]]
    n = [row["playlists"] for row in rows]
    assert sum(n) == report["metrics"]["test"]["playlists"]
    mean = sum(row["recall@10"] * row["playlists"] for row in rows) / sum(n)
    assert mean == pytest.approx(report["metrics"]["test"]["recall@10"])


def test_with_little_known_every_case_beats_popularity(report: dict[str, Any]) -> None:
    rows = {row["case"]: row for row in report["cold_start"]}
    assert report["titles"]["chosen"]
    # The sample's titles name genres or nothing; its tracks are of taste groups.
    for case in (
        "a title like another's alone",
        "a genre in a title, no title alike",
        "one seed track",
        "artists of the tracks alone",
    ):
        assert rows[case]["playlists"] >= 20
        ours, popularity = rows[case]["ours"], rows[case]["popularity"]
        assert ours["recall@10"] > 1.2 * popularity["recall@10"], case
        # A hundred are a quarter of the sample's tracks.
        assert ours["recall@100"] > popularity["recall@100"], case


def test_the_console_shows_progress_and_the_leaderboard_without_noise(
    finished: tuple[Path, str],
) -> None:
    _, printed = finished
    for epoch in range(1, EPOCHS + 1):
        assert printed.count(f"epoch {epoch}/{EPOCHS}: loss") == 1
    assert "chunks read" in printed
    assert "playlist-gat" in printed
    for title in ("same split", "Test part by groups", "Test part with little known"):
        assert title in printed
    assert "…" not in printed
    for noise in ("Traceback", "INFO", "WARNING", "Reporting training result", "Checkpoint("):
        assert noise not in printed


def test_the_same_command_again_does_nothing_and_succeeds(
    finished: tuple[Path, str],
    training_flags: list[str],
    ray_cluster: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import train_kaggle

    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}
    before |= {path: path.stat().st_mtime_ns for path in run.glob("*/best/state.pt")}
    assert train_kaggle.main([*training_flags, f"--out={run}"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    printed = capsys.readouterr().out
    assert printed.count("done before") == 11


def test_after_a_kill_and_a_stop_the_same_command_goes_on_and_ends_up_the_same(
    run: Path,
    report: dict[str, Any],
    training_flags: list[str],
    ray_folder: Path,
    start_job: StartJob,
    ray_cluster: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import train_kaggle

    out = tmp_path / "killed"
    flags = [*training_flags, f"--out={out}"]
    noted = out / "checkpoints" / "ray" / "checkpoint_manager_snapshot.json"

    def start_until(enough: Callable[[], Any]) -> subprocess.Popen[str]:
        job = start_job("train_kaggle.py", *flags)
        deadline = time.monotonic() + 240
        while not enough():
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return job

    # Whoever stops it is told how to go on.
    job = start_until(noted.exists)
    job.terminate()
    printed, errors = job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGTERM
    assert errors.endswith("\nstopped; the same command again goes on from there\n")
    for noise in ("Traceback", "SIGTERM", "Error"):
        assert noise not in printed + errors

    job = start_until(lambda: _saved(noted))
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    _kill_ray(ray_folder)
    done = _saved(noted)
    assert 1 <= len(done) < EPOCHS
    assert not (out / "report.json").exists()

    capsys.readouterr()
    assert train_kaggle.main(flags) == 0
    assert "epoch 1/" not in capsys.readouterr().out
    resumed = json.loads((out / "report.json").read_text())
    # Wall times are never the same twice: these epochs were kept, not redone.
    assert resumed["epochs"][: len(done)] == done
    assert len(resumed["epochs"]) == EPOCHS
    for ours, theirs in zip(resumed["epochs"], report["epochs"], strict=True):
        assert _timeless(ours) == _timeless(theirs)
    assert resumed["metrics"] == report["metrics"]


def _saved(noted: Path) -> list[dict[str, float]]:
    """Epochs of the newest checkpoint; one that isn't noted yet was not reported as saved."""
    if not noted.exists():
        return []
    results = json.loads(noted.read_text())["checkpoint_results"]
    # The first checkpoint is of the start, before any epoch.
    newest = max(each["checkpoint_dir_name"] for each in results)
    history: list[dict[str, float]] = load_state(noted.parent / newest)["history"]
    return history


def _timeless(epoch: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in epoch.items() if not name.endswith("seconds")}


def _kill_ray(folder: Path) -> None:
    """Kill what a killed driver left running; workers end with their node's process."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder) in entry.read_text():
                os.kill(int(entry.parent.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue

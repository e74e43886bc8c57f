"""What trials of a search share, and what a trial with other values makes for itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from spotify_engine.playlists.model.start import Start
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.playlists.synthetic import SampleConfig, write_sample
from spotify_engine.runtime.tune.trial import Trials
from spotify_engine.tuning.trials import folder_of

SIZES = {"users": 20, "playlists": 60, "rows": 1500, "tracks": 200, "artists": 40}


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    folder = tmp_path_factory.mktemp("trial")
    write_sample(folder / "data", SampleConfig.demo(**SIZES, groups=4, feature_rows=300))
    base = KaggleJob.model_validate(
        {
            "mode": "mini",
            "inputs": {
                "playlists": str(folder / "data" / "spotify_dataset.csv"),
                "features": str(folder / "data" / "tracks_features.csv"),
            },
            "start": {"regularisation": [0.01], "unobserved": [20], "iterations": 2},
            "model": {"embedding_dim": 32, "layers": [32]},
        }
    )
    return Trials(folder / "search", "playlists", base)


def inodes(folder: Path) -> set[int]:
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.usefixtures("ray_cluster")
def test_trials_share_what_their_values_leave_alone(trials: Trials) -> None:
    base = trials.prepare({}).out
    before = content(base)
    again = trials.prepare({"model.embedding_dim": 16}).out
    assert content(base) == before, "what is shared is never written to"
    assert inodes(again / "graph") == inodes(base / "graph")
    assert inodes(again / "tables") == inodes(base / "tables")
    assert Start.load(again / "start").embeddings["track"].shape[1] == 16
    assert Start.load(base / "start").embeddings["track"].shape[1] == 32

    without = trials.prepare({"graph.audio": False}).out
    assert inodes(without / "tables") == inodes(base / "tables")
    assert content(without / "graph") != content(base / "graph")

    genres = trials.prepare({"genres.min_artists": 3}).out
    assert content(genres)["split.parquet"] == before["split.parquet"]
    assert content(genres)["tables/rejects.parquet"] == before["tables/rejects.parquet"]
    assert content(base) == before

    one = trials.open({"model.embedding_dim": 16, "model.dropout": 0.3}, 1)
    two = trials.open({"model.dropout": 0.1}, 2)
    assert one.run.config.model.dropout == 0.3
    assert inodes(folder_of(trials.folder, 1) / "run" / "start") == inodes(again / "start")
    assert inodes(folder_of(trials.folder, 2) / "run" / "start") == inodes(base / "start")
    np.testing.assert_array_equal(one.data_split.val.values, two.data_split.val.values)
    assert {"prepare", "split", "genres", "graph", "start"} <= set(two.run.stages)

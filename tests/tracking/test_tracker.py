"""Recording as a run sees it: a real recorder process, real stores, and servers that are dead."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spotify_engine.tracking.settings import TRACKING_NOTE, TrackingConfig, local_uri
from spotify_engine.tracking.store import open_client, quiet
from spotify_engine.tracking.tracker import (
    Tracker,
    read_epochs,
    recorded_id,
    recorded_status,
    write_epoch,
)

ROOT = Path(__file__).parents[2]


def record(folder: Path, config: TrackingConfig, epochs: int = 3) -> None:
    tracker = Tracker(config, folder.parent)
    run = tracker.begin(
        "train", "playlists", "mine", {"training.epochs": epochs, "a.b": [1, 2]}, folder
    )
    run.follow(folder / "epochs.jsonl", "session/")
    for epoch in range(-1, epochs):
        metrics = {"epoch": float(epoch), "val_recall@10": 0.1 * (epoch + 1), "loss": float("nan")}
        write_epoch(folder / "epochs.jsonl", metrics)
    run.metrics({"test.recall@10": 0.3, "note": "no number", "missing": None, "flag": True})
    run.tags({"data_fingerprint": "abc", "nothing": None})
    (folder / "report.json").write_text("{}")
    run.artefacts([folder / "report.json", folder / "not there.png"])
    run.end("FINISHED")
    tracker.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the runs of all tests here: making the SQLite store takes seconds."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def folder(runs: Path, request: pytest.FixtureRequest) -> Path:
    found = runs / re.sub(r"\W+", "-", request.node.name)
    found.mkdir()
    return found


def client_of(folder: Path):
    quiet()
    return open_client(local_uri(folder.parent), 3)


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(each.step, each.value) for each in events.Scalars(name)]


def test_a_run_is_in_mlflow_and_tensorboard(folder: Path) -> None:
    record(folder, TrackingConfig())
    client = client_of(folder)
    run_id = recorded_id(folder)
    assert run_id is not None
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" == recorded_status(folder)
    assert run.data.params == {"training.epochs": "3", "a.b": "[1, 2]"}
    history = client.get_metric_history(run_id, "session/val_recall_at_10")
    assert [(each.step, round(each.value, 6)) for each in history] == [
        (0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3),
    ]  # fmt: skip
    assert run.data.metrics["test.recall_at_10"] == 0.3
    assert "session/loss" not in run.data.metrics, "a figure that is no number is left out"
    assert {"note", "missing", "flag"}.isdisjoint(run.data.metrics)
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    code = tags.pop("code")
    assert code
    assert tags == {
        "kind": "train", "pipeline": "playlists", "folder": str(folder), "data_fingerprint": "abc",
    }  # fmt: skip
    assert [each.path for each in client.list_artifacts(run_id)] == ["report.json"]
    steps = scalars(folder, "session/val_recall_at_10")
    assert [step for step, _ in steps] == [0, 1, 2, 3]
    assert steps[-1][1] == pytest.approx(0.3)


def test_going_on_with_a_run_repeats_no_epoch(folder: Path) -> None:
    record(folder, TrackingConfig(), epochs=2)
    first = recorded_id(folder)
    record(folder, TrackingConfig(), epochs=4)
    assert recorded_id(folder) == first
    history = client_of(folder).get_metric_history(first, "session/val_recall_at_10")
    assert [each.step for each in history] == [0, 1, 2, 3, 4]


def test_switched_off_nothing_is_written_or_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a recorder was started")

    monkeypatch.setattr("spotify_engine.tracking.tracker.subprocess.Popen", fail)
    record(folder, TrackingConfig(enabled=False))
    assert {path.name for path in folder.iterdir()} == {"epochs.jsonl", "report.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("server", ["refuses", "never answers"])
def test_a_dead_server_costs_a_warning_and_nothing_else(
    folder: Path, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if server == "never answers":
            listener.listen()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        tracker = Tracker(TrackingConfig(uri=uri, timeout_s=1), folder.parent)
        run = tracker.begin("train", "playlists", "mine", {}, folder)
        for epoch in range(200):
            run.metrics({"loss": 1.0 / (epoch + 1)}, epoch)
        run.end("FINISHED")
        tracker.close()
    # It asked once, ended by itself, and was not waited for in vain.
    assert tracker._process.returncode == 0
    printed = capfd.readouterr().err
    assert printed.count("warning: tracking:") == 1
    assert f"{uri}: run not recorded in MLflow from here on" in printed
    assert "Traceback" not in printed
    assert not (folder / TRACKING_NOTE).exists()
    assert len(scalars(folder, "loss")) == 200, "TensorBoard needs no server"


def test_a_recorder_that_hangs_holds_nothing_up(folder: Path) -> None:
    tracker = Tracker(TrackingConfig(), folder.parent)
    os.kill(tracker._process.pid, signal.SIGSTOP)
    run = tracker.begin("train", "playlists", "mine", {}, folder)
    for epoch in range(2000):  # far more than a pipe holds; a send that waits would wait for ever
        run.metrics({"loss": 1.0, "padding" * 30: 0.0}, epoch)
    run.end("FINISHED")
    tracker.patience_s = 0.1
    tracker.close()
    assert tracker._process.returncode == -signal.SIGKILL


def test_a_recorder_that_dies_harms_nobody(folder: Path) -> None:
    tracker = Tracker(TrackingConfig(), folder.parent)
    run = tracker.begin("train", "playlists", "mine", {}, folder)
    tracker._process.kill()
    tracker._process.wait()
    for _ in range(2000):
        run.metrics({"loss": 1.0})
    run.end("FINISHED")
    tracker.close()


def test_the_time_of_a_run_is_that_of_its_work(folder: Path) -> None:
    """Not that of the recorder, which may come to it later."""
    now = time.time()
    tracker = Tracker(TrackingConfig(), folder.parent)
    before = tracker.begin("trial", "playlists", "before", {}, folder, began=now - 327)
    before.end("FINISHED", now - 27)
    tracker.close()
    info = client_of(folder).get_run(recorded_id(folder)).info
    assert (info.start_time, info.end_time) == (int((now - 327) * 1000), int((now - 27) * 1000))


def test_a_killed_job_ends_its_run_as_killed(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from spotify_engine.tracking.settings import TrackingConfig\n"
        "from spotify_engine.tracking.tracker import Tracker\n"
        "folder = Path(sys.argv[1]); tracker = Tracker(TrackingConfig(), folder.parent)\n"
        "tracker.begin('train', 'playlists', 'mine', {}, folder).metrics({'loss': 1.0})\n"
        "time.sleep(100)"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    wait_for(lambda: recorded_id(folder))
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    wait_for(lambda: recorded_status(folder))
    assert client_of(folder).get_run(recorded_id(folder)).info.status == "KILLED"


def wait_for(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("did not come about")


def test_epochs_are_read_back_whole_and_once(tmp_path: Path) -> None:
    path = tmp_path / "epochs.jsonl"
    assert read_epochs(path) == []
    for epoch, value in ((0, 0.1), (1, 0.2), (1, 0.3)):
        write_epoch(path, {"epoch": float(epoch), "x": value})
    with path.open("a") as file:
        file.write('{"epoch": 2, "x"')
    assert read_epochs(path) == [{"epoch": 0.0, "x": 0.1}, {"epoch": 1.0, "x": 0.3}]
    write_epoch(tmp_path / "no such folder" / "epochs.jsonl", {"epoch": 0.0})


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("postgresql://there/db", "http://HOST:PORT"),
        ("https://me:secret@there", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_uris_that_cannot_be_used_or_kept_are_refused(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackingConfig(uri=uri)
    assert json.loads(TrackingConfig(uri="http://a:5000").model_dump_json())["uri"]

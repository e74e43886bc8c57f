"""What goes wrong while training: a worker dies, the disk is full, the loss is no number."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from spotify_engine.config import ClusterConfig, load_config, read_yaml
from spotify_engine.learning.trainers.base import load_state
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.playlists.training_inputs import PlaylistTraining, TrainingInputs
from spotify_engine.runtime.train.training import train as run_training
from tests.sockets import Sockets

pytestmark = pytest.mark.usefixtures("ray_cluster")
BEFORE_TRAINING = ("inputs", "prepare", "split", "genres", "graph", "start")
Epochs = list[dict[str, float]]


@pytest.fixture
def untrained(finished: tuple[Path, str]) -> Callable[..., Path]:
    """Copies the finished run as it was before its training, and may change its settings."""

    def copy(target: Path, **training: Any) -> Path:
        shutil.copytree(
            finished[0],
            target,
            ignore=shutil.ignore_patterns("checkpoints", "bundle", "item_item*", "report*"),
        )
        stages = json.loads((target / "stages.json").read_text())
        kept = {name: stages[name] for name in BEFORE_TRAINING}
        (target / "stages.json").write_text(json.dumps(kept))
        config = yaml.safe_load((target / "config.yaml").read_text())
        config["training"] |= training
        (target / "config.yaml").write_text(yaml.safe_dump(config))
        return target

    return copy


def train(run: Path, out: Path, workers: int = 1) -> Epochs:
    """The training stage alone; the epochs without their wall times."""
    job = load_config(KaggleJob, [("run", read_yaml(run / "config.yaml"))], [])
    inputs = TrainingInputs(run / "graph", run / "split.parquet", run / "start")
    cluster = ClusterConfig(workers=workers)
    return _timeless(run_training(PlaylistTraining(inputs, job.model, job.training), out, cluster))


@pytest.fixture
def after_first_epoch() -> Iterator[Callable[[Path, Callable[[], None]], None]]:
    """Does something to a training in these checkpoints once its first epoch's is noted."""
    threads = []

    def plan(checkpoints: Path, act: Callable[[], None]) -> None:
        noted = checkpoints / "ray" / "checkpoint_manager_snapshot.json"

        def watch() -> None:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                if noted.exists() and "checkpoint_000001" in noted.read_text():
                    act()
                    return
                time.sleep(0.02)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()

    yield plan
    for thread in threads:
        thread.join()


def test_a_killed_worker_costs_no_more_than_an_epoch_and_changes_nothing(
    finished: tuple[Path, str],
    after_first_epoch: Callable[[Path, Callable[[], None]], None],
    tmp_path: Path,
) -> None:
    run, workers = finished[0], 2
    undisturbed = tmp_path / "undisturbed"
    with Sockets(os.getpid()) as sockets:
        train(run, undisturbed, workers)
    assert any("RayTrainWorker" in each for each in sockets.loopback), "where they meet"
    killed: list[int] = []
    seen: list[int] = []

    def kill() -> None:
        seen.extend(_training_workers())
        time.sleep(0.2)  # well into the second epoch
        os.kill(seen[-1], signal.SIGKILL)
        killed.append(seen[-1])

    after_first_epoch(tmp_path / "checkpoints", kill)
    epochs = train(run, tmp_path / "checkpoints", workers)
    assert len(seen) == workers
    assert killed, "the worker was there to be killed"

    expected = load_state(undisturbed / "last")
    ours = load_state(tmp_path / "checkpoints" / "last")
    assert epochs == _timeless(expected["history"])
    for name, weight in expected["model"].items():
        assert torch.equal(ours["model"][name], weight), name


def test_a_full_disk_is_one_line_and_what_was_saved_goes_on(
    finished: tuple[Path, str],
    untrained: Callable[..., Path],
    training_flags: list[str],
    after_first_epoch: Callable[[Path, Callable[[], None]], None],
    small_disk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = untrained(small_disk / "run")
    checkpoints, ballast = run / "checkpoints", small_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", 0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))

    after_first_epoch(checkpoints, fill)
    said = refused(capsys, *training_flags, f"--out={run}")
    assert f"{checkpoints}: a checkpoint can't be written (No space left on device)" in said
    assert not list(checkpoints.rglob("*partial*"))
    kept = max((checkpoints / "ray").glob("checkpoint_0*"))
    before = load_state(kept)["history"]
    assert before

    ballast.unlink()
    # Had the disk been full a moment sooner, Ray's list of checkpoints would have been cut off.
    os.truncate(checkpoints / "ray" / "checkpoint_manager_snapshot.json", 100)
    epochs = train(run, checkpoints)
    after = load_state(checkpoints / "last")["history"]
    assert after[: len(before)] == before, "it went on from there: these took the same seconds"
    assert epochs == _timeless(load_state(finished[0] / "checkpoints" / "last")["history"])
    expected = load_state(finished[0] / "checkpoints" / "best")["model"]
    for name, weight in load_state(checkpoints / "best")["model"].items():
        assert torch.equal(weight, expected[name]), name


def test_a_loss_that_is_no_number_names_its_batch_and_is_not_tried_again(
    untrained: Callable[..., Path],
    training_flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A decay of more than twice the parameter flips its sign and makes it grow, step by step.
    settings = {
        "learning_rate": 0.001, "weight_decay": 3200.0, "warmup_steps": 0,
        "min_steps_per_epoch": 3, "epochs": 9,
    }  # fmt: skip
    run = untrained(tmp_path / "run", **settings)
    flags = [f"--set=training.{name}={value}" for name, value in settings.items()]
    said = refused(capsys, *training_flags, *flags, f"--out={run}")
    assert "became" in said
    assert "lower training.learning_rate (now 0.001)" in said
    noted = run / "checkpoints" / "diverged.json"
    assert f"batch and settings: {noted}" in said

    found = json.loads(noted.read_text())
    assert f"in epoch {found['epoch']}, batch {found['batch']} " in said
    assert found["config"]["training"].items() >= settings.items()
    assert 1 <= len(found["playlists"]) <= found["config"]["training"]["batch_size"]
    # The workers came back with this in place of failing, which Ray would answer by trying again.
    kept = Path(said.rsplit("last good checkpoint: ", 1)[1].strip())
    state = load_state(kept)
    assert len(state["history"]) == found["epoch"] > 0
    assert all(weight.isfinite().all() for weight in state["model"].values())


@pytest.mark.parametrize("place", ["a file in the way", "a disk nobody can write to"])
def test_checkpoints_that_cannot_be_written_are_refused_before_training(
    place: str,
    untrained: Callable[..., Path],
    training_flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = untrained(tmp_path / "run")
    if place == "a file in the way":
        (run / "checkpoints").write_text("")
    else:
        (run / "checkpoints").symlink_to("/proc")
    said = refused(capsys, *training_flags, f"--out={run}")
    assert f"{run / 'checkpoints'}: checkpoints can't be written here (" in said
    assert "give an --out that can be written" in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The last line with which train_kaggle.py gives up."""
    import train_kaggle

    capsys.readouterr()
    assert train_kaggle.main(flags) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def _training_workers() -> list[int]:
    """Processes of this session's Ray that train, by their titles."""
    import ray

    session = ray._private.worker.global_worker.node.session_name
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_bytes()
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            ours = session in Path("/proc", parent, "cmdline").read_text()
        except OSError:
            continue
        if b"RayTrainWorker" in title and ours:
            found.append(int(entry.name))
    return sorted(found)


def _timeless(history: Epochs) -> Epochs:
    return [{k: v for k, v in epoch.items() if not k.endswith("seconds")} for epoch in history]

"""The laptop cluster: start, submit a job as the README says, read its log, stop."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sockets import Sockets

ROOT = Path(__file__).parents[2]
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def shell(ray_folder: Path) -> Shell:
    """Runs a line in bash as a user's new shell would, with a home and Ray files of its own."""
    folder = ray_folder / "c"
    folder.mkdir()
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}:{known['PATH']}"
    environment = known | {"PATH": path, "HOME": str(folder), "RAY_TMPDIR": str(folder)}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(scope="module")
def cluster(shell: Shell) -> Iterator[str]:
    """What starting a cluster on free ports said."""
    ports = [_free_port() for _ in range(4)]
    names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
    flags = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
    started = shell(f"OBJECT_STORE_MIB=200 cluster/laptop.sh start --num-cpus=2 {' '.join(flags)}")
    try:
        assert started.returncode == 0, started.stderr
        yield started.stdout
    finally:
        stopped = shell("cluster/laptop.sh stop")
    assert stopped.returncode == 0, stopped.stderr
    assert shell("cluster/laptop.sh status").returncode == 1


def test_the_script_says_what_to_type_and_stays_on_loopback(cluster: str, shell: Shell) -> None:
    assert "source cluster/env.sh" in cluster
    assert "ray job submit -- python jobs/train_kaggle.py --mode mini" in cluster
    assert re.search(r"Ray runs at 127\.0\.0\.1:\d+", cluster)
    assert re.search(r"Dashboard: http://127\.0\.0\.1:\d+ ", cluster)
    again = shell("cluster/laptop.sh start")
    assert again.returncode == 2
    assert again.stderr.startswith("error: already running")


def test_nothing_of_it_listens_to_the_network(cluster: str, ray_folder: Path) -> None:
    [noted] = (ray_folder / "c").glob("spotify-engine-cluster-*/pid")
    with Sockets(int(noted.read_text())) as sockets:
        sockets.look()
    assert any("gcs_server" in each for each in sockets.loopback)


def test_a_submitted_job_trains_and_its_log_shows_the_epochs(
    cluster: str, shell: Shell, sample: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    submitted = shell(
        "source cluster/env.sh && ray job submit -- python jobs/train_kaggle.py --mode mini "
        f"--playlists {sample}/spotify_dataset.csv --features {sample}/tracks_features.csv "
        f"--out {out} --set training.epochs=2 --set training.min_steps_per_epoch=1"
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    job = re.search(r"raysubmit_\w+", submitted.stdout + submitted.stderr)
    assert job is not None
    log = shell(f"source cluster/env.sh && ray job logs {job[0]}").stdout
    assert "epoch 1/2: loss" in log
    assert "epoch 2/2: loss" in log
    assert f"Report: {out / 'report.json'}" in log
    for name in ("report.json", "predictions.parquet", "bundle/manifest.json", "tables"):
        assert (out / name).exists(), name


@pytest.mark.parametrize(
    "given",
    ["true", "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=ffffffffffffffffffffffffffffffff"],
    ids=["no token", "another token"],
)
def test_without_the_token_nothing_is_run(
    cluster: str, shell: Shell, given: str, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    address = re.search(r"Dashboard: (\S+)", cluster)
    assert address is not None
    refused = shell(
        f"{given} && export RAY_API_SERVER_ADDRESS={address[1]} && ray job submit -- touch {mark}"
    )
    assert refused.returncode != 0
    assert "uthenticat" in refused.stdout + refused.stderr
    assert not mark.exists()


def test_the_token_file_is_private(cluster: str, shell: Shell) -> None:
    assert shell("stat -c %a ~/.ray/auth_token").stdout == "600\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port

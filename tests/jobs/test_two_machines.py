"""A cluster of two nodes, of one CPU each: the same job, its training workers on both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Starts two raylets on loopback, says where, and stops them when its input ends. (`ray start` wants
# nodes to have addresses of their own, which would listen to the network.)
NODES = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.add_node(**node)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def environment(ray_folder: Path) -> dict[str, str]:
    """Of a user's shell on either machine, after sourcing cluster/env.sh."""
    folder = ray_folder / "two"
    folder.mkdir()
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return known | {
        "PATH": f"{Path(sys.executable).parent}:{known['PATH']}",
        "HOME": str(folder),
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


@pytest.fixture
def two_nodes(environment: dict[str, str]) -> Iterator[str]:
    """Address of the cluster."""
    subprocess.run(["ray", "get-auth-token", "--generate"], env=environment, capture_output=True)
    process = subprocess.Popen(
        [sys.executable, "-c", NODES],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("127.0.0.1:"), process.communicate()
        yield address
        process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_the_job_runs_unchanged_with_a_worker_on_each_node(
    two_nodes: str, environment: dict[str, str], sample: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable, "jobs/train_kaggle.py", "--mode=mini", "--workers=2", f"--out={out}",
        f"--playlists={sample / 'spotify_dataset.csv'}",
        f"--features={sample / 'tracks_features.csv'}",
        "--set=training.epochs=2", "--set=training.min_steps_per_epoch=20",
        "--set=start.iterations=2",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(
            command, cwd=ROOT, env=environment | {"RAY_ADDRESS": two_nodes}, stdout=log, stderr=log
        )
        nodes: set[int] = set()
        deadline = time.monotonic() + 240
        while job.poll() is None and time.monotonic() < deadline:
            nodes |= _nodes_that_train(environment["HOME"])
            time.sleep(0.2)
        job.kill()
    printed = (tmp_path / "log").read_text()
    assert job.wait() == 0, printed
    assert len(nodes) == 2, "each node's raylet had a training worker"
    report = json.loads((out / "report.json").read_text())
    assert len(report["epochs"]) == 2
    assert (out / "bundle" / "manifest.json").exists()
    assert "epoch 2/2: loss" in printed


def _nodes_that_train(folder: str) -> set[int]:
    """Raylets whose files are in the folder and that have a training worker."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"RayTrainWorker" in (entry / "cmdline").read_bytes():
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if folder in Path(f"/proc/{parent}/cmdline").read_text():
                    found.add(parent)
        except OSError:
            continue
    return found

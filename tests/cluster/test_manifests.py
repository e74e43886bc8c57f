"""The cluster files: readable, consistent with each other and with the jobs they start."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
SHARED = "/mnt/shared"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CLUSTER / name).read_text())
    return content


@pytest.fixture
def kuberay() -> dict[str, Any]:
    """The cluster that both KubeRay files describe."""
    alone = read("kuberay/raycluster.yaml")
    within = read("kuberay/rayjob.yaml")
    assert (alone["apiVersion"], alone["kind"]) == ("ray.io/v1", "RayCluster")
    assert (within["apiVersion"], within["kind"]) == ("ray.io/v1", "RayJob")
    assert within["spec"]["rayClusterSpec"] == alone["spec"]
    spec: dict[str, Any] = alone["spec"]
    return spec


def test_every_pod_has_the_same_image_and_the_shared_storage(kuberay: dict[str, Any]) -> None:
    groups = [kuberay["headGroupSpec"], *kuberay["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert len(pods) == 2
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    for pod in pods:
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"shared": SHARED}
        assert [volume["name"] for volume in pod["volumes"]] == ["shared"]
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_workers_fit_the_training(kuberay: dict[str, Any]) -> None:
    entrypoint = read("kuberay/rayjob.yaml")["spec"]["entrypoint"]
    (workers,) = map(int, re.findall(r"--workers (\d+)", entrypoint))
    (cpus,) = map(int, re.findall(r"cpus_per_worker=(\d+)", entrypoint))
    (group,) = kuberay["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert group["replicas"] >= workers
    assert int(limits["cpu"]) >= cpus


def test_the_policy_lets_rays_pods_talk_and_others_reach_the_dashboard_alone() -> None:
    policy = read("kuberay/network-policy.yaml")
    assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    spec = policy["spec"]
    rays = {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    assert (spec["podSelector"], spec["policyTypes"]) == (rays, ["Ingress"])
    among_themselves, others = spec["ingress"]
    assert among_themselves == {"from": [{"podSelector": rays}]}
    container = read("kuberay/raycluster.yaml")["spec"]["headGroupSpec"]["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for port in container["containers"][0]["ports"]}
    assert others["ports"] == [{"protocol": "TCP", "port": ports["dashboard"]}]


def test_clusters_have_tokens_and_the_ray_that_is_tested(kuberay: dict[str, Any]) -> None:
    assert kuberay["authOptions"] == {"mode": "token"}
    assert f"ray=={kuberay['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    nodes = read("multi-node.yaml")
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in nodes[commands][-1]
    assert "~/.ray/auth_token" in nodes["file_mounts"]


def test_the_job_keeps_everything_on_shared_storage_with_flags_that_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    import train_kaggle

    python, job, *flags = read("kuberay/rayjob.yaml")["spec"]["entrypoint"].split()
    assert (python, job) == ("python", "jobs/train_kaggle.py")
    given = train_kaggle.parser().parse_args(flags)
    assert all(
        str(path).startswith(SHARED) for path in (given.out, given.playlists, given.features)
    )


def test_ray_accepts_the_launcher_file() -> None:
    # In a process of its own: Ray's configuration checker keeps state.
    code = (
        "import sys, yaml; from ray.autoscaler._private.util import prepare_config, "
        "validate_config; validate_config(prepare_config(yaml.safe_load(open(sys.argv[1]))))"
    )
    checked = subprocess.run(
        [sys.executable, "-c", code, str(CLUSTER / "multi-node.yaml")],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr

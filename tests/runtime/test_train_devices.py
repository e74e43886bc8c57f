"""Who trains on a GPU."""

import pytest
import ray
import torch

from spotify_engine.config import ClusterConfig
from spotify_engine.errors import InputError
from spotify_engine.learning.devices import CPU
from spotify_engine.runtime.train import devices


@pytest.mark.parametrize(
    ("there", "workers", "asked", "expected"),
    [
        (0, 1, None, (1, 0)),
        (0, 3, None, (3, 0)),
        (1, 1, None, (1, 1)),
        (1, 2, None, (1, 1)),
        (4, 2, None, (2, 1)),
        (4, 2, 0, (2, 0)),
        (2, 2, 1, (2, 1)),
    ],
)
def test_each_worker_has_a_gpu_where_there_are_any(there, workers, asked, expected, monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": float(there)})
    cluster = ClusterConfig(workers=workers, gpus_per_worker=asked)
    found = devices.with_gpus(cluster)
    assert (found.workers, found.gpus_per_worker) == expected


def test_more_gpus_than_there_are_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    with pytest.raises(InputError, match=r"has 0; lower cluster\.workers, or leave"):
        devices.with_gpus(ClusterConfig(gpus_per_worker=1))


def test_a_gpu_that_pytorch_cannot_use_leaves_the_cpu_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.device_of_worker(0) == CPU
    assert capsys.readouterr().out.count("\n") == 1
    assert devices.device_of_worker(1) == CPU
    assert not capsys.readouterr().out


def test_without_gpus_nothing_is_said(monkeypatch, capsys):
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    assert devices.device_of_worker(0) == CPU
    assert not capsys.readouterr().out


def test_a_gpu_that_works_is_used(monkeypatch, capsys):
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(devices, "get_device", lambda: torch.device("cuda:0"))
    try:
        assert devices.device_of_worker(0) == torch.device("cuda:0")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert capsys.readouterr().out == "Training on Card\n"

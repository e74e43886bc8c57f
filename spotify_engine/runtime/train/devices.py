"""Which device a training worker computes on: a GPU where the cluster has one for each of them."""

from __future__ import annotations

import ray
import torch
from ray.train.torch import get_device

from spotify_engine.config import ClusterConfig
from spotify_engine.errors import InputError
from spotify_engine.learning.devices import CPU
from spotify_engine.learning.exchange import sum_over_workers

UNUSABLE = (
    "the cluster has GPUs, but the PyTorch of its workers can't use them (torch.cuda.is_available "
    "is false there); install a build with CUDA, or set cluster.gpus_per_worker=0"
)


def gpus_of_workers(cluster: ClusterConfig) -> int:
    """GPUs to ask for, for each worker: 0 or 1.

    Raises:
        InputError: more are asked for than the cluster has.
    """
    there = int(ray.cluster_resources().get("GPU", 0))
    if cluster.gpus_per_worker is None:
        return int(there >= cluster.workers)
    if cluster.gpus_per_worker and there < cluster.workers:
        raise InputError(
            f"cluster.gpus_per_worker=1: {cluster.workers} workers need as many GPUs, the cluster "
            f"has {there}; lower cluster.workers, or leave cluster.gpus_per_worker out"
        )
    return cluster.gpus_per_worker


def device_of_worker(rank: int) -> torch.device:
    """The device that this worker computes on, of the same type on all of them."""
    unusable = bool(ray.get_gpu_ids()) and not torch.cuda.is_available()
    # One table of embeddings on a GPU and another on a CPU could not be added up.
    if sum_over_workers(float(unusable)):
        if rank == 0:
            print(f"Training on CPUs: {UNUSABLE}", flush=True)
        return CPU
    if not ray.get_gpu_ids():
        return CPU
    # Products of float32 with 10 bits of mantissa: a bound of their own, far below dropout's noise.
    torch.set_float32_matmul_precision("high")
    if rank == 0:
        print(f"Training on {torch.cuda.get_device_name()}", flush=True)
    return get_device()

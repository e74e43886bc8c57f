"""Which device a training worker computes on: a GPU where the cluster has any."""

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


def with_gpus(cluster: ClusterConfig) -> ClusterConfig:
    """The same, with the workers that there will be and ``gpus_per_worker`` decided.

    Where the cluster has fewer GPUs than workers were asked for, each GPU gets one: a GPU is worth
    many CPUs, and what is learned does not depend on the number of workers.

    Raises:
        InputError: more are asked for than the cluster has.
    """
    there = int(ray.cluster_resources().get("GPU", 0))
    workers, asked = cluster.workers, cluster.gpus_per_worker
    if asked and there < workers:
        raise InputError(
            f"cluster.gpus_per_worker=1: {workers} workers need as many GPUs, the cluster "
            f"has {there}; lower cluster.workers, or leave cluster.gpus_per_worker out"
        )
    gpus = int(there > 0) if asked is None else asked
    return cluster.model_copy(
        update={"gpus_per_worker": gpus, "workers": min(workers, there) if gpus else workers}
    )


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

"""Joining the running Ray cluster, or starting one for the length of a job."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import ray

from spotify_engine.config import ClusterConfig

LOOPBACK = "127.0.0.1"


@contextmanager
def ray_session(config: ClusterConfig) -> Iterator[float]:
    """Join the cluster that ``RAY_ADDRESS`` or ``ray start`` names; else start one on loopback.

    A cluster started here is shut down on leaving; one that was joined goes on.

    Yields:
        Seconds it took to connect or start.
    """
    started = perf_counter()
    # Every operator of Ray Data logs its plan otherwise; errors and our own progress remain.
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "0")
    quiet = {"log_to_driver": True, "logging_level": logging.WARNING}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, config.workers),
            object_store_memory=config.object_store_mib << 20,
            include_dashboard=config.dashboard,
            dashboard_host=LOOPBACK,
            _node_ip_address=LOOPBACK,
            **quiet,
        )
    try:
        yield perf_counter() - started
    finally:
        ray.shutdown()

"""Joining the running Ray cluster, or starting one for the length of a job."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import ray

from spotify_engine.config import ClusterConfig
from spotify_engine.errors import InputError

LOOPBACK = "127.0.0.1"


@contextmanager
def ray_session(config: ClusterConfig) -> Iterator[float]:
    """Join the cluster that ``RAY_ADDRESS`` or ``ray start`` names; else start one on loopback.

    A cluster started here is shut down on leaving; one that was joined goes on. With
    ``RAY_ADDRESS=local`` a cluster of the job's own is started even beside a running one.

    Yields:
        Seconds it took to connect or start.

    Raises:
        InputError: ``RAY_ADDRESS`` names a cluster that doesn't answer.
    """
    started = perf_counter()
    address = os.environ.get("RAY_ADDRESS", "auto")
    if address == "local" or not _joined(address):
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, config.workers),
            object_store_memory=config.object_store_mib << 20,
            include_dashboard=config.dashboard,
            dashboard_host=LOOPBACK,
            _node_ip_address=LOOPBACK,
            logging_level=logging.WARNING,
        )
    try:
        yield perf_counter() - started
    finally:
        ray.shutdown()


def _joined(address: str) -> bool:
    """Connect to a running cluster; False when none was named and none is found."""
    try:
        ray.init(address=address, logging_level=logging.WARNING)
    except ConnectionError as error:
        if address != "auto":
            raise InputError(
                f"RAY_ADDRESS={address}: no Ray cluster answers there ({error}); start it "
                "(cluster/laptop.sh) or unset RAY_ADDRESS to run without one"
            ) from error
        return False
    return True

"""Joining the running Ray cluster, or starting one for the length of a job."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import ray
import ray.data
import ray.util
from ray._private import ray_constants
from ray.exceptions import AuthenticationError

from spotify_engine.config import ClusterConfig
from spotify_engine.errors import InputError
from spotify_engine.network import LOOPBACK


@contextmanager
def ray_session(config: ClusterConfig, show_workers: bool = True) -> Iterator[float]:
    """Join the cluster that ``RAY_ADDRESS`` or ``ray start`` names; else start one.

    A cluster started here is shut down on leaving; one that was joined goes on, and so does a
    session that this process already had. With ``RAY_ADDRESS=local`` a cluster of the job's own is
    started even beside a running one.

    Args:
        show_workers: whether to print what workers print; Ray's log files have it anyway.

    Yields:
        Seconds it took to connect or start.

    Raises:
        InputError: ``RAY_ADDRESS`` names a cluster that doesn't answer or doesn't let us in.
    """
    _show_only_progress_and_warnings()
    if ray.is_initialized():
        yield 0.0
        return
    started = perf_counter()
    if os.environ.get("RAY_ADDRESS") == "local" or not _joined(show_workers):
        start_on_loopback(
            num_cpus=max(os.cpu_count() or 1, config.workers),
            object_store_memory=config.object_store_mib << 20,
            include_dashboard=config.dashboard,
            dashboard_host=LOOPBACK,
            logging_level=logging.WARNING,
            log_to_driver=show_workers,
        )
    try:
        yield perf_counter() - started
    finally:
        ray.shutdown()


def start_on_loopback(**options: Any) -> None:
    """Start a cluster of this process's own, of which nothing listens to the network.

    On Linux Ray replaces 127.0.0.1 by the machine's own address, even where it is told that, and
    then listens on all interfaces; on macOS and Windows it doesn't, by a setting that it reads from
    the environment when it is imported. A job that joins a cluster must not have it, so it is
    changed for as long as the start takes.

    Args:
        options: of ``ray.init``.
    """
    usual = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _signals_kept():
            ray.init(address="local", **options)
        address = ray.util.get_node_ip_address()
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = usual
    if address != LOOPBACK:
        ray.shutdown()
        raise RuntimeError(
            f"Ray {ray.__version__} listens at {address} in place of {LOOPBACK}: it no longer "
            "goes by ray_constants.ENABLE_RAY_CLUSTER; use the release of constraints.txt"
        )


def is_own_cluster() -> bool:
    """Whether the cluster ends with this process, rather than go on as one that was joined."""
    return bool(ray._private.worker.global_worker.node.head)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """What this process does on SIGTERM; Ray makes it print a C++ stack, and fail."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _joined(show_workers: bool) -> bool:
    """Connect to a running cluster; False when none was named and none that was started answers."""
    named = os.environ.get("RAY_ADDRESS")
    address = named or _recorded_address()
    if address is None:
        return False
    # Ray itself tries for minutes.
    if not _answers(address):
        if named:
            raise InputError(
                f"RAY_ADDRESS={named}: no Ray cluster answers there; start it (cluster/laptop.sh "
                "start) or unset RAY_ADDRESS to run without one"
            )
        return False
    if address.startswith(LOOPBACK) and ray.util.get_node_ip_address() != LOOPBACK:
        raise InputError(
            f"a Ray cluster runs at {address}, on loopback; 'source cluster/env.sh' to join it, "
            "or set RAY_ADDRESS=local to run beside it"
        )
    try:
        with _signals_kept():
            ray.init(logging_level=logging.WARNING, log_to_driver=show_workers)
    except (ConnectionError, AuthenticationError) as error:
        raise InputError(
            f"the Ray cluster at {address} does not let this job in; 'source cluster/env.sh' "
            "(RAY_AUTH_MODE=token) and have its token in ~/.ray/auth_token"
        ) from error
    return True


def _recorded_address() -> str | None:
    """What the last `ray start` noted.

    Left to itself, Ray joins whatever instance it finds on the machine, such as another job's own,
    which ends with that job.
    """
    temp = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    note = Path(temp, "ray", "ray_current_cluster")
    return note.read_text().strip() if note.exists() else None


def _answers(address: str) -> bool:
    """Whether something listens at ``host:port``; other forms of address are left to Ray."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return True
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _show_only_progress_and_warnings() -> None:
    """Turn down what Ray says on the console; its log files keep everything."""
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    for module in ("execution.streaming_executor", "progress"):
        logging.getLogger(f"ray.data._internal.{module}").setLevel(logging.WARNING)
    # Its advice is about a memory request that the reading stage makes on purpose.
    ray.data.DataContext.get_current().issue_detectors_config.detectors = []

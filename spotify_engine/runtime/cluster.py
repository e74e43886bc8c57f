"""Joining the running Ray cluster, or starting one for the length of a job."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import Any
from unittest.mock import patch

import ray
import ray.data
import ray.util
from ray._private import ray_constants
from ray._private.log import PlainRayHandler
from ray.exceptions import AuthenticationError, RayTaskError

from spotify_engine.command import logs_all
from spotify_engine.config import ClusterConfig
from spotify_engine.errors import InputError
from spotify_engine.network import LOOPBACK
from spotify_engine.ray_address import AUTO, LOCAL, named_cluster
from spotify_engine.runtime.logs import logging_options
from spotify_engine.store.files import writing

log = logging.getLogger(__name__)

_SOCKET = "ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store_00000"
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # bytes of a path, as the kernel has it


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
        InputError: ``RAY_ADDRESS`` is of a form that there isn't, or names a cluster that doesn't
            answer or doesn't let us in; or there is no folder that Ray can use.
        InputError, OSError: as a task of the block raised it, without Ray's traceback.
    """
    _log_as_asked()
    started, ours = perf_counter(), not ray.is_initialized()
    if ours:
        _connect(config, show_workers)
    try:
        log.info("Ray %s after %.1f s", ray.__version__, perf_counter() - started)
        with refusals_as_raised():
            yield perf_counter() - started if ours else 0.0
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def refusals_as_raised() -> Iterator[None]:
    """Raise what a task refused as the task did, without Ray's traceback around it."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, InputError | OSError):
            raise error.cause from None
        raise


def _connect(config: ClusterConfig, show_workers: bool) -> None:
    asked = named_cluster()
    if asked == LOCAL or not _joined(asked, show_workers):
        start_on_loopback(
            num_cpus=max(os.cpu_count() or 1, config.workers),
            object_store_memory=config.object_store_mib << 20,
            include_dashboard=config.dashboard,
            dashboard_host=LOOPBACK,
            log_to_driver=show_workers,
        )


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
        _init(address=LOCAL, **{"_temp_dir": _folder()} | options)
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
    node = ray._private.worker.global_worker.node
    return node is not None and bool(node.head)  # a task of Ray's has none


def _init(**options: Any) -> None:
    """``ray.init`` that leaves SIGTERM to whoever handled it before.

    Ray's own handler, and that of its C++ part, print where the process was and abort it.
    """
    options = logging_options() | options
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler):
        ray.init(**options)
        return

    def keep(handler_of_ray: Any) -> None:
        signal.signal(signal.SIGTERM, handler)

    with patch.object(ray._private.utils, "set_sigterm_handler", keep):
        ray.init(**options)
    keep(None)


def _folder() -> str:
    """Ray's folder for its files: as the environment says, unless its sockets' paths get too long.

    Raises:
        InputError: that is too long, too, or can't be used.
    """
    folder = _temporary()
    if len(os.fsencode(folder / _SOCKET)) > _LONGEST_SOCKET:
        if asked := os.environ.get("RAY_TMPDIR"):
            raise InputError(
                f"RAY_TMPDIR={asked}: too long for the paths of Ray's sockets; set RAY_TMPDIR=/tmp"
            )
        folder = Path("/tmp")
    with writing(folder, "Ray needs it; set RAY_TMPDIR=/tmp"):
        (folder / "ray").mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder / "ray"):
            pass
    return str(folder / "ray")


def _temporary() -> Path:
    """The folder that Ray takes for temporary files."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def _joined(asked: str | None, show_workers: bool) -> bool:
    """Connect to a running cluster; False when none was named and none that was started answers."""
    address = _recorded_address() if asked in (None, AUTO) else asked
    if address is None:
        if asked == AUTO:
            raise InputError(
                "RAY_ADDRESS=auto: no Ray cluster was started on this machine; start one "
                "(cluster/laptop.sh start) or unset RAY_ADDRESS to run without one"
            )
        return False
    # Ray itself tries for minutes.
    if not _answers(address):
        if asked:
            raise InputError(
                f"RAY_ADDRESS={asked}: no Ray cluster answers there; start it (cluster/laptop.sh "
                "start) or unset RAY_ADDRESS to run without one"
            )
        return False
    if address.startswith(LOOPBACK) and ray.util.get_node_ip_address() != LOOPBACK:
        raise InputError(
            f"a Ray cluster runs at {address}, on loopback; 'source cluster/env.sh' to join it, "
            "or set RAY_ADDRESS=local to run beside it"
        )
    try:
        _init(address=address, log_to_driver=show_workers)
    except (ConnectionError, AuthenticationError) as error:
        raise InputError(
            f"the Ray cluster at {address} does not let this job in; 'source cluster/env.sh' "
            "(RAY_AUTH_MODE=token) and have its token in ~/.ray/auth_token"
        ) from error
    return True


def _recorded_address() -> str | None:
    """The address that the last `ray start` noted.

    Left to itself, Ray joins whatever instance it finds on the machine, such as another job's own,
    which ends with that job.
    """
    note = _temporary() / "ray" / "ray_current_cluster"
    return note.read_text(encoding="utf-8").strip() if note.exists() else None


def _answers(address: str) -> bool:
    """Whether something listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _log_as_asked() -> None:
    """Turn down what Ray says on the console; its log files keep everything."""
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, PlainRayHandler):
            handler.setLevel(logging.INFO if logs_all() else logging.WARNING)
    # Its advice is about a memory request that the reading stage makes on purpose.
    ray.data.DataContext.get_current().issue_detectors_config.detectors = []

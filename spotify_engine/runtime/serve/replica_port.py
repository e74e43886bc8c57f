"""The port that Serve opens in each replica.

Ray 2.60 opens it at ``[::]:0``, on every interface, and unpickles what comes with the cluster's
token, which is to run it; docs/decisions/0001-closed-ports.md tells more.
"""

from __future__ import annotations

from typing import Any

import ray
import ray.util
from ray._common.network_utils import build_address

_opened: list[str] = []  # addresses, in this process


def open_at_node() -> None:
    """Let Serve, in this process, open the port at the node's own address.

    On a cluster on loopback that is 127.0.0.1. To be called in a replica's constructor, which comes
    before the port.

    Raises:
        RuntimeError: this release of Ray opens it in another way.
    """
    from ray.serve._private import replica

    if not hasattr(replica, "add_port_to_grpc_server"):
        raise RuntimeError(_unknown())
    opens = replica.add_port_to_grpc_server

    def opened(server: Any, _: str) -> int:
        address = build_address(ray.util.get_node_ip_address(), 0)
        port: int = opens(server, address)
        _opened.append(address)
        return port

    replica.add_port_to_grpc_server = opened


def require_opened() -> None:
    """Refuse to go on where the replicas' port isn't opened as it should be.

    Raises:
        RuntimeError: :func:`open_at_node` was without effect.
    """
    if not _opened:
        raise RuntimeError(_unknown())


def _unknown() -> str:
    return (
        f"Ray {ray.__version__} opens the port of replicas in a way that is unknown here, perhaps "
        "to the network; use the release of constraints.txt"
    )

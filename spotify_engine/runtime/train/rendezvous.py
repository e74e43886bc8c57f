"""The rendezvous of training workers, without listening on every interface.

PyTorch's ``env://`` and ``tcp://`` let worker 0 listen on all of them, for anyone to read and write
what the workers agree on; here it listens at its node's address, which is loopback on a laptop.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

import ray
import ray.util
import torch
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from torch import distributed as dist

from spotify_engine.network import is_loopback

_opened: dist.TCPStore | None = None  # in worker 0


class NodeTorchConfig(TorchConfig):
    """A process group in which each worker listens at its node's address.

    What is on CPUs is exchanged by gloo, what is on GPUs by NCCL.
    """

    @property
    def backend_cls(self) -> type[_NodeBackend]:
        """The class that Ray Train sets the workers up with."""
        return _NodeBackend


class _NodeBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: NodeTorchConfig) -> None:
        address, port = worker_group.execute_single(0, _open)
        size, timeout = len(worker_group), timedelta(seconds=backend_config.timeout_s)
        meeting = [
            worker_group.execute_single_async(rank, _meet, address, port, rank, size, timeout)
            for rank in range(size)
        ]
        ray.get(meeting)


def _open() -> tuple[str, int]:
    """Start the store, in worker 0, at its node's address and a free port."""
    global _opened
    address = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family)
    port = listener.getsockname()[1]
    _opened = dist.TCPStore(
        address,
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    return address, port


def _meet(address: str, port: int, rank: int, size: int, timeout: timedelta) -> None:
    """Join the others."""
    if is_loopback(address):
        # Left to itself, gloo listens at whatever address the machine's name has.
        names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = names[0]
    store = _opened if rank == 0 else dist.TCPStore(address, port, is_master=False, timeout=timeout)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)

"""What processes listen at."""

from __future__ import annotations

import ipaddress
import socket
import threading

import psutil


class Sockets:
    """Looks, while it is open, twice a second at what a process and its descendants listen at.

    Attributes:
        loopback, elsewhere: "PROGRAM at ADDRESS", without ports.
    """

    def __init__(self, process: int) -> None:
        self._process, self._done = process, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.loopback: set[str] = set()
        self.elsewhere: set[str] = set()

    def _watch(self) -> None:
        while True:
            self.look()
            if self._done.wait(0.5):
                return

    def look(self) -> None:
        try:
            process = psutil.Process(self._process)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for each in family:
            try:
                command = each.cmdline()[:2]
                connections = each.net_connections("inet")
            except psutil.Error:
                continue
            for connection in connections:
                udp = connection.type == socket.SOCK_DGRAM and not connection.raddr
                if connection.laddr and (udp or connection.status == psutil.CONN_LISTEN):
                    found = self.loopback if _is_loopback(connection.laddr.ip) else self.elsewhere
                    found.add(f"{' '.join(command)} at {connection.laddr.ip}")

    def __enter__(self) -> Sockets:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop looking, and fail if anything was seen that others on the network can reach."""
        self._done.set()
        self._thread.join()
        assert self.elsewhere == set()


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

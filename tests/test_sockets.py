"""That what looks for open sockets finds them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.sockets import Sockets

# Nothing accepts, and it is over at once.
LISTEN = """
import socket, sys
kind, host = sys.argv[1:]
found = socket.socket(
    socket.AF_INET6 if ":" in host else socket.AF_INET,
    socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM,
)
found.bind((host, 0))
if kind == "tcp":
    found.listen()
print("bound", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("host", "open"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("::", True)]
)
def test_what_strangers_reach_is_found_in_a_child(kind: str, host: str, open: bool) -> None:
    shell = subprocess.Popen(
        ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", LISTEN, kind, host],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout is not None
    assert shell.stdout.readline() == "bound\n"
    sockets = Sockets(shell.pid).__enter__()
    sockets.look()
    shell.communicate("")
    [seen] = sockets.elsewhere if open else sockets.loopback
    assert seen.endswith(f" at {host}")
    if open:
        with pytest.raises(AssertionError):
            sockets.end()
    else:
        sockets.end()

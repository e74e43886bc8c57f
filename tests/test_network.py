"""Who can reach what listens, and who may listen where."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from spotify_engine.errors import InputError
from spotify_engine.network import (
    TLS_FILES,
    checked_port,
    has_tls,
    is_loopback,
    port_kept,
    require_closed,
    resolved,
)


@pytest.fixture(autouse=True)
def _no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_USE_TLS", *TLS_FILES):
        monkeypatch.delenv(name, raising=False)


def listen(host: str, port: int = 0, shared: bool = False) -> socket.socket:
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if shared:  # as Ray's proxy does
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind((host, port))
    found.listen()
    return found


@pytest.mark.parametrize("value", ["0", "65536", "-1", "99999", "80.5", "http", "", "８０", "8_0"])
def test_what_is_no_port_is_said(value: str) -> None:
    with pytest.raises(InputError, match=r"^--port: must be 1 to 65535, not "):
        checked_port(value, "--port")


def test_ports() -> None:
    assert [checked_port(value, "--port") for value in (1, "80", " 65535 ")] == [1, 80, 65535]


def test_loopback() -> None:
    inside = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]
    assert all(map(is_loopback, inside))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"]))


def test_hosts() -> None:
    assert resolved("localhost", "--host") == "127.0.0.1"
    assert resolved("::", "--host") == "::"
    for host in ("", " ", "no.invalid", "999.1.1.1", "\ud800"):
        with pytest.raises(InputError, match=r"^--host: .* is not an address; give 127"):
            resolved(host, "--host")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("there", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("wanted", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_listened_at_is_refused(shared: bool, there: str, wanted: str) -> None:
    with listen(there, shared=shared) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(InputError, match=f"--port {port}: in use at {wanted}.*another --port$"),
            port_kept(wanted, port),
        ):
            pass


def test_of_two_that_start_at_once_one_has_the_port() -> None:
    with listen("127.0.0.1") as other:
        port = other.getsockname()[1]
    with port_kept("127.0.0.1", port):
        with pytest.raises(InputError, match="in use"), port_kept("0.0.0.0", port):
            pass
        # The proxy isn't kept out, and nobody else is let in.
        with (
            listen("127.0.0.1", port, shared=True) as proxy,
            socket.create_connection(("127.0.0.1", port)),
        ):
            assert proxy.accept()
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", port)


def test_a_port_is_free_again_at_once() -> None:
    """Connections that its last server has closed linger for a minute, and are no server."""
    with listen("127.0.0.1", shared=True) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # this side first, which is the one that lingers
        client.close()
    with port_kept("127.0.0.1", port), listen("127.0.0.1", port, shared=True):
        pass


def test_addresses_of_others_are_refused() -> None:
    with pytest.raises(InputError, match=r"--host 192\.0\.2\.99: no address of this machine"):
        port_kept("192.0.2.99", 8000).__enter__()


def test_strangers_are_kept_out_by_loopback_tls_or_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_closed("127.0.0.1", "here", trusted=False)
    require_closed("0.0.0.0", "here", trusted=True)
    with pytest.raises(InputError, match=r"^here: .*RAY_USE_TLS.*--trust-network"):
        require_closed("0.0.0.0", "here", trusted=False)
    monkeypatch.setenv("RAY_USE_TLS", "1")
    for name in TLS_FILES:
        with pytest.raises(InputError, match=name):
            has_tls()
        monkeypatch.setenv(name, str(tmp_path / name))
        with pytest.raises(InputError, match=f"{name}=.*: no such file"):
            require_closed("0.0.0.0", "here", trusted=True)
        (tmp_path / name).touch()
    require_closed("0.0.0.0", "here", trusted=False)

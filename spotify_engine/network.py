"""Addresses, ports and TLS: keeping unknown machines from what listens here."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from spotify_engine.errors import InputError

LOOPBACK = "127.0.0.1"
PORTS = range(1, 1 << 16)
TLS_FILES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches what listens at an IP address."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def resolved(host: str, where: str) -> str:
    """The IP address of a host, of version 4 if it has one.

    Raises:
        InputError: it has none.
    """
    try:
        if not host.strip():
            raise ValueError
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return min((str(at[0]) for *_, at in found), key=lambda address: ":" in address)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{where}: {host!r} is not an address; give {LOOPBACK}, which only this machine "
            "reaches, or another of this machine's"
        ) from error


def checked_port(value: object, where: str) -> int:
    """The number of a port that was given.

    Raises:
        InputError: it is no port.
    """
    text = str(value).strip()
    # Not all that str.isdigit and int take: "²", "٨", "8_000", True.
    if not (text.isascii() and text.isdigit() and int(text) in PORTS):
        raise InputError(f"{where}: must be 1 to 65535, not {value}")
    return int(text)


@contextmanager
def port_kept(address: str, port: int) -> Iterator[None]:
    """Keep others that ask as we do from a port that is about to be listened at.

    Ray's HTTP proxy shares its port with whoever wants to (``SO_REUSEPORT``), so that two servers
    would both start, and each request reach either. Binding can't tell such a server from the
    connections of one that has just ended, so it is asked whether anything answers; and whoever is
    about to listen has the UDP port of that number.

    Raises:
        InputError: something listens there, or it can't be listened at.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe, socket.socket(family, socket.SOCK_DGRAM) as holder:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((address, port))
            probe.close()
            holder.bind((address, port))
            if _answers(address, port):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        except OSError as error:
            raise InputError(_cannot_listen(address, port, error)) from error
        yield


def _answers(address: str, port: int) -> bool:
    """Whether something listens at a port of an address, or of any that a wildcard stands for."""
    parsed, asked = ipaddress.ip_address(address), [address]
    if parsed.is_unspecified:
        known = (each for of_one in psutil.net_if_addrs().values() for each in of_one)
        families = (socket.AF_INET,) if parsed.version == 4 else (socket.AF_INET, socket.AF_INET6)
        asked = [each.address for each in known if each.family in families]
    for each in asked:
        with suppress(OSError), socket.create_connection((each, port), timeout=1):
            return True
    return False


def _cannot_listen(address: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: in use at {address}, as by another server; give another --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {address}: no address of this machine; give {LOOPBACK} or one that is"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"--port {port}: you don't have the rights to use it; give one above 1023"
    return f"--port {port}: can't be used ({error.strerror}); give another --port"


def has_tls() -> bool:
    """Whether Ray's processes ask each other for certificates, as the environment tells them.

    Raises:
        InputError: they are told so, but not all certificates are there.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return False
    for name in TLS_FILES:
        path = os.environ.get(name)
        if not path:
            raise InputError(f"RAY_USE_TLS is set, but {name} is not; set it to a PEM file's path")
        if not Path(path).is_file():
            raise InputError(f"{name}={path}: no such file; give a PEM file")
    return True


def require_closed(address: str, where: str, trusted: bool) -> None:
    """Refuse to serve where strangers could reach Ray's ports.

    Raises:
        InputError: the address isn't loopback, Ray has no TLS, and nobody said that the network is
            trusted.
    """
    if not has_tls() and not trusted and not is_loopback(address):
        raise InputError(
            f"{where}: others on the network would reach the server or Ray's own ports; set up "
            "Ray's TLS (RAY_USE_TLS), or say --trust-network (trust_network in a Serve file) if a "
            "firewall or network policy lets only trusted machines in"
        )

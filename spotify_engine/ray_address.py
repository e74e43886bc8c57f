"""Reading ``RAY_ADDRESS`` without importing Ray, which takes seconds."""

from __future__ import annotations

import ipaddress
import os
import re

from spotify_engine.errors import InputError

LOCAL, AUTO = "local", "auto"
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ip6>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9._-]+):(?P<port>\d+)")


def named_cluster() -> str | None:
    """``local``, ``auto``, ``host:port``, or None where nothing is named.

    Raises:
        InputError: it is of another form.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if given in ("", LOCAL, AUTO):
        return given or None
    match = _HOST_AND_PORT.fullmatch(given)
    if match and 1 <= int(match["port"]) <= 65535 and _is_address(match["ip6"]):
        return given
    reason = ""
    if given.startswith(("http://", "https://")):
        reason = "; http:// is for `ray job submit`"
    elif given.startswith("ray://"):
        reason = "; ray:// is for Ray's client, which these jobs don't use"
    raise InputError(
        f"RAY_ADDRESS={given}: must be HOST:PORT of a cluster's GCS, such as 127.0.0.1:6379, or "
        f"'local' to start one for this job{reason}"
    )


def _is_address(ip6: str | None) -> bool:
    try:
        return ip6 is None or ipaddress.IPv6Address(ip6).version == 6
    except ValueError:
        return False

"""Serve both recommenders over HTTP, with a page, until Ctrl-C.

Bundles that are given become registered versions and are served; without any, what is current in
the registry is. /docs of what is served has the API.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import RARELY, new_parser
from spotify_engine.command import STOPPED, job
from spotify_engine.errors import InputError
from spotify_engine.network import checked_port, port_kept
from spotify_engine.runtime.haproxy import through_haproxy
from spotify_engine.supervision import supervised

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "serve.yaml"


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``spotify-engine serve``."""
    flags = new_parser(__doc__, "--playlists runs/demo/bundle")
    flags.add_argument(
        "--playlists", type=Path, metavar="BUNDLE", help="playlist bundle to serve (the registry's)"
    )
    flags.add_argument(
        "--sessions", type=Path, metavar="BUNDLE", help="session bundle to serve (the registry's)"
    )
    flags.add_argument(
        "--config", type=Path, default=CONFIG, help="Serve file (configs/serve.yaml)"
    )
    flags.add_argument("--registry", type=Path, help="folder of versions (runs/registry)")
    flags.add_argument(
        "--events", help="event store: sqlite:///FILE or postgresql://... (runs/events.db)"
    )
    flags.add_argument("--host", help="address to listen on (127.0.0.1)")
    flags.add_argument("--port", help="port to listen on (8000)")
    rare = flags.add_argument_group(RARELY)
    rare.add_argument(
        "--admin-token",
        type=Path,
        help="file with the token of admin calls, made if missing (runs/admin_token)",
    )
    rare.add_argument(
        "--events-token",
        type=Path,
        metavar="FILE",
        help="file with a token that senders of events must give (none)",
    )
    rare.add_argument(
        "--cors-origin",
        action="append",
        metavar="ORIGIN",
        help="another site whose pages may call the API, such as https://music.example; "
        "* for all (none)",
    )
    rare.add_argument(
        "--root-path", metavar="PATH", help="path prefix that a proxy adds, such as /music (none)"
    )
    rare.add_argument("--replicas", help="number of processes that answer requests (2)")
    rare.add_argument(
        "--trust-network",
        action="store_true",
        help="serve beyond this machine without Ray's TLS, because a firewall admits only trusted "
        "machines (refused)",
    )
    rare.add_argument("--dashboard", action="store_true", help="start Ray's dashboard, too (no)")
    return flags


@job(STOPPED, uses_ray=True, ends_well=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine serve``; returns the exit status."""
    given = parser().parse_args(argv)
    port = None if given.port is None else checked_port(given.port, "--port")
    replicas = None if given.replicas is None else _count(given.replicas, "--replicas")
    # HAProxy comes before Ray Serve is imported; with torch and the rest that takes seconds, and
    # --help and a wrong flag should not wait.
    with through_haproxy() as slower:
        _serve(given, port, replicas, slower)
    return 0


def _serve(
    given: argparse.Namespace, port: int | None, replicas: int | None, slower: str | None
) -> None:
    """Serve until interrupted.

    Args:
        slower: why HAProxy isn't used; None: a cluster that is started here uses it.
    """
    from spotify_engine.config import ClusterConfig
    from spotify_engine.console import say
    from spotify_engine.recommenders import open_registry
    from spotify_engine.runtime.cluster import is_own_cluster, ray_session
    from spotify_engine.runtime.serve import running

    file = running.ServeFile(given.config)
    token = given.admin_token or file.settings.admin_token or Path("runs/admin_token")
    settings = running.with_flags(
        file, given.registry, given.events, token, given.host, port, replicas,
        given.root_path, given.trust_network, given.events_token, given.cors_origin,
    )  # fmt: skip
    running.require_startable(file, settings)
    bundles = {"playlists": given.playlists, "sessions": given.sessions}
    with port_kept(file.http["host"], file.http["port"]):
        versions = running.publish(open_registry(settings.registry), bundles)
        running.ensure_token(token)
        for version in versions:
            say(f"{version.pipeline}: {version.id}")
        with (
            ray_session(ClusterConfig(dashboard=given.dashboard)),
            running.served(file, settings) as url,
        ):
            if not is_own_cluster():
                slower = "a Ray cluster that runs already answers HTTP as it was started"
            if slower is not None:
                say(f"HTTP by Ray Serve's own proxy, which may be slower: {slower}", "dim")
            if (warning := running.anybody_may_tell(file, settings)) is not None:
                say(warning, "yellow")
            say(f"\nPage:  {url}/\nAPI:   {url}/docs\nToken: {token}\nCtrl-C ends it.")
            signal.pause()


def _count(text: str, flag: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise InputError(f"{flag} {text}: must be a whole number, at least 1")
    return int(text)


def process() -> int:
    """:func:`main` in a process of its own, which takes all that it started with it."""
    parser().parse_args()  # help and wrong flags need none
    return supervised(main)

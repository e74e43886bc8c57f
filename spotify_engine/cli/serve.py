"""Serve both recommenders over HTTP, with a page, until Ctrl-C.

Bundles that are given become registered versions and are served; without any, what is current in
the registry is. See /docs of what is served for the API.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import new_parser

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "serve.yaml"


def parser() -> argparse.ArgumentParser:
    flags = new_parser(__doc__, "--playlists runs/demo/bundle")
    flags.add_argument(
        "--playlists", type=Path, metavar="BUNDLE", help="of playlists (the registry's)"
    )
    flags.add_argument(
        "--sessions", type=Path, metavar="BUNDLE", help="of sessions (the registry's)"
    )
    flags.add_argument(
        "--config", type=Path, default=CONFIG, help="Serve file (configs/serve.yaml)"
    )
    flags.add_argument("--registry", type=Path, help="folder of versions (runs/registry)")
    flags.add_argument("--events", help="sqlite:///FILE or postgresql://... (runs/events.db)")
    flags.add_argument("--admin-token", type=Path, help="file, made if missing (runs/admin_token)")
    flags.add_argument("--host", help="address to listen at (127.0.0.1)")
    flags.add_argument("--port", type=int, help="to listen at (8000)")
    flags.add_argument(
        "--root-path",
        metavar="PATH",
        help="prefix of a proxy, such as /music (none)",
    )
    flags.add_argument("--replicas", type=int, help="processes that answer (2)")
    flags.add_argument(
        "--dashboard", action="store_true", help="Ray's, if it starts here (without)"
    )
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    given = parser().parse_args(argv)
    # Ray, torch and the rest take seconds to import; --help and a wrong flag should not wait.
    from spotify_engine.config import ClusterConfig
    from spotify_engine.console import console
    from spotify_engine.errors import InputError
    from spotify_engine.runtime.serve import running
    from spotify_engine.runtime.session import ray_session
    from spotify_engine.store.registry import Registry

    for stop in (signal.SIGINT, signal.SIGTERM):  # a shell may have had SIGINT ignored
        signal.signal(stop, signal.default_int_handler)
    try:
        file = running.ServeFile(given.config)
        token = given.admin_token or file.settings.admin_token or Path("runs/admin_token")
        settings = running.with_flags(
            file,
            given.registry,
            given.events,
            token,
            given.host,
            given.port,
            given.replicas,
            given.root_path,
        )
        bundles = {"playlists": given.playlists, "sessions": given.sessions}
        versions = running.publish(Registry(settings.registry), bundles)
        running.ensure_token(token)
        for version in versions:
            console.print(f"{version.pipeline}: {version.id}")
        with (
            ray_session(ClusterConfig(dashboard=given.dashboard)),
            running.served(file, settings) as url,
        ):
            console.print(f"\nPage:  {url}/\nAPI:   {url}/docs\nToken: {token}\nCtrl-C ends it.")
            signal.pause()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("stopped")
    return 0

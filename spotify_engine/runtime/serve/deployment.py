"""The deployment: one replica is one service behind the HTTP application."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray.util
from ray import serve
from ray.serve import Application

from spotify_engine.network import require_closed
from spotify_engine.runtime.haproxy import ENABLE, is_open
from spotify_engine.runtime.serve.replica_port import open_at_node, require_opened
from spotify_engine.serving.settings import ServeSettings, checked

NAME = "Recommenders"


@serve.deployment(name=NAME)
@serve.ingress()
class Recommenders:
    """Loads the registry's current versions and answers HTTP."""

    def __init__(self, settings: dict[str, Any], metrics_folder: str) -> None:
        """Start a replica.

        Raises:
            InputError: strangers could reach this node.
        """
        checked = ServeSettings.model_validate(settings)
        node = ray.util.get_node_ip_address()
        require_closed(node, f"Ray's node {node}", checked.trust_network)
        if is_open():
            require_closed("0.0.0.0", f"{ENABLE}: listens at 0.0.0.0", checked.trust_network)
        open_at_node()
        # prometheus_client reads this when it is imported, so all that imports it comes after.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_folder
        Path(metrics_folder).mkdir(exist_ok=True)
        from spotify_engine.serving.service import Service

        self._service = Service(checked)
        self._service.start()

    def check_health(self) -> None:
        """Serve asks before the first request, and now and then."""
        require_opened()

    def __serve_build_asgi_app__(self) -> Any:
        from spotify_engine.serving.api.application import create_app

        return create_app(self._service)


def application(
    settings: ServeSettings,
    options: Mapping[str, Any] | None = None,
    metrics: Path | None = None,
) -> Application:
    """The application with these settings.

    Args:
        options: of the deployment, as ``deployments`` in a Serve configuration file has them.
        metrics: folder in which replicas of a node add up their counts; None: a new one among the
            temporary files, so that another start counts from zero.
    """
    here = settings.model_copy(
        update={
            "registry": settings.registry.resolve(),
            "events": _absolute(settings.events),
            "admin_token": settings.admin_token and settings.admin_token.resolve(),
        }
    )
    counts = metrics or Path(tempfile.gettempdir(), f"spotify_engine-metrics-{uuid4().hex[:12]}")
    deployment = Recommenders.options(**dict(options or {}))  # type: ignore[attr-defined]
    return deployment.bind(here.model_dump(mode="json"), str(counts))


def build(args: dict[str, Any]) -> Application:
    """Build the application from a file's ``args``, for ``serve run`` and ``serve deploy``.

    Raises:
        InputError: they are not settings.
    """
    return application(checked(args, "args"))


def _absolute(url: str) -> str:
    """Replicas run elsewhere: a relative path of a SQLite file is from here."""
    scheme = "sqlite:///"
    if not url.startswith(scheme) or url.startswith("sqlite:////"):
        return url
    return f"{scheme}{Path(url.removeprefix(scheme)).resolve()}"

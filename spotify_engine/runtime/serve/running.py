"""Starting the application as ``jobs/serve.py`` does, and stopping it."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from pydantic import ValidationError
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ServeDeploySchema

from spotify_engine.config import read_yaml
from spotify_engine.errors import InputError, problem
from spotify_engine.network import (
    LOOPBACK,
    checked_port,
    is_loopback,
    require_closed,
    resolved,
)
from spotify_engine.pipelines import PIPELINES
from spotify_engine.runtime.cluster import is_own_cluster
from spotify_engine.runtime.serve.deployment import NAME, application
from spotify_engine.serving.settings import OWN_PATHS, ServeSettings, checked, read_token
from spotify_engine.store.cache import make_cache
from spotify_engine.store.events import EventStore
from spotify_engine.store.publication import read_manifest
from spotify_engine.store.registry import Registry, Version
from spotify_engine.supervision import temporary_prefix


class ServeFile:
    """A Serve configuration file that has our application, as ``configs/serve.yaml``.

    Attributes:
        settings: the application's ``args``.
        options: of its deployment.
    """

    def __init__(self, path: Path) -> None:
        """Read a Serve configuration.

        Raises:
            InputError: it isn't a Serve configuration, or names a setting that there isn't.
        """
        content = read_yaml(path)
        try:
            schema = ServeDeploySchema.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{path}: {problem(error.errors()[0])}") from error
        if len(schema.applications) != 1:
            raise InputError(f"{path}: applications has {len(schema.applications)}, expected 1")
        self.application = schema.applications[0]
        self.settings = checked(self.application.args, f"{path}: args")
        self.options: dict[str, Any] = {}
        for deployment in self.application.deployments:
            if deployment.name != NAME:
                raise InputError(f"{path}: deployments has {deployment.name!r}, only {NAME} exists")
            self.options = deployment.model_dump(exclude_unset=True)
        self.http: dict[str, Any] = {"host": LOOPBACK, "port": 8000}
        self.http |= schema.http_options.model_dump(exclude_unset=True)
        checked_port(self.http["port"], f"{path}: http_options.port")
        self.logging = schema.logging_config


def with_flags(
    file: ServeFile,
    registry: Path | None,
    events: str | None,
    admin_token: Path,
    host: str | None,
    port: int | None,
    replicas: int | None,
    root_path: str | None = None,
    trust_network: bool = False,
    events_token: Path | None = None,
    cors_origins: Sequence[str] | None = None,
) -> ServeSettings:
    """The file's settings under what was given on the command line.

    HTTP and deployment options go to the file.
    """
    http = {"host": host, "port": port, "root_path": root_path}
    file.http |= {key: value for key, value in http.items() if value is not None}
    file.http["root_path"] = _checked_prefix(file.http.get("root_path", ""))
    if replicas is not None:
        file.options["num_replicas"] = replicas
    over = {
        "registry": registry,
        "events": events,
        "admin_token": admin_token,
        "trust_network": trust_network or None,
        "events_token": events_token,
        "cors_origins": cors_origins,
    }
    given = {key: value for key, value in over.items() if value is not None}
    return checked({**file.settings.model_dump(), **given}, "flags")


def _checked_prefix(root_path: str) -> str:
    """A path prefix without a slash at its end; empty: none.

    Raises:
        InputError: it is no path, or one that the server has itself.
    """
    prefix = root_path.rstrip("/")
    if not re.fullmatch(r"(/(?!\.+(/|$))[\w.~-]+)*", prefix, re.ASCII):
        raise InputError(
            f"root path {root_path!r}: give the path that a proxy puts the server at, such as "
            "/music: a slash, then letters, digits and . _ ~ -"
        )
    if prefix and prefix.split("/")[1] in OWN_PATHS:
        raise InputError(
            f"root path {root_path!r}: the server has paths of its own that begin like this; "
            "give another one"
        )
    return prefix


def require_startable(file: ServeFile, settings: ServeSettings) -> None:
    """Find what replicas would fail on, and settle the host as an address.

    Raises:
        InputError: strangers could reach the server, or a setting names what can't be used.
    """
    host = str(file.http["host"])
    address = resolved(host, "--host")
    require_closed(address, f"--host {host}", settings.trust_network)
    file.http["host"] = address
    if settings.registry.exists() and not settings.registry.is_dir():
        raise InputError(f"--registry {settings.registry}: not a folder; give one, or a new path")
    if settings.admin_token is not None and settings.admin_token.exists():
        read_token(settings.admin_token)
    if settings.events_token is not None:
        read_token(settings.events_token, "events_token")
    make_cache(settings.cache, settings.cache_mib << 20)
    EventStore.open(settings.events).close()


def publish(registry: Registry, bundles: Mapping[str, Path | None]) -> list[Version]:
    """Register bundles and make them current; without any, what is current stays.

    Raises:
        InputError: a bundle can't be served or is of the other pipeline; or nothing is current.
    """
    given = {pipeline: bundle for pipeline, bundle in bundles.items() if bundle is not None}
    for pipeline, bundle in given.items():
        _, found = read_manifest(bundle)
        if found != pipeline:
            raise InputError(f"--{pipeline} {bundle}: a bundle of {found}")
    for bundle in given.values():
        version = registry.publish(bundle)
        registry.activate(version.id, loaded=version.id)
    current = [each for name in PIPELINES if (each := registry.current(name)) is not None]
    if not current:
        raise InputError(
            f"{registry.root}: no version is current; give --playlists BUNDLE, --sessions BUNDLE, "
            "or activate one (spotify-engine versions)"
        )
    return current


def anybody_may_tell(file: ServeFile, settings: ServeSettings) -> str | None:
    """A warning where others on the network may store events; None: they may not.

    The host must have been settled, see :func:`require_startable`.
    """
    host = str(file.http["host"])
    if settings.events_token is not None or is_loopback(host):
        return None
    return (
        f"warning: anyone who can reach {host} can store plays and additions; "
        "--events-token FILE lets only those do so who have the token in it"
    )


def ensure_token(path: Path) -> None:
    """A new random token for admin calls, readable by its owner only, unless there is one.

    Raises:
        InputError: none can be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        if path.exists():
            return
        raise InputError(
            f"--admin-token {path}: can't be written ({error.strerror}); give another file"
        ) from error
    # Never replaced, and made by one of several at once: not through store.atomic.
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")


@contextmanager
def served(file: ServeFile, settings: ServeSettings) -> Iterator[str]:
    """The application, running in the Ray session that is there; taken down on leaving.

    Yields:
        Its URL.

    Raises:
        InputError: it doesn't start, such as when the port is taken.
    """
    require_room(file, settings)
    prefix = temporary_prefix("metrics")
    with TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as counts:
        app = application(settings, file.options, Path(counts))
        try:
            _start(file, app)
            host, port = file.http["host"], file.http["port"]
            place = f"[{host}]" if ":" in host else host
            yield f"http://{place}:{port}{file.http['root_path']}"
        finally:
            _take_down(file.application.name)


def _take_down(name: str) -> None:
    # It may not have come to anything, or a service manager may have told Ray itself to end.
    with suppress(RayServeException, RayError):
        if is_own_cluster():
            serve.delete(name)
        else:
            serve.shutdown()  # else its proxy keeps the port


def require_room(file: ServeFile, settings: ServeSettings) -> None:
    """Refuse to start where the replicas can't run.

    Raises:
        InputError: strangers could reach a node, Serve runs already, or the replicas need more CPUs
            than there are and will be.
    """
    addresses = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    for address in addresses:
        require_closed(address, f"the Ray cluster's node {address}", settings.trust_network)
    if serve.status().proxies:
        raise InputError(
            "this Ray cluster is already serving something; stop that ('serve shutdown' ends it "
            "whatever started it), or set RAY_ADDRESS=local to serve beside it"
        )
    replicas = file.options.get("num_replicas")
    cpus = (file.options.get("ray_actor_options") or {}).get("num_cpus", 1)
    room = ray.cluster_resources().get("CPU", 0)
    # Machines may be added to a cluster of several.
    if all(map(is_loopback, addresses)) and isinstance(replicas, int) and replicas * cpus > room:
        raise InputError(
            f"--replicas {replicas}: {cpus:g} CPUs each, and there are {room:g}; give at most "
            f"{int(room / cpus)}"
        )


def _start(file: ServeFile, app: Application) -> None:
    try:
        serve.start(proxy_location="HeadOnly", http_options=file.http, logging_config=file.logging)
        serve.run(
            app,
            name=file.application.name,
            route_prefix=file.application.route_prefix,
            logging_config=file.logging,
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the application did not start: {str(error).splitlines()[-1]}") from error

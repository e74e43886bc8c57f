"""Starting the application as ``jobs/serve.py`` does, and stopping it."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError
from ray import serve
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema

from spotify_engine.config import read_yaml
from spotify_engine.errors import InputError, problem
from spotify_engine.pipelines import PIPELINES
from spotify_engine.runtime.serve.deployment import NAME, application
from spotify_engine.serving.settings import OWN_PATHS, ServeSettings, checked
from spotify_engine.store.publication import read_manifest
from spotify_engine.store.registry import Registry, Version


class ServeFile:
    """A Serve configuration file that has our application, as ``configs/serve.yaml``.

    Attributes:
        settings: the application's ``args``.
        options: of its deployment.
    """

    def __init__(self, path: Path) -> None:
        """
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
        self.http = schema.http_options.model_dump(exclude_unset=True)
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
) -> ServeSettings:
    """The file's settings under what was given on the command line; HTTP and deployment options
    go to the file."""
    http = {"host": host, "port": port, "root_path": root_path}
    file.http |= {key: value for key, value in http.items() if value is not None}
    file.http["root_path"] = _checked_prefix(file.http.get("root_path", ""))
    if replicas is not None:
        if replicas < 1:
            raise InputError(f"--replicas {replicas}: at least 1")
        file.options["num_replicas"] = replicas
    over = {"registry": registry, "events": events, "admin_token": admin_token}
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


def ensure_token(path: Path) -> None:
    """A new random token for admin calls, readable by its owner only, unless there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
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
    name = file.application.name
    with TemporaryDirectory(prefix="spotify_engine-metrics-", ignore_cleanup_errors=True) as counts:
        app = application(settings, file.options, Path(counts))
        _start(file, name, app)
        try:
            yield "http://{host}:{port}{root_path}".format(
                **{"host": "127.0.0.1", "port": 8000, "root_path": ""} | file.http
            )
        finally:
            serve.delete(name)


def _start(file: ServeFile, name: str, app: Application) -> None:
    try:
        serve.start(proxy_location="HeadOnly", http_options=file.http, logging_config=file.logging)
        serve.run(
            app,
            name=name,
            route_prefix=file.application.route_prefix,
            logging_config=file.logging,
        )
    except (RuntimeError, ValueError) as error:
        serve.delete(name)
        raise InputError(f"the application did not start: {str(error).splitlines()[-1]}") from error

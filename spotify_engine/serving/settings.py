"""The settings of a deployment: ``args`` of ``configs/serve.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from spotify_engine.errors import InputError, problem

# What the paths of pages and API begin with.
OWN_PATHS = ("docs", "healthz", "metrics", "openapi.json", "readyz", "static", "swagger", "v1")


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"https?://([\w.-]+|\[[\da-fA-F:]+\])(:\d{1,5})?", text):
        raise ValueError(f"{text!r} is not an origin; give one like https://music.example or *")
    return text


Origin = Annotated[str, AfterValidator(_origin)]


class EngineSettings(BaseModel):
    """Settings of answering requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch: int = Field(16, ge=1, le=1024)
    """Requests that are answered together, at most."""
    approximate_above: int = Field(1_000_000, ge=1)
    """Tracks of a catalogue above which candidates come from a usearch graph; below, exactly."""
    events: int = Field(200, ge=0, le=10_000)
    """Latest stored events of a user or playlist that count."""
    session_minutes: float = Field(30.0, gt=0)
    """A pause this long ends a session."""


class ServeSettings(BaseModel):
    """Settings that the application is built from. Paths are relative to where it was started."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    registry: Path = Path("runs/registry")
    """Folder of versions, as ``jobs/versions.py`` shows it. Every replica must see it."""
    events: str = "sqlite:///runs/events.db"
    """Where events are kept: ``sqlite:///FILE`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``."""
    cache: str | None = None
    """Where playlist vectors are cached: in each replica's memory, or ``redis://HOST:PORT/0``."""
    cache_mib: int = Field(32, ge=1)
    """Memory of such a cache in a replica."""
    admin_token: Path | None = None
    """File that holds the token of admin calls. None: admin calls are refused."""
    events_token: Path | None = None
    """File that holds the token of whoever may send events. None: whoever reaches the server."""
    cors_origins: tuple[Origin, ...] = ()
    """Origins of other sites whose pages may ask, such as ``https://music.example``; ``*``: all."""
    trust_network: bool = False
    """Whether replicas start on a cluster that others on the network can reach, though Ray has no
    TLS."""
    poll_seconds: float = Field(1.0, gt=0)
    """How often a replica looks for another current version."""
    max_body_kib: int = Field(1024, ge=1)
    """Longest request."""
    engine: EngineSettings = EngineSettings()


def checked(args: Mapping[str, Any], where: str) -> ServeSettings:
    """Settings from what was given.

    Raises:
        InputError: an unknown setting, or one out of bounds; names it.
    """
    try:
        return ServeSettings.model_validate(args)
    except ValidationError as error:
        raise InputError(f"{where}: {problem(error.errors()[0])}") from error


def read_token(path: Path, setting: str = "admin_token") -> str:
    """Read a token's file.

    Args:
        setting: which the file was given as.

    Raises:
        InputError: the file can't be read or holds nothing.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise InputError(f"{setting}: {path} can't be read ({why}); give a file") from error
    if not token:
        raise InputError(f"{setting}: {path} is empty; write a long random text to it")
    return token

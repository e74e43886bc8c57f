"""The settings of recording: whether and where runs are recorded."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]  # as MLflow names them
DATABASE = "mlflow.db"
ARTEFACTS = "mlflow-artefacts"
TRACKING_NOTE = "tracking.json"  # in a run's folder: under which id it is recorded


class Opening(TypedDict):
    """The first thing that a recorder is told."""

    uri: str
    runs: str
    timeout_s: int


Message = TypedDict("Message", {"run": str, "do": str, "with": dict[str, Any]})
"""What a recorder is told after that: what to do, of which run, with what."""


class TrackingConfig(BaseModel):
    """Whether and where a run is recorded; never changes what it finds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """The one switch: without it nothing is recorded, neither in MLflow nor for TensorBoard."""
    uri: str | None = None
    """MLflow tracking server; None: a SQLite file beside the run's folder. User and password of a
    server go into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."""
    timeout_s: int = Field(5, ge=1, le=60)
    """How long a tracking server may take to answer. After one failure it is left alone."""

    @field_validator("uri")
    @classmethod
    def _is_a_server_or_file(cls, uri: str | None) -> str | None:
        if uri is None:
            return uri
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https", "sqlite"):
            raise ValueError("give http://HOST:PORT of an MLflow server, or sqlite:///FILE")
        if parts.username or parts.password:
            raise ValueError(
                "leave user and password out: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, as this is written to files"
            )
        return uri


def read_note(folder: Path | None) -> dict[str, str]:
    """Where and as what the run of a folder is recorded, and how it ended; empty if it is not."""
    try:
        found: dict[str, str] = json.loads((folder / TRACKING_NOTE).read_text()) if folder else {}
    except (OSError, ValueError) as error:
        log.debug("no note of a recorded run: %s", error)
        return {}
    return found


def local_uri(folder: Path) -> str:
    """The SQLite store beside the runs of a folder."""
    return f"sqlite:///{folder.resolve() / DATABASE}"

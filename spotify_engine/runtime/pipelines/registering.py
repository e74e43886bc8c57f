"""Handing the bundle of a finished run on as a version, with where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spotify_engine.config import dump_yaml
from spotify_engine.console import say
from spotify_engine.next_step import command
from spotify_engine.recommenders import open_registry
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.store.registry import Version
from spotify_engine.tracking.code import code_version
from spotify_engine.tracking.tracker import recorded_id


def register(run: Run[Any], registry: Path, origin: Mapping[str, Any] | None = None) -> Version:
    """Publish a run's bundle; it serves once it is activated.

    Args:
        origin: what else belongs into the lineage, beside data, configuration, code and run.

    Raises:
        InputError: the bundle is damaged, or the registry can't be written.
    """
    lineage = {
        "data": run.stages["bundle"]["result"]["data_fingerprint"],
        "configuration": hashlib.sha256(dump_yaml(run.config).encode()).hexdigest(),
        "code": code_version(),
        "run": str(run.out.resolve()),
        "tracked_as": recorded_id(run.out),
        **(origin or {}),
    }
    version = open_registry(registry).publish(run.bundle, lineage)
    say(
        f"Version: {version.id}\n"
        f"Next:    {command('versions', 'activate', version.id, '--registry', registry)}"
    )
    return version

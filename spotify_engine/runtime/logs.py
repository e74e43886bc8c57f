"""Ray's logs among ours, in one format. Apart, since workers import it before anything else."""

from __future__ import annotations

import logging
from typing import Any

from ray._private.log import PlainRayHandler

from spotify_engine.command import LogHandler, log_all, logs_all, start_logging


def logging_options() -> dict[str, Any]:
    """Of ``ray.init``: warnings alone, or what Ray and our workers do, as ``--verbose`` asks."""
    # Ray sets its handlers up again and again, with formats of their own.
    setattr(PlainRayHandler, "emit", LogHandler.emit)  # noqa: B010 - mypy takes no new method
    if not logs_all():
        return {"logging_level": logging.WARNING}
    return {
        "logging_level": logging.INFO,
        "runtime_env": {"worker_process_setup_hook": _log_all_of_worker},
    }


def _log_all_of_worker() -> None:
    setattr(PlainRayHandler, "emit", LogHandler.emit)  # noqa: B010 - mypy takes no new method
    start_logging()
    log_all()

"""What Ray logs stands among what we log."""

from __future__ import annotations

import logging
import re

import pytest
import ray.data  # noqa: F401  # sets its logs up
from ray._private.log import PlainRayHandler

from spotify_engine.command import log_all
from spotify_engine.runtime.logs import logging_options


def test_ray_logs_in_our_format(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainRayHandler, "emit", PlainRayHandler.emit)
    monkeypatch.setattr(logging.root.manager, "disable", 0)  # another test may have left it so
    logging_options()
    for name in ("ray", "ray.data"):
        logging.getLogger(name).warning("a %s", "word")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"[\d-]{10} [\d:,]{12} WARNING ray: a word", first)
    assert re.fullmatch(r"[\d-]{10} [\d:,]{12} WARNING ray.data: a word", second)


def test_workers_are_told_to_log_where_all_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainRayHandler, "emit", PlainRayHandler.emit)
    assert logging_options() == {"logging_level": logging.WARNING}
    ours = logging.getLogger("spotify_engine")
    level = ours.level
    try:
        log_all()
        assert logging_options()["logging_level"] == logging.INFO
        assert "worker_process_setup_hook" in logging_options()["runtime_env"]
    finally:
        ours.setLevel(level)

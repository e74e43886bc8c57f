"""The script that stands before HAProxy, and when there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from spotify_engine.runtime import haproxy
from spotify_engine.runtime.haproxy import CLOSED, ENABLE, is_open, through_haproxy

# As Ray 2.60 writes it.
CONFIG = """global
    stats socket {folder}/s mode 666 level admin expose-fd listeners
frontend prometheus
    bind :{metrics}
frontend http_frontend
    bind {host}:8000
listen stats
  bind *:{stats}
  stats enable
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of HAProxy, a program that says what it was called with."""
    path = tmp_path / "a binary"
    path.write_text('#!/bin/sh\necho "$@"\n')
    path.chmod(0o700)
    monkeypatch.setattr(haproxy, "_usable", lambda: (None, str(path)))
    for name in (ENABLE, CLOSED):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.mark.parametrize("host", ["127.0.0.1", "*"], ids=["loopback", "told to listen everywhere"])
def test_what_would_be_open_to_others_is_closed(stub: Path, tmp_path: Path, host: str) -> None:
    with through_haproxy() as reason:
        assert reason is None
        assert not is_open()
        script = Path(os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"])
        ports = {
            "metrics": os.environ["RAY_SERVE_HAPROXY_METRICS_PORT"],
            "stats": os.environ["RAY_SERVE_HAPROXY_STATS_PORT"],
        }
        assert script.parent.stat().st_mode & 0o077 == 0, "nobody else's"
        written = CONFIG.format(folder=script.parent, host=host, **ports)
        config = tmp_path / "haproxy.cfg"
        config.write_text(written)
        command = [str(script), "-db", "-f", str(config), "-sf", "12", "-x", "a socket"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        assert done.stdout.split() == [*command[1:6], "-x", "a", "socket"], "handed on as it came"
        expected = (
            written.replace(f"bind :{ports['metrics']}", f"bind 127.0.0.1:{ports['metrics']}")
            .replace(f"bind *:{ports['stats']}", f"bind 127.0.0.1:{ports['stats']}")
            .replace("mode 666", "mode 600")
        )
        assert config.read_text() == expected
    assert ENABLE not in os.environ
    assert not script.parent.exists()


def test_two_servers_share_nothing(stub: Path) -> None:
    def settings() -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if key.startswith("RAY_SERVE_")}

    with through_haproxy():
        one = settings()
    with through_haproxy():
        other = settings()
    shared = {key for key in one if one[key] == other[key]}
    assert not [key for key in shared if key.endswith(("_PATH", "_LOC", "_BASE", "_FILE"))]


def test_it_can_be_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENABLE, "0")
    with through_haproxy() as reason:
        assert reason == f"{ENABLE}=0"
    assert os.environ[ENABLE] == "0"
    monkeypatch.setenv(ENABLE, "1")
    assert is_open(), "nobody closed it"


def test_a_long_temporary_folder_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENABLE, raising=False)
    monkeypatch.setattr(haproxy, "gettempdir", lambda: "/tmp/" + "x" * 40)
    with through_haproxy() as reason:
        assert "too long" in str(reason)

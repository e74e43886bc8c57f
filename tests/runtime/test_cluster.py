"""Which Ray a job uses."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from spotify_engine.config import ClusterConfig
from spotify_engine.errors import InputError
from spotify_engine.runtime.cluster import ray_session


@pytest.fixture
def no_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a process has its files that has no Ray and must not get one; nobody started any."""

    def fail(**_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a short path, for sockets
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def test_a_session_that_is_there_is_used_and_left_running(ray_cluster: None) -> None:
    with ray_session(ClusterConfig()) as seconds:
        assert seconds == 0
    assert ray.is_initialized()


@pytest.mark.usefixtures("no_session")
def test_a_named_cluster_that_is_gone_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{_unused_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    started = time.monotonic()
    with (
        pytest.raises(InputError, match=f"RAY_ADDRESS={address}: no Ray cluster answers there"),
        ray_session(ClusterConfig()),
    ):
        pass
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("noted", [False, True], ids=["none", "a dead one"])
def test_without_a_cluster_the_job_starts_its_own(
    noted: bool, no_session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if noted:
        note = no_session / "ray" / "ray_current_cluster"
        note.parent.mkdir()
        note.write_text(f"127.0.0.1:{_unused_port()}")
    given: list[dict[str, object]] = []
    monkeypatch.setattr(ray, "init", lambda **flags: given.append(flags))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with ray_session(ClusterConfig(object_store_mib=100)):
        pass
    (flags,) = given
    assert flags["address"] == "local"
    assert flags["object_store_memory"] == 100 << 20
    assert flags["dashboard_host"] == "127.0.0.1"


@pytest.mark.usefixtures("no_session")
@pytest.mark.parametrize(
    ("variable", "folder", "given"),
    [
        ("TMPDIR", "short", "short/ray"),
        ("TMPDIR", "long" * 30, "/tmp/ray"),
        ("RAY_TMPDIR", "not there yet", "not there yet/ray"),
    ],
)
def test_rays_files_go_where_its_sockets_have_room(
    variable: str, folder: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as top:
        monkeypatch.delenv("RAY_TMPDIR")
        monkeypatch.setenv(variable, f"{top}/{folder}")
        monkeypatch.setenv("RAY_ADDRESS", "local")
        options: dict[str, object] = {}
        monkeypatch.setattr(ray, "shutdown", lambda: None)
        monkeypatch.setattr(ray, "init", lambda **flags: options.update(flags))
        with ray_session(ClusterConfig()):
            pass
        assert options["_temp_dir"] == os.path.join(top, given)


@pytest.mark.parametrize(
    ("folder", "message"),
    [("long" * 30, "too long for the paths of Ray's sockets"), ("file", "can't be written")],
)
def test_a_folder_that_ray_cannot_use_is_named(
    folder: str, message: str, no_session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no_session / "file").write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(no_session / folder))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(InputError, match=message), ray_session(ClusterConfig()):
        pass


@pytest.mark.usefixtures("no_session")
def test_auto_without_a_cluster_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with (
        pytest.raises(InputError, match="RAY_ADDRESS=auto: no Ray cluster"),
        ray_session(ClusterConfig()),
    ):
        pass


@pytest.mark.parametrize("error", [InputError("a.csv: bad"), PermissionError(13, "no", "a.csv")])
def test_what_a_task_refuses_is_raised_as_it_is(ray_cluster: None, error: Exception) -> None:
    @ray.remote
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught, ray_session(ClusterConfig()):
        ray.get(fail.remote())
    assert type(caught.value) is type(error)
    assert caught.value.args == error.args


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port

"""The serving job as people run it: real processes, real HTTP, and what happens when some die."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from spotify_engine.playlists.recommender import PlaylistRecommender
from spotify_engine.recommenders import open_registry
from tests.servers import free_port
from tests.sockets import Sockets
from tests.texts import replaced

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """``jobs/serve.py`` in a process group of its own."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder, self.port = folder, free_port()
        self.temporary = Path(tempfile.mkdtemp(prefix="spotify-serve-", dir="/tmp"))
        self.log = (folder / "log.txt").open("a")
        command = [
            sys.executable, "jobs/serve.py", "--registry", str(folder / "registry"),
            "--events", f"sqlite:///{folder}/events.db", "--admin-token", str(folder / "token"),
            "--port", str(self.port), *flags,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | {"RAY_ADDRESS": "local", "TMPDIR": str(self.temporary)},
        )  # fmt: skip
        self.sockets = Sockets(self.process.pid).__enter__()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def wait(self) -> Server:
        """Until it is ready."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()[-4_000:]
            try:
                if self.client.get("/readyz").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError((self.folder / "log.txt").read_text()[-4_000:])

    @property
    def admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.folder / 'token').read_text().strip()}"}

    def family(self) -> list[psutil.Process]:
        """All processes that the job has started."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [psutil.Process(self.process.pid), *found]

    def replicas(self) -> list[psutil.Process]:
        found = []
        for process in self.family():
            try:
                if "ServeReplica:spotify_engine" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def complete(self, **body: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/playlists/complete", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def kill(self) -> None:
        """As when the machine loses power: nobody gets to say goodbye."""
        family = self.family()
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=10)

    def stop(self, how: signal.Signals = signal.SIGINT, group: bool = False) -> list[str]:
        """End it.

        Returns:
            What is left of it: processes, and folders in the temporary one.
        """
        family = self.family() if self.process.poll() is None else []
        if family:
            (os.killpg if group else os.kill)(self.process.pid, how)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        left = [each.name() for each in family if _runs(each)]
        left += [path.name for path in self.temporary.glob("spotify_engine-*")]
        shutil.rmtree(self.temporary)
        self.sockets.end()
        return left


def _runs(process: psutil.Process) -> bool:
    """Whether it goes on; one that has ended stays listed until its new parent asks."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Load:
    """Requests one after the other from several threads, until told to stop."""

    def __init__(self, server: Server, threads: int = 4) -> None:
        self.server, self.done = server, threading.Event()
        self.answers: list[tuple[float, int, Any]] = []
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def _work(self) -> None:
        client = httpx.Client(base_url=f"http://127.0.0.1:{self.server.port}", timeout=30)
        while not self.done.is_set():
            try:
                answer = client.post("/v1/playlists/complete", json={"tracks": ["id0", "id3"]})
                found = (answer.status_code, answer.json())
            except (httpx.TransportError, ValueError) as error:
                found = (0, str(error))
            self.answers.append((time.monotonic(), *found))

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(folder: Path, bundles: dict[str, Path]) -> Iterator[Server]:
    """With short queues, so that a test can fill them."""
    config = folder / "serve.yaml"
    text = (ROOT / "configs" / "serve.yaml").read_text()
    text = replaced(text, "max_ongoing_requests: 16", "max_ongoing_requests: 3")
    config.write_text(replaced(text, "max_queued_requests: 16", "max_queued_requests: 6"))
    given = ("--playlists", str(bundles["playlists"]), "--sessions", str(bundles["sessions"]))
    started = Server(folder, *given, "--config", str(config), "--root-path", "/music").wait()
    yield started
    started.stop()


def test_both_pipelines_answer(server: Server) -> None:
    ready = server.client.get("/readyz").json()
    assert set(ready["versions"]) == {"playlists", "sessions"}
    answer = server.complete(tracks=["id0"], explain=True, k=3)
    assert answer["version"] == ready["versions"]["playlists"]
    assert len(answer["recommendations"]) == 3
    assert server.client.post("/v1/sessions/next", json={}).json()["pipeline"] == "sessions"
    assert "<html" in server.client.get("/").text
    assert server.client.get("/v1/tracks", params={"q": "song 1"}).status_code == 200
    refused = server.client.post("/v1/playlists/complete", json={"k": 0})
    assert refused.json()["errors"][0]["field"] == "k"


def test_a_proxy_may_strip_the_prefix_or_not(server: Server) -> None:
    page = server.client.get("/")
    assert '"/music/static/page.js"' in page.text
    for prefix in ("", "/music"):
        assert server.client.get(f"{prefix}/").text == page.text
        for path in ("/docs", "/static/page.js", "/v1/versions", "/healthz"):
            assert server.client.get(f"{prefix}{path}").status_code == 200
            head = server.client.head(f"{prefix}{path}")
            assert (head.status_code, head.content) == (200, b"")
    assert server.client.get("/music").headers["location"] == "./music/"
    assert server.client.get("/other/docs").status_code == 404
    refused = server.client.post("/music/v1/events", content=b"{}")
    assert (refused.status_code, refused.json()["status"]) == (415, 415)


def test_only_loopback_listens(server: Server) -> None:
    server.sockets.look()
    assert server.sockets.elsewhere == set()
    programs = " ".join(server.sockets.loopback)
    for each in ("gcs_server", "raylet", "ServeReplica", "ProxyActor", "jobs/serve.py"):
        assert each in programs
    assert (server.folder / "token").stat().st_mode & 0o077 == 0


def test_a_second_server_on_its_port_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("spotify_engine.runtime.cluster.ray_session", fail)
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / "jobs" / "serve.py"))["main"]
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        flags = ("--port", str(server.port), "--host", host, "--trust-network")
        assert main([*flags, "--registry", str(server.folder / "registry")]) == 2
        written = capsys.readouterr().err
        assert written.startswith(f"error: --port {server.port}: in use at ")
        assert written.endswith("give another --port\n")
        assert written.count("\n") == 1


def test_metrics_are_of_all_replicas(server: Server) -> None:
    assert len(server.replicas()) == 2
    for _ in range(20):
        server.complete(tracks=["id1"])
    text = server.client.get("/metrics").text
    [version] = {each["version"] for each in (server.complete(tracks=["id1"]),)}
    assert f'spotify_engine_version{{pipeline="playlists",version="{version}"}} 2.0' in text


def test_versions_are_swapped_under_load(server: Server, bundles: dict[str, Path]) -> None:
    """Nobody notices, and each answer is wholly of one version."""
    registry = open_registry(server.folder / "registry")
    first = registry.current("playlists")
    assert first is not None
    second = registry.publish(bundles["other_playlists"])
    expected = {
        version.id: [
            (each.id, pytest.approx(each.score, abs=1e-4))
            for each in PlaylistRecommender.load(version.path).complete(["id0", "id3"])
        ]
        for version in (first, second)
    }
    with Load(server) as load:
        for version in (second, first, second):
            answer = server.client.post(f"/v1/versions/{version.id}/activate", headers=server.admin)
            assert answer.status_code == 200, answer.text
            _until(lambda wanted=version.id: {server.complete()["version"] for _ in range(12)} == {
                wanted
            })  # fmt: skip
    assert {status for _, status, _ in load.answers} == {200}
    assert {answer["version"] for _, _, answer in load.answers} == {first.id, second.id}
    for _, _, answer in load.answers:
        found = [(each["id"], each["score"]) for each in answer["recommendations"]]
        assert found == expected[answer["version"]]


def test_a_killed_replica_costs_only_what_it_was_doing(server: Server) -> None:
    before = {process.pid for process in server.replicas()}
    with Load(server, threads=4) as load:
        time.sleep(0.5)
        [victim, _] = server.replicas()
        victim.kill()
        _until(
            lambda: (
                len({p.pid for p in server.replicas()} - {victim.pid}) == 2
                and server.client.get("/readyz").status_code == 200
            )
        )
        recovered = time.monotonic()
        time.sleep(1)
    failed = [status for _, status, _ in load.answers if status != 200]
    assert len(failed) <= 4  # one of each thread at most
    assert len(load.answers) > 20
    assert all(status == 200 for at, status, _ in load.answers if at > recovered)
    assert {process.pid for process in server.replicas()} - before


def test_overload_is_refused_and_passes(server: Server) -> None:
    """More at once than replicas and queue hold: the rest is told when to come again."""
    statuses: list[tuple[int, str | None]] = []

    def one() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            for _ in range(4):
                answer = client.post("/v1/playlists/complete", json={"tracks": ["id0"]})
                statuses.append((answer.status_code, answer.headers.get("retry-after")))

    threads = [threading.Thread(target=one) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [retry for status, retry in statuses if status == 503]
    assert {status for status, _ in statuses} == {200, 503}
    assert all(retry is not None and int(retry) >= 1 for retry in refused)
    server.complete(tracks=["id0"])


def test_acknowledged_events_survive_the_death_of_everything(server: Server) -> None:
    """Keep last: it ends the server of this module and starts another."""
    acknowledged: list[str] = []
    done = threading.Event()

    def send() -> None:
        client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10)
        for i in range(100_000):
            event = {"type": "add", "playlist": "mine", "track": f"track {i}"}
            try:
                answer = client.post("/v1/events", json={"events": [event]})
            except httpx.TransportError:
                break
            if answer.status_code == 200:
                acknowledged.append(f"track {i}")
        done.set()

    threading.Thread(target=send, daemon=True).start()
    _until(lambda: len(acknowledged) > 20)
    server.kill()
    assert done.wait(30)
    again = Server(server.folder).wait()
    try:
        answer = again.complete(playlist="mine")
        assert set(acknowledged[-200:]) <= set(answer["unmatched"])
        assert answer["learned"] >= min(len(acknowledged), 200)
        assert len(acknowledged) > 20
    finally:
        left = again.stop(signal.SIGTERM, group=True)
    assert (again.process.returncode, left) == (0, [])
    log = (again.folder / "log.txt").read_text()
    assert log.endswith("stopped\n")
    assert "SIGTERM" not in log


def test_it_can_be_stopped_while_it_starts(tmp_path: Path, bundles: dict[str, Path]) -> None:
    server = Server(tmp_path, "--playlists", str(bundles["playlists"]))
    _until(lambda: "ServeController" in " ".join(server.sockets.loopback))
    assert server.stop(signal.SIGTERM) == []
    assert server.process.returncode == 0
    assert (tmp_path / "log.txt").read_text().endswith("stopped\n")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "no version is current; give --playlists BUNDLE"),
        (("--playlists", "{sessions}"), "a bundle of sessions"),
        (("--playlists", "/nowhere"), "/nowhere"),
        (("--replicas", "0"), "at least 1"),
        (("--replicas", "two"), "at least 1"),
        (("--port", "99999"), "--port: must be 1 to 65535, not 99999"),
        (("--port", "-1"), "--port: must be 1 to 65535, not -1"),
        (("--port", "http"), "--port: must be 1 to 65535, not http"),
        (("--host", "0.0.0.0"), "--trust-network"),
        (("--host", "::"), "--trust-network"),
        (("--host", "no.invalid"), "'no.invalid' is not an address"),
        (("--events", "mysql://x"), "no database 'mysql'"),
        (("--registry", "{config}"), "not a folder"),
        (("--playlists", "{playlists}", "--admin-token", "/"), "can't be read"),
        (("--config", "{config}"), "colour"),
    ],
)
def test_what_cannot_be_served_is_said(
    flags: tuple[str, ...],
    said: str,
    bundles: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "serve.yaml"
    text = (ROOT / "configs" / "serve.yaml").read_text()
    config.write_text(replaced(text, "cache: null", "colour: red"))
    given = [flag.format(**bundles, config=config) for flag in flags]
    job = runpy.run_path(str(ROOT / "jobs" / "serve.py"))
    places = ["--registry", str(tmp_path / "registry"), "--events", f"sqlite:///{tmp_path}/e.db"]
    assert job["main"]([*places, *given]) == 2
    written = capsys.readouterr().err
    assert written.startswith("error: ")
    assert written.count("\n") == 1
    assert said in written
    assert not (tmp_path / "registry").exists()


def _until(reached: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)

"""Database servers of the tests' own, which they may kill: on loopback, on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

HOST = "127.0.0.1"
PATIENCE_S = 60


def find_binary(name: str, package: str) -> str:
    """Path of a program, which Debian keeps off the PATH in PostgreSQL's case; or skip the test."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    if found := shutil.which(name) or next(map(str, newest_first), None):
        return found
    pytest.skip(f"{name} is missing: make system-packages, or apt-get install {package}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Server:
    """A process that answers on a port; what it stored is there after a restart."""

    def __init__(self, command: list[str], answers: Callable[[], Any], **options: Any) -> None:
        self._command, self._answers, self._options = command, answers, options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            # It may have to wait until what the killed one held is free.
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen(
                    self._command,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    **self._options,
                )
            try:
                self._answers()
            except (OSError, psycopg.OperationalError, redis.RedisError):
                assert time.monotonic() < deadline, f"{self._command[0]} doesn't start"
                time.sleep(0.05)
            else:
                return

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()


class Redis(Server):
    """Keeps nothing when it ends."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"redis://{HOST}:{port}/0"
        self.client = redis.Redis.from_url(self.url)
        command = [
            find_binary("redis-server", "redis-server"),
            *("--bind", HOST, "--port", str(port), "--save", "", "--dir", tempfile.gettempdir()),
        ]
        super().__init__(command, self.client.ping)


class PostgreSQL(Server):
    """A cluster in a folder of its own."""

    PASSWORD = "pw-7f3a/secret"

    def __init__(self) -> None:
        initdb, postgres = (find_binary(name, "postgresql") for name in ("initdb", "postgres"))
        if os.geteuid() == 0 and not any(each.pw_name == "postgres" for each in pwd.getpwall()):
            pytest.skip("PostgreSQL won't run as root, and there is no user postgres")
        # Nor would it get into pytest's folders, which are closed to others.
        self.folder = Path(tempfile.mkdtemp(prefix="spotify-pg-", dir="/tmp"))
        options: dict[str, Any] = {"cwd": self.folder}
        if os.geteuid() == 0:
            options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self.folder, "postgres", "postgres")
        self.port = free_port()
        password = self.folder / "password"
        password.write_text(self.PASSWORD)
        password.chmod(0o644)
        data = self.folder / "data"
        subprocess.run(
            [initdb, "-D", data, "-U", "tester", "-A", "scram-sha-256", f"--pwfile={password}",
             "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, **options,
        )  # fmt: skip
        command = [postgres, "-D", data, "-h", HOST, "-p", self.port, "-k", self.folder]
        super().__init__([str(word) for word in command], self._connect, **options)
        self._names = count()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=HOST, port=self.port, user="tester", password=self.PASSWORD, dbname="postgres"
        )

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"test{next(self._names)}"
        with self._connect() as connection:
            connection.autocommit = True
            connection.execute(f"CREATE DATABASE {name}".encode())
        password = self.PASSWORD.replace("/", "%2F")
        return f"postgresql://tester:{password}@{HOST}:{self.port}/{name}"

    def end(self) -> None:
        self.signal(signal.SIGQUIT)
        assert self.process is not None
        self.process.wait()
        shutil.rmtree(self.folder)

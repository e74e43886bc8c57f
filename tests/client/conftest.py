"""A server that answers by a script, and both clients behind one face."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from spotify_engine.client import AsyncClient, Client


@dataclass
class Reply:
    """What the server answers.

    Attributes:
        broken: it closes the connection instead.
        silent: it says nothing until it closes.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    silent: bool = False


@dataclass
class Received:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Scripted(ThreadingHTTPServer):
    """Answers each request with the next reply of its script."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Reply] = []
        self.received: list[Received] = []
        self.closing = Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(content) if content else None
        self.server.received.append(
            Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        )
        reply = self.server.script.pop(0)
        if reply.silent:
            self.server.closing.wait()
        self.close_connection = reply.broken or reply.silent
        if self.close_connection:
            return
        said = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(said.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said.encode())

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    Thread(target=scripted.serve_forever, args=(0.05,), daemon=True).start()
    yield scripted
    scripted.closing.set()
    scripted.shutdown()
    scripted.server_close()
    assert not scripted.script, "replies that nobody asked for"


Ask = Callable[..., Any]


@pytest.fixture(params=["blocking", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """``ask(method, url, *args, settings={}, **kwargs)`` by either client."""

    def blocking(method: str, url: str, *args: Any, settings: Any = None, **kwargs: Any) -> Any:
        with Client(url, **(settings or {})) as client:
            return getattr(client, method)(*args, **kwargs)

    def awaited(method: str, url: str, *args: Any, settings: Any = None, **kwargs: Any) -> Any:
        async def go() -> Any:
            async with AsyncClient(url, **(settings or {})) as client:
                return await getattr(client, method)(*args, **kwargs)

        return asyncio.run(go())

    return blocking if request.param == "blocking" else awaited

"""The layer in front of the application: prefix, HEAD, body limit, headers and request metrics."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spotify_engine.serving.api.metrics import Metrics
from spotify_engine.serving.api.problems import problem

ARRIVED = "spotify_engine.arrived"
REDIRECTED = 307  # what the router answers where a slash at the end is missing, or is too many
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-cache"),
)


class TooLong(Exception):
    """A body is longer than allowed."""


class Guard:
    """ASGI middleware: whatever can be asked with GET can be asked with HEAD."""

    def __init__(self, app: ASGIApp, metrics: Metrics, most: int) -> None:
        """Stand before an application.

        Args:
            most: bytes of a body.
        """
        self.app, self.metrics, self.most = app, metrics, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        scope = {**scope, **_prefixed_once(scope), ARRIVED: perf_counter()}
        if head:
            scope["method"] = "GET"
        status, started, read, too_long = 500, False, 0, False

        async def receive_bounded() -> Message:
            nonlocal read, too_long
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                too_long = True
                raise TooLong
            return message

        async def send_headed(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                _add_headers(message, scope)
            elif head:
                message = {**message, "body": b""}
            await send(message)

        async def send_unless_too_long(message: Message) -> None:
            # What the application says of a body that it could not read is not what was wrong.
            if not too_long:
                await send_headed(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                too_long = _length(scope) > self.most
                if not too_long:
                    with suppress(TooLong):
                        await self.app(scope, receive_bounded, send_unless_too_long)
                if too_long and not started:
                    said = f"body: longer than {self.most:,} bytes; send less at once"
                    await problem(413, "Body too long", said)(scope, receive, send_headed)
            finally:
                route = getattr(scope.get("route"), "path", None) or "other"
                self.metrics.requests.labels(route, str(status)).inc()
                self.metrics.latency.labels(route).observe(perf_counter() - scope[ARRIVED])


def _add_headers(message: Message, scope: Scope) -> None:
    """Put :data:`HEADERS` into an answer's start, and mend the location of a redirection."""
    headers = message.setdefault("headers", [])
    there = {name for name, _ in headers}
    headers += [each for each in HEADERS if each[0] not in there]
    if message["status"] == REDIRECTED:
        headers[:] = [
            (name, _other_slash(scope) if name == b"location" else value) for name, value in headers
        ]


def _prefixed_once(scope: Scope) -> Scope:
    """The path below the prefix that the server was told (``root_path``).

    Whoever runs the server puts the prefix before each path, for a proxy that strips it. One that
    doesn't strip it leaves it there twice.
    """
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    if not root or not f"{path}/".startswith(f"{root}{root}/"):
        return {}
    return {"path": path[len(root) :], "raw_path": quote(path[len(root) :]).encode()}


def _other_slash(scope: Scope) -> bytes:
    """The same address with a slash at the path's end, or without.

    Said from where the browser stands, as neither host nor prefix of a proxy may be known.
    """
    path: str = scope["path"]
    name = quote(path.rstrip("/").rpartition("/")[2])
    query: bytes = scope["query_string"]
    there = f"../{name}" if path.endswith("/") else f"./{name}/"
    return there.encode() + (b"?" + query if query else b"")


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0

"""What stands before the application: body limit, security headers, request metrics."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spotify_engine.serving.metrics import Metrics
from spotify_engine.serving.problems import problem

ARRIVED = "spotify_engine.arrived"
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
# Swagger UI writes style attributes and shows data: pictures.
DOCS_POLICY = (
    b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class TooLong(Exception):
    """A body is longer than allowed."""


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics, most: int) -> None:
        """
        Args:
            most: bytes of a body.
        """
        self.app, self.metrics, self.most = app, metrics, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope[ARRIVED] = perf_counter()
        status, started, read, too_long = 500, False, 0, False
        docs = scope["path"] == "/docs"

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
                headers = message.setdefault("headers", [])
                headers += [
                    (name, DOCS_POLICY if docs and name == b"content-security-policy" else value)
                    for name, value in HEADERS
                ]
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


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0

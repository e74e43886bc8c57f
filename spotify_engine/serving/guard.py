"""What stands before the application: body limit, security headers, request metrics."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spotify_engine.serving.answers import Problem
from spotify_engine.serving.metrics import Metrics

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
        status, started, read = 500, False, 0
        too_long = refusing = False
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
            if too_long and not refusing:
                return  # what the application says of a body that it could not read
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                headers = message.setdefault("headers", [])
                headers += [
                    (name, DOCS_POLICY if docs and name == b"content-security-policy" else value)
                    for name, value in HEADERS
                ]
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                too_long = _length(scope) > self.most
                if not too_long:
                    with suppress(TooLong):
                        await self.app(scope, receive_bounded, send_headed)
                if too_long and not started:
                    refusing = True
                    await _refuse(send_headed, self.most)
            finally:
                route = getattr(scope.get("route"), "path", None) or "other"
                self.metrics.requests.labels(route, str(status)).inc()
                self.metrics.latency.labels(route).observe(perf_counter() - scope[ARRIVED])


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(send: Send, most: int) -> None:
    said = f"body: longer than {most:,} bytes; send less at once"
    body = Problem(title="Body too long", status=413, detail=said).model_dump_json().encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})

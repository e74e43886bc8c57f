"""Refusals of the HTTP API: whatever goes wrong, answered as a problem that names the field."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from spotify_engine.errors import InputError
from spotify_engine.serving.api.answers import FieldProblem
from spotify_engine.serving.api.problems import problem
from spotify_engine.serving.api.requests import unknown_field
from spotify_engine.serving.engines.playlists import Unusable
from spotify_engine.serving.service import NotServed, Service, UnknownTrack
from spotify_engine.store.events import StoreUnavailable
from spotify_engine.store.registry import UnknownVersion

RETRY_SECONDS = 2


def add_problem_handlers(app: FastAPI, service: Service) -> None:
    """Answer whatever goes wrong as a problem (RFC 9457) that names the field."""
    _add_of_requests(app)
    _add_of_service(app, service)


def _add_of_requests(app: FastAPI) -> None:
    """What is wrong with the request itself."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        if found and found[0]["type"] == "json_invalid":
            said = f"not JSON: {found[0].get('ctx', {}).get('error', 'unreadable')}"
            return problem(400, "Broken JSON", f"body: {said}", [_field("body", said)])
        problems = _field_problems(found, error.body, _asked_for(request))
        first = problems[0]
        return problem(422, "Invalid request", f"{first.field}: {first.message}", problems)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = allowed = _allowed(headers.get("Allow", "GET"))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
            error.detail = f"{request.method} is not possible here; {allowed} are"
        return problem(
            error.status_code,
            HTTPStatus(error.status_code).phrase,
            str(error.detail),
            headers=headers,
        )

    @app.exception_handler(Unusable)
    async def unusable(request: Request, error: Unusable) -> Response:
        said = f"{error.field}: {error}"
        return problem(422, "Invalid request", said, [_field(error.field, str(error))])


def _add_of_service(app: FastAPI, service: Service) -> None:
    """What the service hasn't got, refuses or can't do."""
    retry = {"Retry-After": str(RETRY_SECONDS)}

    @app.exception_handler(UnknownVersion)
    async def unknown(request: Request, error: UnknownVersion) -> Response:
        message = "there is no such version; GET /v1/versions lists all"
        return problem(404, "Unknown version", message, [_field("version", message)])

    @app.exception_handler(UnknownTrack)
    async def unknown_track(request: Request, error: UnknownTrack) -> Response:
        message = "the catalogue has no track of this id; GET /v1/tracks?q= finds by name"
        return problem(404, "Unknown track", message, [_field("track", message)])

    @app.exception_handler(InputError)
    async def refused(request: Request, error: InputError) -> Response:
        return problem(409, "Refused", service.without_paths(str(error)))

    @app.exception_handler(NotServed)
    async def not_served(request: Request, error: NotServed) -> Response:
        return problem(503, "Not served", str(error), headers=retry)

    @app.exception_handler(StoreUnavailable)
    async def unavailable(request: Request, error: StoreUnavailable) -> Response:
        return problem(503, "Event store unavailable", str(error), headers=retry)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # The server's log has the trace; whoever asked gets none.
        return problem(500, "Internal error", "the server failed; its log has the details")


def _allowed(methods: str) -> str:
    """A route's own methods, and those that come with them."""
    own = methods.split(", ")
    return ", ".join(sorted({*own, "OPTIONS", *(["HEAD"] if "GET" in own else [])}))


def _field(field: str, message: str) -> FieldProblem:
    return FieldProblem(field=field, message=message)


def _asked_for(request: Request) -> type[BaseModel] | None:
    """The model that the body of a request should have."""
    route = request.scope.get("route")
    body = route.body_field if isinstance(route, APIRoute) else None
    kind = None if body is None else body.field_info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _field_problems(errors: Any, body: Any, whole: type[BaseModel] | None) -> list[FieldProblem]:
    """pydantic's errors by field; of a field that may be several things, the closest's."""
    found: dict[str, str] = {}
    for error in errors:
        where, *path = error["loc"]
        field, part = ".".join(map(str, path)), dict[str, Any]()
        if where == "body":
            field, part = _found(path, body, error["type"])
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            message = unknown_field(part, str(path[-1]), whole if len(path) == 1 else None)
        found.setdefault(field or str(where), message)
    return [_field(field, message) for field, message in found.items()][:20]


def _found(path: list[Any], body: Any, kind: str) -> tuple[str, dict[str, Any]]:
    """Find what an error is about in a body.

    Returns:
        (the field, without the names of a union's members; the part of the body that holds it)
    """
    parts: list[str] = []
    node, part = body, dict[str, Any]()
    for place, key in enumerate(path):
        last = place == len(path) - 1
        if (isinstance(node, dict) and key in node) or (
            isinstance(node, list) and isinstance(key, int) and key < len(node)
        ):
            part = node if isinstance(node, dict) else part
            node = node[key]
            parts.append(str(key))
        elif last and kind == "missing":
            parts.append(str(key))
    return ".".join(parts), part

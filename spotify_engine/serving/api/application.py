"""The HTTP application around a service."""

from __future__ import annotations

import codecs
import hmac
from collections.abc import Awaitable, Callable, Coroutine
from email.message import Message
from functools import partial
from importlib.resources import files
from time import perf_counter
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Security
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from spotify_engine import __version__
from spotify_engine.pipelines import Pipeline
from spotify_engine.reading.formats.kinds import FORMATS
from spotify_engine.serving.api.answers import (
    Answer,
    EventsAnswer,
    Exported,
    Health,
    Problem,
    ReadAnswer,
    TrackDetails,
    TracksAnswer,
    UnifiedAnswer,
    VersionOut,
    VersionsAnswer,
)
from spotify_engine.serving.api.guard import ARRIVED, Guard
from spotify_engine.serving.api.problems import PROBLEM
from spotify_engine.serving.api.refusals import add_problem_handlers
from spotify_engine.serving.api.requests import (
    MAX_K,
    MAX_TEXT,
    CompleteRequest,
    EventsRequest,
    ExportRequest,
    NextRequest,
    ReadRequest,
    RecommendRequest,
    RollbackRequest,
    Text,
    readable,
)
from spotify_engine.serving.service import Service

SMALL = 1024  # bytes of an answer that is not worth compressing
JSON = "application/json"
BEARER = HTTPBearer(auto_error=False, description="what the server's token file holds")
EVENTS_BEARER = HTTPBearer(
    auto_error=False, scheme_name="Events", description="what the file of --events-token holds"
)
STATIC = files("spotify_engine.serving") / "web"
# Swagger UI writes style attributes and shows data: pictures.
DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(service: Service) -> FastAPI:
    """The application: API, page, documentation and metrics."""
    app = FastAPI(
        title="spotify_engine",
        version=__version__,
        description="Completes playlists and predicts next songs, with reasons.",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_api(service))
    app.include_router(_operations(service))
    _add_pages(app)
    add_problem_handlers(app, service)
    _describe_problems(app)
    app.add_middleware(GZipMiddleware, minimum_size=SMALL, compresslevel=5)
    if service.settings.cors_origins:
        # Pages of others may ask and tell, but not administer: no Authorization passes.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type"],
            expose_headers=["Content-Disposition", "Retry-After", LEFT_OUT],
        )
    # The last one stands before all others.
    app.add_middleware(Guard, metrics=service.metrics, most=service.settings.max_body_kib << 10)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Errors are of another media type than FastAPI's models: their schema is added by hand."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            inner = schema.pop("$defs")
            described()["components"]["schemas"] |= {"Problem": schema, **inner}
        return described()

    app.openapi = openapi  # type: ignore[method-assign]


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = {
        400: "The body is not JSON",
        401: "The token is missing or wrong",
        404: "There is no such track or version",
        409: "Not possible now; the detail says why",
        413: "The body is too long",
        415: "The body is not sent as JSON in UTF-8",
        422: "A field is wrong; errors name it",
        503: "Overloaded, or a part is unavailable; try again after Retry-After seconds",
    }
    return {
        status: {
            "description": said[status],
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


LEFT_OUT = "X-Left-Out"
EXPORTED: dict[str, Any] = {
    "description": "The file's text; Content-Disposition names it",
    "content": {
        media: {"schema": {"type": "string"}}
        for media in sorted({each.media for each in FORMATS.values()})
    },
    "headers": {
        LEFT_OUT: {
            "description": "tracks that the format can't hold: they have no Spotify id",
            "schema": {"type": "integer"},
        }
    },
}
ASKED = _documented(400, 413, 415, 422, 503)


class JSONRoute(APIRoute):
    """Refuses a body that isn't sent as JSON, which would be read as bytes, not as an object."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, which refuses a body that is no JSON."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            if self.body_field is not None and await request.body():
                _require_json(request.headers)
            return await handle(request)

        return handle_json


def _api(service: Service) -> APIRouter:
    api = APIRouter(prefix="/v1", route_class=JSONRoute)
    recommends = partial(api.post, responses=ASKED, tags=["recommend"])

    @recommends("/playlists/complete", summary="Complete a playlist", response_model=Answer)
    async def complete(body: CompleteRequest, request: Request) -> Response:
        """Tracks that complete a playlist, best first."""
        return await _timed(service.complete(body), request)

    @api.post(
        "/playlists/read",
        summary="Read a playlist as people have it",
        response_model=ReadAnswer,
        responses=ASKED,
        tags=["playlists"],
    )
    async def read(body: ReadRequest, request: Request) -> Response:
        """Read a playlist as people have it, and tell which of its tracks are known."""
        return await _timed(service.read(body), request)

    @api.post(
        "/playlists/export",
        summary="Write a playlist for another program",
        response_class=PlainTextResponse,
        responses={200: EXPORTED, **ASKED},
        tags=["playlists"],
    )
    async def export(body: ExportRequest) -> Response:
        """Write a playlist as a file that other programs read."""
        return _file(await service.export(body), FORMATS[body.format].media)

    @recommends("/sessions/next", summary="Name the next songs of a session", response_model=Answer)
    async def next_song(body: NextRequest, request: Request) -> Response:
        """Songs that may come next in a session, best first."""
        return await _timed(service.next(body), request)

    @recommends("/recommend", summary="Recommend from what is known", response_model=UnifiedAnswer)
    async def recommend(body: RecommendRequest, request: Request) -> Response:
        """From a playlist, a session or both: the pipeline that knows more of it answers."""
        return await _timed(service.recommend(body), request)

    @api.post(
        "/events",
        summary="Tell what was played or added",
        response_model=EventsAnswer,
        responses=ASKED | _documented(401),
        dependencies=[Depends(_events(service.events_token))] if service.events_token else [],
        tags=["events"],
    )
    async def add_events(body: EventsRequest) -> Response:
        """Store plays and additions; the next recommendation knows of them."""
        return _json(await service.add_events(body.events))

    @api.get(
        "/tracks",
        summary="Find tracks by name or artist",
        response_model=TracksAnswer,
        responses=_documented(422, 503),
        tags=["catalogue"],
    )
    async def tracks(
        q: Annotated[
            str,
            Query(min_length=1, max_length=MAX_TEXT, description="part of a name or artist"),
            AfterValidator(readable),
        ],
        k: Annotated[int, Query(ge=1, le=MAX_K, description="how many to find")] = 10,
        pipeline: Annotated[Pipeline, Query(description="whose catalogue")] = "playlists",
    ) -> Response:
        """Find tracks by part of their name or artist, also misspelt."""
        return _json(await service.tracks(pipeline, q, k))

    @api.get(
        "/tracks/{track}",
        summary="Look a track up",
        response_model=TrackDetails,
        responses=_documented(404, 422, 503),
        tags=["catalogue"],
    )
    async def track(
        track: Annotated[Text, Path(description="id, Spotify URI or link")],
        pipeline: Annotated[Pipeline, Query(description="whose catalogue")] = "playlists",
    ) -> Response:
        """One track by its id: genres, popularity and, where they are known, audio features."""
        return _json(await service.track(pipeline, track))

    @api.get(
        "/versions", summary="List all versions", response_model=VersionsAnswer, tags=["versions"]
    )
    async def versions() -> Response:
        """All registered versions with their metrics, newest first."""
        return _json(await service.versions())

    admin = [Depends(_admin(service.token))]

    @api.post(
        "/versions/{version}/activate",
        summary="Serve a version",
        response_model=VersionOut,
        responses=_documented(401, 404, 409, 422),
        dependencies=admin,
        tags=["versions"],
    )
    async def activate(
        version: Annotated[Text, Path(description="id; GET /v1/versions lists all")],
    ) -> Response:
        """Load a version and serve it from then on; the answer comes when it is served."""
        return _json(await service.activate(version))

    @api.post(
        "/versions/rollback",
        summary="Go back to the previous version",
        response_model=VersionOut,
        responses=_documented(400, 401, 409, 413, 415, 422),
        dependencies=admin,
        tags=["versions"],
    )
    async def rollback(body: RollbackRequest) -> Response:
        """Serve the version that was current before."""
        return _json(await service.rollback(body.pipeline))

    return api


def _operations(service: Service) -> APIRouter:
    operations = APIRouter(tags=["operations"])

    @operations.get("/healthz", summary="Is it alive?", response_model=Health)
    async def alive() -> Response:
        """Whether the process answers at all."""
        return _json(Health(status="ok"))

    @operations.get(
        "/readyz",
        summary="Can it answer?",
        response_model=Health,
        responses={503: {"model": Health}},
    )
    async def ready() -> Response:
        """Whether a version is loaded and the event store answers."""
        health = await service.ready()
        return _json(health, 200 if health.status == "ok" else 503)

    @operations.get(
        "/metrics",
        summary="Figures for Prometheus",
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        """For Prometheus, over all replicas of this node."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return operations


def _add_pages(app: FastAPI) -> None:
    page_text, docs_text = (
        (STATIC / name).read_text(encoding="utf-8") for name in ("index.html", "docs.html")
    )

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        # A proxy that strips its prefix asks for / where the browser is at /prefix, without the
        # slash that links from here would need.
        root = quote(request.scope.get("root_path", "").rstrip("/"))
        return HTMLResponse(page_text.replace('"./', f'"{root}/') if root else page_text)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_text, headers={"Content-Security-Policy": DOCS_POLICY})

    app.mount("/static", StaticFiles(packages=[("spotify_engine.serving", "web")]))
    # Swagger UI itself, of that package, so that the documentation needs no network.
    app.mount("/swagger", StaticFiles(packages=[("fastapi_offline", "static")]))


async def _timed(answer: Awaitable[Answer | ReadAnswer], request: Request) -> Response:
    found = await answer
    found.ms = round(1000 * (perf_counter() - request.scope[ARRIVED]), 3)
    return _json(found)


def _file(exported: Exported, media: str) -> Response:
    """With a name in ASCII for old programs, and in UTF-8 (RFC 6266)."""
    name = exported.filename
    plain = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in name)
    headers = {
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}",
        LEFT_OUT: str(exported.left_out),
    }
    return Response(exported.text, media_type=f"{media}; charset=utf-8", headers=headers)


def _json(message: BaseModel, status: int = 200) -> Response:
    return Response(message.model_dump_json(), status, media_type=JSON)


def _admin(token: str | None) -> Any:
    async def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
    ) -> None:
        if token is None:
            raise HTTPException(401, "admin calls are off: the server was given no admin_token")
        _require_token(given, token, "admin")

    return check


def _events(token: str) -> Any:
    async def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Security(EVENTS_BEARER)],
    ) -> None:
        _require_token(given, token, "events")

    return check


def _require_token(given: HTTPAuthorizationCredentials | None, token: str, whose: str) -> None:
    """Refuse a request without the admin's token.

    Raises:
        HTTPException: another one was sent, or none.
    """
    sent = "" if given is None else given.credentials
    if not hmac.compare_digest(sent.encode(), token.encode()):
        raise HTTPException(
            401,
            f"the {whose} token is missing or wrong: send Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )


def _require_json(headers: Headers) -> None:
    """Refuse a body that doesn't say it is JSON.

    Raises:
        HTTPException: a body's media type, charset or coding is another one.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        said = f"Content-Encoding: {coding} is not understood; send the body as it is"
        raise HTTPException(415, said, {"Accept-Encoding": "identity"})
    given = headers.get("content-type", "")
    media = Message()
    media["content-type"] = given
    kind = media.get_content_type() if given else ""
    json = kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))
    if not json or not _is_utf8(str(media.get_param("charset", "utf-8"))):
        found = f"Content-Type: {given} is not understood" if given else "Content-Type is missing"
        said = f"{found}; send JSON in UTF-8 with Content-Type: {JSON}"
        raise HTTPException(415, said, {"Accept": JSON})


def _is_utf8(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name in ("utf-8", "ascii")
    except (LookupError, ValueError):
        return False

"""Small versions of both pipelines, a service of them, a real server around it, and a browser."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from spotify_engine.learning.item_item import item_item_weights
from spotify_engine.playlists.recommend.titles import TitleModel, TitleSettings
from spotify_engine.recommenders import open_registry
from spotify_engine.serving.api.application import create_app
from spotify_engine.serving.service import Service
from spotify_engine.serving.settings import ServeSettings
from spotify_engine.sessions.synthetic import SyntheticConfig, write_sessions
from spotify_engine.sessions.tables.build import read_tables
from spotify_engine.store.registry import Registry

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKEN = "correct horse battery staple"


@pytest.fixture(scope="session")
def bundles(
    make_recommender: Callable[..., Any],
    make_session_recommender: Callable[..., Any],
    world: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """``playlists`` (item-item term, titles, stand-ins) and ``sessions``, and another of each."""
    folder = tmp_path_factory.mktemp("bundles")
    [items] = item_item_weights(world.train, 26, 10, [5.0])
    recommender = make_recommender().with_items(items)
    titles = [f"{('Rock morning', 'Jazz evening')[i % 2]} {i}" for i in range(40)]
    vectors = recommender.playlist_vectors(world.train)
    settings = TitleSettings(letters=0.4, neighbours=6, popularity=0.3)
    titled = recommender.with_titles(TitleModel.fit(titles, world.train, vectors, settings))
    write_sessions(folder / "data", SyntheticConfig.tiny(), oracle=False)
    tables = read_tables(folder / "data")
    made = {
        "playlists": titled,
        "other_playlists": make_recommender(embedding_dim=5),
        "sessions": make_session_recommender(tables),
        "other_sessions": make_session_recommender(tables, seed=1),
    }
    for i, (name, each) in enumerate(made.items()):
        manifest = {
            "config": {},
            "metrics": {"recall@10": 0.1 * i},
            "data_fingerprint": name,
            "served": {"in_words": f"Served: epoch 2 of 3 ({name})."},
        }
        each.save(folder / name, manifest)
    return {name: folder / name for name in made}


def _settings(folder: Path) -> ServeSettings:
    token = folder / "token"
    token.write_text(f"{TOKEN}\n")
    return ServeSettings(
        registry=folder / "registry",
        events=f"sqlite:///{folder}/events.db",
        admin_token=token,
        poll_seconds=0.05,
    )


def _registry(settings: ServeSettings, bundles: dict[str, Path]) -> Registry:
    found = open_registry(settings.registry)
    for name in ("playlists", "sessions"):
        found.activate(found.publish(bundles[name]).id)
    return found


@contextmanager
def serving(settings: ServeSettings) -> Iterator[Service]:
    """A started service, closed on leaving."""
    made = Service(settings)
    made.start()
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    return _settings(tmp_path)


@pytest.fixture
def registry(settings: ServeSettings, bundles: dict[str, Path]) -> Registry:
    """Both pipelines are current."""
    return _registry(settings, bundles)


@pytest.fixture
def service(settings: ServeSettings, registry: Registry) -> Iterator[Service]:
    with serving(settings) as made:
        yield made


@contextmanager
def running(app: Any, root_path: str = "") -> Iterator[str]:
    """The URL of a server of ``app`` on a free port; ``root_path`` as Serve hands it on."""
    config = uvicorn.Config(app, port=0, log_level="warning", root_path=root_path, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Starts a server of a service; gives its URL."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(running(create_app(service)))


def proxy(upstream: str, prefix: str, strips: bool) -> Any:
    """A reverse proxy that serves another server below a prefix, and nothing else."""

    client = httpx.AsyncClient(verify=False)

    async def forward(request: Request) -> Response:
        path = request.url.path
        if not f"{path}/".startswith(f"{prefix}/"):
            return Response("not of the proxied server", 404)
        if strips:
            path = path.removeprefix(prefix) or "/"
        headers = [each for each in request.headers.items() if each[0] != "host"]
        async with client.stream(
            request.method, f"{upstream}{path}", params=request.query_params, headers=headers,
            content=await request.body(),
        ) as answer:  # fmt: skip
            # As it came: compressed, where the browser takes that.
            body = b"".join([part async for part in answer.aiter_raw()])
        found = Response(body, answer.status_code)
        # Of a file that comes bit by bit the length is known only now.
        length = [(b"content-length", str(len(body)).encode())]
        there = [each for each in answer.headers.raw if each[0].lower() != b"transfer-encoding"]
        known = any(name.lower() == b"content-length" for name, _ in there)
        found.raw_headers = there if known else [*there, *length]
        return found

    methods = ["GET", "HEAD", "POST", "PUT", "OPTIONS"]
    return Starlette(routes=[Route("/{path:path}", forward, methods=methods)])


@pytest.fixture
def url(serve: Callable[[Any], str], service: Service) -> str:
    return serve(service)


@pytest.fixture(scope="session")
def shared_url(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for tests that leave its versions as they are."""
    settings = _settings(tmp_path_factory.mktemp("shared"))
    _registry(settings, bundles)
    with serving(settings) as service, running(create_app(service)) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless; of one module, as its loop stands in asyncio's way."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("no Chromium; make system-packages")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found)


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    """Opens the page; nothing it does may break its security policy or ask another server.

    It is closed before its server is.
    """
    from playwright.sync_api import expect

    wrong: list[str] = []
    contexts = []

    def heard(kind: str, text: str) -> None:
        # Refused and unavailable answers are part of the tests; the browser complains of them.
        expected = re.match(r"Failed to load resource: .*(401|422|503|ERR_INTERNET)", text)
        if kind in ("error", "warning") and not expected:
            wrong.append(f"{kind}: {text}")

    def open(url: str = url, **settings: Any) -> Page:
        origin = "/".join([*url.split("/")[:3], ""])
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard(message.type, message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith(origin) or wrong.append(f"asked {request.url}"),
        )
        page.goto(url)
        return page

    expect.set_options(timeout=20_000)
    yield open
    for context in contexts:
        context.close()
    assert not wrong

"""The server below a prefix: of proxies that strip it and that don't, told of it and not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import expect
from starlette.types import Receive, Scope, Send

from spotify_engine.client import Client
from spotify_engine.serving.api.application import create_app
from spotify_engine.serving.service import Service
from spotify_engine.serving.settings import OWN_PATHS

from .conftest import _registry, _settings, proxy, running, serving
from .steps import Open, add, complete, rows, shows

# What stands before the server, and whether the server is told so.
WAYS = ("stripped", "kept", "stripped unknown", "mounted")


@pytest.fixture(scope="module")
def service(
    bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = _settings(tmp_path_factory.mktemp("prefix"))
    _registry(settings, bundles)
    with serving(settings) as made:
        yield made


@pytest.fixture(scope="module")
def outside(service: Service) -> Iterator[dict[str, str]]:
    """By way: where the server is seen from outside, with the prefix."""
    with ExitStack() as stack:
        app = create_app(service)

        async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
            """As Serve does with a ``route_prefix``."""
            await app({**scope, "root_path": "/music"}, receive, send)

        told = stack.enter_context(running(app, "/music"))
        untold = stack.enter_context(running(app))
        served = {
            "stripped": proxy(told, "/music", strips=True),
            "kept": proxy(told, "/music", strips=False),
            "stripped unknown": proxy(untold, "/music", strips=True),
            "mounted": mounted,
        }
        yield {way: f"{stack.enter_context(running(each))}/music" for way, each in served.items()}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=30) as client:
        yield client


@pytest.mark.parametrize("way", WAYS)
def test_all_that_the_pages_name_is_there(
    http: httpx.Client, outside: dict[str, str], way: str
) -> None:
    base = outside[way]
    # Who isn't told of a prefix that is stripped can't know that a slash is missing.
    for page in ("/", "/docs", "/docs/", *([""] if way != "stripped unknown" else [])):
        answer = http.get(f"{base}{page}", follow_redirects=True)
        assert answer.status_code == 200
        named = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
        assert len(named) >= 4
        for link in named:
            there = urljoin(str(answer.url), link)
            assert there.startswith(f"{base}/")
            assert http.get(there).status_code == 200, (page, link)
    style = http.get(f"{base}/docs").headers["content-security-policy"]
    assert "style-src 'self' 'unsafe-inline'" in style
    document = http.get(f"{base}/openapi.json").json()
    told = [{"url": "/music"}] if way != "stripped unknown" else None
    assert document.get("servers") == told


@pytest.mark.parametrize("way", WAYS)
def test_a_slash_too_many_leads_back_below_the_prefix(
    http: httpx.Client, outside: dict[str, str], way: str
) -> None:
    base = outside[way]
    for path, wanted in (
        ("/docs/", "/docs"), ("/healthz/", "/healthz"), ("/v1/tracks/", "/v1/tracks?q=so"),
        *([("", "/")] if way in ("kept", "mounted") else []),
    ):  # fmt: skip
        query = wanted[len(wanted.split("?")[0]) :]
        answer = http.get(f"{base}{path}{query}")
        assert answer.status_code == 307
        assert "://" not in answer.headers["location"], "the proxy's host isn't the server's"
        landed = http.get(f"{base}{path}{query}", follow_redirects=True)
        assert (str(landed.url), landed.status_code) == (f"{base}{wanted}", 200)


@pytest.mark.parametrize("way", WAYS)
def test_the_client_asks_below_the_prefix(
    http: httpx.Client, outside: dict[str, str], way: str
) -> None:
    with Client(outside[way]) as client:
        assert len(client.complete(["id0"], k=3).recommendations) == 3
    refused = http.post(f"{outside[way]}/v1/playlists/complete", json={"k": 0})
    assert refused.json()["errors"][0]["field"] == "k"
    assert http.head(f"{outside[way]}/healthz").status_code == 200


def test_a_prefix_that_is_sent_along_is_not_believed(http: httpx.Client, shared_url: str) -> None:
    """Anybody can send it."""
    sent = {"X-Forwarded-Prefix": "//elsewhere.example", "X-Forwarded-Host": "elsewhere.example"}
    plain = http.get(f"{shared_url}/")
    assert http.get(f"{shared_url}/", headers=sent).text == plain.text
    assert http.get(f"{shared_url}/docs/", headers=sent).headers["location"] == "../docs"


def test_the_servers_own_paths_are_known(service: Service) -> None:
    """A prefix that is one of them is refused on starting."""
    app = create_app(service)
    document = [*app.openapi()["paths"], "/docs", app.openapi_url, "/static/", "/swagger/"]
    assert {path.split("/")[1] for path in document} == set(OWN_PATHS)


@pytest.mark.parametrize(("way", "at"), [("stripped", ""), ("stripped unknown", "/#session")])
def test_the_page_works_below_the_prefix(
    open_page: Open, outside: dict[str, str], way: str, at: str
) -> None:
    base = outside[way]
    page = open_page(f"{base}{at}")
    if at.endswith("session"):
        expect(rows(page, "session")).to_have_count(10)
    else:
        add(page, "Song 12")
        shows(page, complete(base, ["id12"]))
    background = "getComputedStyle(document.querySelector('.card')).borderTopWidth"
    assert page.evaluate(background) != "0px", "styled"
    page.get_by_role("link", name="API documentation").click()
    expect(page).to_have_url(f"{base}/docs")
    expect(page.locator(".opblock")).to_have_count(14)
    page.locator("#operations-operations-alive_healthz_get").get_by_role("button").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(page.locator(".request-url")).to_contain_text(f"{base}/healthz")

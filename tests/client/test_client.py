"""What the clients send, and what they make of what comes back."""

from __future__ import annotations

import inspect
import socket
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from spotify_engine.client import ApiError, AsyncClient, Client, Overloaded, Unreachable, calls
from spotify_engine.client.conversation import MAX_WAIT_S, conversation
from spotify_engine.errors import InputError
from spotify_engine.serving.api.requests import PlayEvent, PlaylistInput, SessionInput

from .conftest import Ask, Reply, Scripted

ANSWER = {"pipeline": "playlists", "version": "v1", "recommendations": []}
VERSION = {
    "id": "v 1/x", "pipeline": "playlists", "created": "2026-01-01T00:00:00Z", "current": True,
    "previous": False, "served": True, "metrics": {}, "lineage": {},
}  # fmt: skip
STORED = {"stored": 1, "unmatched": []}
BUSY = {"title": "Overloaded", "status": 503, "detail": "too many requests"}


def busy(after: str | None = "0") -> Reply:
    return Reply(503, BUSY, {} if after is None else {"Retry-After": after})


SENT: list[tuple[str, tuple[Any, ...], dict[str, Any], Any, str, Any]] = [
    (
        "complete", ([("Artist - A", "Name"), "id1", "X - Y"],),
        {"title": "T", "k": 3, "exclude": [("B", "C")], "playlist": "mine", "explain": True},
        ANSWER, "POST /v1/playlists/complete",
        {"tracks": [{"name": "Name", "artist": "Artist - A"}, "id1", "X - Y"], "title": "T",
         "k": 3, "exclude": [{"name": "C", "artist": "B"}], "playlist": "mine", "explain": True},
    ),
    (
        "next", (), {"user": "u", "recent": ("a", "b"), "at": datetime(2025, 3, 3, 20, tzinfo=UTC)},
        ANSWER, "POST /v1/sessions/next",
        {"user": "u", "recent": ["a", "b"], "at": "2025-03-03T20:00:00Z", "exclude": [], "k": 10,
         "explain": False},
    ),
    (
        "recommend", (PlaylistInput(tracks=["a"]), SessionInput(user="u", at=1_700_000_000)), {},
        {**ANSWER, "why": "because"}, "POST /v1/recommend",
        {"playlist": {"tracks": ["a"], "exclude": []},
         "session": {"user": "u", "recent": [], "at": 1_700_000_000, "exclude": []},
         "k": 10, "explain": False},
    ),
    (
        "play", ("u", "a", 51_912), {"at": 5}, STORED, "POST /v1/events",
        {"events": [{"type": "play", "user": "u", "track": "a", "ms_played": 51_912, "at": 5}]},
    ),
    (
        "add", ("mine", ("Artist", "Name")), {}, STORED, "POST /v1/events",
        {"events": [{"type": "add", "playlist": "mine", "track": "Artist - Name"}]},
    ),
    (
        "tracks", ("a b&c",), {"k": 4, "pipeline": "sessions"},
        {"pipeline": "sessions", "version": "v", "tracks": []},
        "GET /v1/tracks?q=a%20b%26c&k=4&pipeline=sessions", None,
    ),
    ("versions", (), {}, {"versions": [], "broken": {}, "failures": {}}, "GET /v1/versions", None),
    ("activate", ("v 1/../x",), {}, VERSION, "POST /v1/versions/v%201%2F..%2Fx/activate", None),
    (
        "rollback", ("sessions",), {}, VERSION, "POST /v1/versions/rollback",
        {"pipeline": "sessions"},
    ),
    ("ready", (), {}, {"status": "ok"}, "GET /readyz", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "args", "kwargs", "answer", "line", "body"), SENT)
def test_what_is_sent(
    server: Scripted,
    ask: Ask,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    answer: Any,
    line: str,
    body: Any,
) -> None:
    server.script = [Reply(200, answer)]
    found = ask(method, server.url, *args, settings={"token": "secret"}, **kwargs)
    assert {key: found.model_dump(mode="json")[key] for key in answer} == answer
    [came] = server.received
    assert (f"{came.method} {came.path}", came.body) == (line.replace("%20b", "+b"), body)
    # Nobody but an admin call shows the token.
    sent = came.headers.get("authorization")
    assert sent == ("Bearer secret" if method in ("activate", "rollback") else None)


def test_busy_servers_are_asked_again_even_for_events(server: Scripted, ask: Ask) -> None:
    for method, args, answer in (
        ("complete", (["a"],), ANSWER),
        ("play", ("u", "a", 1), STORED),
        ("rollback", ("playlists",), VERSION),
    ):
        server.script = [busy(), busy(), Reply(200, answer)]
        server.received.clear()
        ask(method, server.url, *args)
        assert len(server.received) == 3


@pytest.mark.parametrize(
    ("after", "asked", "wait"),
    [("0", 3, 0.0), (None, 1, None), ("soon", 1, None), ("3600", 1, 3600.0)],
)
def test_a_server_that_stays_busy(
    server: Scripted, ask: Ask, after: str | None, asked: int, wait: float | None
) -> None:
    server.script = [busy(after)] * asked
    with pytest.raises(Overloaded, match="503 Overloaded: too many requests") as caught:
        ask("complete", server.url, ["a"])
    assert (caught.value.status, caught.value.retry_after) == (503, wait)
    assert len(server.received) == asked


def test_it_waits_as_long_as_the_server_wants() -> None:
    talk = conversation(calls.complete(None, ["a"]), retries=3)
    request = httpx.Request("POST", "http://x/")

    def reply(status: int, headers: dict[str, str], body: Any) -> httpx.Response:
        return httpx.Response(status, headers=headers, json=body, request=request)

    assert talk.send(None) == 0
    assert talk.send(reply(503, {"Retry-After": "7"}, BUSY)) == 7
    first = talk.send(httpx.ReadError("broken", request=request))
    second = talk.send(httpx.ReadError("broken", request=request))
    assert 0 < first < second < MAX_WAIT_S
    with pytest.raises(StopIteration) as end:
        talk.send(reply(200, {}, ANSWER))
    assert end.value.value.version == "v1"


def test_broken_connections_are_tried_again_unless_that_could_do_it_twice(
    server: Scripted, ask: Ask
) -> None:
    broken = Reply(broken=True)
    server.script = [broken, Reply(200, ANSWER)]
    assert ask("complete", server.url, ["a"]).version == "v1"
    play = PlayEvent(type="play", user="u", track="a", ms_played=1)
    for method, argument in (("events", [play]), ("rollback", "playlists")):
        server.script = [broken]
        with pytest.raises(Unreachable, match=server.url):
            ask(method, server.url, argument)
    server.script = [broken, broken]
    with pytest.raises(Unreachable):
        ask("versions", server.url, settings={"retries": 1})


def test_silence_and_nobody_there(server: Scripted, ask: Ask) -> None:
    server.script = [Reply(silent=True)]
    with pytest.raises(Unreachable, match="ReadTimeout"):
        ask("tracks", server.url, "x", settings={"timeout": 0.2, "retries": 0})
    with socket.socket() as nobody:
        # Its own for as long as nobody listens there: another process could take a free one.
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(Unreachable, match=rf"{url}/v1/tracks: "):
            ask("tracks", url, "x", settings={"retries": 1})


def test_refusals_name_the_fields(server: Scripted, ask: Ask) -> None:
    problem = {
        "title": "Unprocessable", "status": 422, "detail": "the request can't be used",
        "errors": [{"field": "k", "message": "too large"}],
    }  # fmt: skip
    server.script = [Reply(422, problem)]
    with pytest.raises(ApiError, match=r"422 Unprocessable: .* used; k: too large") as caught:
        ask("tracks", server.url, "x")
    assert not isinstance(caught.value, Overloaded)
    assert caught.value.problem.errors[0].field == "k"
    server.script = [Reply(500, "<html>")]
    with pytest.raises(ApiError, match="500 Internal Server Error: the answer gives no details"):
        ask("tracks", server.url, "x")


def test_another_kind_of_server_is_recognised(server: Scripted, ask: Ask) -> None:
    server.script = [Reply(200, "<html>hello</html>")]
    with pytest.raises(ApiError, match=r"answered with something other .* this release\?"):
        ask("versions", server.url)
    server.script = [Reply(302, "", {"Location": "http://127.0.0.1:1/"})]
    with pytest.raises(ApiError, match="302 Found"):
        ask("versions", server.url)


def test_not_being_ready_is_an_answer(server: Scripted, ask: Ask) -> None:
    server.script = [Reply(503, {"status": "starting", "problems": ["no version"]})]
    health = ask("ready", server.url)
    assert (health.status, health.problems) == ("starting", ["no version"])
    server.script = [busy(None)]
    with pytest.raises(Overloaded):
        ask("ready", server.url)


BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("complete", (["a"],), {"k": 0}, "k: "),
    ("complete", ("an id",), {}, r"tracks: give a list, as \['an id'\]"),
    ("complete", ([("a", "b", "c")],), {}, r"tracks: .* should be \(artist, name\)"),
    ("complete", (["a\x00"],), {}, "control character"),
    ("next", (), {"recent": "t1"}, "recent: give a list"),
    ("recommend", (), {}, "give a playlist, a session or both"),
    ("play", ("u", "a", -1), {}, "ms_played: "),
    ("events", ([],), {}, "events: "),
    ("rollback", ("other",), {}, "pipeline: "),
]


@pytest.mark.parametrize(("method", "args", "kwargs", "message"), BAD)
def test_what_cannot_be_asked_is_not_sent(
    server: Scripted,
    ask: Ask,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        ask(method, server.url, *args, **kwargs)
    assert not server.received


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "localhost:8000"}, "should look like"),
        ({"url": "http://"}, "should look like"),
        ({"url": "http://[::1"}, "url: "),
        ({"token": "schlüssel"}, "token: "),
        ({"token": "a\nb"}, "token: "),
        ({"timeout": 0}, "timeout is 0"),
        ({"retries": -1}, "retries is -1"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(InputError, match=message):
            client(**settings)


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(Client(token="secret"))


def test_proxies_of_the_environment_get_nothing(
    server: Scripted, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.script = [Reply(200, ANSWER)]
    assert ask("complete", server.url, []).version == "v1"


def test_both_clients_have_the_same_documented_methods() -> None:
    asked = [line[0] for line in SENT] + ["events"]
    for name in asked:
        blocking, awaited = getattr(Client, name), getattr(AsyncClient, name)
        assert blocking.__doc__ == awaited.__doc__
        assert blocking.__doc__
        assert inspect.signature(blocking).parameters == inspect.signature(awaited).parameters
        assert inspect.iscoroutinefunction(awaited)
        assert not inspect.iscoroutinefunction(blocking)


def test_importing_it_brings_in_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'numpy', 'pandas', 'pyarrow', 'fastapi', 'scipy'}"
    code = f"import sys, spotify_engine.client; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert found.stdout.strip() == "[]"

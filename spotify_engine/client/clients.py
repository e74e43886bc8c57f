"""The clients, blocking and asynchronous: one conversation, two ways to wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypedDict

import httpx

from spotify_engine.client import calls
from spotify_engine.client.calls import A, Call
from spotify_engine.client.conversation import Came, conversation
from spotify_engine.errors import InputError

P = ParamSpec("P")


class _ForHttpx(TypedDict):
    base_url: str
    timeout: float
    trust_env: bool


@dataclass(eq=False)
class Settings:
    """The server that a client asks, and the settings of asking.

    Attributes:
        url: of the server.
        token: the admin's; only activate and rollback send it.
        events_token: of whoever may send events, where the server wants one; only events, play and
            add send it.
        timeout: seconds to wait for a connection, and for each part of an answer.
        retries: how often a call is sent again: after the server's Retry-After when it is busy
            (503), and after a broken connection unless doing it twice would matter.

    Raises:
        InputError: one of them can't be used.
    """

    url: str = "http://127.0.0.1:8000"
    token: str | None = field(default=None, repr=False)
    events_token: str | None = field(default=None, repr=False)
    timeout: float = 10.0
    retries: int = 2

    def __post_init__(self) -> None:
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise InputError(f"url: {self.url!r} is not a URL ({error})") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InputError(f"url: {self.url!r} should look like http://127.0.0.1:8000")
        for name in ("token", "events_token"):
            token = getattr(self, name)
            if token is not None and not (token.isascii() and token.isprintable()):
                raise InputError(f"{name}: only printable ASCII characters can be sent")
        if self.timeout <= 0:
            raise InputError(f"timeout is {self.timeout}; give a number of seconds above 0")
        if self.retries < 0:
            raise InputError(f"retries is {self.retries}; give 0 or more")

    @property
    def _for_httpx(self) -> _ForHttpx:
        # Proxies of the environment are not asked: neither loopback nor the token is for them.
        return {"base_url": self.url, "timeout": self.timeout, "trust_env": False}

    def _request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
        headers = {"Accept": "application/json"}
        token = {"admin": self.token, "events": self.events_token, None: None}[call.token]
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return http.build_request(
            call.method, call.path, json=call.json, params=call.params or None, headers=headers
        )


def _blocking(
    build: Callable[Concatenate[object, P], Call[A]],
) -> Callable[Concatenate[Client, P], A]:
    @wraps(build)
    def method(self: Client, *args: P.args, **kwargs: P.kwargs) -> A:
        return self._ask(build(self, *args, **kwargs))

    return method


def _awaited(
    build: Callable[Concatenate[object, P], Call[A]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, A]]:
    @wraps(build)
    async def method(self: AsyncClient, *args: P.args, **kwargs: P.kwargs) -> A:
        return await self._ask(build(self, *args, **kwargs))

    return method


class Client(Settings):
    """Asks and waits for the answer; threads may share one.

    ::

        with Client() as client:
            for each in client.complete([("Artist", "Title")], k=5).recommendations:
                print(each.name, each.score)

    Arguments are those of :class:`Settings`.
    """

    complete = _blocking(calls.complete)
    next = _blocking(calls.next)
    recommend = _blocking(calls.recommend)
    events = _blocking(calls.events)
    play = _blocking(calls.play)
    add = _blocking(calls.add)
    tracks = _blocking(calls.tracks)
    track = _blocking(calls.track)
    read = _blocking(calls.read)
    export = _blocking(calls.export)
    versions = _blocking(calls.versions)
    activate = _blocking(calls.activate)
    rollback = _blocking(calls.rollback)
    ready = _blocking(calls.ready)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._http = httpx.Client(**self._for_httpx)

    def _ask(self, call: Call[A]) -> A:
        talk = conversation(call, self.retries)
        came: Came = None
        try:
            while True:
                time.sleep(talk.send(came))
                try:
                    came = self._http.send(self._request(self._http, call))
                except httpx.RequestError as error:
                    came = error
        except StopIteration as end:
            answer: A = end.value
            return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Settings):
    """Like :class:`Client`, to be awaited."""

    complete = _awaited(calls.complete)
    next = _awaited(calls.next)
    recommend = _awaited(calls.recommend)
    events = _awaited(calls.events)
    play = _awaited(calls.play)
    add = _awaited(calls.add)
    tracks = _awaited(calls.tracks)
    track = _awaited(calls.track)
    read = _awaited(calls.read)
    export = _awaited(calls.export)
    versions = _awaited(calls.versions)
    activate = _awaited(calls.activate)
    rollback = _awaited(calls.rollback)
    ready = _awaited(calls.ready)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._http = httpx.AsyncClient(**self._for_httpx)

    async def _ask(self, call: Call[A]) -> A:
        talk = conversation(call, self.retries)
        came: Came = None
        try:
            while True:
                await asyncio.sleep(talk.send(came))
                try:
                    came = await self._http.send(self._request(self._http, call))
                except httpx.RequestError as error:
                    came = error
        except StopIteration as end:
            answer: A = end.value
            return answer

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

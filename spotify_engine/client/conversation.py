"""The conversation with a server: read an answer, ask again, or give up."""

from __future__ import annotations

from collections.abc import Generator

import httpx
from pydantic import ValidationError

from spotify_engine.client.calls import BUSY, A, Call
from spotify_engine.serving.api.answers import Problem

MAX_WAIT_S = 30.0  # a server that asks for more patience than this gets an error instead
FIRST_PAUSE_S = 0.2  # before a broken connection is tried again; doubles each time


class ClientError(Exception):
    """The server did not do what it was asked."""


class Unreachable(ClientError):
    """No answer: no connection, or it broke or took longer than the timeout."""


class ApiError(ClientError):
    """The server answered with an error.

    Attributes:
        status: of HTTP.
        problem: what is wrong, and with which fields.
    """

    def __init__(self, status: int, problem: Problem) -> None:
        fields = "".join(f"; {each.field}: {each.message}" for each in problem.errors)
        super().__init__(f"{status} {problem.title}: {problem.detail}{fields}")
        self.status, self.problem = status, problem


class Overloaded(ApiError):
    """The server could not answer now, however often it was asked.

    Attributes:
        retry_after: seconds after which it wants to be asked again; None: it doesn't say.
    """

    def __init__(self, status: int, problem: Problem, retry_after: float | None) -> None:
        super().__init__(status, problem)
        self.retry_after = retry_after


Came = httpx.Response | httpx.RequestError | None
"""The response to a request, or its error; None before the first one."""


def conversation(call: Call[A], retries: int) -> Generator[float, Came, A]:
    """Decide what to do after each attempt at a call, whoever sends it.

    Yields the seconds to wait before the call is sent (again), is sent what came of it, and
    returns the answer.

    Raises:
        ApiError: see there; Unreachable.
    """
    wait = 0.0
    for attempt in range(retries + 1):
        came = yield wait
        last = attempt == retries
        if isinstance(came, httpx.RequestError):
            if last or not call.repeatable:
                url = came.request.url.copy_with(query=None)
                why = ": ".join(filter(None, (type(came).__name__, str(came))))
                raise Unreachable(f"{url}: {why}") from came
            wait = FIRST_PAUSE_S * 2**attempt
            continue
        assert came is not None
        answer = _answer(call, came)
        if answer is not None:
            return answer
        # Whoever answers 503 with Retry-After has not done what was asked, whatever it was.
        after = _retry_after(came)
        if last or came.status_code != BUSY or after is None or after > MAX_WAIT_S:
            raise _error(came)
        wait = after
    raise AssertionError("the last attempt returns or raises")


def _answer(call: Call[A], response: httpx.Response) -> A | None:
    """None: it is an error."""
    if not response.is_success and response.status_code not in call.fine:
        return None
    try:
        if call.read is not None:
            return call.read(response)
        return call.answer.model_validate_json(response.content)
    except (LookupError, ValueError) as error:
        if not response.is_success:
            return None
        detail = (
            f"{response.url.path} answered with something other than {call.answer.__name__}; "
            "is this a server of spotify_engine, of this release?"
        )
        status = response.status_code
        raise ApiError(
            status, Problem(title="Not understood", status=status, detail=detail)
        ) from error


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    try:
        return max(float(value), 0.0) if value[:1].isdigit() else None
    except ValueError:
        return None


def _error(response: httpx.Response) -> ApiError:
    status = response.status_code
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        title = response.reason_phrase or "Error"
        problem = Problem(title=title, status=status, detail="the answer gives no details")
    if status == BUSY:
        return Overloaded(status, problem, _retry_after(response))
    return ApiError(status, problem)

"""Errors as they are answered."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from spotify_engine.serving.api.answers import FieldProblem, Problem

PROBLEM = "application/problem+json"


def problem(
    status: int,
    title: str,
    detail: str,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error as it is answered."""
    body = Problem(title=title, status=status, detail=detail, errors=errors or [])
    return Response(body.model_dump_json(), status, headers=headers, media_type=PROBLEM)

"""Errors as problem documents (RFC 9457): one shape for everything that is refused.

`detail` is the sentence that the command line would say; `expected`, `got` and `nearest` stand
beside it where they are known. What is our own mistake is told without its inside: the log has
that. No document quotes more of a request than a line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from duly.errors import (
    DulyBug,
    DulyError,
    EnvironmentFailure,
    Refused,
    UnknownName,
    UsageError,
)
from duly.server.api.wording import troubles

MEDIA = "application/problem+json"
MOST_TOLD = 20
"""Faults of a request that are told."""

AWAY_S = 2
"""What a caller is told to wait when the store is away."""

_log = logging.getLogger("duly.server")

_TITLES = {
    400: "Not readable",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not known",
    405: "Method not allowed",
    409: "Refused",
    412: "Changed meanwhile",
    413: "Too large",
    415: "Not JSON",
    422: "Not valid",
    428: "Condition required",
    429: "Too many failures",
    500: "A bug of Duly",
    503: "Not now",
}


class Trouble(BaseModel):
    """One thing that is wrong with a request, and where."""

    where: str
    expected: str
    got: str
    nearest: str | None = None


class Problem(BaseModel):
    """Why a request was refused."""

    type: str = Field(default="about:blank", description="A word for programs, as a URN.")
    title: str
    status: int
    detail: str
    expected: str | None = None
    got: str | None = None
    nearest: str | None = None
    errors: list[Trouble] | None = None


class Problems(Exception):
    """A refusal of the API's own; `told` as `DulyError.told`."""

    def __init__(
        self,
        status: int,
        word: str,
        detail: str,
        *,
        told: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.word, self.detail = status, word, detail
        self.told, self.headers, self.errors = told or {}, headers or {}, errors


def document(problem: Problems, errors: list[dict[str, str]] | None = None) -> bytes:
    """Return the body of a problem."""
    shown: dict[str, Any] = {
        "type": f"urn:duly:problem:{problem.word}",
        "title": _TITLES.get(problem.status, "Refused"),
        "status": problem.status,
        "detail": problem.detail,
        **problem.told,
    }
    if errors:
        shown["errors"] = errors
    return msgspec.json.encode(shown)


def answer(problem: Problems, errors: list[dict[str, str]] | None = None) -> Response:
    """Return a problem as the answer to a request."""
    body = document(problem, errors)
    return Response(body, problem.status, dict(problem.headers), MEDIA)


def problem_of(error: DulyError) -> Problems:
    """Return what an error comes to, by whose fault it is."""
    said = str(error)
    match error:
        case UnknownName():
            return Problems(404, "unknown", said, told=error.told)
        case Refused():
            return Problems(409, "refused", said, told=error.told)
        case UsageError():
            return Problems(422, "invalid", said, told=error.told)
        case EnvironmentFailure():
            retry = {"Retry-After": str(AWAY_S)}
            return Problems(503, "store-away", said, headers=retry)
        case DulyBug():
            return _bug()
    return Problems(409, "refused", said)


def impatient(wait_s: int) -> Problems:
    """Return the answer to somebody who failed too often."""
    said = f"too many failures from here; the next is listened to in {wait_s} s"
    return Problems(429, "too-many-failures", said, headers={"Retry-After": str(wait_s)})


def _bug() -> Problems:
    return Problems(500, "bug", "this is a bug of Duly; the server's log says where")


def install(app: FastAPI) -> None:
    """Let every error leave as a problem document."""
    app.add_exception_handler(DulyError, _duly_error)
    app.add_exception_handler(Problems, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def _duly_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DulyError), "it is installed for these"
    if isinstance(error, DulyBug):
        _log.error("a bug of Duly", exc_info=error)
    return answer(problem_of(error))


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problems), "it is installed for these"
    return answer(error, error.errors)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "it is installed for these"
    word = {404: "unknown", 405: "method"}.get(error.status_code, "refused")
    said = {404: "there is nothing at this path", 405: "this path has no such method"}
    detail = said.get(error.status_code, str(error.detail))
    return answer(Problems(error.status_code, word, detail, headers=error.headers))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "it is installed for these"
    errors = troubles(error.errors()[:MOST_TOLD], request.scope.get("route"))
    first = next((one for one in errors if "nearest" in one), errors[0])
    detail = f"{first['where']}: expected {first['expected']}, got {first['got']}"
    told = {name: said for name, said in first.items() if name != "where"}
    if "nearest" in first:
        detail += f"; did you mean {first['nearest']!r}?"
    return answer(Problems(422, "invalid", detail, told=told), errors)


async def _unforeseen(request: Request, error: Exception) -> Response:
    """Starlette raises it again behind the answer, and whoever serves it logs it."""
    return answer(_bug())


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of the problems a route answers with, beside those of all."""
    everywhere = (400, 401, 403, 422, 429, 503)
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": _TITLES[status], "content": content}
        for status in sorted({*everywhere, *statuses})
    }

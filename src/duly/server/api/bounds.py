"""What is looked at before a request is parsed: its size, its depth, its type, its path.

A body has at most 1 MiB and is nested at most 32 deep; it is JSON and says so, which no form of a
foreign site can. Paths are read segment by segment, so that a name may hold an encoded slash.
Nothing here knows routes or callers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

import msgspec
from starlette.types import Message, Receive, Scope

from duly.errors import one_line
from duly.server.api.problems import Problems

MAX_BODY = 1_048_576
MAX_DEPTH = 32
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_OPENS, _CLOSES = frozenset(b"[{"), frozenset(b"]}")
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def readable(scope: Scope) -> Scope:
    """Return a scope whose path keeps the segments it was sent with.

    Each segment is decoded and encoded again, in one way; `name_of` takes it back. Raises
    `Problems` for control characters and bytes that are no text.
    """
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query: bytes = scope.get("query_string", b"")
    try:
        parts = [unquote(part, errors="strict") for part in raw.decode("ascii").split("/")]
        asked = unquote(query.decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise Problems(400, "unreadable", "expected a path and query of UTF-8 text") from None
    if any(_CONTROL.search(part) for part in (*parts, asked)):
        raise Problems(400, "unreadable", "expected no control characters in path or query")
    path = "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)
    return {**scope, "path": path}


def name_of(segment: str) -> str:
    """Return the name that a segment of a `readable` path stands for."""
    return unquote(segment)


async def read(scope: Scope, receive: Receive, most: int = MAX_BODY) -> bytes:
    """Return the whole body; raises `Problems` as soon as it is larger than `most`."""
    length = header(scope, b"content-length")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise _too_large(most)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(most: int) -> Problems:
    told = {"expected": f"a body of at most {most} bytes"}
    return Problems(413, "too-large", f"expected a body of at most {most:,} bytes", told=told)


def check(scope: Scope, body: bytes) -> None:
    """Refuse what is not JSON, is nested too deep, or does not say that it is JSON."""
    method = scope["method"]
    if method == "PATCH" or (not body and method not in ("POST", "PUT")):
        return  # of PATCH the routes say that there is none, whatever it brings along
    kind = header(scope, b"content-type").partition(";")[0].strip().lower()
    if kind != "application/json":
        told = {"expected": "content-type application/json", "got": repr(kind[:80])}
        said = "expected the content-type to be application/json"
        raise Problems(415, "not-json", f"{said}, got {kind[:80]!r}", told=told)
    if depth(body) > MAX_DEPTH:
        said = f"expected a body nested at most {MAX_DEPTH} deep"
        raise Problems(400, "too-deep", said, told={"expected": said})
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = f"expected the body to be JSON: {one_line(error)}"
        raise Problems(400, "unreadable", said) from None


def depth(body: bytes) -> int:
    """Return how deep a JSON text is nested, without parsing it."""
    deepest = level = 0
    for found in _STRUCTURE.finditer(body):
        first = found[0][0]
        if first in _OPENS:
            level += 1
            deepest = max(deepest, level)
        elif first in _CLOSES:
            level -= 1
    return deepest


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives the body which was read, then goes on as before."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def header(scope: Mapping[str, object], name: bytes) -> str:
    """Return a header's value, or an empty text."""
    headers = scope["headers"]
    assert isinstance(headers, list | tuple), "ASGI says so"
    return next((value.decode("latin-1") for key, value in headers if key == name), "")

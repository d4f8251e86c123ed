"""Calling users' functions: coroutines on the loop, plain functions on a thread.

A plain function may block, so it never runs on the event loop; it inherits the context, and so
the scope, of the code that called for it. A thread cannot be interrupted: who waits for one may
give up, the function goes on.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import msgspec

from duly.errors import InvalidValue

PLAIN = (str, int, bool, type(None))
"""Types that JSON gives back as they were. A float is none: what is not a number becomes null."""


async def call(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of either kind, and return what it returns."""
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004 - an object whose call is a coroutine function
    ):
        return await fn(*args, **kwargs)
    result = await asyncio.to_thread(fn, *args, **kwargs)
    return await result if inspect.isawaitable(result) else result


def returns(fn: Callable[..., Any]) -> Any:
    """Return what a function says it returns, or `Any`."""
    try:
        return _hints(fn).get("return", Any)
    except (NameError, TypeError):  # an annotation that exists for type checkers only
        return Any


def _hints(fn: Callable[..., Any]) -> Mapping[str, Any]:
    return get_type_hints(inspect.unwrap(getattr(fn, "func", fn)))


def encoded(what: str, value: Any) -> bytes:
    """Encode a value as JSON, or raise `InvalidValue` that says what cannot travel."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidValue(f"expected {what} to be a value that JSON can carry: {error}") from None


def reread(value: Any, data: bytes, hint: Any) -> Any:
    """Return what a later attempt would read back; so both take the same path.

    Raises `InvalidValue` when it does not fit what the function says it returns.
    """
    if type(value) in PLAIN and hint in (Any, type(value)):
        return value
    return decoded(data, hint)


def decoded(data: bytes, hint: Any) -> Any:
    """Read a value as the type a function says it returns."""
    try:
        return msgspec.json.decode(data, type=hint)
    except TypeError:  # a type that JSON knows nothing of: it is read as it comes
        return msgspec.json.decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InvalidValue(f"expected {_name(hint)}, got {_short(data)}: {error}") from None


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))


def _short(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return text if len(text) <= 60 else text[:57] + "..."

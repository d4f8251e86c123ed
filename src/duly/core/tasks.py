"""Tasks as data: a name, a function, and what is promised about running it.

A task is known to its process only; a store knows its name. Arguments travel as one JSON
object of named parameters, so that they read well in logs, the API and SQL, and survive a
parameter that is added with a default. Nothing is ever unpickled or imported by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, get_type_hints

import msgspec

from duly.core.breakers import Breaker
from duly.core.expect import Expect
from duly.core.logs import Keeping
from duly.core.rules import MAX_PAYLOAD, RetryPolicy, check_payload
from duly.errors import InvalidValue, UsageError, one_line


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A named unit of work and its options; durations None mean *no bound*."""

    name: str
    fn: Callable[..., Any]
    is_async: bool
    context: str | None  # the parameter that receives the Context, if any
    params: type[msgspec.Struct]
    retry: RetryPolicy = RetryPolicy()
    timeout: timedelta | None = None
    queue: str = "default"
    priority: int = 0
    limit_key: str | None = None
    limit: int = 0
    expires_after: timedelta | None = None
    expect: Expect | None = None
    breaker: Breaker | None = None
    asks_itself: bool = False  # its code asks the breaker, once it knows that it will call
    logs: Keeping | None = None  # None: as the instance is set

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Bind a call's arguments to names and encode them; raise `InvalidValue` if they misfit."""
        try:
            encoded = msgspec.json.encode(self._named(args, kwargs) if args else kwargs)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidValue(
                f"expected arguments of {self.name} that JSON can carry: {one_line(error)}"
            ) from None
        return self.check(encoded)

    def _named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        names = self.params.__struct_fields__
        if len(args) > len(names):
            raise InvalidValue(
                f"expected at most {len(names)} arguments for {self.name}, got {len(args)}"
            )
        given = dict(zip(names, args, strict=False))
        twice = sorted(given.keys() & kwargs.keys())
        if twice:
            raise InvalidValue(f"{self.name} got {twice[0]!r} twice, by place and by name")
        return given | dict(kwargs)

    def check(self, encoded: bytes) -> bytes:
        """Return encoded arguments that fit the task, or raise `InvalidValue`."""
        self.decode(encoded)
        if len(encoded) > MAX_PAYLOAD:
            check_payload(f"the arguments of {self.name}", encoded)
        return encoded

    def decode(self, encoded: bytes) -> dict[str, Any]:
        """Return keyword arguments for the function, converted to its annotations."""
        try:
            return msgspec.structs.asdict(msgspec.json.decode(encoded, type=self.params))
        except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
            fields = ", ".join(self.params.__struct_fields__) or "no parameters"
            raise InvalidValue(
                f"expected arguments of {self.name} to fit ({fields}): {one_line(error)}"
            ) from None


def task_from(fn: Callable[..., Any], *, name: str | None = None, **options: Any) -> Task:
    """Read a function's signature and make a task of it.

    A parameter annotated `Context` (or first and named `ctx`) receives the context. Raises
    `UsageError` for `*args`, `**kwargs`, or annotations that JSON cannot carry.
    """
    context, fields = _parameters(fn)
    try:
        params = msgspec.defstruct(
            f"{fn.__name__}_arguments", fields, forbid_unknown_fields=True, kw_only=True
        )
        msgspec.json.Decoder(params)
    except TypeError as error:
        raise UsageError(
            f"the arguments of {fn.__qualname__} cannot travel as JSON: {error}"
        ) from None
    return Task(
        name=name or fn.__name__,
        fn=fn,
        is_async=inspect.iscoroutinefunction(fn),
        context=context,
        params=params,
        **options,
    )


def _parameters(fn: Callable[..., Any]) -> tuple[str | None, list[Any]]:
    """Return the context's parameter, and the others as fields of a struct."""
    hints = _hints(fn)
    context: str | None = None
    fields: list[Any] = []
    for index, one in enumerate(inspect.signature(fn).parameters.values()):
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise UsageError(
                f"expected parameters of {fn.__qualname__} to have names, got {one}; "
                "arguments travel as a JSON object"
            )
        hint = hints.get(one.name, Any)
        if getattr(hint, "__name__", hint) == "Context" or (index == 0 and one.name == "ctx"):
            context = one.name
        elif one.default is one.empty:
            fields.append((one.name, hint))
        else:
            fields.append((one.name, hint, one.default))
    return context, fields


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(fn)
    except NameError:  # an annotation that exists for type checkers only
        return {name: Any if isinstance(hint, str) and hint != "Context" else hint
                for name, hint in fn.__annotations__.items()}  # fmt: skip

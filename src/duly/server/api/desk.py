"""What a route works with: the ground, the caller, and a line of the audit for every change.

`Room` makes routes; a route cannot be made without the right it asks for, and its caller is
measured against it before anything else of the request is looked at. `Desk.changing` notes a
change before it is tried and settles it afterwards.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request

from duly.client import Client
from duly.client.noting import Entry, noted, text_of
from duly.core.access import Caller, Change, Denied, Right, denied, on_rows, reach
from duly.errors import DulyError
from duly.server.api import bounds
from duly.server.api.allowance import Allowance
from duly.server.api.ports import Books, Ground
from duly.server.api.problems import Problems, documented

Fn = TypeVar("Fn", bound=Callable[..., Any])

OWN = frozenset(
    {"audit", "breakers", "effects", "events", "keys", "runs", "schedules", "tasks", "timers"}
)
"""Rooms that a tenant's keys may enter. All others are of the fleet, and so the house's alone."""


@dataclass(frozen=True)
class Desk:
    """One request's view of the house."""

    ground: Ground
    caller: Caller
    root: str  # where the API is mounted

    @property
    def tenant(self) -> str:
        """The tenant that new rows of this caller bear; empty for the house's."""
        return reach(self.caller) or ""

    def tenant_for(self, wanted: str | None) -> str:
        """Return whose a new thing is; raises `Problems` for a tenant that is not the caller's."""
        if wanted is None:
            return self.tenant
        if self.tenant not in ("", wanted):
            said = f"expected it to be {self.tenant}, which this key is of"
            errors = [{"where": "tenant", "expected": said, "got": ""}]
            raise Problems(422, "invalid", f"tenant: {said}", errors=errors)
        return on_rows(wanted)

    def path_of(self, thing: str) -> str:
        """Return where a thing of the API is found by whoever called."""
        return f"{self.root}/api/v1/{thing}"

    @property
    def client(self) -> Client:
        """The verbs of programs."""
        return self.ground.client()

    @property
    def books(self) -> Books:
        """Keys, the audit, and a few looks."""
        return self.ground.books()

    @asynccontextmanager
    async def changing(
        self, action: str, subject: str, *, why: str = "", before: object = None, asked: object
    ) -> AsyncIterator[Entry]:
        """Note a change, let it be tried, and settle what came of it; see `client.noting`."""
        line = Change(
            id=self.ground.clock.new_id(),
            tenant=self.caller.tenant,
            by=self.caller.by,
            key=self.caller.key,
            action=action,
            subject=subject,
            why=why,
            before=text_of(before),
            asked=text_of(asked),
        )
        async with noted(self.books, line, refusals=(DulyError, Problems)) as entry:
            yield entry


async def desk_of(request: Request) -> Desk:
    """Return what a route works with. A coroutine: a plain function would cost a thread.

    A tenant's caller sees the tenant's rows only, whatever the route asks for.
    """
    root = request.scope.get("root_path", "")
    ground: Ground = request.app.state.ground
    caller: Caller = request.state.caller
    tenant = reach(caller)
    return Desk(ground if tenant is None else ground.narrow(tenant), caller, root)


AtDesk = Annotated[Desk, Depends(desk_of)]


class Room:
    """One room of the API: its routes, each with the right it asks for.

    `named` is the path's parameter that scopes may name. A route with `own` is open to keys of
    tenants although its room is not.
    """

    def __init__(self, name: str, *, named: str | None = None, prefix: str | None = None) -> None:
        self._name, self._named = name, named
        tags: list[str | Enum] = [name]
        self.router = APIRouter(prefix=f"/{name}" if prefix is None else prefix, tags=tags)

    def get(self, path: str, right: Right = Right.READ, **how: Any) -> Callable[[Fn], Fn]:
        """Make a route that only looks."""
        return self._route("GET", path, right, how)

    def post(self, path: str, right: Right, **how: Any) -> Callable[[Fn], Fn]:
        """Make a route that changes something."""
        return self._route("POST", path, right, how)

    def put(self, path: str, right: Right, **how: Any) -> Callable[[Fn], Fn]:
        """Make a route that replaces something."""
        return self._route("PUT", path, right, how)

    def delete(self, path: str, right: Right, **how: Any) -> Callable[[Fn], Fn]:
        """Make a route that takes something away."""
        return self._route("DELETE", path, right, how)

    def _route(
        self, method: str, path: str, right: Right, how: dict[str, Any]
    ) -> Callable[[Fn], Fn]:
        problems = documented(*how.pop("problems", ()))
        responses = {**problems, **how.pop("responses", {})}
        own = how.pop("own", self._name in OWN)
        return self.router.api_route(
            path,
            methods=[method],
            dependencies=[Depends(self._measure(right, own=own))],
            responses=responses,
            openapi_extra={"x-duly-right": right.value, "x-duly-room": self._name},
            **how,
        )

    def _measure(self, right: Right, *, own: bool) -> Callable[[Request], Awaitable[None]]:
        async def measure(request: Request) -> None:
            named = self._named and request.path_params.get(self._named)
            name = bounds.name_of(named) if named else None
            authorise(request, right, room=self._name, name=name, own=own)

        return measure


def authorise(request: Request, right: Right, *, room: str, name: str | None, own: bool) -> None:
    """Let a caller pass, or raise `Problems`; who is refused often is answered later.

    `own` says that keys of tenants may pass, who then see rows of their own only.
    """
    caller: Caller = request.state.caller
    why = denied(caller, right, room=room, name=name)
    if why is None and not own and reach(caller) is not None:
        why = Denied.TENANT
    if why is None:
        return
    allowance: Allowance = request.app.state.allowance
    clock = request.app.state.ground.clock
    wait_s = allowance.failed(f"key {caller.key}", clock.monotonic())
    if wait_s:
        headers = {"Retry-After": str(wait_s)}
        said = f"this key was refused too often; the next is listened to in {wait_s} s"
        raise Problems(429, "too-many-failures", said, headers=headers)
    raise Problems(403, "forbidden", _told(why, caller, right, room))


def _told(why: Denied, caller: Caller, right: Right, room: str) -> str:
    match why:
        case Denied.ROLE:
            return f"expected a key with the right to {right}, got the role {caller.role}"
        case Denied.SCOPE:
            return f"expected a key whose scopes cover this of {room}, got others"
        case _:
            return f"expected a key of the house, which {room} are of, got one of {caller.tenant}"

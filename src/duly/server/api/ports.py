"""What the API is given by whoever composes it: verbs of programs, the books, words, a clock.

The server sees no store and no application. It speaks through the client; what the client has no
verb for (keys, the audit, a few looks) is asked through `Books`, which any store keeps. A store
may be closed and made anew while the API lives, so both are looked up for each request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from duly.client import Client
from duly.core.access import ApiKey, Change, ChangeFilter
from duly.core.clock import Clock
from duly.core.effects import Address
from duly.core.runs import Answer
from duly.core.schedules import Definition
from duly.core.targets import Rules
from duly.core.tasks import Task
from duly.core.why import Explanation
from duly.events import Bus

Rendered = tuple[str, bytes]
"""A content type, and a body."""


class Books(Protocol):
    """What the API asks of a store beside the client's verbs; see `duly.stores.access`."""

    async def clock(self) -> datetime: ...
    def listen(self, heard: Callable[[Any], None]) -> Callable[[], None]: ...
    async def queues(self) -> dict[str, dict[str, int]]: ...
    async def close_incident(self, kind: str, subject: str, *, note: str = "") -> bool: ...
    async def add_key(self, key: ApiKey) -> Answer: ...
    async def key_of(self, digest: str) -> ApiKey | None: ...
    async def keys(self) -> list[ApiKey]: ...
    async def use_key(self, key: UUID) -> Answer: ...
    async def revoke_key(self, key: UUID, *, by: str, reason: str) -> Answer: ...
    async def note_change(self, change: Change) -> Answer: ...
    async def settle_change(self, change: UUID, *, outcome: str, after: str | None) -> Answer: ...
    async def changes(self, where: ChangeFilter) -> Sequence[Change]: ...


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A schedule as a request words it: options as `@app.task` takes them."""

    name: str
    task: str
    args: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """All that the API stands on. `token` is the configured one, or empty.

    A tenant's caller is given what `narrow` returns, whose client and explanations show no row of
    another; so no route can forget to look.
    """

    client: Callable[[], Client]
    books: Callable[[], Books]
    explain: Callable[[str], Awaitable[Explanation]]
    explain_effect: Callable[[Address], Awaitable[Explanation]]
    define: Callable[[Wanted], Definition]
    clock: Clock
    bus: Bus
    tasks: Mapping[str, Task]
    draw_secret: Callable[[], bytes]
    version: str
    narrow: Callable[[str], Ground]  # the same, as far as one tenant sees it
    rules: Rules = field(default_factory=Rules)  # where calls of timers may go
    token: str = ""
    metrics: Callable[[], Rendered] | None = None

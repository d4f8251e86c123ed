"""Topics and where they go: what an application bound, as relays of its instances.

Every instance has a relay for every topic; the store lets one of them work at a time. A message
that does not fit the task it is bound to is refused where it is published, never later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from duly.app.tasks import DeclaredTask
from duly.outbound.base import Destination

if TYPE_CHECKING:
    from duly.app.duly import Duly
    from duly.outbound.relay import Relay


class Binding(msgspec.Struct, frozen=True):
    """Where the messages of a topic go, and how many a second at most."""

    to: DeclaredTask | Destination
    per_second: int


def checks(app: Duly) -> Mapping[str, Callable[[bytes], object]]:
    """Return, for each topic, what says at once that a message does not fit where it goes."""
    return {topic: _check(one.to) for topic, one in app.bindings.items()}


def _check(to: DeclaredTask | Destination) -> Callable[[bytes], object]:
    if isinstance(to, DeclaredTask):
        from duly.outbound.tasks import arguments_of

        spec = to.spec
        return lambda body: arguments_of(spec, body)
    return lambda body: None


def make_relays(app: Duly, boot: Callable[[], UUID]) -> list[Relay]:
    """Return a relay for each topic that is bound; what relays is imported only then."""
    if not app.bindings:
        return []
    from duly.outbound.relay import Relay

    return [
        Relay(
            topic,
            _destination(app, one.to),
            store=app.store,
            clock=app.clock,
            bus=app.bus,
            boot=boot,
            per_second=one.per_second,
            owner=app.name,
        )
        for topic, one in app.bindings.items()
    ]


def _destination(app: Duly, to: DeclaredTask | Destination) -> Destination:
    from duly.outbound.tasks import TaskDestination

    return TaskDestination(to.spec, app.store) if isinstance(to, DeclaredTask) else to

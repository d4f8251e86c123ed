"""Users' own loops, beside the engine's: declared with the application, run by every instance.

Declaring touches nothing and checks everything. What is declared becomes a loop of the instance's
supervisor, which also runs the engine's loops: a loop of the user's that trips hands back the
instance's work and ends its process with 70, just as one of Duly's own does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from duly.app.declaring import check_name
from duly.core.durations import parse_duration
from duly.core.restarts import Length, RestartPolicy, last_pause
from duly.engine import Engine, Lookout
from duly.engine.supervising import EXIT_GAVE_UP, OWN_LOOPS
from duly.engine.trips import Tripping
from duly.engine.turning import EVERY, check_callable, check_policy, loop_of, name_of
from duly.errors import UsageError

if TYPE_CHECKING:
    from duly.app.duly import Duly

TOLD_S = 5.0
"""How long a process that ends for a trip tries to write that down."""


@dataclass(frozen=True)
class Supervised:
    """A function that every instance runs, under supervision."""

    fn: Callable[[], Any]
    name: str
    policy: RestartPolicy
    every: timedelta


def declare(
    known: dict[str, Supervised],
    fn: Callable[[], Any],
    *,
    name: str | None = None,
    policy: RestartPolicy | None = None,
    every: Length = EVERY,
) -> None:
    """Add a function to what is supervised; raises as `Duly.supervise` does."""
    check_policy(policy)
    check_callable(fn)
    chosen = check_name("supervised loop", name_of(fn) if name is None else name)
    if chosen in known:
        raise UsageError(f"two supervised loops are called {chosen!r}; give one another name=")
    if chosen in OWN_LOOPS:
        raise UsageError(f"{chosen!r} is a loop of Duly's own; give yours another name=")
    known[chosen] = Supervised(
        fn, chosen, policy or RestartPolicy(), parse_duration(every, what="every")
    )


def attach(app: Duly, engine: Engine) -> Tripping:
    """Put the application's loops, and what tells of all loops, beside an engine's."""
    for one in app.supervised.values():
        loop = loop_of(one.fn, one.name, one.policy, every=one.every, clock=app.clock)
        engine.beside.append(loop)
    return tripping_of(app, engine, ":".join(str(part) for part in engine.here()[:2]))


def tripping_of(app: Duly, engine: Engine | Lookout, instance: str) -> Tripping:
    """Put what tells of all its loops beside an engine, or a lookout."""
    tripping = Tripping(app.store, engine.telling, app.clock, owner=app.name, instance=instance)
    engine.supervisor.tell = tripping.note
    engine.beside.append(tripping)
    return tripping


async def part(app: Duly, tripping: Tripping, code: int) -> None:
    """What is left to do for an instance that has handed its work back: tell, and stay a while.

    Cancelled meanwhile, by a signal, it ends at once.
    """
    if code != EXIT_GAVE_UP:
        return
    with contextlib.suppress(asyncio.CancelledError):
        await tripping.flush(TOLD_S)
        await app.clock.pause(last_pause(tripping.trips).total_seconds())

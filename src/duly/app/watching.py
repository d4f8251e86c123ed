"""Watching: a process that does no work tells people when nobody else is left to.

It composes a lookout with the application's channels, as `working` composes an instance. The store
may be away at the start and later: it is waited for.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from duly.app.notifying import make_notifiers
from duly.app.supervising import part, tripping_of
from duly.app.wiring import make_ports
from duly.app.working import make_plan, open_patiently
from duly.engine import Lookout

if TYPE_CHECKING:
    from duly.app.duly import Duly


async def watch(app: Duly) -> int:
    """Look until cancelled (return 0), or until a look failed too often in a row (70)."""
    async with AsyncExitStack() as stack:
        await open_patiently(app)
        stack.push_async_callback(app.close)
        ports = make_ports(app.clock)
        lookout = Lookout(app.store, make_plan(app, None, None), ports=ports, bus=app.bus)
        for notifier in make_notifiers(app, lambda: lookout.boot):
            lookout.beside.append(notifier)
            stack.push_async_callback(notifier.stop)
        instance = ":".join(str(one) for one in ports.processes.here()[:2])
        tripping = tripping_of(app, lookout, instance)
        stack.push_async_callback(lookout.stop)
        lookout.start()
        try:
            code = await lookout.ended()
        except asyncio.CancelledError:
            return 0
        await part(app, tripping, code)
        return code

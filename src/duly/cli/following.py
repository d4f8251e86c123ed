"""Following the fleet on a terminal: what the store's feed tells, look by look, a line each.

Nothing is asked oftener than once a second. A doubt of the store is handed on as None, never left
out. Names and errors are strangers' words: they are shown with what a terminal would obey escaped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from duly.cli.display import visible
from duly.client import Client
from duly.core.clock import Clock
from duly.core.feed import Happening, Look, Point, doubtful

EVERY_S = 1.0


async def happenings(
    client: Client, clock: Clock, after: Point, *, follow: bool
) -> AsyncIterator[Happening | None]:
    """Give what happened behind a point, in order, and with `follow` what happens from then on.

    None stands where something may be missing. After the store's clock was set back it goes on
    from the present.
    """
    before: Look | None = None
    while True:
        look = await client.feed(after)
        if doubtful(before, look):
            yield None
        for one in look.happenings:
            yield one
        if before is not None and look.now < before.now:
            look = await client.feed(None)
        before, after = look, look.through
        if look.more:
            continue
        if not follow:
            return
        await clock.pause(EVERY_S)


def line_of(one: Happening) -> str:
    """Return a happening as a line: the local time, what it is, whom it is about, and why."""
    fields = dict(one.fields)
    about = [str(fields[name]) for name in _ABOUT if fields.get(name)]
    why = next((str(fields[name]) for name in _WHY if fields.get(name)), "")
    text = f"{one.name:<23} {'  '.join(about)}" + (f": {why}" if why else "")
    return f"{one.point.at.astimezone():%H:%M:%S} {visible(' '.join(text.splitlines()))}"


_ABOUT = ("task", "run", "breaker", "kind", "subject", "instance", "boot")
_WHY = ("error", "summary", "reason")

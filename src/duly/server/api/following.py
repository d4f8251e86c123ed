"""Following the fleet: one watch of the store's feed, and the readers that share it.

While somebody reads, one task asks the store what happened since it last asked: each second, and at
once when a hint says that something did. Nobody reads: nothing is asked. Readers take what was
found from a ring of bounded length; one that is too slow is told of a gap and goes on with what is
there, and costs the others nothing. What a reader missed while it was away it reads from the store
itself, as far as a bounded number of looks goes, before it joins the others.

The ids of events are the store's own order, so they are good on every server of that store.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from duly.core.feed import Happening, Look, Point, doubtful
from duly.errors import DulyError, one_line
from duly.server.api.ports import Ground

EVERY_S = 1.0
AT_LEAST_S = 0.1
"""How often the store is asked: slowly by itself, and no oftener when hints come."""

KEPT = 10_000
BREATH_S = 15.0
HERE = b": here\n\n"

MISSED = 20
"""Looks that a reader who comes back may have of what it missed."""

BEHIND = 30
"""Looks in a row after which a watch that cannot keep up leaves out what is over."""

HINTS = frozenset({"breaker", "fleet", "incident"})

Found = tuple[int, Happening | None, bytes]
"""A number, what happened (None: a gap, something may be missing), and how it is told."""

_log = logging.getLogger("duly.server")


def event(one: Happening) -> bytes:
    """Return a happening as an event of the stream."""
    head = f"id: {one.point.text()}\nevent: {one.name}\ndata: "
    return head.encode() + msgspec.json.encode(one.told()) + b"\n\n"


class Watch:
    """What the readers of one server share: the newest of the feed, numbered as they are found."""

    def __init__(self, ground: Ground, *, kept: int = KEPT) -> None:
        self.readers = 0
        self.began: Point | None = None  # all that is settled behind this was found
        self._ground = ground
        self._last: Look | None = None
        self._found: deque[Found] = deque(maxlen=kept)
        self._dropped: Point | None = None  # the last that fell out of the ring
        self._number = self._shown = 0
        self._task: asyncio.Task[None] | None = None
        self._news, self._hint = asyncio.Event(), asyncio.Event()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be a reader: the watch begins with the first and ends with the last."""
        self.readers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="duly-watch")
        try:
            yield
        finally:
            self.readers -= 1
            if not self.readers:
                self._task.cancel()
                self._task = self.began = self._last = self._dropped = None
                self._found.clear()

    def place(self, point: Point | None) -> int:
        """Return the number to go on after for who was told up to a point (None: the present)."""
        number = self._number
        if point is None:
            return number
        for each, happening, _ in reversed(self._found):
            if happening is not None and happening.point <= point:
                return each
            number = each - 1
        fell_out = self._dropped is not None and self._dropped > point
        return number - 1 if fell_out else number

    def since(self, number: int) -> tuple[bool, list[Found]]:
        """Return whether something after a number fell out of the ring, and what is there."""
        behind = [one for one in self._found if one[0] > number]
        return bool(behind) and behind[0][0] > number + 1, behind

    async def wait(self, number: int) -> None:
        """Return when there is something after `number`, or the watch began, or after a breath."""
        if self._number > number and self.began is not None:
            return
        await _pass(BREATH_S, self._news)

    # --- the task ---------------------------------------------------------------------------------

    async def _watch(self) -> None:
        stop: list[Callable[[], None]] = []
        away = False
        try:
            while True:
                try:
                    if not stop:
                        stop.append(self._ground.books().listen(self._heard))
                    await self._catch_up()
                    away = False
                except DulyError as error:  # it goes on where it was, once the store is back
                    if not away:
                        _log.warning("the fleet's events wait for the store: %s", one_line(error))
                    away = True
                except Exception:
                    _log.exception("a look at the fleet's events failed; the next one is tried")
                await self._rest()
        finally:
            for each in stop:
                each()

    async def _catch_up(self) -> None:
        for _ in range(BEHIND):
            if not await self._look():
                return
        _log.warning("the fleet's events come faster than they are told: some are left out")
        await self._begin_anew()

    async def _look(self) -> bool:
        """Ask the store once; return whether there is more."""
        before = self._last
        look = await self._feed(None if before is None else before.through)
        if before is not None and look.now < before.now:
            await self._begin_anew()  # what is told next may be dated before what was told last
            return False
        if doubtful(before, look):
            self._put(None)
        for one in look.happenings:
            self._put(one)
        self._have(look)
        return look.more

    async def _begin_anew(self) -> None:
        """Go on from the present; what is left out is a gap."""
        look = await self._feed(None)
        self._put(None)
        self._have(look)

    async def _feed(self, after: Point | None) -> Look:
        return await self._ground.client().feed(after)

    def _put(self, one: Happening | None) -> None:
        if len(self._found) == self._found.maxlen and (oldest := self._found[0][1]) is not None:
            self._dropped = oldest.point
        self._number += 1
        self._found.append((self._number, one, b"" if one is None else event(one)))

    def _have(self, look: Look) -> None:
        """Let readers know, where there is something for them."""
        fresh = self.began is None or self._number > self._shown
        self._last, self._shown = look, self._number
        if self.began is None:
            self.began = look.through
        if fresh:
            news, self._news = self._news, asyncio.Event()
            news.set()

    def _heard(self, wake: Any) -> None:
        if str(wake.signal) in HINTS:
            self._hint.set()

    async def _rest(self) -> None:
        """Wait for a hint, or for the slow pace; one commit often gives several hints."""
        await _pass(AT_LEAST_S)
        await _pass(EVERY_S - AT_LEAST_S, self._hint)
        self._hint.clear()


async def _pass(seconds: float, unless: asyncio.Event | None = None) -> None:
    """Return after a time, or when an event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await (unless or asyncio.Event()).wait()


class Reader:
    """One reader's way through the feed: first what it missed, then what the watch finds."""

    def __init__(self, ground: Ground, watch: Watch, wanted: Callable[[Happening], bool]) -> None:
        self._ground, self._watch, self._wanted = ground, watch, wanted
        self._last: str | None = None  # the id that was told last

    def gap(self, last: str | None = None) -> bytes:
        """Say that events may be missing: look at the state of things instead."""
        body = msgspec.json.encode({"after": self._last or last})
        return b"event: gap\ndata: " + body + b"\n\n"

    async def missed(self, after: Point) -> AsyncGenerator[bytes]:
        """Tell what is settled behind a point, up to now; a gap, when that is too much."""
        async for _, told in self._looks(after):
            yield told

    async def follow(self, after: Point | None) -> AsyncGenerator[bytes]:
        """Tell what happens behind a point (None: from now on), without an end."""
        with self._watch.joined():
            number = self._watch.place(None)
            yield HERE
            while (began := self._watch.began) is None:
                await self._watch.wait(number)
                yield HERE
            if after is not None:
                async for through, told in self._looks(after, until=began):
                    yield told
                    number = self._watch.place(through)
            while True:
                gone, found = self._watch.since(number)
                number = found[-1][0] if found else number
                yield self._found(found, gone=gone) or HERE
                await self._watch.wait(number)

    async def _looks(
        self, after: Point, *, until: Point | None = None
    ) -> AsyncGenerator[tuple[Point | None, bytes]]:
        """Look until all is told, and behind `until`, which the watch has seen already."""
        before: Look | None = None
        client = self._ground.client()
        for _ in range(MISSED):
            look = await client.feed(after)
            parts = [self.gap()] if doubtful(before, look) else []
            parts += [self._told(one, event(one)) for one in look.happenings]
            yield look.through, b"".join(parts)
            if not look.more and (until is None or look.through >= until):
                return
            if not look.more:
                await _pass(AT_LEAST_S)
            before, after = look, look.through
        yield None, self.gap()

    def _found(self, found: list[Found], *, gone: bool) -> bytes:
        parts = [self.gap()] if gone else []
        for _, one, told in found:
            parts.append(self.gap() if one is None else self._told(one, told))
        return b"".join(parts)

    def _told(self, one: Happening, told: bytes) -> bytes:
        if not self._wanted(one):
            return b""
        self._last = one.point.text()
        return told

"""Named points at which a worker ends itself with SIGKILL, laid around and inside every verb.

The product knows nothing of them: they are put around its store and into the driver's own
connection class, in the process of a worker that was told to (`CHAOS_POINTS`), and cost nothing
anywhere else. A point is `verb.place`:

    asked        before the verb is sent
    between N    in its transaction, before statement N + 1 (N up to 3; `later`: any after that)
    uncommitted  all its statements done, and the commit not yet sent
    flight       the commit, or the only statement, is sent and its answer not awaited (PostgreSQL)
    committed    it is committed and nobody was told (SQLite)
    answered     the answer is there and the engine has not seen it

Where the harness has put the file `die-verb.place`, the first process that gets there takes it
away and dies. The first visit to each point is told in the journal, so that the harness knows
which there are. Where it has put the file `lose-worker`, that worker never hears what its next
claim brought, and is asked to stop in the same moment: it can only leave, or be found out by its
renewal, with runs in the store that it knows nothing of.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

from chaos.journal import Pen
from duly.errors import StoreUnavailable
from duly.stores.base import LeaseLine, Store

VERB: ContextVar[str] = ContextVar("verb", default="")
NUMBERED = 3
LATER_SHARE = 0.3
UNMARKED = frozenset({"close", "listen", "tell", "presence", "snapshot"})


class Points:
    """The points of one process. `pen` tells of first visits and of the death."""

    def __init__(self, folder: Path, pen: Pen) -> None:
        self._folder, self._pen = folder, pen
        self._seen: set[str] = set()

    def chosen(self, name: str) -> bool:
        """Whether this process is to die here; then the mark is taken away."""
        if name not in self._seen:
            self._seen.add(name)
            self._pen.write("point", detail=name)
        try:
            (self._folder / f"die-{name}").unlink()
        except FileNotFoundError:
            return False
        return True

    def die(self, name: str) -> None:
        """End this process as a power cut would."""
        self._pen.write("died", detail=name)
        os.kill(os.getpid(), signal.SIGKILL)

    def hit(self, name: str) -> None:
        """Be at a point: go on, or die."""
        if self.chosen(name):
            self.die(name)

    def lose(self) -> None:
        """Lose an answer, if this process is to, and be asked to stop."""
        with suppress(FileNotFoundError):
            (self._folder / f"lose-{self._pen.worker}").unlink()
            os.kill(os.getpid(), signal.SIGTERM)
            raise StoreUnavailable("the answer to a claim was lost, as the harness wanted")

    def between(self, verb: str, number: int) -> None:
        """Be between two statements of one transaction, after the given number of them."""
        if number <= NUMBERED:
            self.hit(f"{verb}.between{number}")
        elif random.random() < LATER_SHARE:
            self.hit(f"{verb}.later")


class PointedStore:
    """A store whose verbs have points; everything else is the store's own."""

    def __init__(self, inner: Store, points: Points) -> None:
        self._inner, self._points = inner, points

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)
        if verb in UNMARKED or not asyncio.iscoroutinefunction(method):
            return method

        async def marked(*args: Any, **how: Any) -> Any:
            token = VERB.set(verb)
            try:
                self._points.hit(f"{verb}.asked")
                answer = await method(*args, **how)
                self._points.hit(f"{verb}.answered")
                if verb == "claim" and answer.runs:
                    self._points.lose()
                return answer
            finally:
                VERB.reset(token)

        return marked

    def lease_line(self) -> LeaseLine:
        """Return the line of the renewing thread, with points of its own."""
        return _PointedLine(self._inner.lease_line(), self._points)


class _PointedLine:
    def __init__(self, inner: LeaseLine, points: Points) -> None:
        self._inner, self._points = inner, points
        self.close = inner.close

    def renew(self, *args: Any, **how: Any) -> Any:
        token = VERB.set("renew")
        try:
            self._points.hit("renew.asked")
            answer = self._inner.renew(*args, **how)
            self._points.hit("renew.answered")
            return answer
        finally:
            VERB.reset(token)


def lay(points: Points, store: Store) -> Store:
    """Return the store with points around its verbs, and lay those inside its transactions."""
    import_points(store).lay(points)
    return PointedStore(store, points)


def import_points(store: Store) -> Any:
    """Return the module that lays points inside the transactions of this kind of store."""
    kind = "sqlite" if store.name.startswith("sqlite") else "postgres"
    return import_module(f"chaos.pointed_{kind}")

"""The context of a task that is a plain function: the same verbs, each of which blocks.

The task runs on a thread of its own; what it asks for is done on the event loop, and its thread
waits for the answer. Steps are called on the task's own thread. A wait without a slot unwinds
the thread with an exception that no `except Exception` stops; the next attempt begins the function
anew, with every finished step remembered.

`Context` and this face have the same verbs with the same parameters, which a test compares.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import tzinfo
from typing import Any, ParamSpec, TypeVar, Unpack
from uuid import UUID

from duly.core.durations import parse_duration
from duly.engine.context import Duration, EffectOptions, Facts
from duly.engine.durable.calling import call, encoded
from duly.engine.durable.children import Declared
from duly.engine.durable.iterating import Each, Source
from duly.engine.durable.journal import Scope, current, must_be_flat, scoped
from duly.engine.durable.performing import Receipt
from duly.engine.durable.services import Services
from duly.engine.durable.work import Approval, Work
from duly.engine.hands import Holding

T = TypeVar("T")
P = ParamSpec("P")


class SyncContext(Facts):
    """One attempt, as its thread sees it; see `Context` for what each verb promises."""

    __slots__ = ("_loop",)

    def __init__(
        self,
        holding: Holding,
        zone: tzinfo,
        resources: Any = None,
        services: Services | None = None,
    ) -> None:
        super().__init__(holding, zone, resources, services)
        self._loop = asyncio.get_running_loop()

    @property
    def work(self) -> Work:
        """The durable work of this attempt, begun when it is first asked for."""
        work = super().work
        work.waits.in_thread = True
        return work

    def _done(self, asked: Coroutine[Any, Any, T]) -> T:
        """Have something done on the event loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()

    def _asked(self, what: str, name: str, asked: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As `_done`, for what may not be asked for inside a step; only this thread knows."""
        must_be_flat(what, name)
        return self._done(asked())

    def step(self, name: str, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `fn(*args, **kwargs)` once in this run, and remember what it returned."""
        with self.work.journal.naming("a step", name):
            known, answer = self._done(self.work.recall_step(name, fn))
            if not known:
                with scoped(Scope("a step")) as scope:
                    if inspect.iscoroutinefunction(fn):
                        result: Any = self._done(call(fn, *args, **kwargs))
                    else:
                        result = fn(*args, **kwargs)
                answer = self._done(self.work.keep_step(name, fn, result, scope))
        value: T = answer
        return value

    def each(self, name: str, source: Source[T]) -> Iterator[T]:
        """Iterate over `source(after)`, going on behind the last confirmed item after a death."""
        must_be_flat("an iteration", name)
        each: Each[T] = self.work.each(name, source)
        outer = current.get()
        while True:
            try:
                item = self._done(each.__anext__())
            except StopAsyncIteration:
                current.set(outer)
                return
            current.set(each.scope)
            yield item

    def publish(self, topic: str, message: Any, *, key: str | None = None) -> UUID:
        """Publish a message when, and only if, what this code belongs to is committed."""
        return self.work.journal.publish(topic, encoded("a message", message), key)

    def progress(
        self, done: int | None = None, total: int | None = None, note: str | None = None
    ) -> None:
        """Show how far the run is; written within a second, kept when it ends."""
        show = self.work.journal.show_progress
        self._loop.call_soon_threadsafe(show, done, total, note)

    def sleep(self, name: str, duration: Duration) -> None:
        """Wait so long from when this sleep was first begun; holds no slot, survives anything."""
        length = parse_duration(duration, what="duration")
        self._asked("a sleep", name, lambda: self.work.sleep(name, length))

    def wait_for(self, event: str, *, timeout: Duration | None = None) -> Any:
        """Wait for an event that somebody emits, now, later or earlier; returns what it brought."""
        limit = None if timeout is None else parse_duration(timeout, what="timeout")
        return self._asked("a wait", event, lambda: self.work.wait_for(event, limit))

    def approve(self, name: str) -> Approval:
        """Wait for a person's decision: `duly runs approve RUN NAME`. The run is parked so long."""
        return self._asked("an approval", name, lambda: self.work.approve(name))

    def start(self, name: str, task: Declared | str, *args: Any, **kwargs: Any) -> SyncChild:
        """Start a child run, once; it goes on whatever becomes of this run."""
        begin = self.work.children.start
        run = self._asked("a child", name, lambda: begin(name, task, args, kwargs))
        return SyncChild(self, run)

    def call(self, name: str, task: Declared | str, *args: Any, **kwargs: Any) -> Any:
        """Start a child run, once, and return what it returns, waiting without a slot."""
        return self.start(name, task, *args, **kwargs).result()

    def map(
        self,
        name: str,
        task: Declared | str,
        calls: Iterable[Mapping[str, Any]],
        *,
        at_most: int = 10,
    ) -> list[Any]:
        """Run a child for each mapping of arguments, at most so many at once in the fleet."""
        fan_out = self.work.children.map
        return self._asked("a fan-out", name, lambda: fan_out(name, task, calls, at_most))

    def effect(
        self, name: str, fn: Callable[..., Any], /, *args: Any, **options: Unpack[EffectOptions]
    ) -> Receipt:
        """Act on the outside world at most once, and return the receipt."""
        asked = self._performance(name, fn, args, options)
        return self._asked("an effect", name, lambda: self.work.perform(asked))


class SyncChild:
    """A child run of a task that is a plain function."""

    __slots__ = ("_context", "id")

    def __init__(self, context: SyncContext, run: UUID) -> None:
        self._context, self.id = context, run

    def __repr__(self) -> str:
        return f"<Child {self.id}>"

    def result(self) -> Any:
        """Return what it returned, waiting without a slot."""
        return self._context._done(self._context.work.children.result(self.id))

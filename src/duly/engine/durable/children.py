"""Child runs: started in the commit that remembers them, awaited without a slot.

A child's id is kept as a step of its parent, in the same commit that enqueues it; so whoever
resumes the parent finds the same children. The fleet's own limits bound how many of a fan-out
run at once: nothing is polled, and the parent is woken once, when the last of them has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import msgspec

from duly.core.runs import NewRun, Origin, RunView
from duly.core.states import ENDS, RunState
from duly.core.steps import Await, StepKind, of_run
from duly.core.tasks import Task
from duly.engine.durable.journal import Journal, must_be_flat
from duly.engine.durable.services import Services
from duly.engine.durable.waiting import Wait, Waits
from duly.errors import InvalidValue, Refused, UnknownName, WorkCancelled, WorkFailed

MOST_CHILDREN = 10_000
READ_AT_ONCE = 50


class Declared(Protocol):
    """A task as its user declared it."""

    @property
    def spec(self) -> Task:
        """The task."""
        ...


class Children:
    """The children of one attempt."""

    def __init__(self, services: Services, journal: Journal, waits: Waits) -> None:
        self._services, self._journal, self._waits = services, journal, waits

    async def start(self, name: str, task: Declared | str, args: Any, kwargs: Any) -> UUID:
        """Start one child, unless an earlier attempt did; returns its id at once."""
        with self._journal.naming("a child", name):
            spec = self._task(task)
            runs = await self._started(name, lambda: [self._new(spec, spec.encode(args, kwargs))])
            return runs[0]

    async def result(self, run: UUID) -> Any:
        """Return what a child returned, waiting for it without a slot.

        Raises `WorkFailed` or `WorkCancelled` when it ended otherwise.
        """
        must_be_flat("a wait for a child", str(run))
        return (await self._results(str(run), [run]))[0]

    async def map(
        self, name: str, task: Declared | str, calls: Iterable[Mapping[str, Any]], at_most: int
    ) -> list[Any]:
        """Run a child for each call, `at_most` at once in the fleet; return their results."""
        with self._journal.naming("a fan-out", name):
            return await self._map(name, task, calls, at_most)

    async def _map(
        self, name: str, task: Declared | str, calls: Iterable[Mapping[str, Any]], at_most: int
    ) -> list[Any]:
        spec = self._task(task)
        if at_most < 1:
            raise InvalidValue.expected("at_most", "at least 1", at_most)
        if spec.limit_key is not None:
            raise Refused(
                f"{spec.name} has a limit of its own ({spec.limit_key}); it bounds a fan-out too,"
                " so start its children one by one"
            )
        limit = f"map:{self._journal.run}:{name}"

        def made() -> list[NewRun]:
            encoded = [spec.encode((), call) for call in calls]
            if len(encoded) > MOST_CHILDREN:
                raise InvalidValue.expected(
                    "a fan-out", f"at most {MOST_CHILDREN:,} calls", len(encoded)
                )
            return [self._new(spec, one, limit, at_most) for one in encoded]

        runs = await self._started(name, made)
        return await self._results(name, runs)

    async def _started(self, name: str, made: Any) -> list[UUID]:
        step = await self._journal.recall(name)
        if step is not None:
            if step.kind is not StepKind.CHILD:
                raise Refused(f"{name!r} is the name of another step; give the child its own")
            return msgspec.json.decode(step.value, type=list[UUID])
        runs: list[NewRun] = made()
        ids = [one.id for one in runs]
        kept = self._journal.step(name, StepKind.CHILD, ids)
        with self._waits.working():
            await self._journal.keep([kept], runs=runs)
        return ids

    def _new(self, spec: Task, args: bytes, limit: str | None = None, most: int = 0) -> NewRun:
        return NewRun(
            id=self._services.clock.new_id(),
            task=spec.name,
            args=args,
            queue=spec.queue,
            priority=spec.priority,
            origin=Origin.CHILD,
            limit_key=limit or spec.limit_key,
            limit=most or spec.limit,
            parent=self._journal.run,
        )

    def _task(self, task: Declared | str) -> Task:
        name = task if isinstance(task, str) else task.spec.name
        try:
            return self._services.tasks[name]
        except KeyError:
            raise UnknownName.of("task", name, self._services.tasks) from None

    async def _results(self, name: str, runs: Sequence[UUID]) -> list[Any]:
        with self._waits.working():
            views = await self._views(runs)
        open_ones = [one.id for one in views if one.state not in ENDS]
        if open_ones:
            reason = of_run(open_ones[0]) if len(runs) == 1 else f"{len(open_ones)} runs of {name}"
            awaits = tuple(Await(of_run(run), name) for run in open_ones)
            await self._waits.wait(Wait(reason=reason, awaits=awaits))
        return [_result(one) for one in views]

    async def _read(self, runs: Sequence[UUID]) -> list[RunView | None]:
        return await asyncio.gather(*(self._services.store.run(run) for run in runs))

    async def _views(self, runs: Sequence[UUID]) -> list[RunView]:
        views: list[RunView] = []
        for start in range(0, len(runs), READ_AT_ONCE):
            some = runs[start : start + READ_AT_ONCE]
            found = await self._services.asked(partial(self._read, some))
            for run, view in zip(some, found, strict=True):
                if view is None:
                    raise WorkFailed(f"the child {run} was pruned before its result was read")
                views.append(view)
        return views


def _result(view: RunView) -> Any:
    if view.state is RunState.SUCCEEDED:
        return None if view.result is None else msgspec.json.decode(view.result)
    if view.state is RunState.FAILED:
        raise WorkFailed(f"child {view.id} of {view.task} failed: {view.error}")
    raise WorkCancelled(f"child {view.id} of {view.task} is {view.state}: {view.reason}")

"""Verbs on runs: ask for work, wait for it, stop it, let it go on, look at it.

Names that are not known are errors with the nearest one that is. A run that was asked for under
a key is the same run however often it is asked for; the handle says which it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly import events
from duly.client.ground import Ground
from duly.core.access import on_rows, scoped, unscoped
from duly.core.logs import LoggedAttempt, account
from duly.core.rules import check_key
from duly.core.runs import Answer, NewRun, Reuse, RunFilter, RunView
from duly.core.states import ENDS, RunState
from duly.core.steps import Event, Memory, approval, check_name
from duly.core.tasks import Task
from duly.errors import InvalidValue, Refused, UnknownName, WorkCancelled, WorkFailed, one_line

POLL_FIRST_S, POLL_SLOWEST_S = 0.01, 1.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How one run is asked for; None takes the task's own."""

    key: str | None = None
    run_at: datetime | None = None
    delay: timedelta | None = None
    queue: str | None = None
    priority: int | None = None
    expires_after: timedelta | None = None
    asked_by: str | None = None
    tenant: str = ""  # whose run it is; its key is scoped by it. A child's is its parent's


class RunHandle:
    """A run that was asked for. `reuse` says whether it is new, or one that had its key."""

    __slots__ = ("_client", "id", "reuse")

    def __init__(self, client: RunVerbs, run: UUID, reuse: Reuse) -> None:
        self._client, self.id, self.reuse = client, run, reuse

    def __repr__(self) -> str:
        return f"<RunHandle {self.id} {self.reuse}>"

    async def view(self) -> RunView:
        """Return the run as it stands now."""
        return await self._client.run(self.id)

    async def result(self, timeout: timedelta | float | None = None) -> Any:
        """Wait for the end; return the result, decoded from JSON.

        Raises `WorkFailed` with the last error when it failed, `WorkCancelled` when it was
        cancelled, skipped or expired, and `TimeoutError`; the run goes on after that.
        """
        return await self._client.result(self.id, timeout)


class RunVerbs(Ground):
    """The verbs of runs, as a part of `Client`."""

    def new_run(self, task: Task, args: bytes, options: Options) -> NewRun:
        """Build a run of a task from encoded arguments and options."""
        run_at = options.run_at
        if run_at is not None and run_at.tzinfo is None:
            raise InvalidValue.expected("run_at", "an aware datetime (with a zone)", run_at)
        if options.delay is not None:
            if run_at is not None:
                raise InvalidValue("expected run_at or delay, got both")
            run_at = self._clock.now() + options.delay
        priority = task.priority if options.priority is None else options.priority
        if not -32768 <= priority <= 32767:
            raise InvalidValue.expected("priority", "from -32768 to 32767", priority)
        if options.key is not None:
            check_key(options.key)
        tenant = on_rows(options.tenant) if options.tenant else ""
        expires = options.expires_after or task.expires_after
        return NewRun(
            id=self._clock.new_id(),
            task=task.name,
            args=args,
            queue=options.queue or task.queue,
            priority=priority,
            key=scoped(options.key, tenant),
            run_at=None if run_at is None else run_at.astimezone(UTC),
            expires_at=None if expires is None else (run_at or self._clock.now()) + expires,
            limit_key=task.limit_key,
            limit=task.limit,
            asked_by=options.asked_by,
            tenant=tenant,
        )

    async def enqueue(self, runs: Sequence[NewRun], *, conn: Any = None) -> list[RunHandle]:
        """Write runs, all or none; raises `Refused` when a key belongs to a parked run.

        With `conn`, inside the caller's transaction: they exist once it commits.
        """
        if conn is None:
            answers = await self._store.enqueue(runs)
        else:
            answers = await self._store.enqueue_with(conn, runs)
        wanted = self._bus.wants(events.RunEnqueued)
        for run, answer in zip(runs, answers, strict=True):
            if answer.reuse is Reuse.REFUSED:
                own = unscoped(run.key, run.tenant)
                raise Refused(
                    f"run {answer.run} has the key {own!r} of {run.task} and is parked"
                    f" ({answer.why}); `duly why {answer.run}` tells more"
                )
            if wanted:
                self._bus.emit(
                    events.RunEnqueued(
                        run=answer.run, task=run.task, queue=run.queue, reuse=answer.reuse
                    )
                )
        return [RunHandle(self, answer.run, answer.reuse) for answer in answers]

    def task(self, name: str) -> Task:
        """Return a task of this process, or raise `UnknownName` with the nearest."""
        try:
            return self._tasks[name]
        except KeyError:
            raise UnknownName.of("task", name, self._tasks) from None

    async def run(self, run: UUID) -> RunView:
        """Return a run; raise `UnknownName` when there is none, or it was pruned."""
        view = await self._store.run(run)
        if view is None:
            raise UnknownName(f"no run has the id {run}; it may have been pruned")
        return view

    async def runs(self, where: RunFilter) -> list[RunView]:
        """Return runs, newest first."""
        return await self._store.runs(where)

    async def result(self, run: UUID, timeout: timedelta | float | None = None) -> Any:
        """Wait for a run's end and return its result; see `RunHandle.result`."""
        limit_s = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        until = None if limit_s is None else self._clock.monotonic() + limit_s
        pause_s = POLL_FIRST_S
        while True:
            view = await self.run(run)
            if view.state in ENDS:
                return _result(view)
            if until is not None and self._clock.monotonic() >= until:
                raise TimeoutError(f"run {run} is still {view.state} after {limit_s} s")
            await self._clock.pause(pause_s)
            pause_s = min(POLL_SLOWEST_S, pause_s * 1.5)

    async def cancel(self, run: UUID, *, by: str, reason: str) -> Answer:
        """Cancel a run. A running one is asked to stop; its holder answers in its own time."""
        answer = self._changed(await self._store.cancel(run, by=by, reason=reason), run)
        if answer is Answer.REQUESTED:
            self._bus.emit(events.RunCancelRequested(run=run, by=by, reason=reason))
        elif answer is Answer.DONE:
            self._bus.emit(events.RunCancelled(run=run, by=by, reason=reason))
        return answer

    async def retry(self, run: UUID, *, by: str) -> Answer:
        """Run a failed run again with a new budget, or let a parked one go on."""
        view = await self.run(run)
        told: events.Event
        if view.state is RunState.PARKED:
            answer, told = await self._store.unpark(run, by=by), events.RunUnparked(run=run, by=by)
        else:
            answer, told = await self._store.revive(run, by=by), events.RunRevived(run=run, by=by)
        if self._changed(answer, run) is Answer.DONE:
            self._bus.emit(told)
        return answer

    async def remembered(self, run: UUID) -> Memory:
        """Return what a run remembers: its steps, and its progress."""
        await self.run(run)
        return await self._store.remembered(run)

    async def logs(self, run: UUID) -> list[LoggedAttempt]:
        """Return the attempts of a run, oldest first, each with the last lines that it logged.

        An attempt that keeps none says why; see `logs` of `app.task`.
        """
        return account(await self.run(run), await self._store.logged(run))

    async def fork(self, run: UUID, *, at: str, by: str) -> UUID:
        """Let a run go on as another one that forgets the step named `at` and all after it.

        The old run is cancelled, unless it has ended. Raises `Refused` while it runs, and
        `UnknownName` for a step there is not. Returns the new run's id.
        """
        new = self._clock.new_id()
        answer = await self._store.fork(run, at=at, new=new, by=by)
        if answer is Answer.IMPOSSIBLE:
            raise Refused(f"run {run} is running; cancel it first: duly runs cancel {run}")
        self._changed(answer, run)
        self._bus.emit(events.RunForked(run=run, fork=new, step=at, by=by))
        return new

    async def approve(
        self, run: UUID, name: str, *, approved: bool = True, by: str, reason: str = ""
    ) -> Answer:
        """Decide what a run asks for, or will, with `ctx.approve(name)`. The first decision stays.

        Raises `Refused` when the run has ended: nothing is to be decided any more.
        """
        view = await self.run(run)
        if view.state in ENDS:
            raise Refused(f"run {run} has ended ({view.state.value}): nothing is to be decided")
        decision = {"approved": approved, "by": by, "reason": reason}
        return await self.emit(approval(run, name), decision, by=by)

    async def emit(self, name: str, value: Any = None, *, by: str = "") -> Answer:
        """Say that something happened, once; runs that wait for it go on. Again: `already`."""
        try:
            body = msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            said = one_line(error)
            raise InvalidValue(f"expected an event's value to be JSON, got: {said}") from None
        event = Event(name=check_name("an event", name), body=body, by=by)
        answer = await self._store.emit(event)
        if answer is Answer.DONE:
            self._bus.emit(events.EventEmitted(happened=name, by=by))
        return answer

    def _changed(self, answer: Answer, run: UUID) -> Answer:
        if answer is Answer.UNKNOWN:
            raise UnknownName(f"no run has the id {run}; it may have been pruned")
        if answer is Answer.IMPOSSIBLE:
            raise Refused(f"run {run} has ended in a way that cannot be undone; `duly why {run}`")
        return answer


def _result(view: RunView) -> Any:
    if view.state is RunState.SUCCEEDED:
        return None if view.result is None else msgspec.json.decode(view.result)
    if view.state is RunState.FAILED:
        raise WorkFailed(f"run {view.id} of {view.task} failed: {view.error}")
    raise WorkCancelled(f"run {view.id} of {view.task} is {view.state}: {view.reason}")

"""What a running task is told, and what it may ask: the `Context`.

A context belongs to one attempt. Its facts never change while the attempt runs. What it is asked
to remember outlasts the attempt: when a process dies, the next attempt of the run goes on behind
the last step that finished, the last item that was confirmed. Code outside of steps runs again
then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypedDict, TypeVar, Unpack, overload
from uuid import UUID

from duly.core.durations import parse_duration
from duly.core.effects import DEADLINE, KEEP, Address, check_effect
from duly.core.periods import parse_period
from duly.core.runs import Claimed, Origin
from duly.engine.durable.calling import encoded
from duly.engine.durable.children import Declared
from duly.engine.durable.iterating import Each, Source
from duly.engine.durable.performing import ROOT, VERIFY, Effect, Performance, Receipt, Verify
from duly.engine.durable.services import Services
from duly.engine.durable.work import Approval, Work
from duly.engine.hands import Holding
from duly.errors import ForeignContext, InvalidValue, Refused, WorkCancelled

T = TypeVar("T")
P = ParamSpec("P")
Duration = str | int | float | timedelta


class EffectOptions(TypedDict, total=False):
    """How an effect is performed; see `Context.effect`."""

    per: str | None
    key: str | None
    deadline: Duration
    verify: Verify | None
    verify_deadline: Duration
    before: Callable[[], Any] | None


class Window(NamedTuple):
    """The stretch a run answers for: `start` is included, `end` is not. Both in the zone.

    Consecutive windows of a schedule neither overlap nor leave a gap, whatever was edited.
    """

    start: datetime
    end: datetime

    def __contains__(self, instant: object) -> bool:
        return isinstance(instant, datetime) and self.start <= instant < self.end


class Facts:
    """One attempt, as its task sees it: the part that never changes."""

    __slots__ = ("_holding", "_services", "_work", "_zone", "resources")

    def __init__(
        self,
        holding: Holding,
        zone: tzinfo,
        resources: Any = None,
        services: Services | None = None,
    ) -> None:
        self._holding, self._zone, self._services = holding, zone, services
        self._work: Work | None = None
        self.resources = resources  # what the worker's lifespan yielded

    def __repr__(self) -> str:
        return f"<Context {self.task} run={self.run_id} attempt={self.attempt}>"

    @property
    def work(self) -> Work:
        """The durable work of this attempt, begun when it is first asked for."""
        if self._work is None:
            if self._services is None:
                raise ForeignContext("this context belongs to no attempt of an instance")
            self._work = Work(self._holding, self._services)
        return self._work

    @property
    def begun(self) -> Work | None:
        """The durable work, if any was begun."""
        return self._work

    def _performance(self, name: str, fn: Callable[..., Any], args: Any, more: Any) -> Performance:
        """Read the options of an effect; see `Context.effect`."""
        options: EffectOptions = more
        claimed = self._holding.claimed
        zone = _zone_name(self._zone)
        deadline = options.get("deadline", DEADLINE)
        verify_deadline = options.get("verify_deadline", VERIFY)
        key, keep = _effect_key(claimed, options.get("per"), zone, options.get("key"))
        return Performance(
            address=Address(claimed.task, check_effect(name), key),
            fn=fn,
            args=args,
            deadline=parse_duration(deadline, what="deadline"),
            keep=keep,
            verify=options.get("verify"),
            verify_deadline=parse_duration(verify_deadline, what="verify_deadline"),
            before=options.get("before"),
        )

    @property
    def run_id(self) -> UUID:
        """The run's id: the same for every attempt, for ever."""
        return self._holding.claimed.id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; it also fences this attempt's writes."""
        return self._holding.claimed.epoch

    @property
    def failures(self) -> int:
        """How many attempts of this run failed before."""
        return self._holding.claimed.failures

    @property
    def task(self) -> str:
        """The task's name."""
        return self._holding.claimed.task

    @property
    def origin(self) -> Origin:
        """Who asked for the run: the clock, a person, a backfill, a call."""
        return self._holding.claimed.origin

    @property
    def schedule(self) -> str | None:
        """The schedule's name; None for a run that belongs to no schedule."""
        return self._holding.claimed.schedule

    @property
    def due(self) -> datetime | None:
        """The occurrence this run is for, in the schedule's zone; not when it really started."""
        due = self._holding.claimed.due
        return None if due is None else due.astimezone(self._zone)

    @property
    def window(self) -> Window | None:
        """From the previous occurrence to this one; None when there is no previous one."""
        claimed = self._holding.claimed
        if claimed.due is None or claimed.window_start is None:
            return None
        return Window(
            claimed.window_start.astimezone(self._zone), claimed.due.astimezone(self._zone)
        )

    def period(self, per: str) -> str:
        """Return the name of the period in which `effect(per=...)` is unique here.

        `"2026-11-22"` for `"day Europe/Amsterdam"`: that of the occurrence, or of when the run was
        asked for where it belongs to none. The same in every attempt.
        """
        period = parse_period(per, zone=_zone_name(self._zone))
        return period.name_of(self._holding.claimed.due or self._holding.claimed.enqueued_at)

    @property
    def stopping(self) -> str | None:
        """Why this work should stop, or None; a long loop in a thread may look at it."""
        return self._holding.cancel

    def check(self) -> None:
        """Raise `WorkCancelled` if this work should stop; for threads, which nothing interrupts."""
        if self._holding.cancel is not None:
            raise WorkCancelled(self._holding.cancel)


class Context(Facts):
    """One attempt, as its coroutine sees it.

    Whatever it remembers is durable when the call returns, unless said otherwise. Any of these
    may end the attempt: when the run has to wait, or is in other hands by now. Code outside of
    steps runs again in the next attempt.
    """

    __slots__ = ()

    # --- steps and batches --------------------------------------------------------------------

    @overload
    async def step(
        self, name: str, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def step(self, name: str, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def step(self, name: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do `fn(*args, **kwargs)` once in this run, and remember what it returned.

        `name` is the step's identity within the run: a loop names its turns. The result travels
        as JSON and is read back as the type that `fn` says it returns. Finished, it is never done
        again; a death before that repeats it as a whole. A plain function runs on a thread. Steps
        may run in parallel (`asyncio.gather`). What is published inside leaves with the result.

        Raises what `fn` raises, `InvalidValue` for a result that JSON cannot carry. A remembered
        result that no longer fits parks the run (`duly runs fork RUN --from STEP`).
        """
        return await self.work.step(name, fn, *args, **kwargs)

    def each(self, name: str, source: Source[T]) -> Each[T]:
        """Iterate over `source(after)`, going on behind the last confirmed item after a death.

        `source` yields pairs (key, item) whose keys increase strictly, beginning behind `after`
        (None at first); keys are numbers, texts, or lists of those. Finished items are confirmed
        in chunks, in one commit with what their bodies published. What a body does to the outside
        world directly may happen again within an unconfirmed chunk: use `effect` where it must
        not. Raises `InvalidValue` when keys do not increase.
        """
        return self.work.each(name, source)

    async def publish(self, topic: str, message: Any, *, key: str | None = None) -> UUID:
        """Publish a message when, and only if, what this code belongs to is committed.

        That is the step, the item of `each`, or the completion of the run. Messages of one key
        are relayed in order, at least once, under the id that is returned.
        """
        return self.work.journal.publish(topic, encoded("a message", message), key)

    def progress(
        self, done: int | None = None, total: int | None = None, note: str | None = None
    ) -> None:
        """Show how far the run is; written within a second, kept when it ends."""
        self.work.journal.show_progress(done, total, note)

    # --- waiting, without a slot --------------------------------------------------------------

    async def sleep(self, name: str, duration: Duration) -> None:
        """Wait so long from when this sleep was first begun; holds no slot, survives anything."""
        await self.work.sleep(name, parse_duration(duration, what="duration"))

    async def wait_for(self, event: str, *, timeout: Duration | None = None) -> Any:
        """Wait for an event that somebody emits, now, later or earlier; returns what it brought.

        Raises `TimeoutError` when it did not happen in time, counted from the first wait.
        """
        limit = None if timeout is None else parse_duration(timeout, what="timeout")
        return await self.work.wait_for(event, limit)

    async def approve(self, name: str) -> Approval:
        """Wait for a person's decision: `duly runs approve RUN NAME`. The run is parked so long."""
        return await self.work.approve(name)

    # --- children -----------------------------------------------------------------------------

    async def start(self, name: str, task: Declared | str, *args: Any, **kwargs: Any) -> Child:
        """Start a child run, once; it goes on whatever becomes of this run."""
        return Child(self.work, await self.work.children.start(name, task, args, kwargs))

    async def call(self, name: str, task: Declared | str, *args: Any, **kwargs: Any) -> Any:
        """Start a child run, once, and return what it returns, waiting without a slot.

        Raises `WorkFailed` or `WorkCancelled` when it ended otherwise.
        """
        return await (await self.start(name, task, *args, **kwargs)).result()

    async def map(
        self,
        name: str,
        task: Declared | str,
        calls: Iterable[Mapping[str, Any]],
        *,
        at_most: int = 10,
    ) -> list[Any]:
        """Run a child for each mapping of arguments, at most so many at once in the fleet.

        Returns their results in order; raises as `call` does. 10,000 calls at most.
        """
        return await self.work.children.map(name, task, calls, at_most)

    # --- effects ------------------------------------------------------------------------------

    @overload
    async def effect(
        self,
        name: str,
        fn: Callable[Concatenate[Effect, P], Any],
        /,
        *args: Any,
        **options: Unpack[EffectOptions],
    ) -> Receipt: ...
    @overload
    async def effect(
        self, name: str, fn: Callable[..., Any], /, *args: Any, **options: Unpack[EffectOptions]
    ) -> Receipt: ...
    async def effect(
        self, name: str, fn: Callable[..., Any], /, *args: Any, **options: Unpack[EffectOptions]
    ) -> Receipt:
        """Act on the outside world at most once, and return the receipt.

        Its key is the task and `name`, with the run's occurrence (or the run itself); `per="day"`
        or `"day Europe/Amsterdam"` makes it once per such period, whoever asks: what another run
        performs now is waited for, what was done is returned (`receipt.first` is False). `key`
        parts it further.

        `fn` gets the `Effect` if it has a parameter for it, and calls `effect.last_call()` right
        before the first byte. `NotPerformed` raised by it withdraws the intent; the run is tried
        again. Whatever else it raises leaves the outcome unknown: `verify` is asked, if given
        (True, False, or None for unknown), else the run is parked and an incident opens. `before`
        is asked first; while it fails, the run waits and nothing is intended.

        `deadline` is from the intent to the first byte. Raises `NotPerformed`, and `Refused` for a
        period so old that it may have been forgotten.
        """
        return await self.work.perform(self._performance(name, fn, args, options))


class Child:
    """A child run."""

    __slots__ = ("_work", "id")

    def __init__(self, work: Work, run: UUID) -> None:
        self._work, self.id = work, run

    def __repr__(self) -> str:
        return f"<Child {self.id}>"

    async def result(self) -> Any:
        """Return what it returned, waiting without a slot; raises as `Context.call` does."""
        return await self._work.children.result(self.id)


def _zone_name(zone: tzinfo) -> str:
    return getattr(zone, "key", None) or str(zone)


def _effect_key(
    claimed: Claimed, per: str | None, zone: str, key: str | None
) -> tuple[str, timedelta]:
    """Return the key of an effect within its task and name, and how long it is kept."""
    if key is not None and (not isinstance(key, str) or not 0 < len(key) <= 200):
        raise InvalidValue.expected("the key of an effect", "1 to 200 characters", key)
    asked = claimed.enqueued_at
    if per is None:
        due = claimed.due
        base = ROOT if due is None else f"{claimed.schedule} {due.astimezone(UTC).isoformat()}"
        keep = KEEP
    else:
        period, instant = parse_period(per, zone=zone), claimed.due or asked
        if period.too_old(instant, asked, KEEP):
            raise Refused(
                f"the {period.unit} {period.name_of(instant)} is over for more than {KEEP.days}"
                " days: whether the effect was performed in it may have been forgotten"
            )
        base, keep = period.name_of(instant), period.end_of(instant) - asked + KEEP
    return (base if key is None else f"{base} {key}"), keep

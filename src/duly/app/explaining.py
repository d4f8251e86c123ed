"""Gathering evidence: from what a person names to what `core.why` says about it.

A thing is a run's id or the beginning of it (8 characters at least), a schedule's name (a timer
is one), `schedule@occurrence`, an effect as `task name key`, or has its kind before it:
`breaker:`, `instance:`, `incident:`, `queue:`, `limit:`, `key:` or `timer:`. An occurrence without
an offset is read on the clocks of the schedule's zone, and a bare date means the only
occurrence of that day. Only reads; a store that moves between two reads gives an answer of that
moment, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from duly.app.around import Around
from duly.app.declaring import zone_of
from duly.app.recalling import Recalling
from duly.app.sharing import LEAST_PREFIX, Sharing
from duly.core import why
from duly.core.calls import TASK
from duly.core.effects import Address
from duly.core.firing import IN_ONE
from duly.core.health import breaker_before
from duly.core.ids import uuid7
from duly.core.instants import trigger_of
from duly.core.runs import RunFilter, RunView
from duly.core.schedules import Backlog, ScheduleRow
from duly.core.spoken import instant_text
from duly.core.tasks import Task
from duly.core.triggers import occurrences_between
from duly.core.verdicts import VerdictRange
from duly.core.why import Explanation, OccurrenceEvidence
from duly.core.zones import Zone, zone
from duly.errors import InvalidValue, UnknownName
from duly.stores.base import Store

TIMER = "timer:"
PAGE = 500
PAGES = 10

_RUN = re.compile(r"[0-9a-fA-F][0-9a-fA-F-]{7,35}\Z")
_RUN_IN_REASON = re.compile(r"\brun ([0-9a-f]{8}-[0-9a-f-]{27})\b")
_TICK = timedelta(microseconds=1)


class Explaining:
    """Answers why. `tasks` are those of this process, for budgets and limits; may be empty."""

    def __init__(self, store: Store, tasks: Mapping[str, Task] | None = None) -> None:
        self._store, self._tasks = store, tasks or {}
        self._around = Around(store, self._tasks)
        self._sharing = Sharing(store, self._around)

    async def explain(self, thing: str) -> Explanation:
        """Explain what `thing` names; raise `UnknownName` or `InvalidValue`.

        A schedule comes first, because its name may begin as a kind does.
        """
        name, at, when = thing.partition("@")
        row = await self._store.schedule(name)
        if row is not None and at:
            due, passed_over = await self._instant(row, when)
            return await self.occurrence(row, due, passed_over=passed_over)
        if row is not None:
            return await self.schedule(row)
        named = await self._sharing.named(thing)
        if named is not None:
            return named
        if thing.startswith(TIMER):
            return await self._timer(thing.removeprefix(TIMER))
        if is_effect(thing):
            return await self.effect(Address.of(thing))
        if at:
            await self._row(name)
        return await self._other(thing)

    async def _other(self, thing: str) -> Explanation:
        """Explain a run, else a breaker or an instance that is called so."""
        missing: UnknownName | None = None
        if _RUN.match(thing):
            try:
                return await self.run(await find_run(self._store, thing))
            except UnknownName as error:
                missing = error
        found = await self._sharing.found(thing)
        if found is not None:
            return found
        if missing is None:
            await self._row(thing)
        raise missing or AssertionError("a schedule that is not there raises")

    async def _timer(self, name: str) -> Explanation:
        row = await self._store.schedule(name)
        if row is None or row.definition.task != TASK:
            rows = await self._store.schedules()
            known = [one.name for one in rows if one.definition.task == TASK]
            raise UnknownName.of("timer", name, known)
        return await self.schedule(row)

    async def next(self, name: str, count: int) -> tuple[str, ...]:
        """Return a schedule's next occurrences, in words."""
        row = await self._row(name)
        return why.explain_next(row, await self._around.fleet(zone_of(row.definition)), count)

    async def _row(self, name: str) -> ScheduleRow:
        row = await self._store.schedule(name)
        if row is None:
            known = [one.name for one in await self._store.schedules()]
            raise UnknownName.of("schedule", name, known)
        return row

    async def run(self, view: RunView) -> Explanation:
        """Explain a run, given with its attempts."""
        known = await Recalling(self._store).known(view)
        return why.explain_run(view, await self._around.of_run(view), known)

    async def effect(self, address: Address) -> Explanation:
        """Explain an effect; one that is not on record is open."""
        known = await Recalling(self._store).effect(address)
        told_in = UTC if known.author is None else await self._around.place(known.author)
        return why.explain_effect(known, await self._around.fleet(told_in))

    async def breaker(self, name: str) -> Explanation:
        """Explain a breaker; one of which nothing is known is closed."""
        return await self._sharing.breaker(name)

    # --- schedules ------------------------------------------------------------------------

    async def schedule(self, row: ScheduleRow) -> Explanation:
        """Explain a schedule."""
        last = await self._store.run(UUID(row.last_run)) if row.last_run else None
        since = row.fired_through - timedelta(days=30)
        before = breaker_before(row.definition, self._tasks.get(row.definition.task))
        return why.explain_schedule(
            row,
            await self._around.fleet(zone_of(row.definition)),
            ranges=tuple(await self._store.verdicts(row.name, after=since)),
            backlogs=tuple(await self._store.backlogs(row.name)),
            last_run=last,
            breaker=None if before is None else await self._store.breaker(before),
        )

    async def occurrence(
        self, row: ScheduleRow, due: datetime, *, passed_over: bool = False
    ) -> Explanation:
        """Explain one nominal instant of a schedule; `passed_over` for one that a gap ends in."""
        fleet = await self._around.fleet(zone_of(row.definition))
        found = await self._range(row.name, due)
        runs = await self._runs_of(row.name, due)
        evidence = OccurrenceEvidence(
            row=row,
            due=due,
            passed_over=passed_over,
            is_due=trigger_of(row.definition).previous_at_or_before(due) == due,
            range=found,
            backlog=await self._backlog(row.name, due),
            runs=runs,
            stand_in=None if runs else await self._stand_in(row.name, found, due),
            blocker=await self._blocker(found),
        )
        return why.explain_occurrence(evidence, fleet)

    async def _range(self, name: str, due: datetime) -> VerdictRange | None:
        ranges = await self._store.verdicts(name, after=due, until=due)
        return next((one for one in ranges if one.first <= due <= one.last), None)

    async def _backlog(self, name: str, due: datetime) -> Backlog | None:
        waiting = await self._store.backlogs(name)
        return next((one for one in waiting if one.after < due <= one.until), None)

    async def _blocker(self, found: VerdictRange | None) -> RunView | None:
        named = _RUN_IN_REASON.search(found.reason) if found is not None else None
        return await self._store.run(UUID(named[1])) if named else None

    async def _stand_in(
        self, name: str, found: VerdictRange | None, due: datetime
    ) -> RunView | None:
        """Return the one run that was made of the stretch that an occurrence belongs to."""
        if found is None or found.reason != IN_ONE:
            return None
        runs = await self._scan(name, None, before=None, pages=1)
        over = [
            one
            for one in runs
            if one.due is not None
            and one.due >= due
            and (one.window_start is None or one.window_start < due)
        ]
        return min(over, key=lambda one: (one.due, one.id), default=None)

    async def _runs_of(self, name: str, due: datetime) -> tuple[RunView, ...]:
        """Return the runs of an occurrence: those made soon after it, else any on record."""
        hour_ms = int((due.timestamp() + 3600) * 1000)
        near = await self._scan(name, due, before=uuid7(max(0, hour_ms), 0), pages=1)
        listed = near or await self._scan(name, due, before=None, pages=PAGES)
        full = [await self._store.run(one.id) for one in listed]
        return tuple(one for one in full if one is not None)

    async def _scan(
        self, name: str, due: datetime | None, *, before: UUID | None, pages: int
    ) -> list[RunView]:
        """Return the newest runs of a schedule, or those of one occurrence, page by page."""
        found: list[RunView] = []
        for _ in range(pages):
            where = RunFilter(schedule=name, before=before, limit=PAGE)
            page = await self._store.runs(where)
            found += [one for one in page if due is None or one.due == due]
            if len(page) < PAGE:
                break
            before = page[-1].id
        return found

    # --- reading an occurrence ------------------------------------------------------------

    async def _instant(self, row: ScheduleRow, text: str) -> tuple[datetime, bool]:
        """Return what a text names, and whether the clocks of the zone passed over that time."""
        place = _zone(row)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return _of_day(row, place, _iso(text)), False
        given = _iso(text)
        if given.tzinfo:
            return given.astimezone(UTC), False
        return wall_instant(given, place, row), not place.instants(given)


def is_effect(thing: str) -> bool:
    """Whether a text names an effect: three words or more, the first no `schedule@occurrence`."""
    return thing.count(" ") >= 2 and "@" not in thing.partition(" ")[0]


async def find_run(store: Store, text: str) -> RunView:
    """Return the run whose id is, or begins with, `text`; raise when none or several do.

    `InvalidValue` for what cannot be an id, or begins several; `UnknownName` for none.
    """
    digits = text.strip().lower().replace("-", "")
    if not _RUN.match(text.strip()) or not LEAST_PREFIX <= len(digits) <= 32:
        raise InvalidValue.expected(
            "a run", f"its id or the first {LEAST_PREFIX} or more characters of it", text
        )
    if len(digits) == 32:
        view = await store.run(UUID(digits))
        if view is None:
            raise UnknownName(f"no run has the id {UUID(digits)}; it may have been pruned")
        return view
    above = UUID(digits.ljust(32, "f"))
    listed = await store.runs(RunFilter(before=above, limit=10))
    found = [one.id for one in listed if one.id.hex.startswith(digits)]
    if len(found) > 1:
        shown = ", ".join(str(one) for one in found[:5])
        raise InvalidValue(f"several runs begin with {text!r}: {shown}; give more characters")
    view = await store.run(found[0]) if found else None
    if view is None:
        raise UnknownName(f"no run has an id that begins with {text!r}; it may have been pruned")
    return view


def wall_instant(wall: datetime, place: Zone, row: ScheduleRow | None = None) -> datetime:
    """Return the instant at which the clocks of a zone show `wall`, which is naive.

    Shown twice, the pass in which the schedule is due, else the first; not shown at all, the
    first instant after the gap.
    """
    found = place.instants(wall)
    if not found:
        after = place.gap_end(wall)
        assert after is not None, "what is shown at no instant lies in a gap"
        return after
    if row is not None:
        trigger = trigger_of(row.definition)
        due = [at for at in found if trigger.previous_at_or_before(at) == at]
        return (due or list(found))[0]
    return found[0]


def _of_day(row: ScheduleRow, place: Zone, day: datetime) -> datetime:
    start = wall_instant(datetime.combine(day, time()), place)
    end = wall_instant(datetime.combine(day + timedelta(days=1), time()), place)
    dues = occurrences_between(trigger_of(row.definition), start - _TICK, end - _TICK, limit=6)
    if len(dues) == 1:
        return dues[0]
    shown = ", ".join(instant_text(one, place.info) for one in dues[:5])
    what = f"several occurrences on that day, such as {shown}" if dues else "no occurrence that day"
    raise InvalidValue(f"schedule {row.name} has {what}; name one as {row.name}@2026-03-01T01:00")


def _zone(row: ScheduleRow) -> Zone:
    name = row.definition.trigger.get("tz")
    return zone(name if isinstance(name, str) else "UTC")


def _iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue.expected(
            "an occurrence", "a time such as 2026-03-01T01:00 (or with an offset)", text
        ) from None

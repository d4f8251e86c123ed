"""Reporting: what became of work that a person should know of, and when it is over again.

    run.failed       a task's runs, or a timer's, fail for good; closed by its next success
    run.poison       a run was parked, because processes died of it
    run.changed      a run is parked, because its steps no longer fit its code
    run.approval     a run waits for a person's decision
    run.interrupted  a process ended in the middle of work; closed when that work has ended
    store.away       the store did not answer for over a minute; told once it is back
    host.rhythm      a host ends its processes regularly, and will meet a run that is due

A hundred failures of one task are one incident. Reports are written behind the work, never in
its way; those that a store which is away could not take are tried again.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import UUID

from msgspec import structs

from duly import events
from duly.core.calls import TASK as CALLS
from duly.core.clock import Clock
from duly.core.fleet import Incident, Instance, InstanceState, Proof, TakenOver
from duly.core.lifetimes import Life, Upcoming, collisions, rhythms
from duly.core.owning import runner
from duly.core.runs import Claimed, Ending, RunFilter, RunView
from duly.core.spoken import last_line, length_text
from duly.core.states import ENDS, RunState, RunVerb, ScheduleState
from duly.core.steps import APPROVAL, approval
from duly.core.timers import call_in
from duly.engine.attempts import HANDED_BACK
from duly.engine.caretaking import open_incident
from duly.engine.durable.work import CHANGED
from duly.engine.hands import Holding
from duly.engine.roster import Roster
from duly.engine.telling import Telling
from duly.engine.trips import FAILING, TRIPPED, left_behind, quiet_since
from duly.stores.base import Store

FAILED, POISON, REFORM = "run.failed", "run.poison", "run.changed"
ASKED, INTERRUPTED, RHYTHM = "run.approval", "run.interrupted", "host.rhythm"
AWAY = "store.away"

AWAY_S = 60.0
"""How long a store may be away before a person is told of it afterwards."""

EVERY_S = 60.0
CALM = 10
"""Minutes after which a quiet fleet, with nothing open, is looked at only every tenth."""

NEWS = 3
"""Minutes for which a fleet that changed is looked at each minute, when nothing is found."""

RHYTHM_EVERY_S = 3600.0
"""How often it is looked at how long processes live here."""

NAMED = 5
"""Runs that an interruption names."""

USUAL = 10
AHEAD = timedelta(days=2)


class Reporting:
    """A supervised loop: `ready` waits for something to report, or for the slow pace."""

    name = "reporting"

    def __init__(
        self, store: Store, *, roster: Roster, clock: Clock, telling: Telling, owner: str
    ) -> None:
        self._store, self._roster, self._clock = store, roster, clock
        self._telling, self._owner = telling, owner
        self.instance = ""  # its name, once it has joined
        self._reports: dict[tuple[str, str], Callable[[], Awaitable[Incident | None]]] = {}
        self._some = asyncio.Event()
        self._sweeping = False
        self._minutes, self._watchful = 0, NEWS
        self._fleet: frozenset[UUID] = frozenset()
        self._rhythms_at = float("-inf")
        self._cut_off: list[UUID] = []

    # --- what is heard --------------------------------------------------------------------------

    def settled(self, holding: Holding, ending: Ending) -> None:
        """An attempt ended, and the store knows it."""
        one, run = holding.claimed, str(holding.claimed.id)
        reason = ending.reason or ""
        if ending.verb is RunVerb.FAIL:
            by = runner(self.instance, self._owner)
            self._report(_failed(one, ending.error, owner=self._whose(one), by=by))
        elif ending.verb is RunVerb.PARK and reason.startswith(CHANGED):
            helps = f"duly runs fork {run} --from STEP"
            about = _about(REFORM, run, one.task, f"parked: {reason}", helps)
            self._report(structs.replace(about, owner=self._whose(one)))
        elif ending.verb is RunVerb.PARK and reason == APPROVAL:
            name = ending.awaits[0].group if ending.awaits else "NAME"
            helps = f"duly runs approve {run} {shlex.quote(name)}"
            asked = _about(ASKED, run, one.task, f"waits for a decision: {name}", helps)
            evidence, whose = asked.evidence | {"approval": name}, self._whose(one)
            asked = structs.replace(asked, subject=f"{run} {name}", evidence=evidence, owner=whose)
            self._report(asked)
        elif ending.verb is RunVerb.RELEASE and reason == HANDED_BACK and holding.started:
            self._cut_off.append(one.id)

    def _whose(self, one: Claimed) -> str:
        """Return who is concerned by a run that no schedule asked for: whoever ran it."""
        return "" if one.schedule else self._owner

    def took(self, taken: TakenOver, proof: Proof, cause: str) -> None:
        """This instance took over from a dead one."""
        for run in taken.parked:
            summary = "parked as poison: processes died while it ran"
            about = _about(POISON, str(run), "", summary, f"duly runs retry {run}")
            evidence = about.evidence | {"boot": str(taken.boot)}
            self._report(structs.replace(about, evidence=evidence))
        if taken.ready:
            told = proof.told(cause)
            self._later(INTERRUPTED, taken.boot, lambda: self._cut(taken.boot, told, taken.ready))

    def came_back(self, away_s: float) -> None:
        """The store answers again; what it could not be told before, it is told now."""
        if away_s < AWAY_S:
            return
        self._report(
            Incident(
                kind=AWAY,
                subject="store",
                severity="critical",
                summary=f"the store did not answer for {length_text(timedelta(seconds=away_s))}",
                owner=self._owner,
                evidence={"away_s": f"{away_s:.0f}"},
            )
        )

    async def leaving(self, boot: UUID, name: str) -> None:
        """This instance stops, and handed work back that had begun."""
        if not self._cut_off:
            return
        runs, self._cut_off = tuple(self._cut_off), []
        told = "stopped, and handed back what did not end within its grace"
        incident = await self._cut(boot, told, runs, name=name)
        await open_incident(self._store, self._telling, incident)

    def _report(self, incident: Incident) -> None:
        async def ready_made() -> Incident:
            return incident

        self._later(incident.kind, incident.subject, ready_made)

    def _later(
        self, kind: str, subject: object, made: Callable[[], Awaitable[Incident | None]]
    ) -> None:
        self._reports.setdefault((kind, str(subject)), made)
        self._watchful = CALM
        self._some.set()

    # --- the loop -----------------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait for a report, or for the slow pace; not where the last one was not taken."""
        if self._reports:
            return
        try:
            async with asyncio.timeout(EVERY_S * (0.9 + 0.2 * self._clock.draw())):
                await self._some.wait()
        except TimeoutError:
            self._sweeping = self._worth_a_look() and self._roster.rank("reporting") == 0

    def _worth_a_look(self) -> bool:
        """Each minute while the fleet changes or something is open; else, to cost little, seldom.

        Senders that died, and runs that were cut off, are the fruit of a fleet that changed.
        """
        fleet = frozenset(one.boot for one in self._roster.others)
        if fleet != self._fleet:
            self._fleet, self._watchful = fleet, max(self._watchful, NEWS)
        self._minutes, self._watchful = self._minutes + 1, self._watchful - 1
        return self._watchful >= 0 or self._minutes % CALM == 0

    async def turn(self) -> None:
        """Write what is to be reported, and close what is over."""
        self._some.clear()
        while self._reports:
            key, made = next(iter(self._reports.items()))
            incident = await made()
            if incident is not None:
                await open_incident(self._store, self._telling, incident)
            self._reports.pop(key, None)
        if self._sweeping:
            self._sweeping = False
            await self._sweep()

    async def _sweep(self) -> None:
        """The net under the ledger and under waits; what is over; what is to be expected."""
        if await self._store.sweep():
            self._watchful = CALM
        for one in await self._store.incidents():
            over = _OVER.get(one.kind)
            self._watchful = CALM if over is not None else self._watchful
            note = None if over is None else await over(self, one)
            if note is not None and await self._store.close_incident(
                one.kind, one.subject, note=note
            ):
                self._telling.emit(events.IncidentClosed(kind=one.kind, subject=one.subject))
        now = self._clock.monotonic()
        if now - self._rhythms_at >= RHYTHM_EVERY_S:
            self._rhythms_at = now
            await self._look_for_rhythms()

    # --- interruptions ------------------------------------------------------------------------

    async def _cut(
        self, boot: UUID, told: str, runs: tuple[UUID, ...], *, name: str = ""
    ) -> Incident:
        """Say who was cut off, in the middle of what, and what was done already."""
        if not name:
            known = {one.boot: one.name for one in await self._store.instances()}
            name = known.get(boot, f"boot {boot}")
        views = [view for run in runs[:NAMED] if (view := await self._store.run(run))]
        for run in runs:
            self._telling.emit(events.RunInterrupted(run=run, boot=boot, reason=told))
        more = f", and {len(runs) - NAMED} more" if len(runs) > NAMED else ""
        what = "; ".join(_done(one) for one in views)
        return Incident(
            kind=INTERRUPTED,
            subject=f"{name} {boot}",
            severity="warning",
            summary=f"{name} ended ({told}) in the middle of {what}{more}; it goes on elsewhere",
            evidence={
                "boot": str(boot),
                "why": told,
                "runs": " ".join(str(run) for run in runs[:100]),
                "count": str(len(runs)),
            },
        )

    async def _resumed(self, incident: Incident) -> str | None:
        """Say what became of the runs that were cut off, once all have ended."""
        runs = [UUID(one) for one in incident.evidence.get("runs", "").split()]
        views: list[RunView | None] = []
        for run in runs:
            views.append(view := await self._store.run(run))
            if view is not None and view.state not in ENDS:
                return None  # the others need not be asked for
        names = {one.boot: one.name for one in await self._store.instances()}
        return "; ".join(_resumption(one, names) for one in views[:NAMED] if one) or "pruned"

    async def _succeeded_since(self, incident: Incident) -> str | None:
        subject, succeeded = incident.subject, RunState.SUCCEEDED
        if _of_a_timer(incident.evidence.get("task"), incident.evidence.get("schedule")) == subject:
            ended = RunFilter(schedule=subject, state=succeeded, limit=1)
        else:
            ended = RunFilter(task=subject, state=succeeded, limit=1)
        for one in await self._store.runs(ended):
            if one.ended_at and incident.opened_at and one.ended_at > incident.opened_at:
                return f"the run {one.id} succeeded"
        return None

    async def _answers(self, incident: Incident) -> str | None:
        """The whole fleet says it within a minute, and is heard once."""
        now = await self._store.clock()
        over = incident.opened_at is not None and now - incident.opened_at >= timedelta(minutes=1)
        return "it answers again" if over else None

    async def _unparked(self, incident: Incident) -> str | None:
        run, _, name = incident.subject.partition(" ")
        view = await self._store.run(UUID(run))
        if name and await self._store.happened([approval(UUID(run), name)]):
            return "it was decided"
        if view is not None and view.state is RunState.PARKED:
            return None
        return "the run was pruned" if view is None else f"the run is {view.state.value}"

    # --- rhythms --------------------------------------------------------------------------------

    async def _look_for_rhythms(self) -> None:
        """Hold regular lifetimes against the runs to come."""
        instances = [one for one in await self._store.instances() if one.owner == self._owner]
        lives = [life for one in instances if (life := _life(one)) is not None]
        found = rhythms(lives)
        if not found:
            return
        upcoming = await self._upcoming()
        alive = [one for one in lives if one.ended_at is None]
        for rhythm in found:
            for one in collisions(rhythm, alive, upcoming):
                await open_incident(
                    self._store,
                    self._telling,
                    Incident(
                        kind=RHYTHM,
                        subject=f"{one.instance} {one.schedule}",
                        severity="warning",
                        summary=one.summary,
                        evidence={
                            "schedule": one.schedule,
                            "due": one.due.isoformat(),
                            "expected_end": one.expected_end.isoformat(),
                            "lives": str(rhythm.seen),
                        },
                    ),
                )

    async def _upcoming(self) -> list[Upcoming]:
        """Return what is due next, and how long it usually takes."""
        now = await self._store.clock()
        found: list[Upcoming] = []
        for row in await self._store.schedules():
            if row.state is not ScheduleState.ACTIVE or row.next_fire is None:
                continue
            if row.next_fire > now + AHEAD:
                continue
            where = RunFilter(schedule=row.name, state=RunState.SUCCEEDED, limit=USUAL)
            took = sorted(
                view.ended_at - view.started_at
                for view in await self._store.runs(where)
                if view.ended_at and view.started_at
            )
            if took:
                found.append(Upcoming(row.name, row.next_fire, took[len(took) // 2]))
        return found


_OVER: Mapping[str, Callable[[Reporting, Incident], Awaitable[str | None]]] = {
    FAILED: Reporting._succeeded_since,
    POISON: Reporting._unparked,
    REFORM: Reporting._unparked,
    ASKED: Reporting._unparked,
    INTERRUPTED: Reporting._resumed,
    AWAY: Reporting._answers,
    TRIPPED: lambda self, one: quiet_since(self._store, one),
    FAILING: lambda self, one: left_behind(self._store, one),
}
"""How it is known that an incident is over; the answer says what became of it."""


def _of_a_timer(task: str | None, schedule: str | None) -> str | None:
    """Return the timer that asked for a run, if one did: each has an owner and a target."""
    return schedule if task == CALLS else None


def _failed(one: Claimed, error: str | None, *, owner: str, by: str) -> Incident:
    """The incident of a task whose run failed, or of the timer that asked for it."""
    call = call_in(one.task, one.args)
    subject = _of_a_timer(one.task, one.schedule) or one.task
    told = last_line(error)
    return Incident(
        kind=FAILED,
        subject=subject,
        severity="critical",
        summary=f"{subject} failed for good: {told}",
        owner=owner,
        evidence={
            "run": str(one.id),
            "task": one.task,
            **({} if call is None else {"endpoint": call.endpoint}),
            "error": told,
            **({"run by": by} if by else {}),
            **({"schedule": one.schedule} if one.schedule else {}),
        },
    )


def _about(kind: str, run: str, task: str, what: str, helps: str) -> Incident:
    named = f"run {run}" + (f" of {task}" if task else "")
    evidence = {"run": run, "what helps": helps}
    return Incident(
        kind=kind,
        subject=run,
        severity="warning",
        summary=f"{named} is {what}" if what.startswith("parked") else f"{named} {what}",
        evidence=evidence | ({"task": task} if task else {}),
    )


def _done(view: RunView) -> str:
    """Say which run it was, and what it had done already."""
    said = f"{view.task} (run {view.id})"
    progress = view.progress
    if progress is None:
        return said
    parts = []
    if progress.done is not None:
        whole = "" if progress.total is None else f" of {progress.total:,}"
        parts.append(f"{progress.done:,}{whole} done")
    if progress.published:
        parts.append(f"{progress.published:,} messages published")
    if progress.effects:
        parts.append(f"{progress.effects:,} effects performed")
    return f"{said}, {', '.join(parts)}" if parts else said


def _resumption(view: RunView, names: Mapping[UUID, str]) -> str:
    if view.state is not RunState.SUCCEEDED:
        return f"{view.task} is {view.state.value}"
    where = names.get(view.boot, "another instance") if view.boot else "another instance"
    return f"{view.task} was resumed by {where}, attempt {view.epoch}, and succeeded"


def _life(one: Instance) -> Life | None:
    if one.started_at is None:
        return None
    here = one.state in (InstanceState.LIVE, InstanceState.STOPPING)
    return Life(
        name=one.name,
        host=one.host,
        started_at=one.started_at,
        ended_at=None if here else one.seen_at,
        politely=one.state is InstanceState.GONE,
    )

"""The verbs of the fleet, of incidents and of housekeeping, in the model.

A boot that was declared dead or that left gets nothing back: every verb looks first. What a
pruning removes it removes whole, with all that hangs on it; marks and verdicts it never sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.fleet import (
    Horizon,
    Incident,
    Instance,
    InstanceState,
    Proof,
    Renewal,
    TakenOver,
    proven_gone,
)
from duly.core.rules import DEATHS_TO_PARK, after_death
from duly.core.runs import SUSPECT_QUEUE, Answer, Attempt
from duly.core.states import RUN_MOVES, EffectState, RunState, RunVerb, ScheduleState, advance
from duly.stores.base import DEFAULT_LEASE, Filled, Retention, Signal
from duly.stores.memory.tables import Held, Later, Tables

POISON = "poison"
HERE = (InstanceState.LIVE, InstanceState.STOPPING)


class FleetVerbs:
    """What `Store` says of instances, incidents and pruning, on `Tables`."""

    t: Tables

    def _now(self, now: datetime | None) -> datetime:
        raise NotImplementedError

    async def register(
        self, instance: Instance, carries: Mapping[str, str], *, now: datetime | None = None
    ) -> Answer:
        at = self._now(now)
        known = self.t.instances.get(instance.boot)
        if known is not None and known.state not in HERE:
            return Answer.STALE
        self.t.carries[instance.boot] = dict(carries)
        self.t.unshelve(instance.tasks, at)
        if known is not None:
            replaced = msgspec.structs.replace(known, tasks=instance.tasks, seen_at=at)
            self.t.instances[instance.boot] = replaced
            return Answer.ALREADY
        row = msgspec.structs.replace(
            instance, started_at=at, seen_at=at, lease_until=None, left_at=None, held=0, reason=None
        )
        self.t.instances[instance.boot] = row
        self.t.tell(Signal.FLEET)
        return Answer.DONE

    async def beat(
        self,
        boot: UUID,
        *,
        queues: Sequence[str],
        tasks: Sequence[str],
        now: datetime | None = None,
    ) -> Horizon:
        at = self._now(now)
        me = self.t.instances.get(boot)
        alive = me is not None and me.state in HERE
        if me is not None and alive:
            self.t.instances[boot] = msgspec.structs.replace(me, seen_at=at)
        fires = [one.next_fire for one in self.t.schedules.values() if one.next_fire]
        fires += [one.next_at for one in self.t.backlogs.values() if self._active(one.schedule)]
        wakes = [row.wake_at for row in self.t.later.values() if row.wake_at]
        ready = [(row.queue, self.t.run[run].asked.task) for run, row in self.t.ready.items()]
        others = [
            one.lease_until
            for one in self.t.instances.values()
            if one.boot != boot and one.state in HERE and one.lease_until and self._held(one.boot)
        ]
        return Horizon(
            now=at,
            next_fire=min(fires, default=None),
            next_wake=min(wakes, default=None),
            ready=any(queue in queues and task in tasks for queue, task in ready),
            suspects=any(queue == SUSPECT_QUEUE and task in tasks for queue, task in ready),
            alive=alive,
            next_expiry=min(others, default=None),
        )

    def _active(self, schedule: str) -> bool:
        return self.t.schedules[schedule].state is ScheduleState.ACTIVE

    def _held(self, boot: UUID) -> list[UUID]:
        return sorted(run for run, row in self.t.held.items() if row.boot == boot)

    async def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> Renewal:
        return self.renew_now(boot, held, pending, lease=lease, now=now)

    def renew_now(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta,
        now: datetime | None = None,
    ) -> Renewal:
        """The body of `renew`, which waits for nothing."""
        at = self._now(now)
        me = self.t.instances.get(boot)
        if me is None or me.state not in HERE:
            return Renewal(alive=False)
        self.t.instances[boot] = msgspec.structs.replace(me, seen_at=at, lease_until=at + lease)
        known = set(held)
        mine = {(run, self.t.held[run].epoch) for run in self._held(boot)}
        stray = [
            run for run, epoch in sorted(mine - known) if self.t.held[run].claim not in pending
        ]
        for run in stray:
            self._hand_back(run, at, "its claim was never answered")
        cancels = [
            (run, why) for run in self._held(boot) if (why := self.t.held[run].cancel) is not None
        ]
        lost = tuple(sorted(run for run, epoch in known - mine))
        return Renewal(True, lost, len(stray), tuple(cancels))

    def _hand_back(self, run: UUID, now: datetime, why: str) -> None:
        held = self.t.held.pop(run)
        if held.cancel is not None:
            state = advance(RUN_MOVES, RunState.RUNNING, RunVerb.CANCEL)
            self.t.put_ended(run, state, now, before=held, reason=held.cancel)
            return
        advance(RUN_MOVES, RunState.RUNNING, RunVerb.RELEASE)
        self.t.note_attempt(run, held, RunVerb.RELEASE, now, why)
        self.t.put_ready(run, now, before=held)

    async def leave(self, boot: UUID, *, now: datetime | None = None) -> int:
        at = self._now(now)
        me = self.t.instances.get(boot)
        if me is None or me.state not in HERE:
            return 0
        held = self._held(boot)
        for run in held:
            self._hand_back(run, at, "its instance stopped")
        self.t.instances[boot] = msgspec.structs.replace(
            me,
            state=InstanceState.GONE,
            seen_at=at,
            lease_until=None,
            left_at=at,
            reason="stopped",
        )
        return len(held)

    async def take_over(
        self, boot: UUID, proof: Proof, *, cause: str = "", now: datetime | None = None
    ) -> TakenOver:
        at = self._now(now)
        me = self.t.instances.get(boot)
        if me is None or me.state not in HERE:
            return TakenOver(boot, False)
        if proof is Proof.LEASE and me.lease_until is not None and me.lease_until > at:
            return TakenOver(boot, False)
        self.t.instances[boot] = msgspec.structs.replace(
            me,
            state=InstanceState.DEAD,
            lease_until=None,
            left_at=at,
            reason=proof.told(cause),
        )
        ends: dict[str, list[UUID]] = {"ready": [], "parked": [], "cancelled": []}
        for run in self._held(boot):
            ends[self._take(run, proof.told(cause), at)].append(run)
        taken = {where: tuple(runs) for where, runs in ends.items()}
        return TakenOver(boot, True, taken["ready"], taken["parked"], taken["cancelled"])

    def _take(self, run: UUID, why: str, now: datetime) -> str:
        held = self.t.held.pop(run)
        if held.cancel is not None:
            state = advance(RUN_MOVES, RunState.RUNNING, RunVerb.CANCEL)
            self.t.put_ended(run, state, now, before=held, reason=held.cancel)
            return "cancelled"
        self.t.note_attempt(run, held, RunVerb.TAKE_OVER, now, why)
        held.deaths += 1
        if after_death(held.deaths).park:
            state = advance(RUN_MOVES, RunState.RUNNING, RunVerb.PARK)
            self.t.later[run] = Later(state, None, POISON, held.epoch, held.failures, held.deaths)
            self.t.free(run, now)
            return "parked"
        advance(RUN_MOVES, RunState.RUNNING, RunVerb.TAKE_OVER)
        self.t.put_ready(run, now, before=held)
        return "ready"

    async def come_back(self, boot: UUID, *, now: datetime | None = None) -> int:
        at, cleared = self._now(now), 0
        for run, past in sorted(self.t.attempts.items()):
            for index, one in enumerate(past):
                if (one.boot, one.outcome) != (boot, RunVerb.TAKE_OVER):
                    continue
                detail = "taken over from a living holder"
                past[index] = Attempt(
                    one.epoch, one.boot, one.started_at, one.ended_at, RunVerb.RELEASE, detail
                )
                self._forgive(run, at)
                cleared += 1
        return cleared

    def _forgive(self, run: UUID, now: datetime) -> None:
        """Take one death back, and let a run go on that is no longer poison by that."""
        row = self.t.ready.get(run) or self.t.later.get(run) or self.t.held.get(run)
        if row is None:
            return
        row.deaths = max(0, row.deaths - 1)
        if isinstance(row, Held) or row.deaths >= DEATHS_TO_PARK:
            return
        if isinstance(row, Later) and row.state is RunState.PARKED and row.reason == POISON:
            advance(RUN_MOVES, row.state, RunVerb.UNPARK)
            self.t.put_ready(run, now, before=self.t.later.pop(run))

    async def lapsed(self, *, now: datetime | None = None) -> list[UUID]:
        at = self._now(now)
        late = [
            (one.lease_until, one.boot)
            for one in self.t.instances.values()
            if one.state in HERE and one.lease_until and one.lease_until <= at
        ]
        return [boot for _, boot in sorted(late) if self._held(boot)]

    async def instances(self, *, here: bool = False) -> list[Instance]:
        shown = [
            msgspec.structs.replace(one, held=len(self._held(one.boot)))
            for one in self.t.instances.values()
            if one.state in HERE or not here
        ]
        return sorted(shown, key=lambda one: one.boot, reverse=True)

    # --- people and housekeeping ----------------------------------------------------------

    async def open_incident(self, incident: Incident, *, now: datetime | None = None) -> bool:
        return self.t.open_incident(incident, self._now(now))

    async def close_incident(
        self, kind: str, subject: str, *, note: str = "", now: datetime | None = None
    ) -> bool:
        return self.t.close_incident(kind, subject, note, self._now(now))

    async def prove(self, boot: UUID, *, now: datetime | None = None) -> Answer:
        known = self.t.instances.get(boot)
        if known is None:
            return Answer.UNKNOWN
        if known.state in HERE:
            return Answer.IMPOSSIBLE
        if proven_gone(known):
            return Answer.ALREADY
        told = Proof.PROCESS.told(f"after: {known.reason}" if known.reason else "")
        self.t.instances[boot] = msgspec.structs.replace(known, reason=told)
        return Answer.DONE

    async def incidents(self, *, only_open: bool = True) -> list[Incident]:
        found = [one for one in self.t.incidents if not (only_open and one.closed_at)]
        return list(reversed(found))[:1000]

    async def prune(
        self, keep: Retention, *, limit: int = 5000, now: datetime | None = None
    ) -> Filled:
        at = self._now(now)
        spared = self._newest_of_each_schedule(keep.last)
        old = [
            run
            for run, row in self.t.ended.items()
            if row.ended_at < at - keep.history and run not in spared
        ]
        for run in sorted(old)[:limit]:
            self._forget(run)
        keys = self._prune_keys(at - keep.keys, limit)
        gone = [
            one.boot
            for one in self.t.instances.values()
            if one.seen_at and one.seen_at < at - keep.history and not self._held(one.boot)
        ]
        for boot in gone[:limit]:
            del self.t.instances[boot]
            self.t.carries.pop(boot, None)
        closed = [one for one in self.t.incidents if one.closed_at]
        stale = [one for one in closed if one.closed_at and one.closed_at < at - keep.history]
        for one in stale[:limit]:
            self.t.incidents.remove(one)
            for key in [key for key in self.t.marks if key[1] == one.id]:
                del self.t.marks[key]
        return Filled(
            runs=len(old[:limit]),
            keys=keys,
            instances=len(gone[:limit]),
            incidents=len(stale[:limit]),
            effects=self._prune_effects(at, limit),
            events=self._prune_events(at - keep.history, limit),
            limits=self._prune_limits(limit),
            breakers=self._prune_breakers(at - keep.history, limit),
            lines=self._prune_lines(at - keep.history, limit),
            notices=self._prune_notices(at - keep.history, limit),
        )

    def _prune_breakers(self, before: datetime, limit: int) -> int:
        raise NotImplementedError

    def _prune_notices(self, before: datetime, limit: int) -> int:
        raise NotImplementedError

    def _prune_lines(self, before: datetime, limit: int) -> int:
        """Forget what became of effects that are open again, long ago."""
        old = [
            one for one in self.t.audit if one.at < before and one.address not in self.t.effects
        ][:limit]
        for one in old:
            self.t.audit.remove(one)
        return len(old)

    def _prune_limits(self, limit: int) -> int:
        """Forget limits that no run that is known has: a fan-out brings one of its own."""
        known = {one.asked.limit_key for one in self.t.run.values()}
        idle = sorted(self.t.limits.keys() - known)[:limit]
        for key in idle:
            del self.t.limits[key]
            self.t.slots.pop(key, None)
        return len(idle)

    def _prune_effects(self, at: datetime, limit: int) -> int:
        """Forget effects that are done, and whose period is over for long."""
        old = [
            row.address
            for row in self.t.effects.values()
            if row.state is EffectState.DONE and row.keep_until < at
        ]
        for address in sorted(old)[:limit]:
            del self.t.effects[address]
            self.t.audit = [one for one in self.t.audit if one.address != address]
        return len(old[:limit])

    def _prune_events(self, before: datetime, limit: int) -> int:
        old = [one.name for one in self.t.events.values() if one.at and one.at < before]
        for name in sorted(old)[:limit]:
            del self.t.events[name]
        return len(old[:limit])

    def _newest_of_each_schedule(self, last: int) -> set[UUID]:
        by_schedule: dict[str, list[UUID]] = {}
        for run in sorted(self.t.ended, reverse=True):
            schedule = self.t.run[run].asked.schedule
            if schedule is not None:
                by_schedule.setdefault(schedule, []).append(run)
        return {run for runs in by_schedule.values() for run in runs[:last]}

    def _forget(self, run: UUID) -> None:
        asked = self.t.run.pop(run).asked
        succeeded = self.t.ended.pop(run).state is RunState.SUCCEEDED
        key = (asked.task, asked.key or "")
        if not succeeded and key in self.t.keys and self.t.keys[key].run == run:
            del self.t.keys[key]
        self.t.attempts.pop(run, None)
        self.t.steps.pop(run, None)
        self.t.progress.pop(run, None)
        self.t.logs.pop(run, None)
        self.t.awaits.pop(run, None)
        if asked.schedule and asked.due:
            occurrence = (asked.schedule, asked.due)
            if self.t.occurrences.get(occurrence) == run:  # a backfill's end guards nothing
                del self.t.occurrences[occurrence]

    def _prune_keys(self, before: datetime, limit: int) -> int:
        old = [
            key
            for key, row in sorted(self.t.keys.items())
            if row.run not in self.t.run and row.made_at < before
        ]
        for key in old[:limit]:
            del self.t.keys[key]
        return len(old[:limit])

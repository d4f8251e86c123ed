"""The verbs of runs, in the model.

Each verb finds the run in the one place it is in, asks the table of states for the move, and
puts it into the next place. Slots of limits follow the run: `Tables.free` and `put_ready`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly.core.fleet import PRESENT, Claim, InstanceState
from duly.core.rules import (
    LIVES_ON,
    MOST_AHEAD,
    heed_cancel,
    not_before,
    reuse_of,
    wakes_after_us,
)
from duly.core.runs import (
    Answer,
    Claimed,
    Ending,
    Enqueued,
    Front,
    NewRun,
    Origin,
    Reuse,
    RunFilter,
    RunView,
)
from duly.core.states import PLACE, RUN_MOVES, Place, RunState, RunVerb, advance
from duly.core.steps import Note
from duly.errors import InvalidValue
from duly.stores.base import AT_ONCE, DEFAULT_LEASE, Signal
from duly.stores.memory.tables import NO_CODE, Ended, Held, Identity, Key, Later, Tables


class RunVerbs:
    """What `Store` says of runs, on `Tables`."""

    t: Tables

    def _now(self, now: datetime | None) -> datetime:
        raise NotImplementedError

    async def enqueue(
        self, runs: Sequence[NewRun], *, now: datetime | None = None
    ) -> list[Enqueued]:
        at = self._now(now)
        return [self.enqueue_one(run, at) for run in runs]

    async def enqueue_with(self, conn: Any, runs: Sequence[NewRun]) -> list[Enqueued]:
        raise InvalidValue.expected("conn", "absent: the memory store has no transactions", conn)

    def enqueue_one(self, new: NewRun, now: datetime) -> Enqueued:
        """One row of `enqueue`."""
        if new.id in self.t.run:
            return Enqueued(new.id, Reuse.NEW)
        if new.key is not None:
            reused = self._reuse(new.task, new.key, now)
            if reused is not None:
                return reused
            self.t.keys[new.task, new.key] = Key(new.id, now)
        self._insert(new, now)
        return Enqueued(new.id, Reuse.NEW)

    def _reuse(self, task: str, key: str, now: datetime) -> Enqueued | None:
        """Answer from the run that stands for a key, or None when a new one may take it."""
        row = self.t.keys.get((task, key))
        if row is None:
            return None
        known = row.run
        reuse = reuse_of(self.t.state_of(known) or RunState.SUCCEEDED)  # pruned: it succeeded
        if reuse is Reuse.NEW:
            return None
        if reuse is Reuse.REVIVED:
            self._revive(known, now)
        why = self.t.later[known].reason if reuse is Reuse.REFUSED else None
        return Enqueued(known, reuse, why or "")

    def _insert(self, new: NewRun, now: datetime) -> None:
        parent = None if new.parent is None else self.t.run.get(new.parent)
        if parent is not None:
            new = msgspec.structs.replace(new, tenant=parent.asked.tenant)
        self.t.run[new.id] = Identity(new, now)
        if new.origin in (Origin.CLOCK, Origin.CATCH_UP) and new.schedule and new.due:
            self.t.occurrences[new.schedule, new.due] = new.id
        if new.limit_key is not None:
            self.t.limits[new.limit_key] = new.limit
            self.t.slots.setdefault(new.limit_key, set())
        if new.run_at is not None and new.run_at > now:
            self.t.later[new.id] = Later(RunState.SCHEDULED, new.run_at, None)
            self.t.tell(Signal.DUE, new.run_at.isoformat())
        else:
            self.t.put_ready(new.id, now)

    async def claim(
        self,
        boot: UUID,
        claim: UUID,
        *,
        queues: Sequence[str],
        tasks: Sequence[str],
        limit: int,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> Claim:
        at = self._now(now)
        me = self.t.instances.get(boot)
        if me is None or me.state not in (InstanceState.LIVE, InstanceState.STOPPING):
            return Claim(alive=False)
        self.t.instances[boot] = msgspec.structs.replace(me, seen_at=at, lease_until=at + lease)
        again = [r for r, row in self.t.held.items() if (row.boot, row.claim) == (boot, claim)]
        runs = again or self._claimable(queues, tasks, at)[:limit]
        if not again:
            for run in runs:
                self._hold(run, boot, claim, at)
        runs.sort(key=lambda run: (-self.t.run[run].asked.priority, run))
        return Claim(alive=True, runs=tuple(self._claimed(run, at) for run in runs))

    def _claimable(self, queues: Sequence[str], tasks: Sequence[str], now: datetime) -> list[UUID]:
        runs = [
            run
            for run, row in self.t.ready.items()
            if row.queue in queues
            and self.t.run[run].asked.task in tasks
            and not self._overdue(run, row.epoch, now)
        ]
        return sorted(runs, key=lambda run: (-self.t.run[run].asked.priority, run))

    def _overdue(self, run: UUID, epoch: int, now: datetime) -> bool:
        expires = self.t.run[run].asked.expires_at
        return epoch == 0 and expires is not None and expires <= now

    def _hold(self, run: UUID, boot: UUID, claim: UUID, now: datetime) -> None:
        advance(RUN_MOVES, RunState.READY, RunVerb.CLAIM)
        row = self.t.ready.pop(run)
        begins = not_before(row.ready_at, now)
        self.t.held[run] = Held(boot, claim, row.epoch + 1, begins, row.failures, row.deaths)

    def _claimed(self, run: UUID, now: datetime) -> Claimed:
        row, identity = self.t.held[run], self.t.run[run]
        asked = identity.asked
        return Claimed(
            run,
            row.epoch,
            asked.task,
            asked.args,
            asked.queue,
            row.failures,
            row.deaths,
            asked.limit_key,
            asked.schedule,
            asked.due,
            asked.window_start,
            asked.origin,
            identity.enqueued_at,
            asked.parent,
            (not_before(row.claimed_at, now) - now).total_seconds(),
        )

    async def end(
        self, boot: UUID, endings: Sequence[Ending], *, now: datetime | None = None
    ) -> list[Answer]:
        at = self._now(now)
        return [self._end_one(boot, ending, at) for ending in endings]

    def _end_one(self, boot: UUID, ending: Ending, now: datetime) -> Answer:
        held = self.t.held.get(ending.run)
        if held is None or (held.boot, held.epoch) != (boot, ending.epoch):
            return Answer.ALREADY if self._ended_so(boot, ending) else Answer.STALE
        if ending.note is not None:
            self.keep_one(ending.note, now)
        ending = heed_cancel(ending, held.cancel)
        state = advance(RUN_MOVES, RunState.RUNNING, ending.verb)
        del self.t.held[ending.run]
        if PLACE[state] is Place.ENDED:
            failed = ending.verb is RunVerb.FAIL
            self.t.put_ended(
                ending.run,
                state,
                now,
                before=held,
                failures=held.failures + failed,
                result=ending.result,
                error=ending.error,
                reason=ending.reason,
            )
        else:
            self._go_on(ending, held, state, now)
        return Answer.DONE

    def _go_on(self, ending: Ending, held: Held, state: RunState, now: datetime) -> None:
        """Move a run that lives on behind this attempt."""
        detail = ending.error if ending.verb is RunVerb.RETRY else ending.reason
        self.t.note_attempt(ending.run, held, ending.verb, now, detail)
        if ending.verb is RunVerb.RELEASE:
            self.t.put_ready(ending.run, now, before=held)
            return
        wake_at = _later_by(now, wakes_after_us(ending))
        self.t.later[ending.run] = Later(
            state,
            wake_at,
            ending.reason,
            held.epoch,
            held.failures + (ending.verb is RunVerb.RETRY),
            0 if ending.verb is not RunVerb.PARK else held.deaths,
        )
        self.t.free(ending.run, now)
        if wake_at is not None:
            self.t.tell(Signal.DUE, wake_at.isoformat())
        self.await_all(ending.run, ending, now)

    def keep_one(self, note: Note, now: datetime) -> None:
        """Keep a note whose fence holds."""
        raise NotImplementedError

    def await_all(self, run: UUID, ending: Ending, now: datetime) -> None:
        """Note what a run awaits, or make it ready when that has come about."""
        raise NotImplementedError

    def _ended_so(self, boot: UUID, ending: Ending) -> bool:
        """Whether this very attempt has ended by this very verb (or as cancelled) before."""
        ended = self.t.ended.get(ending.run)
        if ended is not None and (ended.boot, ended.epoch) == (boot, ending.epoch):
            heeded = ended.state is RunState.CANCELLED and ending.verb in LIVES_ON
            return heeded or ended.state is RUN_MOVES[RunState.RUNNING].get(ending.verb)
        return any(
            (past.boot, past.epoch, past.outcome) == (boot, ending.epoch, ending.verb)
            for past in self.t.attempts.get(ending.run, ())
        )

    async def promote(
        self, limit: int = 1000, *, ahead: timedelta = AT_ONCE, now: datetime | None = None
    ) -> int:
        at = self._now(now)
        due = sorted(
            (row.wake_at, run)
            for run, row in self.t.later.items()
            if row.wake_at is not None
            and row.wake_at <= at + min(ahead, MOST_AHEAD)
            and (row.wake_at <= at or self.t.run[run].asked.limit_key is None)
        )[:limit]
        for wake_at, run in due:
            row = self.t.later.pop(run)
            advance(RUN_MOVES, row.state, RunVerb.PROMOTE)
            self.t.put_ready(run, max(at, wake_at), before=row)
        return len(due) + sum(self.t.admit_waiting(key, at) for key in sorted(self.t.limits))

    async def expire(self, limit: int = 1000, *, now: datetime | None = None) -> int:
        at = self._now(now)
        gone = [
            run
            for table in (self.t.ready, self.t.later)
            for run, row in table.items()
            if self._overdue(run, row.epoch, at) and self.t.state_of(run) is not RunState.PARKED
        ]
        for run in sorted(gone)[:limit]:
            state = self.t.state_of(run)
            assert state is not None, "a run in a table has a state"
            after = advance(RUN_MOVES, state, RunVerb.EXPIRE)
            before = self.t.ready.pop(run, None) or self.t.later.pop(run)
            self.t.put_ended(run, after, at, before=before, reason="not started in time")
        return len(gone[:limit])

    async def shelve(self, *, now: datetime | None = None) -> dict[str, int]:
        at = self._now(now)
        known = {
            task
            for one in self.t.instances.values()
            if one.state is InstanceState.LIVE and one.seen_at and one.seen_at > at - PRESENT
            for task in one.tasks
        }
        # An instance that was away too long and returned did not register again: its runs come
        # back here, or they would wait for ever.
        self.t.unshelve(known, at)
        moved: dict[str, int] = {}
        for run in sorted(self.t.ready):
            task = self.t.run[run].asked.task
            if task in known:
                continue
            advance(RUN_MOVES, RunState.READY, RunVerb.WAIT)
            row = self.t.ready.pop(run)
            self.t.later[run] = Later(
                RunState.WAITING, None, NO_CODE, row.epoch, row.failures, row.deaths
            )
            self.t.free(run, at)
            moved[task] = moved.get(task, 0) + 1
        return moved

    async def cancel(
        self, run: UUID, *, by: str, reason: str, now: datetime | None = None
    ) -> Answer:
        return self.cancel_one(run, f"{by}: {reason}", self._now(now))

    def cancel_one(self, run: UUID, why: str, now: datetime) -> Answer:
        """The body of `cancel`, for firing too."""
        state = self.t.state_of(run)
        if state is None:
            return Answer.UNKNOWN
        if state is RunState.CANCELLED:
            return Answer.ALREADY
        if state is RunState.RUNNING:
            held = self.t.held[run]
            if held.cancel is not None:
                return Answer.ALREADY
            held.cancel = why
            self.t.tell(Signal.CANCEL, str(run))
            return Answer.REQUESTED
        if PLACE[state] is Place.ENDED:
            return Answer.IMPOSSIBLE
        after = advance(RUN_MOVES, state, RunVerb.CANCEL)
        before = self.t.ready.pop(run, None) or self.t.later.pop(run)
        self.t.put_ended(run, after, now, before=before, reason=why)
        return Answer.DONE

    async def unpark(self, run: UUID, *, by: str, now: datetime | None = None) -> Answer:
        state = self.t.state_of(run)
        if state is not RunState.PARKED:
            if state is None:
                return Answer.UNKNOWN
            return Answer.IMPOSSIBLE if PLACE[state] is Place.ENDED else Answer.ALREADY
        advance(RUN_MOVES, state, RunVerb.UNPARK)
        row = self.t.later.pop(run)
        row.deaths = 0
        self.t.put_ready(run, self._now(now), before=row)
        return Answer.DONE

    async def revive(self, run: UUID, *, by: str, now: datetime | None = None) -> Answer:
        state = self.t.state_of(run)
        if state is not RunState.FAILED:
            if state is None:
                return Answer.UNKNOWN
            return Answer.IMPOSSIBLE if PLACE[state] is Place.ENDED else Answer.ALREADY
        self._revive(run, self._now(now))
        return Answer.DONE

    def _revive(self, run: UUID, now: datetime) -> None:
        advance(RUN_MOVES, RunState.FAILED, RunVerb.REVIVE)
        ended = self.t.ended.pop(run)
        if ended.boot is not None and ended.started_at is not None:
            last = Held(ended.boot, ended.boot, ended.epoch, ended.started_at)
            self.t.note_attempt(run, last, RunVerb.FAIL, ended.ended_at, ended.error)
        self.t.put_ready(run, now, before=Ended(ended.state, now, epoch=ended.epoch))

    async def run(self, run: UUID) -> RunView | None:
        if run not in self.t.run:
            return None
        return self._view(run, attempts=True)

    async def runs(self, where: RunFilter) -> list[RunView]:
        found: list[RunView] = []
        for run in sorted(self.t.run, reverse=True):
            asked = self.t.run[run].asked
            if (
                where.state in (None, self.t.state_of(run))
                and where.task in (None, asked.task)
                and where.schedule in (None, asked.schedule)
                and where.queue in (None, asked.queue)
                and where.tenant in (None, asked.tenant)
                and (where.before is None or run < where.before)
            ):
                found.append(self._view(run, attempts=False))
        return found[: where.limit]

    async def counts(self) -> dict[str, int]:
        counted: dict[str, int] = {}
        for run in self.t.run:
            state = self.t.state_of(run)
            if state is not None:
                counted[state.value] = counted.get(state.value, 0) + 1
        return counted

    async def queues(self) -> dict[str, dict[str, int]]:
        counted: dict[str, dict[str, int]] = {}
        standing = [(row.queue, "ready") for row in self.t.ready.values()]
        standing += [(self.t.run[run].asked.queue, "running") for run in self.t.held]
        standing += [(self.t.run[run].asked.queue, "later") for run in self.t.later]
        for queue, place in standing:
            of_queue = counted.setdefault(queue, {"ready": 0, "running": 0, "later": 0})
            of_queue[place] += 1
        return counted

    async def fronts(self) -> list[Front]:
        oldest = {row.queue: run for run, row in sorted(self.t.ready.items(), reverse=True)}
        held = {self.t.run[run].asked.queue for run in self.t.held}
        return [
            Front(queue, run, asked.task, asked.schedule, queue in held)
            for queue, run in sorted(oldest.items())
            for asked in [self.t.run[run].asked]
        ]

    def _view(self, run: UUID, *, attempts: bool) -> RunView:
        identity, state = self.t.run[run], self.t.state_of(run)
        assert state is not None, "a run with an identity is somewhere"
        asked = identity.asked
        return RunView(
            id=run,
            task=asked.task,
            queue=asked.queue,
            priority=asked.priority,
            args=asked.args,
            origin=asked.origin,
            key=asked.key,
            schedule=asked.schedule,
            due=asked.due,
            window_start=asked.window_start,
            enqueued_at=identity.enqueued_at,
            limit_key=asked.limit_key,
            asked_by=asked.asked_by,
            parent=asked.parent,
            tenant=asked.tenant,
            progress=self.t.progress.get(run),
            state=state,
            attempts=tuple(self.t.attempts.get(run, ())) if attempts else (),
            **self._standing(run),
        )

    def _standing(self, run: UUID) -> dict[str, Any]:
        """The part of a view that depends on the place."""
        row = self.t.ready.get(run) or self.t.later.get(run) or self.t.held.get(run)
        shown: dict[str, Any]
        if isinstance(row, Held):
            shown = {"boot": row.boot, "started_at": row.claimed_at, "cancel_requested": row.cancel}
        elif isinstance(row, Later):
            shown = {"reason": row.reason, "wake_at": row.wake_at}
        elif row is not None:
            shown = {}
        else:
            return self._ended_standing(self.t.ended[run])
        return shown | {"epoch": row.epoch, "failures": row.failures, "deaths": row.deaths}

    @staticmethod
    def _ended_standing(row: Ended) -> dict[str, Any]:
        shown = msgspec.structs.asdict(row)
        del shown["state"]
        return shown


def _later_by(now: datetime, delay_us: int | None) -> datetime | None:
    return None if delay_us is None else now + timedelta(microseconds=delay_us)

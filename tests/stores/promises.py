"""What must hold in the model after every verb: the promises, told apart from any verb.

These are the properties of `docs/design.md` as sums over all rows: an occurrence fires once for
ever (P1), every occurrence has one verdict or lies in a backlog (P2), windows chain, a run is in
one place, limits hold and slots belong to somebody (P11), marks never go back.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from duly.core.effects import UNCERTAIN as DOUBTED
from duly.core.effects import Address, Effect
from duly.core.instants import trigger_of
from duly.core.runs import NewRun, Origin
from duly.core.schedules import Backlog, ScheduleRow
from duly.core.states import EffectState, EffectVerb, ScheduleState
from duly.core.steps import of_event
from duly.core.triggers import occurrences_between
from duly.core.verdicts import UNCOUNTED, Verdict, VerdictRange
from duly.stores.memory import MemoryStore

UNCERTAIN, DONE = EffectState.UNCERTAIN, EffectState.DONE
CLOCK = (Origin.CLOCK, Origin.CATCH_UP)
LISTED = 5_000  # occurrences of one turn that are still looked at one by one


class Promises:
    """Watches one model from its first row on; `check` fails at the first broken promise."""

    def __init__(self, model: MemoryStore) -> None:
        self._t = model.t
        self._fired: dict[tuple[str, datetime], UUID] = {}
        self._owed: dict[str, set[datetime]] = {}
        self._seen: dict[str, ScheduleRow] = {}
        self._limits: dict[str, int] = {}
        self._effects: dict[Address, Effect] = {}

    def heard(self, verb: str, answer: Any) -> None:
        """Note what a verb answered."""
        if verb == "fire":
            assert len({run for _, _, run in answer.fired}) == len(answer.fired)

    def check(self) -> None:
        """Hold everything against the rows as they stand."""
        self._places()
        self._limits_hold()
        for run in self._t.run.values():
            self._once(run.asked)
        for row in self._t.schedules.values():
            self._schedule(row)
        self._seen = dict(self._t.schedules)
        self._what_lasts()
        for address, effect in self._effects.items():
            self._one_performance(effect, self._t.effects.get(address))
        self._effects = dict(self._t.effects)

    def _places(self) -> None:
        tables = (self._t.ready, self._t.held, self._t.later, self._t.ended)
        standing = [run for table in tables for run in table]
        assert len(standing) == len(set(standing)), "a run is in two places"
        assert set(standing) == set(self._t.run), "a run is nowhere, or without identity"
        assert set(self._t.attempts) <= set(self._t.run), "attempts without a run"

    def _limits_hold(self) -> None:
        owned = {run for held in self._t.slots.values() for run in held}
        admitted = {
            run
            for table in (self._t.ready, self._t.held)
            for run in table
            if self._t.run[run].asked.limit_key is not None
        }
        assert owned == admitted, "a slot without a run at work, or a run without its slot"
        for run in self._t.run.values():  # a batch may ask for several limits under one key
            key, limit = run.asked.limit_key or "", run.asked.limit
            self._limits[key] = max(limit, self._limits.get(key, 0))
        for key, held in self._t.slots.items():
            most = max(self._t.limits[key], self._limits.get(key, 0))
            assert len(held) <= most, f"limit {key} was passed"
            self._limits[key] = most

    def _what_lasts(self) -> None:
        kept = {**self._t.steps, **self._t.progress, **self._t.awaits}
        assert set(kept) <= set(self._t.run), "something is kept of a run that is forgotten"
        awaited = {one.event for awaits in self._t.awaits.values() for one in awaits}
        missed = awaited & {of_event(name) for name in self._t.events}
        assert not missed, f"somebody still awaits what happened: {missed}"
        doubts = {str(a) for a, row in self._t.effects.items() if row.state is UNCERTAIN}
        told = {
            one.subject
            for one in self._t.incidents
            if one.kind == DOUBTED and one.closed_at is None
        }
        assert doubts == told, "a doubt without its incident, or an incident without its doubt"

    def _one_performance(self, before: Effect, after: Effect | None) -> None:
        """An effect is open to another intent only by a word that it was not performed."""
        if before.state is DONE:
            assert after is None or (after.state, after.intent) == (DONE, before.intent)
            assert after is None or before.receipt in (None, after.receipt), "a receipt was lost"
        elif after is None or after.intent != before.intent:
            words = {
                one.verb
                for one in self._t.audit
                if (one.address, one.intent) == (before.address, before.intent)
            }
            assert words & {EffectVerb.WITHDRAW, EffectVerb.CLEAR}, "sent again by guess"

    def _once(self, asked: NewRun) -> None:
        if asked.origin not in CLOCK or asked.schedule is None or asked.due is None:
            return
        first = self._fired.setdefault((asked.schedule, asked.due), asked.id)
        assert first == asked.id, f"{asked.schedule} fired twice for {asked.due}"

    def _schedule(self, row: ScheduleRow) -> None:
        before = self._seen.get(row.name)
        if before is not None:
            assert row.fired_through >= before.fired_through, "a mark went back"
            self._owe(before, row.fired_through)
        backlogs = [one for one in self._t.backlogs.values() if one.schedule == row.name]
        ranges = self._ranges(row, backlogs)
        for one, after in pairwise(ranges):
            assert one.last < after.first, f"verdicts of {row.name} overlap"
        self._verdicts_cover(row.name, ranges, backlogs)
        assert (row.next_fire is None) or row.state is ScheduleState.ACTIVE

    def _ranges(self, row: ScheduleRow, backlogs: list[Backlog]) -> list[VerdictRange]:
        found = [*self._t.verdicts.get(row.name, ())]
        growing = [row.open_range, *(one.open_range for one in backlogs)]
        found += [one for one in growing if one is not None]
        return sorted(found, key=lambda one: one.first)

    def _owe(self, before: ScheduleRow, through: datetime) -> None:
        """Note which occurrences came due under the row as it was."""
        owed = self._owed.setdefault(before.name, set())
        if through > before.fired_through:
            trigger = trigger_of(before.definition)
            owed.update(occurrences_between(trigger, before.fired_through, through, limit=LISTED))

    def _verdicts_cover(
        self, name: str, ranges: list[VerdictRange], backlogs: list[Backlog]
    ) -> None:
        owed = sorted(self._owed.get(name, ()))
        if not owed or len(owed) > LISTED:
            return
        waiting = {
            due for one in backlogs for due in owed if one.after < due <= one.until
        }  # fmt: skip
        for one in ranges:
            inside = [due for due in owed if one.first <= due <= one.last]
            assert not waiting & set(inside), "an occurrence is judged and still waits"
            assert one.count in (len(inside), UNCOUNTED), f"{name}: {one} holds {len(inside)}"
            if one.verdict is Verdict.FIRED and one.reason != "caught up in one run":
                unfired = [due for due in inside if (name, due) not in self._fired]
                assert not unfired, f"{name}: said to be fired, without a run: {unfired[:3]}"
            owed = [due for due in owed if not one.first <= due <= one.last]
        assert set(owed) == waiting, f"{name}: no verdict for {sorted(set(owed) - waiting)[:3]}"

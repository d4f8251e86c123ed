"""The agreement machine: the model and another store, the same verbs in any order, resent at will.

After every verb the answers and all rows must be equal. Every verb may be sent again at once with
the same arguments and ids, and the second answers must agree too. Fences that no longer hold and
boots of others are drawn as readily as true ones. Beside agreement the machine holds the model to
its promises (`promises.py`), so that two stores cannot agree on something wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import initialize, multiple, rule

from duly.core.fleet import Incident, InstanceState, Proof
from duly.core.logs import AttemptLog
from duly.core.runs import SUSPECT_QUEUE, NewRun, RunFilter
from duly.core.schedules import Definition, ScheduleFilter
from duly.core.states import RunState, RunVerb, ScheduleVerb
from duly.errors import DulyBug, UnknownName
from duly.stores.base import Retention
from duly.stores.memory import MemoryStore
from tests.stores import drawn
from tests.stores.drawn import Attempted, again, boots, claim_ids, claims, runs
from tests.stores.machine_breakers import BreakerRules
from tests.stores.machine_lasting import LastingRules
from tests.stores.promises import Promises
from tests.stores.world import T0, ident, instance

SAME_TWICE = frozenset(
    "register renew leave take_over come_back enqueue end cancel unpark revive declare edit"
    " give_back move orphan open_incident close_incident keep emit log fork outgoing relayed prove"
    " breaker_calls breaker_tell breaker_move"
    " acknowledge outlook draw_up arrived"
    " add_key use_key revoke_key note_change settle_change".split()
)
"""Verbs whose second sending must leave every row as the first did."""


class Agreement(LastingRules, BreakerRules):
    """Two stores in step. Subclasses say how the other one is made."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.model = MemoryStore(lambda: self.now)
        self.promises = Promises(self.model)
        self.turns = asyncio.Runner()
        self.real = self.turns.run(self.make())
        self._made = 0

    async def make(self) -> Any:
        """Return the other store, migrated, open and empty."""
        raise NotImplementedError

    async def unmake(self) -> None:
        """Give the other store back."""
        await self.real.close()

    def teardown(self) -> None:
        self.turns.run(self.unmake())
        self.turns.close()

    # --- how a verb is sent ---------------------------------------------------------------

    def send(self, verb: str, resend: bool, *args: Any, **how: Any) -> Any:
        """Send a verb to both, once or twice; hold that they agree; return the first answer."""
        start = self._made = self._made + 1000
        first = self._both(verb, start, *args, **how)
        if resend:
            before = self.model.t.snapshot()
            # Firing again is a new turn, which makes ids of its own for what it still finds.
            self._both(verb, start + 500 if verb == "fire" else start, *args, **how)
            if verb in SAME_TWICE:
                assert self.model.t.snapshot() == before, f"{verb} resent changed something"
        rows = self.model.t.snapshot()
        _same_rows(rows, self.turns.run(self.real.snapshot()), verb)
        self.promises.check()
        return first

    def _both(self, verb: str, start: int, *args: Any, **how: Any) -> Any:
        answers = []
        for store in (self.model, self.real):
            ids = {"new_id": _ids(start).__next__} if verb in _WITH_IDS else {}
            answers.append(self.turns.run(_ask(store, verb, args, {**how, **ids, "now": self.now})))
        assert answers[1] == answers[0], f"{verb}: the model says {answers[0]}"
        self.promises.heard(verb, answers[0])
        return answers[0]

    def look(self, verb: str, *args: Any, **how: Any) -> Any:
        """Read from both and hold that they see the same."""
        seen = [self.turns.run(getattr(one, verb)(*args, **how)) for one in (self.model, self.real)]
        assert seen[1] == seen[0], f"{verb}: the model sees {seen[0]}"
        return seen[0]

    def new_id(self) -> UUID:
        self._made += 1
        return ident(self._made)

    # --- the fleet ------------------------------------------------------------------------

    @initialize(
        target=boots,
        asked=st.lists(drawn.runs_asked, min_size=2, max_size=4),
        wanted=st.lists(drawn.definitions(), min_size=1, max_size=2),
    )
    def begin(self, asked: list[dict[str, Any]], wanted: list[Definition]) -> Any:
        """A story begins with something to do, somebody to do it, and schedules."""
        known = [self.new_id() for _ in range(2)]
        for boot in known:
            self.send("register", False, instance(boot, drawn.TASKS), {})
        self.send("enqueue", False, [self._run(one) for one in asked])
        distinct = {one.name: one for one in wanted}
        self.send("declare", False, known[0], "app", list(distinct.values()))
        return multiple(*known, self.new_id())

    @rule(stride=drawn.strides)
    def turn(self, stride: timedelta) -> None:
        self.now += stride

    @rule(target=boots, tasks=drawn.instance_tasks, carried=st.lists(drawn.definitions()))
    def register(self, tasks: tuple[str, ...], carried: list[Definition]) -> UUID:
        boot = self.new_id()
        carries = {one.name: one.digest() for one in carried}
        self.send("register", True, instance(boot, tasks), carries)
        return boot

    @rule(boot=boots, tasks=drawn.instance_tasks)
    def register_again(self, boot: UUID, tasks: tuple[str, ...]) -> None:
        self.send("register", False, instance(boot, tasks), {})

    @rule(boot=boots, tick=drawn.ticks, queues=drawn.claim_queues, resend=again)
    def beat(self, boot: UUID, tick: timedelta, queues: tuple[str, ...], resend: bool) -> None:
        self.now += tick
        self.send("beat", resend, boot, queues=queues, tasks=drawn.TASKS)

    @rule(
        boot=boots,
        notes=st.lists(claims, max_size=4),
        pending=st.lists(claim_ids, max_size=2),
        knows_all=st.booleans(),
        resend=again,
    )
    def renew(
        self,
        boot: UUID,
        notes: list[Attempted],
        pending: list[UUID],
        knows_all: bool,
        resend: bool,
    ) -> None:
        held = {(one.id, one.epoch) for _, one in notes}
        if knows_all:
            held |= {(i, row.epoch) for i, row in self.model.t.held.items() if row.boot == boot}
        self.send("renew", resend, boot, sorted(held), pending)

    @rule(boot=boots, resend=again)
    def leave(self, boot: UUID, resend: bool) -> None:
        self.send("leave", resend, boot)

    @rule(
        boot=boots,
        proof=st.sampled_from(Proof),
        cause=st.sampled_from(["", "killed"]),
        tick=drawn.ticks,
        resend=again,
    )
    def take_over(
        self, boot: UUID, proof: Proof, cause: str, tick: timedelta, resend: bool
    ) -> None:
        self.now += tick
        if proof is Proof.LEASE and (me := self.model.t.instances.get(boot)) is not None:
            proof = Proof.LEASE if me.lease_until else Proof.SESSION
        self.send("take_over", resend, boot, proof, cause=cause)

    @rule(target=boots, times=st.integers(1, 4), tick=drawn.ticks)
    def die_in_a_row(self, times: int, tick: timedelta) -> Any:
        """Instances come, take everything, suspects too, and die: the way to poison."""
        self.now += tick
        born = [self.new_id() for _ in range(times)]
        how = {"queues": (*drawn.QUEUES, SUSPECT_QUEUE), "tasks": drawn.TASKS, "limit": 3}
        for boot in born:
            self.send("register", False, instance(boot, drawn.TASKS), {})
            self.send("claim", False, boot, self.new_id(), **how)
            self.send("take_over", False, boot, Proof.PROCESS)
        return multiple(*born)

    @rule(boot=boots, resend=again)
    def come_back(self, boot: UUID, resend: bool) -> None:
        self.send("come_back", resend, boot)

    # --- runs -----------------------------------------------------------------------------

    @rule(
        target=runs,
        asked=st.lists(drawn.runs_asked, min_size=1, max_size=4),
        tick=drawn.ticks,
        resend=again,
    )
    def enqueue(self, asked: list[dict[str, Any]], tick: timedelta, resend: bool) -> Any:
        self.now += tick
        wanted = [self._run(one) for one in asked]
        answers = self.send("enqueue", resend, wanted)
        return multiple(*(one.run for one in answers))

    def _run(self, asked: dict[str, Any]) -> NewRun:
        return drawn.run_of(asked, self.new_id(), self.now, self.parent_of(asked["parent"]))

    @rule(
        target=claims,
        boot=boots,
        queues=drawn.claim_queues,
        tasks=drawn.claim_tasks,
        limit=st.integers(1, 5),
        resend=again,
    )
    def claim(
        self, boot: UUID, queues: tuple[str, ...], tasks: tuple[str, ...], limit: int, resend: bool
    ) -> Any:
        how = {"queues": queues, "tasks": tasks, "limit": limit}
        claimed = self.send("claim", resend, boot, self.new_id(), **how)
        return multiple(*((boot, one) for one in claimed.runs))

    @rule(target=claims, pick=st.integers(0, 100), limit=st.integers(1, 5), resend=again)
    def claim_by_the_living(self, pick: int, limit: int, resend: bool) -> Any:
        """Claim everything claimable by a boot that may."""
        known = self.model.t.instances.items()
        living = sorted(boot for boot, one in known if one.state is InstanceState.LIVE)
        if not living:
            return multiple()
        how = {"queues": drawn.QUEUES, "tasks": drawn.TASKS, "limit": limit}
        boot = living[pick % len(living)]
        claimed = self.send("claim", resend, boot, self.new_id(), **how)
        return multiple(*((boot, one) for one in claimed.runs))

    @rule(target=claim_ids, boot=boots)
    def claim_for_nobody(self, boot: UUID) -> UUID:
        """A claim whose answer is lost: memory does not know what it took."""
        claim = self.new_id()
        how = {"queues": drawn.QUEUES, "tasks": drawn.TASKS, "limit": 2}
        self.send("claim", False, boot, claim, **how)
        return claim

    @rule(boot=boots, claim=claim_ids, limit=st.integers(1, 3))
    def claim_again_late(self, boot: UUID, claim: UUID, limit: int) -> None:
        how = {"queues": drawn.QUEUES, "tasks": drawn.TASKS, "limit": limit}
        self.send("claim", True, boot, claim, **how)

    @rule(
        verbs=st.lists(drawn.ending_verbs, min_size=1, max_size=4),
        delay=st.sampled_from([0, 1, 5_000_000]),
        text=st.booleans(),
        tick=drawn.ticks,
        resend=again,
    )
    def end_held(
        self, verbs: list[RunVerb], delay: int, text: bool, tick: timedelta, resend: bool
    ) -> None:
        """End what a boot really holds, several at once."""
        self.now += tick
        held = sorted((row.boot, run, row.epoch) for run, row in self.model.t.held.items())
        if held:
            boot = held[0][0]
            mine = [(run, epoch) for holder, run, epoch in held if holder == boot]
            endings = [
                self.ending(run, epoch, verb, drawn.ending_parts(verb, delay, text))
                for (run, epoch), verb in zip(mine, verbs, strict=False)
            ]
            # As an instance does: what the attempts logged goes first.
            logs = [
                AttemptLog(run=run, epoch=epoch, told=delay, lines=b"[]") for run, epoch in mine
            ]
            self.send("log", resend, logs)
            self.send("end", resend, boot, endings)

    @rule(boot=boots, attempt=claims, verb=drawn.ending_verbs, own=st.booleans(), resend=again)
    def end_any(
        self, boot: UUID, attempt: Attempted, verb: RunVerb, own: bool, resend: bool
    ) -> None:
        """End an attempt of any age, by its own boot or a foreign one."""
        holder, claimed = attempt
        parts = drawn.ending_parts(verb, 1_000_000, True)
        ending = self.ending(claimed.id, claimed.epoch, verb, parts)
        self.send("end", resend, holder if own else boot, [ending])

    @rule(
        boot=boots,
        pick=st.integers(0, 100),
        verb=drawn.ending_verbs,
        off=st.sampled_from([-1, 0, 0, 1]),
        resend=again,
    )
    def end_with_a_wrong_fence(
        self, boot: UUID, pick: int, verb: RunVerb, off: int, resend: bool
    ) -> None:
        """End what somebody holds now, as somebody else or under another epoch."""
        held = sorted(self.model.t.held.items())
        if held:
            run, row = held[pick % len(held)]
            parts = drawn.ending_parts(verb, 1_000_000, True)
            ending = self.ending(run, row.epoch + off, verb, parts)
            self.send("end", resend, boot if off == 0 else row.boot, [ending])

    @rule(verb=st.sampled_from(["cancel", "unpark", "revive"]), run=runs, resend=again)
    def ask(self, verb: str, run: UUID, resend: bool) -> None:
        how = {"by": "bob"} | ({"reason": "no"} if verb == "cancel" else {})
        self.send(verb, resend, run, **how)

    @rule(pick=st.integers(0, 1000), verb=st.sampled_from(["cancel", "unpark", "revive"]))
    def ask_fitting(self, pick: int, verb: str) -> None:
        """Ask for a move of a run in a state where it is possible, fired ones included."""
        state = {"unpark": RunState.PARKED, "revive": RunState.FAILED}.get(verb)
        fitting = [one for one in sorted(self.model.t.run) if self._stands(one, state)]
        if fitting:
            self.ask(verb, fitting[pick % len(fitting)], True)

    def _stands(self, run: UUID, state: RunState | None) -> bool:
        found = self.model.t.state_of(run)
        return found is state if state else run not in self.model.t.ended

    @rule(verb=st.sampled_from(["promote", "expire", "shelve"]), tick=drawn.ticks, resend=again)
    def keep_moving(self, verb: str, tick: timedelta, resend: bool) -> None:
        self.now += tick
        self.send(verb, resend)

    @rule(limit=st.integers(1, 2), ahead=drawn.aheads, tick=drawn.ticks)
    def promote_some(self, limit: int, ahead: timedelta, tick: timedelta) -> None:
        self.now += tick
        self.send("promote", True, limit, ahead=ahead)

    # --- schedules ------------------------------------------------------------------------

    @rule(boot=boots, wanted=st.lists(drawn.definitions(), min_size=1, max_size=2), resend=again)
    def declare(self, boot: UUID, wanted: list[Definition], resend: bool) -> None:
        distinct = {one.name: one for one in wanted}
        self.send("declare", resend, boot, "app", list(distinct.values()))

    @rule(boot=boots, pick=st.integers(0, 10), tick=drawn.ticks)
    def declare_what_holds(self, boot: UUID, pick: int, tick: timedelta) -> None:
        self.now += tick
        rows = sorted(self.model.t.schedules.items())
        if rows:
            self.send("declare", True, boot, "app", [rows[pick % len(rows)][1].definition])

    @rule(wanted=drawn.definitions(), fresh=st.booleans(), resend=again)
    def edit(self, wanted: Definition, fresh: bool, resend: bool) -> None:
        row = self.model.t.schedules.get(wanted.name)
        revision = 1 if not fresh else 0 if row is None else row.revision
        self.send("edit", resend, wanted, by="bob", reason="so", revision=revision)

    @rule(name=drawn.names, resend=again)
    def give_back(self, name: str, resend: bool) -> None:
        self.send("give_back", resend, name, by="bob")

    @rule(name=drawn.names, verb=drawn.schedule_verbs, tick=drawn.ticks, resend=again)
    def move(self, name: str, verb: ScheduleVerb, tick: timedelta, resend: bool) -> None:
        self.now += tick
        self.send("move", resend, name, verb, by="bob", reason="so")

    @rule(limit=st.sampled_from([200, 200, 1]), tick=drawn.ticks, resend=again)
    def fire(self, limit: int, tick: timedelta, resend: bool) -> None:
        self.now += tick
        self.send("fire", resend, limit=limit)

    @rule(stride=drawn.strides, times=st.integers(1, 3), resend=again)
    def fire_late(self, stride: timedelta, times: int, resend: bool) -> None:
        """Nobody fired for long; then somebody does, and drains a while."""
        self.now += stride
        for _ in range(times):
            self.send("fire", resend)
            self.now += timedelta(seconds=20)

    @rule(tick=drawn.ticks, resend=again)
    def orphan(self, tick: timedelta, resend: bool) -> None:
        self.now += tick
        self.send("orphan", resend, timedelta(minutes=10))

    # --- people and housekeeping ----------------------------------------------------------

    @rule(
        open_it=st.booleans(),
        case=st.tuples(st.sampled_from("xy"), st.sampled_from("ab")),
        named=st.sets(st.sampled_from(["run", "boot", "schedule"])),
        run=runs,
        boot=boots,
    )
    def incident(
        self, open_it: bool, case: tuple[str, str], named: set[str], run: UUID, boot: UUID
    ) -> None:
        """One that names no owner is of whatever else it names."""
        kind, subject = case
        if open_it:
            said = {"run": str(run), "boot": str(boot), "schedule": "s1"}
            said = {key: value for key, value in said.items() if key in named}
            one = Incident(kind=kind, subject=subject, severity="info", summary="so", evidence=said)
            self.send("open_incident", True, one)
        else:
            self.send("close_incident", True, kind, subject, note=subject.replace("a", ""))

    @rule(keep=drawn.retentions)
    def prune(self, keep: Retention) -> None:
        self.send("prune", True, keep)

    @rule(run=runs, state=st.sampled_from([None, *RunState]), task=st.sampled_from([None, "t"]))
    def see(self, run: UUID, state: RunState | None, task: str | None) -> None:
        """Every reading verb shows the same."""
        self.look("run", run)
        self.look("runs", RunFilter(state=state, task=task, limit=10))
        self.look("runs", RunFilter(schedule="s1", before=run))
        self.look("runs", RunFilter(tenant="acme", limit=5))
        self.look("schedules", ScheduleFilter(tenant="acme"))
        self.look("counts")
        self.look("instances")
        self.look("instances", here=True)
        self.look("incidents", only_open=state is None)
        self.look("lapsed", now=self.now)
        self.look("schedules")
        for name in ("s1", "nobody"):
            self.look("schedule", name)
            self.look("backlogs", name)
            self.look("verdicts", name)
            self.look("verdicts", name, after=T0, until=self.now)


_WITH_IDS = frozenset({"declare", "edit", "move", "fire"})


def _ids(start: int) -> Iterator[UUID]:
    return (ident(number) for number in count(start + 1))


async def _ask(store: Any, verb: str, args: tuple[Any, ...], how: dict[str, Any]) -> Any:
    """Send a verb; a bug that a store finds in itself is an answer to compare, and a failure."""
    try:
        return await getattr(store, verb)(*args, **how)
    except UnknownName as unknown:
        return str(unknown)
    except DulyBug as bug:
        raise AssertionError(f"{store.name}: {verb} found a bug: {bug}") from bug


def _same_rows(model: dict[str, Any], real: dict[str, Any], verb: str) -> None:
    for kind in sorted(model.keys() | real.keys()):
        assert real.get(kind) == model.get(kind), f"after {verb}: {kind} of both differ"

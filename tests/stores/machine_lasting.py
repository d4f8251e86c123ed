"""The agreement machine's rules for what outlasts an attempt: notes, waits, messages, effects.

They draw from what the model holds at the moment as readily as from what it never knew: true
fences and foreign ones, intents of today and of long ago, events that came first and last.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, multiple, rule

from duly.core.effects import (
    Address,
    Author,
    Confirm,
    Doubt,
    EffectFilter,
    Entry,
    Intend,
    Resolve,
    Withdraw,
)
from duly.core.fleet import Proof
from duly.core.outbox import Message
from duly.core.runs import Ending, NewRun, Origin
from duly.core.states import EffectState, RunVerb
from duly.core.steps import Await, Event, Note, Step, of_effect, of_event, of_run
from duly.stores.base import Retention
from duly.stores.memory import MemoryStore
from tests.stores import drawn
from tests.stores.drawn import Attempted, Drawn, again, boots, claims, runs
from tests.stores.world import HOUR, instance


class LastingRules(RuleBasedStateMachine):
    """Rules on two stores in step; `Agreement` says how a verb is sent to both."""

    model: MemoryStore
    now: Any

    def send(self, verb: str, resend: bool, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    def look(self, verb: str, *args: Any, **how: Any) -> Any:
        raise NotImplementedError

    def new_id(self) -> UUID:
        raise NotImplementedError

    # --- from what was drawn ----------------------------------------------------------------

    def parent_of(self, pick: int | None) -> UUID | None:
        """A run that may be a parent."""
        known = sorted(self.model.t.run)
        return known[pick % len(known)] if known and pick is not None else None

    def ending(self, run: UUID, epoch: int, verb: RunVerb, parts: Drawn) -> Ending:
        """An ending as an engine sends it, which knows the parent of what it claimed."""
        known = self.model.t.run.get(run)
        parent = None if known is None else known.asked.parent
        return Ending(run=run, epoch=epoch, verb=verb, parent=parent, **parts)

    def _note(self, run: UUID, epoch: int, parts: Drawn) -> Note:
        children = [
            drawn.run_of(
                one | {"origin": Origin.CHILD},
                self.new_id(),
                self.now,
                run,
            )
            for one in parts["runs"]
        ]
        messages = [
            Message(id=self.new_id(), topic=topic, body=b"1", run=run, key=topic)
            for topic in parts["topics"]
        ]
        return Note(
            run=run,
            epoch=epoch,
            steps=tuple(Step(**one) for one in parts["steps"]),
            messages=tuple(messages),
            runs=tuple(children),
            progress=parts["progress"],
        )

    def _awaits(
        self, awaited: list[Drawn], held: list[tuple[UUID, UUID, int]]
    ) -> tuple[Await, ...]:
        """What was drawn, as it can be awaited: mostly what has not come about yet."""
        chosen = []
        for one in awaited:
            match one["kind"]:
                case "event":
                    fresh = [name for name in drawn.EVENTS if name not in self.model.t.events]
                    names = fresh if fresh and one["pick"] % 5 else drawn.EVENTS
                    event = of_event(names[one["pick"] % len(names)])
                case "run":
                    known = self._live_children() or [self._child(held[0][1])]
                    event = of_run(known[one["pick"] % len(known)])
                case _:
                    event = of_effect(str(self._unsettled(held[0], one["pick"])))
            chosen.append(Await(event, one["group"]))
        return tuple(dict.fromkeys(chosen))

    def _child(self, parent: UUID) -> UUID:
        run = NewRun(id=self.new_id(), task="u", parent=parent, origin=Origin.CHILD)
        self.send("enqueue", False, [run])
        return run.id

    def _unsettled(self, held: tuple[UUID, UUID, int], pick: int) -> Address:
        """An effect that is on its way or in doubt; one is intended if there is none."""
        open_ones = [
            address
            for address, row in sorted(self.model.t.effects.items())
            if row.state is not EffectState.DONE
        ]
        address = (open_ones or drawn.ADDRESSES)[pick % len(open_ones or drawn.ADDRESSES)]
        if not open_ones:
            boot, run, epoch = held
            times = {"deadline": HOUR, "keep": HOUR}
            author, intent = Author(run, boot, epoch), self.new_id()
            entry = Intend(address=address, author=author, intent=intent, **times)
            doubt = [Doubt(address=address, intent=intent, why="hm")] if pick % 2 else []
            self.send("post", False, [entry, *doubt])
        return address

    def _live_children(self) -> list[UUID]:
        known = sorted(self.model.t.run.items())
        return [run for run, one in known if one.asked.parent and run not in self.model.t.ended]

    def hands(self, pick: int) -> list[tuple[UUID, UUID, int]]:
        """All that one of the holding boots has in its hands; somebody works if nobody does."""
        if not self._held():
            boot, work = (
                self.new_id(),
                [NewRun(id=self.new_id(), task="t", priority=9) for _ in "ab"],
            )
            self.send("register", False, instance(boot, drawn.TASKS), {})
            self.send("enqueue", False, work)
            how = {"queues": drawn.QUEUES, "tasks": drawn.TASKS, "limit": 3}
            self.send("claim", False, boot, self.new_id(), **how)
        held = self._held()
        return [one for one in held if one[0] == held[pick % len(held)][0]]

    def _held(self) -> list[tuple[UUID, UUID, int]]:
        return sorted((row.boot, run, row.epoch) for run, row in self.model.t.held.items())

    # --- notes and waits ----------------------------------------------------------------------

    @rule(
        parts=st.lists(drawn.notes, min_size=1, max_size=3),
        pick=st.integers(0, 9),
        stale=st.sampled_from((0, 0, 0, 1)),
        resend=again,
    )
    def keep(self, parts: list[Drawn], pick: int, stale: int, resend: bool) -> None:
        """Keep notes of what a boot holds; more notes than runs are about the same ones again.

        Now and then they are of the attempt before, as those of a process that stood still.
        """
        held = self.hands(pick)
        if held:
            boot, all_of = held[0][0], [(run, epoch - stale) for _, run, epoch in held]
            notes = [self._note(*all_of[i % len(held)], parts=one) for i, one in enumerate(parts)]
            self.send("keep", resend, boot, notes)

    @rule(boot=boots, attempt=claims, parts=drawn.notes, own=st.booleans(), resend=again)
    def keep_any(
        self, boot: UUID, attempt: Attempted, parts: Drawn, own: bool, resend: bool
    ) -> None:
        """Keep a note of an attempt of any age, by its own boot or a foreign one."""
        holder, claimed = attempt
        notes = [self._note(claimed.id, claimed.epoch, parts)]
        self.send("keep", resend, holder if own else boot, notes)

    @rule(
        verbs=st.lists(drawn.ending_verbs, min_size=1, max_size=3),
        parts=st.none() | drawn.notes,
        pick=st.integers(0, 9),
        tick=drawn.ticks,
        resend=again,
    )
    def end_with_a_note(
        self, verbs: list[RunVerb], parts: Drawn | None, pick: int, tick: timedelta, resend: bool
    ) -> None:
        """End what a boot holds; the first with a note, the others without."""
        self.now += tick
        endings, held = list[Ending](), self.hands(pick)
        for (_, run, epoch), verb in zip(held, verbs, strict=False):
            more = dict(drawn.ending_parts(verb, 1_000_000, True))
            if parts is not None and not endings:
                more["note"] = self._note(run, epoch, parts)
            endings.append(self.ending(run, epoch, verb, more))
        self.send("end", resend, held[0][0], endings)

    @rule(
        verbs=st.lists(st.sampled_from([RunVerb.WAIT, RunVerb.PARK, RunVerb.WAIT, RunVerb.RETRY]),
                       min_size=1, max_size=3),
        awaited=st.lists(drawn.awaited, min_size=1, max_size=3),
        reason=drawn.park_reasons,
        delay=st.sampled_from([None, None, 5_000_000]),
        pick=st.integers(0, 9),
        then=st.sampled_from(["emit", "post", "cancel", "sweep", None]),
        resend=again,
    )  # fmt: skip
    def wait(
        self,
        verbs: list[RunVerb],
        awaited: list[Drawn],
        reason: str | None,
        delay: int | None,
        pick: int,
        then: str | None,
        resend: bool,
    ) -> None:
        """Let runs wait for what may have come about, some in one batch with what ends."""
        held = self.hands(pick)
        awaits = self._awaits(awaited, held)
        parts = {"awaits": awaits, "reason": reason, "delay_us": delay}
        endings = [
            self.ending(run, epoch, verb, parts)
            for (_, run, epoch), verb in zip(held, verbs, strict=False)
        ]
        endings += [
            self.ending(run, epoch, RunVerb.COMPLETE, {}) for _, run, epoch in held[len(verbs) :]
        ]
        self.send("end", resend, held[0][0], endings)
        for one in awaits if then else ():
            self._bring_about(one.event, then, resend)

    def _bring_about(self, awaited: str, how: str | None, resend: bool) -> None:
        """Let what is awaited come about, or let the sweep look for it."""
        kind, _, what = awaited.partition(":")
        if how == "emit" and kind == "event":
            self.send("emit", resend, Event(name=what, body=b"1", by="bob"))
        elif how == "cancel" and kind == "run":
            self.send("cancel", resend, UUID(what), by="bob", reason="no")
        elif (
            how == "post"
            and kind == "effect"
            and (row := self.model.t.effects.get(Address.of(what)))
        ):
            self.send("post", resend, [Withdraw(address=row.address, intent=row.intent)])
        elif how == "sweep":
            self.send("sweep", resend)

    @rule(name=drawn.events, tick=drawn.ticks, resend=again)
    def emit(self, name: str, tick: timedelta, resend: bool) -> None:
        self.now += tick
        self.send("emit", resend, Event(name=name, body=b"1", by="bob"))

    @rule(target=runs, run=runs, at=st.sampled_from(["a", "b", "c", "~fork"]), resend=again)
    def fork(self, run: UUID, at: str, resend: bool) -> Any:
        return self._fork(run, at, resend)

    @rule(target=runs, pick=st.integers(0, 100), resend=again)
    def fork_what_remembers(self, pick: int, resend: bool) -> Any:
        kept = {
            run: kept for run, kept in self.model.t.steps.items() if run not in self.model.t.held
        }
        found = sorted((run, name) for run, names in kept.items() for name in names)
        return self._fork(*found[pick % len(found)], resend) if found else multiple()

    def _fork(self, run: UUID, at: str, resend: bool) -> Any:
        new = self.new_id()
        self.send("fork", resend, run, at=at, new=new, by="bob")
        return new if new in self.model.t.run else multiple()

    # --- the outbox ---------------------------------------------------------------------------

    @rule(
        boot=boots,
        topic=drawn.topics,
        limit=st.integers(1, 3),
        confirm=st.integers(0, 3),
        tick=drawn.ticks,
        resend=again,
    )
    def relay(
        self, boot: UUID, topic: str, limit: int, confirm: int, tick: timedelta, resend: bool
    ) -> None:
        """Take messages to relay, and confirm some of them, or some of another's."""
        self.now += tick
        found = self.send("outgoing", resend, boot, topic, limit=limit)
        ids = [one.id for one in found or ()] or list(self.model.t.outbox)
        if confirm:
            self.send("relayed", resend, boot, topic, ids[:confirm])

    # --- effects ------------------------------------------------------------------------------

    @rule(
        address=drawn.addresses,
        wanted=st.lists(drawn.entries, min_size=1, max_size=5),
        tick=drawn.ticks,
        pick=st.integers(0, 9),
        death=st.integers(0, 5),
        resend=again,
    )
    def one_effect(
        self,
        address: Address,
        wanted: list[Drawn],
        tick: timedelta,
        pick: int,
        death: int,
        resend: bool,
    ) -> None:
        """What becomes of one effect, entry by entry; its sender may die on the way."""
        first = {"kind": "intend", "address": address, "own": True}
        for turn, one in enumerate([{**wanted[0], **first}, *wanted]):
            held = self.hands(pick)
            entry = self._entry({**one, "address": address}, held)
            self.send("post", resend, [entry])
            if turn == death:
                self.send("take_over", False, held[0][0], Proof.PROCESS if pick else Proof.SESSION)
            self.now += tick

    @rule(keep=st.builds(Retention, history=st.just(timedelta(0))), tick=drawn.ticks)
    def forget(self, keep: Retention, tick: timedelta) -> None:
        """What is long over goes, and all that hangs on it."""
        self.now += tick
        self.send("prune", True, keep)

    @rule(
        wanted=st.lists(drawn.entries, min_size=1, max_size=4),
        pick=st.integers(0, 9),
        tick=drawn.ticks,
        resend=again,
    )
    def post(self, wanted: list[Drawn], pick: int, tick: timedelta, resend: bool) -> None:
        self.now += tick
        held = self.hands(pick)
        self.send("post", resend, [self._entry(one, held) for one in wanted])

    def _entry(self, one: Drawn, held: list[tuple[UUID, UUID, int]]) -> Entry:
        address, author = one["address"], self._author(one, held)
        row = self.model.t.effects.get(address)
        known = [line.intent for line in self.model.t.audit] or [self.new_id()]
        intent = row.intent if row and one["own"] else known[one["pick"] % len(known)]
        said: dict[str, Any] = {"address": address}
        match one["kind"]:
            case "intend":
                intent = self.new_id() if one["own"] else intent
                wait = {"deadline": one["wait"], "keep": HOUR if one["bold"] else one["wait"]}
                return Intend(author=author, intent=intent, **wait, **said)
            case "confirm":
                return Confirm(author=author, intent=intent, receipt=b"1", keep=one["wait"], **said)
            case "withdraw":
                return Withdraw(intent=intent, why="no", **said)
            case "doubt" | "sweep" as kind:
                return Doubt(intent=intent, why="hm", swept=kind == "sweep", **said)
            case kind:
                said |= {"performed": kind == "perform", "accept_double": one["bold"]}
                own = intent if one["own"] and one["pick"] % 2 else None
                return Resolve(by="bob", reason="so", own=own, **said)

    @staticmethod
    def _author(one: Drawn, held: list[tuple[UUID, UUID, int]]) -> Author:
        boot, run, epoch = held[one["pick"] % len(held)]
        return Author(run, boot, epoch if one["pick"] % 7 else epoch + 1)

    @rule(limit=st.sampled_from([1000, 1000, 1]), tick=drawn.ticks, resend=again)
    def sweep(self, limit: int, tick: timedelta, resend: bool) -> None:
        self.now += tick
        self.send("sweep", resend, limit)

    @rule(boot=boots, resend=again)
    def prove(self, boot: UUID, resend: bool) -> None:
        self.send("prove", resend, boot)

    @rule(run=runs, address=drawn.addresses, state=st.none() | st.sampled_from(EffectState))
    def see_what_lasts(self, run: UUID, address: Any, state: EffectState | None) -> None:
        """Every reading verb shows the same."""
        self.look("remembered", run)
        self.look("happened", [*drawn.EVENTS, "unheard"])
        self.look("outbox")
        self.look("effect", address)
        self.look("audit", address)
        self.look("effects", EffectFilter(state=state, task="t", limit=2))
        self.look("effects", EffectFilter(run=run))
        self.look("effects", EffectFilter(tenant="acme", limit=3))

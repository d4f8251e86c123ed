"""The judge: sees every verb where it is done, and says what must never be.

It looks at the tables themselves, before and after, and not through the store's own verbs, so
that a store which forgets its fence cannot hide it. What must hold at any instant is checked at
each verb; what must hold in the end is in `verdict.py`. A breach is a sentence that begins with
the promise it breaks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from uuid import UUID

from duly.core.fleet import Claim, Instance, InstanceState, Proof, Renewal, TakenOver
from duly.core.rules import not_before
from duly.core.runs import SUSPECT_QUEUE, Answer, Ending, Enqueued, Reuse
from duly.core.states import PLACE, Place, RunState, RunVerb
from duly.stores.base import Fired
from duly.stores.memory.tables import NO_CODE
from simulation.breaking import VERBS as BREAKER_VERBS
from simulation.timetable import VERBS as SCHEDULE_VERBS

if TYPE_CHECKING:
    from simulation.world import World

BUSY = 30
"""Claims of one process within a second that find nothing, and nothing in between."""

FINAL = frozenset({RunVerb.COMPLETE, RunVerb.FAIL, RunVerb.CANCEL})


class Judge:
    """Breaches, and how often each thing that should be met was met."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.breaches: list[str] = []
        self.completed: Counter[UUID] = Counter()
        self.claims: set[tuple[UUID, UUID]] = set()
        self.acknowledged: set[UUID] = set()
        self.attempts = 0
        self._counted: tuple[int, ...] = ()
        self._empty: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self.boots: dict[UUID, str] = {}  # boot -> process
        self.worked: set[tuple[UUID, int]] = set()  # (run, epoch) whose user code returned

    def breach(self, sentence: str) -> None:
        """Note what must never be."""
        self._world.note("judge", sentence)
        self.breaches.append(sentence)
        if self._world.hasty:
            self._world.loop.stop()

    # --- verbs ----------------------------------------------------------------------------

    def before(self, verb: str, args: tuple[Any, ...], how: dict[str, Any]) -> Any:
        """Keep of the tables what `after` compares with."""
        world = self._world
        match verb:
            case "end":
                return [self._owner(ending.run) for ending in args[1]]
            case "keep":
                return [self._owner(note.run) for note in args[1]]
            case "claim":
                mine = (args[0], args[1])
                held = world.tables.held.items()
                return {run for run, row in held if (row.boot, row.claim) == mine}
            case "post":
                return world.ledger.before(args[0])
            case "outgoing":
                return world.tables.relays.get(args[1])
            case "take_over":
                return world.tables.instances.get(args[0])
            case _ if verb in SCHEDULE_VERBS:
                return world.timetable.before()
            case _ if verb in BREAKER_VERBS:
                return world.breaking.before()
        return None

    def after(
        self,
        who: str,
        verb: str,
        args: tuple[Any, ...],
        how: dict[str, Any],
        *,
        before: Any,
        answer: Any,
    ) -> None:
        """Judge a verb that was just done."""
        world = self._world
        match verb, answer:
            case "end", list():
                for ending, owner, one in zip(args[1], before, answer, strict=True):
                    self._ended(who, args[0], ending, owner=owner, answer=one)
            case "claim", Claim():
                self._claimed(who, args[0], args[1], answer)
                if before and {one.id for one in answer.runs} != before:
                    self.breach(f"claim: {short(args[1])} was sent again, and took others")
            case "enqueue", list():
                for one in answer:
                    world.revived[one.run] += one.reuse is Reuse.REVIVED
                    self._reused(one)
            case "revive", Answer.DONE:
                world.revived[args[0]] += 1
            case "register", Answer():
                self.boots[args[0].boot] = who
                world.note(who, f"register {short(args[0].boot)}: {answer}")
            case _:
                self._of_lasting(who, verb, args, before=before, answer=answer)
        self.always()

    def _of_lasting(
        self, who: str, verb: str, args: tuple[Any, ...], *, before: Any, answer: Any
    ) -> None:
        """Judge what concerns notes, effects, events and the outbox."""
        world = self._world
        match verb:
            case "keep":
                world.remembering.kept(who, args[0], args[1], before, answer)
            case "post":
                world.ledger.posted(who, args[0], answer, before)
            case "sweep":
                world.ledger.incidents()
                if answer:
                    world.met("sweep found something")
            case "outgoing" if answer is not None:
                world.remembering.relaying(args[1], args[0], before)
            case "relayed":
                world.remembering.relayed(who, args[2])
            case "emit":
                world.note(who, f"emit {args[0].name}: {answer}")
            case _:
                self._of_fleet(who, verb, args, before=before, answer=answer)

    def _of_fleet(
        self, who: str, verb: str, args: tuple[Any, ...], *, before: Any, answer: Any
    ) -> None:
        """Judge deaths, returns, and schedules."""
        world = self._world
        if verb == "take_over":
            self._taken(who, args[1], before, answer)
        elif verb == "come_back" and answer > 0:
            world.met("deaths taken back")
        elif verb in BREAKER_VERBS:
            world.breaking.after(who, verb, args, before, answer)
        elif verb in SCHEDULE_VERBS:
            world.timetable.after(verb, before, answer)
            if isinstance(answer, Fired) and answer.fired:
                world.note(who, f"fire: {' '.join(one[0] for one in answer.fired)}")

    def always(self) -> None:
        """Hold what must hold after every transition."""
        self.places()
        self._world.timetable.runs()
        self.limits()

    def _reused(self, one: Enqueued) -> None:
        if one.reuse is not Reuse.NEW:
            self._world.met(f"key {one.reuse}")

    def _owner(self, run: UUID) -> tuple[UUID, int] | None:
        held = self._world.tables.held.get(run)
        if held is None:
            return None
        boot = self._world.tables.instances.get(held.boot)
        dead = boot is None or boot.state in (InstanceState.DEAD, InstanceState.GONE)
        return None if dead else (held.boot, held.epoch)

    def _ended(
        self,
        who: str,
        boot: UUID,
        ending: Ending,
        *,
        owner: tuple[UUID, int] | None,
        answer: Answer,
    ) -> None:
        self._world.note(who, f"end {ending.verb} {short(ending.run)}#{ending.epoch}: {answer}")
        if answer is Answer.STALE:
            self._world.met("stale write refused")
        if answer is Answer.ALREADY:
            self._world.met("ending resent")
        if answer is not Answer.DONE:
            self._world.remembering.refused(ending.note)
            return
        if ending.note is not None:
            self._world.remembering.went_out(ending.note.messages)
        self._empty.pop(who, None)  # who ends runs one after the other is not idle
        if owner != (boot, ending.epoch):
            self.breach(
                f"P6: {ending.verb} of {short(ending.run)}#{ending.epoch} was written with a stale"
                f" fence; the run was held by {owner}"
            )
        if ending.verb in FINAL:
            self.completed[ending.run] += 1
            if self.completed[ending.run] > 1 + self._world.revived[ending.run]:
                self.breach(f"P6: run {short(ending.run)} completed twice")

    def _claimed(self, who: str, boot: UUID, claim: UUID, answer: Claim) -> None:
        self._hurried(who, answer)
        reasons = {row.reason or "" for row in self._world.tables.later.values()}
        if any(one.startswith("limit:") for one in reasons):
            self._world.met("limit waited for")
        if NO_CODE in reasons:
            self._world.met("run shelved")
        if answer.runs:
            runs = " ".join(f"{short(one.id)}#{one.epoch}" for one in answer.runs)
            self._world.note(who, f"claim {short(claim)}: {runs}")
            if (boot, claim) in self.claims:
                self._world.met("claim answered again")
            if any(one.queue == SUSPECT_QUEUE or one.deaths >= 3 for one in answer.runs):
                self._world.met("suspect claimed")
            self.claims.add((boot, claim))
            for one in answer.runs:
                self._world.remembering.claimed(one)

    def _hurried(self, who: str, answer: Claim) -> None:
        """Who finds nothing to claim does not ask again and again: idle is nearly free."""
        second = int(self._world.loop.time())
        if answer.runs or self._empty[who][0] != second:
            self._empty[who] = (second, 0)
        count = self._empty[who][1] + 1
        self._empty[who] = (second, count)
        if count == BUSY:
            self.breach(f"idle: {who} found nothing to claim {count} times within a second")

    def _taken(self, who: str, proof: Proof, before: Instance | None, answer: TakenOver) -> None:
        if answer.buried:
            self._world.note(who, f"took over {answer.taken} runs of {short(answer.boot)}: {proof}")
            assert before is not None, "who was buried was there"
            self._proven(answer.boot, proof, before)
        if answer.taken:
            self._world.met("takeover")
            self._world.met(f"takeover: {proof}")
        if answer.parked:
            self._world.met("poison parked")

    def _proven(self, boot: UUID, proof: Proof, before: Instance) -> None:
        """A boot is declared dead only for what proves it."""
        world, name = self._world, self.boots.get(boot)
        gone = world.has_ended(name)
        if proof is Proof.PROCESS and not gone:
            self.breach(f"death: {name} was said to be gone, and lives")
        if proof is Proof.LEASE and before.lease_until and before.lease_until > world.now():
            self.breach(f"P13: {name} was taken over before its lease had ended")
        if proof is Proof.SESSION and not gone and boot not in world.locks.alone:
            self.breach(f"death: {name} was taken over for a lock that fell with all others")

    def renewed(self, who: str, boot: UUID, renewal: Renewal, named: Collection[object]) -> None:
        """Judge a renewal that was just done: what it did not name is held no more."""
        self.always()
        if renewal.released:
            self._world.met("stray released")
            self._world.note(who, f"renewal released {renewal.released} strays")
        if not renewal.alive:
            self._world.note(who, f"renewal: {short(boot)} is dead")
            return
        for run, row in self._world.tables.held.items():
            if row.boot == boot and (run, row.epoch) not in named and row.claim not in named:
                self.breach(f"stray: {short(run)} stays with {who}, which knows nothing of it")

    # --- what holds at any instant --------------------------------------------------------

    def places(self) -> None:
        """Every run is in one place (P8).

        Equal sums would hide one that is lost behind another that is doubled. With equal sums, and
        no live run known twice or not at all, neither can be; and what moves changes a length.
        """
        tables = self._world.tables
        live: tuple[Collection[UUID], ...] = (tables.ready, tables.held, tables.later)
        ended = tables.ended
        places = (*map(len, live), len(ended))
        counted = (len(tables.run), *places)
        if counted == self._counted:
            return
        self._counted = counted
        if sum(places) != len(tables.run):
            self.breach(f"one place: {len(tables.run)} runs are in {sum(places)} places")
        seen: set[UUID] = set()
        for place in live:
            for run in place:
                if run in seen or run in ended or run not in tables.run:
                    self.breach(f"one place: {short(run)} is in two places, or has no identity")
                seen.add(run)

    def limits(self) -> None:
        """No limit admits more runs than it allows (P11)."""
        tables = self._world.tables
        working: Counter[str] = Counter()
        for run in tables.held:
            key = tables.run[run].asked.limit_key
            if key is not None:
                working[key] += 1
        for key, count in working.items():
            if count > tables.limits[key]:
                self.breach(f"P11: {count} runs of {key} at once, limit {tables.limits[key]}")

    def started(self, who: str, boot: UUID, run: UUID, epoch: int) -> None:
        """An attempt begins only while the store counts the run as its instance's own."""
        held = self._world.tables.held.get(run)
        if held is None or (held.boot, held.epoch) != (boot, epoch):
            self.breach(f"lease: {who} began {short(run)}#{epoch}, which is {held}")
        elif not_before(held.claimed_at, now := self._world.now()) > now:
            self.breach(f"P13: {who} began {short(run)}#{epoch} before {held.claimed_at}")

    def acknowledge(self, answer: Enqueued) -> None:
        """A client heard that its run is in the store."""
        self.acknowledged.add(answer.run)


def short(ident: UUID) -> str:
    """Return a name for people of an id: its random end."""
    return ident.hex[-5:]


def alive(state: RunState | None) -> bool:
    """Whether a run in this state is still to end."""
    return state is not None and PLACE[state] is not Place.ENDED

"""The judge: sees every verb where it is done, and says what must never be.

It looks at the tables themselves, before and after, and not through the store's own verbs, so
that a store which forgets its fence cannot hide it. What must hold at any instant is checked at
each verb; what must hold in the end is in `verdict.py`. A breach is a sentence that begins with
the promise it breaks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from duly.core.fleet import Claim, InstanceState, Renewal, TakenOver
from duly.core.runs import SUSPECT_QUEUE, Answer, Ending, Enqueued, Reuse
from duly.core.states import PLACE, Place, RunState, RunVerb
from duly.stores.base import Fired
from duly.stores.memory.tables import NO_CODE

if TYPE_CHECKING:
    from simulation.world import World

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
        self.boots: dict[UUID, str] = {}  # boot -> process
        self.worked: set[tuple[UUID, int]] = set()  # (run, epoch) whose user code returned

    def breach(self, sentence: str) -> None:
        """Note what must never be."""
        self._world.note("judge", sentence)
        self.breaches.append(sentence)

    # --- verbs ----------------------------------------------------------------------------

    def before(self, verb: str, args: tuple[Any, ...], how: dict[str, Any]) -> Any:
        """Keep of the tables what `after` compares with."""
        if verb == "end":
            return [self._owner(ending.run) for ending in args[1]]
        if verb == "claim":
            mine = (args[0], args[1])
            held = self._world.tables.held.items()
            return {run for run, row in held if (row.boot, row.claim) == mine}
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
                    self._world.revived[one.run] += one.reuse is Reuse.REVIVED
            case "register", Answer():
                self.boots[args[0].boot] = who
                self._world.note(who, f"register {short(args[0].boot)}: {answer}")
            case _:
                self._of_fleet(who, answer, forgiven=verb == "come_back" and answer > 0)

    def _of_fleet(self, who: str, answer: Any, *, forgiven: bool) -> None:
        match answer:
            case TakenOver():
                self._taken(who, answer)
            case Fired() if answer.fired:
                self._world.note(who, f"fire: {len(answer.fired)}")
            case _ if forgiven:
                self._world.met("deaths taken back")

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
            return
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
        if answer.runs:
            runs = " ".join(f"{short(one.id)}#{one.epoch}" for one in answer.runs)
            self._world.note(who, f"claim {short(claim)}: {runs}")
            if (boot, claim) in self.claims:
                self._world.met("claim answered again")
            if any(one.queue == SUSPECT_QUEUE or one.deaths >= 3 for one in answer.runs):
                self._world.met("suspect claimed")
            self.claims.add((boot, claim))
        self.limits()

    def _taken(self, who: str, answer: TakenOver) -> None:
        if answer.buried:
            self._world.note(who, f"took over {answer.taken} runs of {short(answer.boot)}")
        if answer.taken:
            self._world.met("takeover")
        if answer.parked:
            self._world.met("poison parked")

    def renewed(self, who: str, boot: UUID, renewal: Renewal) -> None:
        """Judge a renewal that was just done."""
        if renewal.released:
            self._world.met("stray released")
            self._world.note(who, f"renewal released {renewal.released} strays")
        if not renewal.alive:
            self._world.note(who, f"renewal: {short(boot)} is dead")

    # --- what holds at any instant --------------------------------------------------------

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
        if any((row.reason or "").startswith("limit:") for row in tables.later.values()):
            self._world.met("limit waited for")
        if any(row.reason == NO_CODE for row in tables.later.values()):
            self._world.met("run shelved")

    def started(self, who: str, boot: UUID, run: UUID, epoch: int) -> None:
        """An attempt begins only while the store counts the run as its instance's own."""
        held = self._world.tables.held.get(run)
        if held is None or (held.boot, held.epoch) != (boot, epoch):
            self.breach(f"lease: {who} began {short(run)}#{epoch}, which is {held}")

    def acknowledge(self, answer: Enqueued) -> None:
        """A client heard that its run is in the store."""
        self.acknowledged.add(answer.run)


def short(ident: UUID) -> str:
    """Return a name for people of an id: its random end."""
    return ident.hex[-5:]


def alive(state: RunState | None) -> bool:
    """Whether a run in this state is still to end."""
    return state is not None and PLACE[state] is not Place.ENDED

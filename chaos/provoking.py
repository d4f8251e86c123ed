"""What brings rare verbs about: who is asked to stop, frozen, suspected, or kept from an answer.

Most verbs are done all the time, and their points are come by sooner than they can be died at.
The others need something to happen first. The table below says what that is; it is done while a
point of such a verb has its mark, and now and then besides, because a verb must have been done
once for its points to be known. Work that brings verbs about is the load's to ask for.

    ask to stop     SIGTERM: it hands back and leaves
    lose an answer  the answer to a claim is lost, and the claimant is asked to stop at once: what
                    it claimed is found by its renewal (it is busy) or by its leaving (it is not)
    suspect         a living instance is declared dead, as by a watcher that is wrong
    freeze          SIGSTOP for longer than the lease; not inside a write of a file all share
    miss code       an incident says that nobody has code for a task; the next who joins closes it
    kill at work    kill -9 of one that has work in hand, wherever it is
    ask nobody      runs of a task that nobody carries; they are taken back once they are shelved
    end caretaker   kill -9 of the one whose turn the slow chores are: the next begins with them
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping, Set

import msgspec

from chaos.fleet import Worker
from chaos.marks import Marks
from chaos.trial import Trial
from chaos.waiting import pause
from duly.core.fleet import Incident, InstanceState, Proof
from duly.core.runs import NewRun, RunFilter
from duly.core.states import RunState
from duly.engine.caretaking import NO_CODE
from duly.engine.roster import Roster
from duly.errors import EnvironmentFailure, Refused
from duly.stores.base import Store

LOOK_S = 0.1
IDLY_S = 10.0
"""How often each is done although nothing asks for it."""

CARETAKING = "caretaking"
"""What the order is called in which instances do the chores."""

NOBODYS = "nobodys"
"""A task that no worker carries."""

FROZEN_S = 2.6
"""Longer than the lease of the trial."""


class Provoker:
    """Does to the fleet what the open marks ask for. What it did is counted by name in `done`."""

    def __init__(self, trial: Trial, marks: Marks) -> None:
        self.trial, self.marks = trial, marks
        self.done: dict[str, int] = {}
        self._chance = random.Random(5)

    async def go(self, stop: asyncio.Event) -> None:
        """Provoke until told to stop; each kind at its own pace."""
        await asyncio.gather(*(self._keep_on(one, stop) for one in PROVOCATIONS))

    async def _keep_on(self, one: Provocation, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        idly_at = loop.time() + self._chance.uniform(0, IDLY_S / 3)
        while not stop.is_set():
            await pause(LOOK_S)
            if not one.verbs & self.marks.verbs and loop.time() < idly_at:
                continue
            if await self._do(one):
                self.done[one.name] = self.done.get(one.name, 0) + 1
                idly_at = loop.time() + IDLY_S
                await pause(one.rest_s)

    async def _do(self, one: Provocation) -> bool:
        """Do it once; False when there is nobody to do it to, or the store did not answer."""
        try:
            return await one.act(self)
        except (ProcessLookupError, EnvironmentFailure, Refused):
            return False

    def choose(self, names: Set[str]) -> Worker | None:
        """Choose a worker among these."""
        living = sorted(names)
        return self.trial.fleet.by_name(self._chance.choice(living)) if living else None


async def _ask_to_stop(on: Provoker) -> bool:
    victim = on.choose(on.marks.joined)
    if victim is not None:
        victim.signal(signal.SIGTERM)
    return victim is not None


async def _lose_when_busy(on: Provoker) -> bool:
    return _lose(on, on.marks.busy)


async def _lose_when_idle(on: Provoker) -> bool:
    return _lose(on, on.marks.joined - on.marks.busy)


def _lose(on: Provoker, among: Set[str]) -> bool:
    victim = on.choose(among)
    if victim is not None:
        (on.trial.place.folder / f"lose-{victim.name}").touch()
    return victim is not None


async def _suspect(on: Provoker) -> bool:
    victim = on.choose(on.marks.busy)
    if victim is None:
        return False
    boots = [one.boot for one in await on.trial.store.instances() if one.pid == victim.pid]
    if not boots or not victim.living:
        return False
    taken = await on.trial.store.take_over(boots[0], Proof.SESSION, cause="the harness is wrong")
    return taken.buried


async def _freeze(on: Provoker) -> bool:
    victim = on.choose(on.marks.busy)
    if victim is None:
        return False
    victim.signal(signal.SIGSTOP)
    try:
        held = await on.trial.place.is_writable()
        if held:
            await pause(FROZEN_S)
    finally:
        victim.signal(signal.SIGCONT)
    return held


async def _miss_code(on: Provoker) -> bool:
    missing = Incident(
        kind=NO_CODE,
        subject="work",
        severity="critical",
        summary="the harness says that no live instance carries work",
        evidence={"task": "work"},
    )
    return await on.trial.store.open_incident(missing)


async def _kill_at_work(on: Provoker) -> bool:
    victim = on.choose(on.marks.busy)
    if victim is not None:
        on.trial.fleet.kill(victim)
    return victim is not None


async def _ask_nobody(on: Provoker) -> bool:
    await take_back(on.trial.store, RunState.WAITING)  # which is where shelving put it
    new_id = on.trial.app.clock.new_id
    await on.trial.store.enqueue([NewRun(id=new_id(), task=NOBODYS) for _ in range(3)])
    return True


async def take_back(store: Store, *states: RunState) -> None:
    """Cancel what was asked of nobody, and stands so."""
    for state in states:
        for one in await store.runs(RunFilter(task=NOBODYS, state=state, limit=1_000)):
            await store.cancel(one.id, by="the harness", reason="nobody carries it")


async def _end_caretaker(on: Provoker) -> bool:
    store, names = on.trial.store, on.marks.joined
    now, known = await store.clock(), await store.instances()
    by_pid = {one.pid: one for one in on.trial.fleet.living if one.name in names}
    for one in known:
        roster = Roster(one.boot)
        roster.note(known, now)
        if one.state is InstanceState.LIVE and one.pid in by_pid and not roster.rank(CARETAKING):
            on.trial.fleet.kill(by_pid[one.pid])
            return True
    return False


class Provocation(msgspec.Struct, frozen=True):
    """What is done to the fleet, and which verbs that brings about."""

    name: str
    verbs: frozenset[str]
    act: Callable[[Provoker], Awaitable[bool]]
    rest_s: float


def _of(*verbs: str) -> frozenset[str]:
    return frozenset(verbs)


PROVOCATIONS = (
    Provocation("asked to stop", _of("leave"), _ask_to_stop, 0.6),
    Provocation("answer lost, idle", _of("leave"), _lose_when_idle, 0.5),
    Provocation("answer lost, busy", _of("renew"), _lose_when_busy, 0.6),
    Provocation("suspected wrongly", _of("come_back"), _suspect, 0.2),
    Provocation("frozen beyond the lease", _of("lapsed"), _freeze, 0.5),
    Provocation("code missed", _of("close_incident"), _miss_code, 0.3),
    Provocation("caretaker killed", _of("expire", "prune", "shelve"), _end_caretaker, 1.5),
    Provocation("nobody asked", _of("shelve"), _ask_nobody, 1.0),
    Provocation("killed at work", _of("open_incident", "run"), _kill_at_work, 1.0),
)

WORK_FOR: Mapping[str, tuple[str, ...]] = {
    "end": ("family", "again"),
    "happened": ("family",),
    "keep": ("rows", "family"),
    "outgoing": ("rows",),
    "post": ("deliver",),
    "promote": ("again", "family"),
    "relayed": ("rows",),
    "remembered": ("again",),
    "run": ("family",),
}
"""Which tasks bring a verb about."""

CHORES = _of("expire", "orphan", "prune", "runs", "schedules", "shelve", "sweep")
"""What nothing brings about but time: whoever lives for a second or two comes to it."""

BROUGHT = CHORES.union(WORK_FOR, *(one.verbs for one in PROVOCATIONS))

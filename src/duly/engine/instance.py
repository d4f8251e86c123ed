"""An instance: one process's part in the fleet, from its first beat to its last.

    start:  open the store, register a boot, declare schedules, begin the loops
    run:    loops fire, claim, settle, watch; the keeper renews the lease on its own thread
    buried: the store says this boot is dead. What was in hand is others' now: its work is
            cancelled, nothing of it is written, and the process goes on under a new boot
    stop:   claim nothing more; hand back what has not started; let work end within the
            grace; cancel and hand back the rest; leave. Threads that do not end go last.

The store may be away at the start and at any later time: every step is tried again until it
answers, the process stays up, and nobody gives up for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID

from duly import events
from duly.core.effects import Entry, Posted
from duly.core.fleet import Instance, Renewal
from duly.core.runs import Answer, Ending
from duly.core.schedules import Declared
from duly.core.states import RunVerb
from duly.core.steps import Note
from duly.engine.almanac import Almanac
from duly.engine.announcing import Announcing
from duly.engine.attempts import HANDED_BACK, LOST, Attempts
from duly.engine.breaking import Gate
from duly.engine.burying import Burying
from duly.engine.caretaking import NO_CODE, Caretaking
from duly.engine.claiming import Claiming
from duly.engine.durable.gathering import Gathering
from duly.engine.durable.services import Services
from duly.engine.firing import Firing, Promoting
from duly.engine.halting import Halting
from duly.engine.hands import Hands, Holding
from duly.engine.lease import Lease
from duly.engine.lookout import DESERTED
from duly.engine.looks import Looks, Post
from duly.engine.plan import Plan
from duly.engine.ports import Keeper, Ports
from duly.engine.recording import Recording
from duly.engine.roster import Roster
from duly.engine.settling import Settling
from duly.engine.supervising import EXIT_GAVE_UP, Loop, Supervising, own_policy
from duly.engine.telling import Telling
from duly.engine.threads import Threads
from duly.engine.unserved import Unserved
from duly.engine.watching import Presenting
from duly.errors import EnvironmentFailure, Refused
from duly.events import Bus
from duly.stores.base import Presence, Signal, Store, WakeUp

HANDED_BACK_AFTER_S = 1.0


class Engine:
    """One instance. `start`, then wait for `ended`, then `stop`; not used twice."""

    def __init__(self, store: Store, plan: Plan, *, ports: Ports, bus: Bus) -> None:
        self._store, self._plan, self._ports = store, plan, ports
        clock = ports.clock
        self.boot: UUID = clock.new_id()
        self.telling = Telling(bus, clock)
        self.hands, self.almanac, self.roster = Hands(), Almanac(), Roster(self.boot)
        self.threads = Threads(plan.threads)
        self.lease = Lease(clock, self.hands, length=plan.lease, margin=plan.margin)
        policy = own_policy(plan.loop_failures)
        self.supervisor = Supervising(clock, self.telling, policy=policy)
        self.keeping: Gathering[tuple[UUID, Note], Answer] = Gathering("keeping", self._keep)
        self.posting: Gathering[Entry, Posted] = Gathering("posting", store.post)
        self.gate = plan.gate or Gate(store, clock, emit=self.telling.emit, owner=plan.owner)
        self.recording = Recording(store, clock, plan.logs)
        self.attempts = Attempts(
            plan.tasks,
            clock,
            self.threads,
            slots=plan.slots,
            zones=plan.zones,
            services=self._services(),
            resources=plan.resources,
            gate=self.gate,
            recording=self.recording,
        )
        self._presence: Presence | None = store.presence(plan.grace)
        self._make_loops()
        self._keeper: Keeper = ports.keeper()
        self._unlisten: Any = None
        self.buried: list[UUID] = []  # boots of this process whose deaths are to be taken back
        self.beside: list[Loop] = []  # what else this process does, under the same supervision
        self.stopping = False
        self.ready = False
        self.joined = True  # False from a burial until the new boot has joined

    def _services(self) -> Services:
        """This instance, as its attempts see it."""
        return Services(
            store=self._store,
            clock=self._ports.clock,
            keeping=self.keeping,
            posting=self.posting,
            tasks=self._plan.tasks,
            boot=lambda: self.boot,
            trusted=lambda: self.lease.trusted,
            lost=self._take_away,
            emit=self.telling.emit,
            topics=self._plan.topics,
        )

    async def _keep(self, notes: Sequence[tuple[UUID, Note]]) -> list[Answer]:
        """Keep notes; all are of one boot, except right after a burial."""
        answers: list[Answer] = []
        for boot, some in groupby(notes, key=lambda one: one[0]):
            answers += await self._store.keep(boot, [note for _, note in some])
        return answers

    def _make_loops(self) -> None:
        store, clock, plan = self._store, self._ports.clock, self._plan
        post = Post(self.almanac, self.roster, self._ports, self.telling)
        looks = Looks(store, plan, post, presence=self._presence)
        self.looking, self.watching, self.reaping = looks.looking, looks.watching, looks.reaping
        self.expecting, self.reporting = looks.expecting, looks.reporting
        self.claiming = Claiming(
            store,
            self.hands,
            self.lease,
            almanac=self.almanac,
            roster=self.roster,
            attempts=self.attempts,
            clock=clock,
        )
        self.settling = Settling(store, self.hands, self._settled)
        self.announcing = Announcing(
            store, self.watching, self.hands, clock=clock, boot=lambda: self.boot
        )
        look = self.looking.look
        self.firing = Firing(store, self.almanac, self.roster, clock, look=look)
        self.promoting = Promoting(store, self.almanac, self.roster, clock, look=look)
        self.presenting: Presenting | None = None
        if self._presence is not None:
            self.presenting = Presenting(
                self._presence, self.hands, self.lease, clock, every=plan.renewal
            )
            self.presenting.regained = self.almanac.ready.set
        self.caretaking = Caretaking(
            store, self.almanac, self.roster, clock=clock, telling=self.telling, keep=plan.keep
        )
        self.caretaking.steady = lambda: self.looking.steady
        unserved = Unserved(store, self.telling, self.almanac, queues=plan.queues, tasks=plan.tasks)
        self.caretaking.look_for_unserved = unserved.look
        self.caretaking.look_for_clusters = looks.clusters.look
        self.halting = Halting(store, plan.tasks, clock=clock, telling=self.telling)
        self._wire()

    def _wire(self) -> None:
        self.claiming.make_rooms(self._plan.tasks, self._plan.slots, self.threads)
        self.claiming.queues = self._plan.queues
        self.claiming.claimed = self.telling.claimed
        self.claiming.buried = self.looking.dead.set
        self.attempts.started = self.telling.started
        self.attempts.trusted = lambda: self.lease.trusted
        self.attempts.ended = self._attempt_ended
        self.firing.fired = self.telling.fired
        self.looking.looked = self.attempts.end_unbegun
        self.looking.queues = self._plan.queues
        self.looking.tasks = tuple(self._plan.tasks)
        self.almanac.on_cancel(self._cancel_asked)
        self.almanac.concerned = self.announcing.fleet_news
        self.claiming.began = self.announcing.began_to_hold

    # --- life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the fleet; waits for a store that is away. Raises what cannot mend itself."""
        self._unlisten = self._store.listen(self._hear)
        self.recording.attend()
        await self._persistently(self._join)
        self._keeper.start(self.lease.beat, self._plan.renewal.total_seconds())
        presenting: list[Loop] = [] if self.presenting is None else [self.presenting]
        self.supervisor.start(
            [
                *presenting,
                self.looking,
                self.claiming,
                self.settling,
                self.keeping,
                self.posting,
                self.firing,
                self.promoting,
                self.watching,
                self.reaping,
                self.caretaking,
                self.expecting,
                self.reporting,
                self.recording,
                self.halting,
                Burying(self),
                *self.beside,
            ]
        )
        self.ready = True

    async def _persistently(self, step: Callable[[], Awaitable[None]]) -> None:
        pause_s = 0.1
        while True:
            try:
                return await step()
            except (EnvironmentFailure, Refused) as error:
                if getattr(error, "permanent", True) and not isinstance(error, Refused):
                    raise
                self.telling.away("starting", error)
                await self._ports.clock.pause(pause_s * (0.5 + self._ports.clock.draw()))
                pause_s = min(5.0, pause_s * 2)

    async def _join(self) -> None:
        """Register this boot, declare its schedules, and look around."""
        plan, (host, pid, space) = self._plan, self._ports.processes.here()
        carries = {one.name: one.digest() for one in plan.definitions}
        instance = Instance(
            boot=self.boot,
            name=f"{host}:{pid}",
            host=host,
            pid=pid,
            pid_space=space,
            owner=plan.owner,
            version=plan.version,
            cluster=plan.cluster,
            tasks=tuple(sorted(plan.tasks)),
        )
        if self._presence is not None:
            await self._presence.hold(self.boot)
        self.gate.instance = self.reporting.instance = instance.name
        answer = await self._store.register(instance, carries)
        if answer is Answer.STALE:  # it died while it joined, perhaps with runs in hand already
            self._let_go()
            return await self._join()
        await self._declare()
        if self.claiming.boot != self.boot:
            self._begin_lease()  # before its first claim: a renewal must speak for this boot
        for loop in (self.claiming, self.settling, self.looking):
            loop.boot = self.boot
        self.telling.back("starting")
        await self.watching.turn()
        await self.looking.look()
        await self._known_again()
        self.joined = True
        self.telling.emit(
            events.InstanceStarted(
                boot=self.boot, instance=instance.name, owner=plan.owner, version=plan.version
            )
        )

    def here(self) -> tuple[str, int, str]:
        """Return host name, pid, and the PID namespace: how this process is told to people."""
        return self._ports.processes.here()

    async def _declare(self) -> None:
        definitions = self._plan.definitions
        if not definitions:
            return
        answers = await self._store.declare(
            self.boot, self._plan.owner, definitions, new_id=self._ports.clock.new_id
        )
        for one, answer in zip(definitions, answers, strict=True):
            if answer is not Declared.SAME:
                self.telling.emit(events.ScheduleDeclared(schedule=one.name, outcome=answer))
        # An older declaration holds again once the newer code is gone: so it is said again.
        older = Declared.OLDER in answers
        self.caretaking.redeclare = self._declare if older else None

    async def _known_again(self) -> None:
        """Close the incidents about tasks that this instance carries, and that nobody is there."""
        for one in await self._store.incidents():
            mine = one.kind == NO_CODE and one.subject in self._plan.tasks
            if (mine or one.kind == DESERTED) and await self._store.close_incident(
                one.kind, one.subject
            ):
                self.telling.emit(events.IncidentClosed(kind=one.kind, subject=one.subject))

    def _begin_lease(self) -> None:
        self.lease.bind(self.boot, self._store.lease_line, partial(self._renewed, self.boot))

    async def ended(self) -> int:
        """Wait until the supervisor gives up; returns the exit code for that."""
        await self.supervisor.gave_up.wait()
        return EXIT_GAVE_UP

    async def stop(self, *, grace: timedelta | None = None) -> int:
        """Leave the fleet, handing back what did not end in time; returns how many runs.

        Afterwards nothing of this instance runs, except threads that did not return.
        """
        if self.stopping:
            return 0
        self.stopping, self.ready = True, False
        self.claiming.open = False
        why = "a loop gave up" if self.supervisor.gave_up.is_set() else "asked to"
        self.telling.emit(events.InstanceStopping(boot=self.boot, reason=why, held=len(self.hands)))
        for name in ("claiming", "firing", "promoting", "caretaking", "burying"):
            await self.supervisor.stop(name)
        self.hands.forget_claims()  # what they may have taken, `leave` hands back
        for holding in list(self.attempts.unstarted):
            self.attempts.stop(holding, HANDED_BACK)
        await self._let_end(self._plan.stop_grace if grace is None else grace)
        return await self._leave()

    async def _let_end(self, grace: timedelta) -> None:
        """Let running work end, and cancel what is left when the grace is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace.total_seconds()):
                await self.hands.empty()
        for holding in list(self.hands.held.values()):
            if not holding.ending:
                self.attempts.stop(holding, HANDED_BACK)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HANDED_BACK_AFTER_S):
                await self.hands.empty()
                await self.posting.idle()  # what is known of effects must not die with us

    async def _leave(self) -> int:
        await self.watching.stop()
        await self.supervisor.stop()
        self._keeper.stop()
        self.lease.close()
        released = 0
        with contextlib.suppress(EnvironmentFailure, Refused):
            host, pid, _ = self._ports.processes.here()
            await self.reporting.leaving(self.boot, f"{host}:{pid}")
            released = await self._store.leave(self.boot)
            await self._store.tell(WakeUp(Signal.FLEET))
        if self._presence is not None:
            with contextlib.suppress(EnvironmentFailure):
                await self._presence.release()
        if self._unlisten is not None:
            self._unlisten()
        self.announcing.stop()
        self.threads.stop()
        self.recording.leave()
        self.telling.emit(events.InstanceStopped(boot=self.boot, released=released))
        return released

    def _hear(self, wake: WakeUp) -> None:
        self.almanac.hear(wake)
        self.gate.hear(wake)
        self.halting.hear(wake)

    # --- what loops and the keeper report --------------------------------------------------

    def _attempt_ended(self, holding: Holding, ending: Ending | None) -> None:
        self.claiming.note_room()  # a thread may have returned whose run is long gone
        if not self.hands.has(holding) or holding.ending:
            return
        assert ending is not None, "only what was let go of ends without a word"
        self.settling.put(holding, ending)

    def _settled(self, batch: Sequence[tuple[Holding, Ending]], answers: Sequence[Answer]) -> None:
        for (holding, ending), answer in zip(batch, answers, strict=True):
            self.telling.settled(holding, ending, answer)
            if answer is Answer.STALE:
                continue
            if ending.verb is not RunVerb.COMPLETE:
                self.reporting.settled(holding, ending)
            self.expecting.ended(holding.claimed.task)
        self.claiming.pace.ended(len(batch), self._ports.clock.monotonic())
        self.claiming.note_room()

    def _renewed(self, boot: UUID, renewal: Renewal, named: Mapping[UUID, int]) -> None:
        if boot != self.boot:
            return  # about a boot that was buried meanwhile: no news of this one
        self.telling.renewed(boot, renewal)
        if not renewal.alive:
            self.looking.dead.set()
            return
        for run in renewal.lost:
            holding = self.hands.held.get(run)
            # A claim may have brought the run back since; then its epoch is a later one.
            if holding and not holding.ending and holding.claimed.epoch == named.get(run):
                self._take_away(holding, "another instance has it")
        for run, why in renewal.cancels:
            self._cancel(run, why)

    def _take_away(self, holding: Holding, why: str) -> None:
        self.hands.drop([holding])
        self.attempts.stop(holding, LOST)
        self.telling.lost(holding, why)

    def _cancel_asked(self, run: str) -> None:
        """Somebody asked for a run's cancelling; the renewal brings the reason and is hurried."""
        with contextlib.suppress(ValueError):
            if UUID(run) in self.hands.held:
                self._keeper.hurry()

    def _cancel(self, run: UUID, why: str) -> None:
        holding = self.hands.held.get(run)
        if holding is not None and holding.cancel is None:
            self.attempts.stop(holding, why)

    # --- burial and return -----------------------------------------------------------------

    async def rejoin(self) -> None:
        """Let go of what a dead boot held, and join as another; waits for a store that is away."""
        if self.looking.dead.is_set():
            self._let_go()
        await self._persistently(self._join)

    def _let_go(self) -> None:
        dead = self.boot
        self.looking.dead.clear()  # it was said of this boot, and is not true of the next
        gone = self.hands.forget_all()
        self.settling.forget_all()
        self.keeping.drop()
        self.telling.emit(
            events.InstanceLostLease(boot=dead, held=len(gone), reason="declared dead")
        )
        for holding in gone:
            self.attempts.stop(holding, LOST)
            self.telling.lost(holding, LOST)
        self._take_new_boot()
        self.joined = False
        self.buried.append(dead)

    async def exhume(self) -> None:
        """Take back the deaths that this instance's dead boots were counted for."""
        while self.buried:
            dead = self.buried[0]
            cleared = await self._store.come_back(dead)
            self.buried.remove(dead)
            self.telling.emit(events.InstanceReturned(boot=dead, cleared=cleared))

    def _take_new_boot(self) -> None:
        self.boot = self.roster.boot = self._ports.clock.new_id()
        for loop in (self.claiming, self.settling, self.looking):
            loop.boot = None

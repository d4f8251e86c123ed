"""The protocol of a store: every verb, its guarantee, and its answer when it is sent twice.

What holds for all of them:

* A verb is one transaction (or a series of which each prefix is a valid whole, where said).
* Sending a verb twice equals sending it once. So a commit whose outcome is unknown
  (`StoreUnavailable` was raised) is simply sent again with the same ids.
* Writes about a held run are fenced by (run, boot, epoch) and refused as `stale` otherwise.
* `now=None` means the store's own clock; only tests and the simulator pass a value. Instants
  are aware UTC with microseconds.
* Decisions are taken by `core`, inside the transaction that writes them.
* Driver errors leave a store only as errors of `duly.errors`.
* Locks are taken in one order: schedule, backlog, key, breaker (who tells, then the
  breakers), what is awaited, effect, limit, instance, run (identity, then `ready`, `later`, `held`,
  `ended`); within a kind by ascending id.

`memory.py` is the model: every other store must agree with it after any sequence of verbs.
What outlasts an attempt (steps, messages, events, effects) is in `lasting.py`, breakers are in
`breaking.py`, notices in `telling.py`, what happened in `feeding.py`; all this holds there alike.
A run is looked for in `ready`, `held`, `later`, `ended` with fresh snapshots until one hits,
because it may move between two looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import msgspec

from duly.core.fleet import Claim, Horizon, Incident, Instance, Proof, Renewal, TakenOver
from duly.core.runs import Answer, Ending, Enqueued, Front, NewRun, RunFilter, RunView
from duly.core.schedules import Backlog, Declared, Definition, ScheduleFilter, ScheduleRow
from duly.core.states import ScheduleVerb
from duly.core.verdicts import VerdictRange
from duly.stores.access import Access
from duly.stores.breaking import Breaking
from duly.stores.feeding import Feeding
from duly.stores.lasting import DEFAULT_LEASE as DEFAULT_LEASE
from duly.stores.lasting import Lasting
from duly.stores.presence import DEFAULT_GRACE as DEFAULT_GRACE
from duly.stores.presence import LeaseLine as LeaseLine
from duly.stores.presence import Presence as Presence
from duly.stores.telling import Telling

AT_ONCE = timedelta(0)
EVERY_SCHEDULE = ScheduleFilter()


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a store says of itself when it is opened.

    `trusted` is False when the store was restored from a backup, or failed over to a replica
    that lagged: acknowledged writes may be missing. Nothing fires, is claimed or renewed there
    until a person calls `accept`.
    """

    schema: int
    generation: int
    trusted: bool = True
    why: str = ""


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """What one firing transaction did. `more` says that due schedules were left for another."""

    fired: tuple[tuple[str, datetime, UUID], ...] = ()  # schedule, occurrence, run
    cancelled: tuple[UUID, ...] = ()
    judged: int = 0  # schedules and backlogs that were looked at under lock
    more: bool = False


class Signal(StrEnum):
    """What a waking message is about."""

    READY = "ready"  # something became claimable
    DUE = "due"  # a run is due at an instant (detail, as ISO text); empty: read the horizon again
    CANCEL = "cancel"  # a holder is asked to stop a run
    FLEET = "fleet"  # an instance came, went, or began to hold runs
    FIRED = "fired"  # what was due is handled; detail: the next instant, as ISO text, or empty
    WOKEN = "woken"  # whose time came is ready; detail: the next instant, as ISO text, or empty
    OUT = "out"  # messages wait to be relayed; detail: their topic
    BREAKER = "breaker"  # what may pass, or what counts, moved; detail: the breaker's name
    INCIDENT = "incident"  # one opened or closed
    EMPTY = "empty"  # somebody claimed all that was ready; whoever was about to, need not


class WakeUp(msgspec.Struct, frozen=True):
    """A hint that something committed. It may be lost or doubled; a slow poll is the net."""

    signal: Signal
    detail: str = ""  # for cancel: the run's id


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """What pruning removed in one turn; all zero means there was nothing left to remove."""

    runs: int = 0
    keys: int = 0
    instances: int = 0
    incidents: int = 0
    effects: int = 0
    events: int = 0
    lines: int = 0  # of the audit of effects that are open again
    breakers: int = 0  # targets nothing is known against, old changes, who told of them
    limits: int = 0  # of which no run is known any more
    notices: int = 0


class Retention(msgspec.Struct, frozen=True):
    """What is kept: ended runs this long, and the newest `last` of each schedule anyway."""

    history: timedelta = timedelta(days=30)
    last: int = 100
    keys: timedelta = timedelta(days=400)


class Store(Lasting, Breaking, Telling, Feeding, Access, Protocol):
    """What is remembered. One object per process; verbs may be called from one event loop."""

    name: str  # for people: the URL without secrets

    # --- the store itself -----------------------------------------------------------------

    async def open(self) -> Standing:
        """Connect and check the schema; raise `StoreMismatch` when it is older or newer."""
        ...

    async def close(self) -> None:
        """Release every connection, lock and thread. Twice is as good as once."""
        ...

    async def migrate(self) -> tuple[str, ...]:
        """Bring the schema forward, step by step under a lock; return the steps applied."""
        ...

    async def accept(self, by: str, reason: str) -> Standing:
        """Trust a restored store again, as generation + 1. Already trusted: no change."""
        ...

    async def standing(self) -> Standing:
        """Say how the store stands now, which another process may have changed. Only looks."""
        ...

    async def clock(self) -> datetime:
        """Return the store's time, which due-ness and leases are judged by."""
        ...

    def lease_line(self) -> LeaseLine:
        """Open a separate line for the renewing thread."""
        ...

    def presence(self, grace: timedelta = DEFAULT_GRACE) -> Presence | None:
        """Return the locks that fall with their process, where there are any.

        A death that is not proven counts only after `grace`, in which a living holder may take
        its locks again.
        """
        ...

    def listen(self, heard: Callable[[WakeUp], None]) -> Callable[[], None]:
        """Call `heard` on the event loop for each waking message; return what ends that."""
        ...

    async def tell(self, wake: WakeUp) -> None:
        """Send a hint of the caller's own to all who listen, this process included.

        Returns once it is on its way: what blocks the event loop afterwards does not hold it
        back. Best effort: it may be lost, and raises nothing when the store is away.
        """
        ...

    # --- the fleet ------------------------------------------------------------------------

    async def register(
        self, instance: Instance, carries: Mapping[str, str], *, now: datetime | None = None
    ) -> Answer:
        """Make a boot known, with the schedules (name to digest) it declares.

        Wakes runs that waited for code of its tasks. Again: `already`, and what it carries is
        replaced. A boot that was declared dead: `stale`.
        """
        ...

    async def beat(
        self,
        boot: UUID,
        *,
        queues: Sequence[str],
        tasks: Sequence[str],
        now: datetime | None = None,
    ) -> Horizon:
        """Show presence and look ahead, in one statement. Writes nothing for a dead boot."""
        ...

    async def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> Renewal:
        """Prolong the boot's lease to `now + lease`, and compare notes.

        Rows this boot holds that are neither in `held` nor of a claim in `pending` (claims
        whose answer is still awaited) are released: their claim's answer was lost. What is
        released is named by (run, epoch) as it was compared, so that a release which lands
        late cannot touch what was claimed since. Nor does a renewal that is carried out after
        its sender gave up: `held` does not know what was claimed meanwhile. So the comparison is
        made where the answer arrives, never by a statement that may land late.
        """
        ...

    async def leave(self, boot: UUID, *, now: datetime | None = None) -> int:
        """End a boot by itself: what it still holds is released (returned: how many)."""
        ...

    async def take_over(
        self, boot: UUID, proof: Proof, *, cause: str = "", now: datetime | None = None
    ) -> TakenOver:
        """Declare a boot dead and move what it held on, by `core.rules.after_death`.

        `cause` is what is known of why it died; attempts and instance say it with the proof.

        With `Proof.LEASE` only if its lease has ended by the store's clock. Runs whose
        cancelling was requested end as cancelled. Again, or too late: `buried` is False.
        """
        ...

    async def come_back(self, boot: UUID, *, now: datetime | None = None) -> int:
        """A boot declared dead was alive: take back the deaths it was counted for.

        Runs parked as poison that fall below the bound by that are unparked. Returns how many
        runs were cleared. Again: 0.
        """
        ...

    async def lapsed(self, *, now: datetime | None = None) -> list[UUID]:
        """Return live boots that hold runs and whose lease has ended, oldest first."""
        ...

    async def instances(self, *, here: bool = False) -> list[Instance]:
        """Return all known instances with the count of what they hold, newest first.

        `here`: only those that neither left nor were declared dead, whatever the history.
        """
        ...

    # --- runs -----------------------------------------------------------------------------

    async def enqueue(
        self, runs: Sequence[NewRun], *, now: datetime | None = None
    ) -> list[Enqueued]:
        """Write runs: identity first, and the moving part only if that insert happened.

        All or nothing; answers in the order given. A run with a key follows
        `core.rules.reuse_of` if its key is taken. With a limit it becomes ready only when the
        limit admits it. A known id again: the same answer, nothing written. A run with a parent
        belongs to the parent's tenant, whatever was asked, as long as the parent is known.
        """
        ...

    async def enqueue_with(self, conn: Any, runs: Sequence[NewRun]) -> list[Enqueued]:
        """`enqueue` inside the caller's open transaction on `conn`; theirs to commit.

        Raises `InvalidValue` for a connection this store cannot use.
        """
        ...

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
        """Take up to `limit` ready runs: higher priority first, then by id.

        The same transaction locks and renews the boot's own row, and is refused if it was
        declared dead. The same `claim` id again returns what it took and still holds.
        """
        ...

    async def end(
        self, boot: UUID, endings: Sequence[Ending], *, now: datetime | None = None
    ) -> list[Answer]:
        """End attempts, each fenced by (run, boot, epoch); answers in the order given.

        `done`; `already` for a resend of the same ending; `stale` when the run is no longer
        in these hands, of which nothing was written. Retries and waits become ready after
        their delay by the store's clock. Frees the slots of limits and admits who waits.
        An ending that lets the run live on (retry, wait, park, release) ends it as cancelled
        instead when its cancelling was requested; it awaits nothing then.

        A `note` is kept in the same commit. What a run awaits replaces what it awaited before;
        when all of a group has come about already, it is made ready instead. The end of a run
        that has a parent wakes whoever awaits it.
        """
        ...

    async def promote(
        self, limit: int = 1000, *, ahead: timedelta = AT_ONCE, now: datetime | None = None
    ) -> int:
        """Make due runs of `later` ready, earliest first, as far as their limits admit.

        Runs without a limit that are due within `ahead` (`MOST_AHEAD` at most) become ready
        before their time: whoever claims one is told how long it has to wait before it begins
        (`Claimed.wait_s`), also when it went back meanwhile. Also admits runs that wait for a
        limit which has room (the net under lost wakes).
        """
        ...

    async def expire(self, limit: int = 1000, *, now: datetime | None = None) -> int:
        """End runs that never started and whose `expires_at` has passed, as expired."""
        ...

    async def shelve(self, *, now: datetime | None = None) -> dict[str, int]:
        """Move ready runs whose task no live instance carries aside, counted by task.

        They wait for code (reason `no_code`) where they cost no claim anything, and come back
        when an instance that carries their task registers, or at the next call when one of
        those present does.
        """
        ...

    async def cancel(
        self, run: UUID, *, by: str, reason: str, now: datetime | None = None
    ) -> Answer:
        """Cancel a run: `done` if it was not running, `requested` if its holder was asked.

        `already` when cancelled or asked before, `impossible` for another end, or `unknown`.
        """
        ...

    async def unpark(self, run: UUID, *, by: str, now: datetime | None = None) -> Answer:
        """Let a parked run go on, with its count of deaths at zero. Again: `already`."""
        ...

    async def revive(self, run: UUID, *, by: str, now: datetime | None = None) -> Answer:
        """Run a failed run again, with a new retry budget. Again while live: `already`."""
        ...

    async def run(self, run: UUID) -> RunView | None:
        """Return a run with its past attempts, or None if it is unknown or pruned."""
        ...

    async def runs(self, where: RunFilter) -> list[RunView]:
        """Return runs, newest first, without their attempts."""
        ...

    async def counts(self) -> dict[str, int]:
        """Return how many runs stand in each state (ended ones: as far as kept)."""
        ...

    async def queues(self) -> dict[str, dict[str, int]]:
        """Return, for each queue with live runs, how many are `ready`, `running` and `later`."""
        ...

    async def fronts(self) -> list[Front]:
        """Return the oldest ready run of each queue that has one, however much waits."""
        ...

    # --- schedules ------------------------------------------------------------------------

    async def declare(
        self,
        boot: UUID,
        owner: str,
        definitions: Sequence[Definition],
        *,
        new_id: Callable[[], UUID],
        recent: timedelta = timedelta(minutes=10),
        now: datetime | None = None,
    ) -> list[Declared]:
        """Declare schedules from code, by `core.schedules.settle_declaration`.

        A revision that holds is settled in the same transaction before the new one begins;
        new schedules start at `now`: nothing before is due. Adopted ones are unblocked.
        """
        ...

    async def edit(
        self,
        definition: Definition,
        *,
        by: str,
        reason: str,
        revision: int,
        new_id: Callable[[], UUID],
        now: datetime | None = None,
    ) -> Answer:
        """Replace the definition of a schedule by a person's, if `revision` still holds.

        Revision 0 makes one that is not there; what a person made, no code need carry.
        `stale` when another edit was first; `already` when the definition is the same.
        """
        ...

    async def give_back(self, name: str, *, by: str, now: datetime | None = None) -> Answer:
        """End a person's edit: the next declaration by code holds again."""
        ...

    async def move(
        self,
        name: str,
        verb: ScheduleVerb,
        *,
        by: str,
        reason: str,
        new_id: Callable[[], UUID],
        revision: int | None = None,
        now: datetime | None = None,
    ) -> Answer:
        """Pause, resume, retire … a schedule, by the table in `core.states`.

        Leaving `active` settles what is due first; returning to it judges what was due in
        between as blocked. Already there: `already`; no such row: `impossible`; `unknown`.
        With `revision` only that one is moved: `stale` when another definition holds by now.
        """
        ...

    async def fire(
        self, *, new_id: Callable[[], UUID], limit: int = 500, now: datetime | None = None
    ) -> Fired:
        """Fire what is due and drain backlogs, by `core.firing`; rows locked elsewhere wait.

        One transaction: the runs, the verdicts, the marks. The mark under the row's lock is
        the guard of P1, the unique (schedule, occurrence) of clock runs the second.
        """
        ...

    async def orphan(self, recent: timedelta, *, now: datetime | None = None) -> list[str]:
        """Retire, by itself, schedules from code that no live or recent instance carries."""
        ...

    async def schedule(self, name: str) -> ScheduleRow | None:
        """Return one schedule."""
        ...

    async def schedules(self, where: ScheduleFilter = EVERY_SCHEDULE) -> list[ScheduleRow]:
        """Return schedules, by name."""
        ...

    async def backlogs(self, name: str) -> list[Backlog]:
        """Return what a schedule still has to catch up, oldest first."""
        ...

    async def verdicts(
        self, name: str, *, after: datetime | None = None, until: datetime | None = None
    ) -> list[VerdictRange]:
        """Return the ranges that touch [after, until], oldest first, growing ones included."""
        ...

    # --- people and housekeeping ----------------------------------------------------------

    async def open_incident(self, incident: Incident, *, now: datetime | None = None) -> bool:
        """Open an incident; False when one of the same kind and subject is open already.

        One without an owner gets that of what it names (`core.owning.names_of`): of the schedule,
        else of the run's schedule, else of the instance, as far as these are known.
        """
        ...

    async def close_incident(
        self, kind: str, subject: str, *, note: str = "", now: datetime | None = None
    ) -> bool:
        """Close the open incident of a kind and subject; False when there is none.

        A `note` says what became of it, and is kept in the evidence as `closed`.
        """
        ...

    async def incidents(self, *, only_open: bool = True) -> list[Incident]:
        """Return incidents, newest first, 1,000 at most."""
        ...

    async def prune(
        self, keep: Retention, *, limit: int = 5000, now: datetime | None = None
    ) -> Filled:
        """Remove a bounded number of old rows; never a mark, a verdict or a live run."""
        ...


class Inspectable(Protocol):
    """What the agreement test compares: everything, in one comparable shape."""

    async def snapshot(self) -> dict[str, Any]:
        """Return all rows by kind: plain values, keyed and sorted, equal across stores."""
        ...

"""The part of the store's protocol about what outlasts an attempt.

Steps and cursors, so that a run goes on where it was; what its code logged; messages that leave by
the outbox; events that runs await; and the ledger of effects. What `base.py` says of all verbs
holds here too: one transaction each, sending twice equals sending once, decisions by the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from duly.core.effects import Address, Effect, EffectFilter, Entry, Line, Posted
from duly.core.logs import AttemptLog
from duly.core.outbox import Message, Outgoing
from duly.core.runs import Answer
from duly.core.steps import Event, Memory, Note

DEFAULT_LEASE = timedelta(seconds=15)


class Lasting(Protocol):
    """What a store remembers beyond the attempt that wrote it."""

    # --- what runs remember, publish and await -----------------------------------------------

    async def keep(
        self, boot: UUID, notes: Sequence[Note], *, now: datetime | None = None
    ) -> list[Answer]:
        """Keep notes, each in full and only if its fence holds: `done`, or `stale`.

        Steps replace those of the same name, messages and children are written once per id, and
        progress takes the place of what was there. What was kept counts as progress: the count of
        deaths begins anew. Again: the same, with nothing doubled.
        """
        ...

    async def remembered(self, run: UUID) -> Memory:
        """Return what is kept of a run: steps by number, and progress."""
        ...

    async def emit(self, event: Event, *, now: datetime | None = None) -> Answer:
        """Write down that something happened, and wake whoever awaits it.

        The first word about a name stays; afterwards, and when it is sent again: `already`.
        """
        ...

    async def happened(self, names: Sequence[str]) -> list[Event]:
        """Return those events of these names that have happened."""
        ...

    async def fork(
        self, run: UUID, *, at: str, new: UUID, by: str, now: datetime | None = None
    ) -> Answer:
        """Let a run go on as another, `new`, which remembers the steps before the one named `at`.

        The fork goes on with the effects of the old run, and stands for the same occurrence. The
        old one is cancelled unless it has ended; while it runs: `impossible`. `unknown` without
        such a run; raises `UnknownName` without such a step. Again: `already`.
        """
        ...

    # --- what runs log --------------------------------------------------------------------------

    async def log(self, logs: Sequence[AttemptLog], *, now: datetime | None = None) -> None:
        """Keep what attempts logged: of one attempt, the log that tells most.

        Evidence, so it needs no fence. Nothing is kept of a run that is not known, and of a run
        no more than the newest attempts. Again: the same.
        """
        ...

    async def logged(self, run: UUID) -> list[AttemptLog]:
        """Return what is kept of a run's attempts, oldest first."""
        ...

    # --- the outbox ---------------------------------------------------------------------------

    async def outgoing(
        self,
        boot: UUID,
        topic: str,
        *,
        limit: int,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> list[Message] | None:
        """Return the oldest messages to a topic, and make `boot` the only one to relay it.

        None while another boot does: until its lease has ended, or that boot left or is dead.
        """
        ...

    async def relayed(
        self, boot: UUID, topic: str, messages: Sequence[UUID], *, now: datetime | None = None
    ) -> Answer:
        """Take messages out that were confirmed; `stale` when another boot relays the topic now.

        They are taken out in any case: what was confirmed was confirmed.
        """
        ...

    async def outbox(self) -> list[Outgoing]:
        """Return how much waits to be relayed, by topic."""
        ...

    # --- the ledger of effects ------------------------------------------------------------------

    async def post(self, entries: Sequence[Entry], *, now: datetime | None = None) -> list[Posted]:
        """Enter into the ledger, one after the other, by `core.ledger.decide`.

        One commit holds the row, the audit's line, the incident that is opened or closed, and the
        waking of whoever awaits the effect.
        """
        ...

    async def effect(self, address: Address) -> Effect | None:
        """Return the row of an effect, or None when nothing is intended, done or uncertain."""
        ...

    async def effects(self, where: EffectFilter) -> list[Effect]:
        """Return rows of the ledger, newest intents first."""
        ...

    async def audit(self, address: Address) -> list[Line]:
        """Return what became of an effect beyond its plain performing, oldest first."""
        ...

    async def sweep(self, limit: int = 1000, *, now: datetime | None = None) -> int:
        """Doubt intents that are not live any more, and wake runs whose awaited things came about.

        Runs that wait for a breaker which is closed are made due.
        The net under senders that died, and under wakes that were lost. Returns how many moved.
        """
        ...

    async def prove(self, boot: UUID, *, now: datetime | None = None) -> Answer:
        """Note that the process of a boot that is dead or gone is proven gone. Again: `already`.

        A live boot: `impossible`; take it over first.
        """
        ...

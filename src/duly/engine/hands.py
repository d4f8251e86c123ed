"""What this instance holds, shared between the event loop and the keeper's thread.

The keeper's renewal tells the store what memory holds; the store releases what memory does not
know (a claim whose answer was lost). So the two must never look at different moments:

* a claim announces its id before it is sent, and keeps it announced until its runs are in
  `held`; runs enter `held` before the announcement ends;
* while a renewal is under way no claim begins (`gate`), because its runs would be unknown to
  a list that was drawn up before it.

A run leaves `held` only after its ending was answered; a renewal that meanwhile calls it lost
is told by `ending` that this is no news. The store may give the same run out again before that
answer arrives, so a holding is known by itself, never by its run's id. Held by
tests/engine/test_hands.py.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from uuid import UUID

from duly.core.runs import Claimed
from duly.engine.breaking import Passage
from duly.engine.pages import Page


class Holding:
    """One run in hand, from its claim to the answer to its ending."""

    __slots__ = (
        "begun",
        "blame",
        "cancel",
        "claimed",
        "ending",
        "handle",
        "page",
        "passage",
        "started",
    )

    def __init__(self, claimed: Claimed) -> None:
        self.claimed = claimed
        self.started = False  # a task of the event loop or a thread was asked for
        self.begun = False  # a coroutine's first step was taken
        self.ending = False
        self.blame: BaseException | None = None  # how a sender ended that nobody can know of
        self.passage: Passage | None = None  # of a call whose code asked its breaker itself
        self.cancel: str | None = None  # why the work is to stop
        self.page: Page | None = None  # what its code logs, where that may be kept
        self.handle: asyncio.Task[None] | None = None  # of a coroutine that runs


class Hands:
    """The runs in hand and the claims on their way."""

    def __init__(self) -> None:
        self.held: dict[UUID, Holding] = {}
        self._pending: set[UUID] = set()
        self._lock = threading.Lock()
        self._renewing = False
        self._renewed = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self.held)

    @property
    def busy(self) -> bool:
        """Whether there is anything a lease must cover."""
        return bool(self.held or self._pending)

    # --- claims, on the event loop --------------------------------------------------------

    async def announce(self, claim: UUID) -> None:
        """Announce a claim before it is sent; waits while a renewal is under way."""
        while not self._announced(claim):
            await self._renewed.wait()

    def _announced(self, claim: UUID) -> bool:
        with self._lock:
            if not self._renewing:
                self._pending.add(claim)
                self._emptied.clear()
                self._filled.set()
                return True
            self._renewed.clear()
            return False

    def take(self, claim: UUID, runs: tuple[Claimed, ...]) -> list[Holding]:
        """Put a claim's runs in hand and end its announcement."""
        taken = [Holding(run) for run in runs]
        for one in taken:
            self.held[one.claimed.id] = one
        with self._lock:
            self._pending.discard(claim)
        self._note_empty()
        return taken

    def has(self, holding: Holding) -> bool:
        """Whether this very holding is in hand; its run may be here again under a later epoch."""
        return self.held.get(holding.claimed.id) is holding

    def drop(self, holdings: Iterable[Holding]) -> None:
        """Let go of holdings whose endings were answered, or that were taken away.

        A run that was claimed here again meanwhile, as a new holding, stays: an ending whose
        answer was lost is resent while its run may be in hand anew (test_attempts.py).
        """
        held = self.held
        for holding in holdings:
            run = holding.claimed.id
            if held.get(run) is holding:
                del held[run]
        self._note_empty()

    def forget_claims(self) -> None:
        """Stop waiting for claims that are on their way: nobody will send them again."""
        with self._lock:
            self._pending.clear()
        self._note_empty()

    def _note_empty(self) -> None:
        if not self.busy:
            self._filled.clear()
            self._emptied.set()

    async def some(self) -> None:
        """Wait until something is in hand or a claim is on its way."""
        await self._filled.wait()

    async def empty(self) -> None:
        """Wait until nothing is in hand and no claim is on its way."""
        await self._emptied.wait()

    def forget_all(self) -> list[Holding]:
        """Let go of everything: the boot that held it is dead."""
        gone = list(self.held.values())
        self.held.clear()
        with self._lock:
            self._pending.clear()
        self._note_empty()
        return gone

    # --- renewals, on the keeper's thread -------------------------------------------------

    def list_for_renewal(self) -> tuple[list[tuple[UUID, int]], list[UUID]]:
        """Close the gate and list what is held, and the claims that are on their way."""
        with self._lock:
            self._renewing = True
            pending = list(self._pending)
        held = [(run, one.claimed.epoch) for run, one in list(self.held.items())]
        return held, pending

    def renewal_over(self) -> None:
        """Open the gate again; `reopen` must then be called on the event loop."""
        with self._lock:
            self._renewing = False

    def reopen(self) -> None:
        """Let waiting claims try again; on the event loop."""
        self._renewed.set()

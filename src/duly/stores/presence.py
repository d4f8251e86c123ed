"""How a process shows that it lives: a line that renews its lease, and locks that fall with it.

Both stand beside the verbs of a store and are used by threads and loops of their own. They decide
nothing: a lease that ended and a lock that fell are evidence, and the store's `take_over` judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from duly.core.fleet import Proof, Renewal

DEFAULT_GRACE = timedelta(milliseconds=250)


class LeaseLine(Protocol):
    """A line of its own to the store, for the thread that renews the lease. Blocking."""

    def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta,
    ) -> Renewal:
        """As `Store.renew`, by the store's clock."""
        ...

    def close(self) -> None:
        """Give the line back; renewing afterwards raises `StoreUnavailable`."""
        ...


class Presence(Protocol):
    """Locks that fall with their process: how a death is noticed at once.

    Present where the store or host offers such locks; a store without them returns None from
    `Store.presence` and counts on leases alone.
    """

    async def hold(self, boot: UUID) -> None:
        """Take the boot's own locks. Afterwards its fall is noticed by whoever watches."""
        ...

    async def holding(self) -> bool:
        """Whether this process still holds its own locks; takes fallen ones again if it can."""
        ...

    async def watch(self, boot: UUID) -> Proof | None:
        """Wait in short rounds until the boot's locks fall, and say what that proves.

        None: nothing can be said any more, because the watcher's own session broke or the
        server restarted. Cancelling the wait is safe at any time.
        """
        ...

    async def release(self) -> None:
        """Give everything back. The boot no longer looks alive, nor is it watched for."""
        ...

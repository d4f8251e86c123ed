"""The lease line: a connection of its own for the thread that renews the lease.

It shares nothing with the writer's queue, so that a long verb does not cost the lease.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from duly.core.fleet import Renewal
from duly.errors import StoreUnavailable
from duly.stores.base import DEFAULT_LEASE, WakeUp
from duly.stores.sqlite.fleet import renew
from duly.stores.sqlite.link import WRITE, Link
from duly.stores.sqlite.tx import Tx
from duly.stores.sqlite.witness import Mark, Witness


class SqliteLine:
    """`LeaseLine` on one link; `told` is called on this thread after each commit."""

    def __init__(
        self, link: Link, witness: Witness, told: Callable[[Iterable[WakeUp]], None]
    ) -> None:
        self._link, self._witness, self._told = link, witness, told
        self._alone = threading.Lock()
        self._closed = False

    def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta = DEFAULT_LEASE,
    ) -> Renewal:
        """As `Store.renew`, by the store's clock; blocking."""

        def work(tx: Tx) -> tuple[Renewal, Mark | None]:
            renewal = renew(tx, boot, held, pending, lease=lease, now=None)
            return renewal, self._witness.renewed(tx)

        with self._alone:
            if self._closed:
                raise StoreUnavailable(f"the lease line to {self._link.path} is closed")
            [(renewal, mark)], told = self._link.transact(WRITE, [work])
            self._witness.write(mark)
        if told:
            self._told(told)
        answer: Renewal = renewal
        return answer

    def close(self) -> None:
        """Close the connection; renewing afterwards raises `StoreUnavailable`."""
        with self._alone:
            self._closed = True
            self._link.close()

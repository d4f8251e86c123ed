"""Who else is there, and whose turn it is.

There is no leader: any instance may fire, claim, take over. To keep one event from costing
as many statements as there are instances, each turn has an order by rendezvous hashing
(Thaler and Ravishankar, 1998): the first goes at once, the others a moment later, by when they
have usually heard that it is done. A wrong roster costs a moment or a statement, nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from duly.core.fleet import PRESENT, Instance, InstanceState


class Roster:
    """The live instances as last read, this one included."""

    def __init__(self, boot: UUID) -> None:
        self.boot = boot
        self.others: tuple[Instance, ...] = ()

    def note(self, instances: Sequence[Instance], now: datetime) -> None:
        """Take in who was seen lately."""
        self.others = tuple(
            one
            for one in instances
            if one.boot != self.boot
            and one.state in (InstanceState.LIVE, InstanceState.STOPPING)
            and (one.held or (one.seen_at is not None and one.seen_at > now - PRESENT))
        )

    @property
    def alone(self) -> bool:
        """Whether nobody else is known to be there."""
        return not self.others

    def rank(self, topic: str) -> int:
        """Return this instance's place in the order for a topic; 0 goes first."""
        mine = _weight(self.boot, topic)
        return sum(
            _weight(one.boot, topic) > mine
            for one in self.others
            if one.state is InstanceState.LIVE
        )

    def distance_after(self, boot: UUID) -> int:
        """Return how many live boots stand between `boot` and this one, in the ring of ids."""
        live = sorted({self.boot, *(o.boot for o in self.others if o.boot != boot)})
        behind = [one for one in live if one > boot] + [one for one in live if one < boot]
        return behind.index(self.boot)


def _weight(boot: UUID, topic: str) -> bytes:
    return hashlib.blake2b(boot.bytes + topic.encode(), digest_size=8).digest()

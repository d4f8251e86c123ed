"""Effects as data: the ledger's rows, what is entered about them, and what that came to.

An effect is an act on the outside world that cannot be taken back. Its address (task, name, key)
has one row at most. Records only: what an entry comes to is decided in `core.ledger`, from the
row, the entry, and a few facts that the store looks up under the row's lock.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import msgspec

from duly.core.states import EffectState, EffectVerb
from duly.errors import InvalidValue

DEADLINE = timedelta(seconds=30)
"""From the intent to the first byte, unless said otherwise."""

_NAME = re.compile(r"[A-Za-z0-9_.:/-]+\Z", re.ASCII)

MARGIN = timedelta(seconds=5)
"""How long after its send deadline an intent is believed to be on its way."""

KEEP = timedelta(days=400)
"""How long the key of an effect is kept after its period; older periods are refused."""

UNCERTAIN = "effect.uncertain"
CONTRADICTED = "effect.contradicted"


class Sending(Protocol):
    """What a sender is told of the effect it performs."""

    @property
    def id(self) -> UUID:
        """The id of this intent: another try has another one."""
        ...

    @property
    def key(self) -> str:
        """A stable idempotency key: the same for every try of the same effect."""
        ...

    def last_call(self) -> None:
        """Raise `TooLate` if it must not be sent any more. Call it right before the first byte."""
        ...


class Address(msgspec.Struct, frozen=True, order=True):
    """Which effect: unique in the whole fleet, for as long as its period is kept.

    Neither a task's nor an effect's name holds a space, so its text can be taken apart again.
    """

    task: str
    name: str
    key: str

    def __str__(self) -> str:
        return f"{self.task} {self.name} {self.key}"

    @classmethod
    def of(cls, text: str) -> Address:
        """Read an address back from its text; raises `InvalidValue` for anything else."""
        parts = text.split(" ", 2)
        if len(parts) != 3:
            raise InvalidValue.expected("an effect", "TASK NAME KEY, parted by spaces", text)
        return cls(*parts)


def check_effect(name: object) -> str:
    """Return the name of an effect, or raise `InvalidValue`."""
    if not isinstance(name, str) or not 0 < len(name) <= 128 or not _NAME.match(name):
        raise InvalidValue.expected(
            "the name of an effect", "1 to 128 letters, digits and _ . : / - without a space", name
        )
    return name


class Author(msgspec.Struct, frozen=True):
    """The attempt that intended an effect: its fence."""

    run: UUID
    boot: UUID
    epoch: int


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger. A row exists only when something is intended, done or uncertain."""

    address: Address
    state: EffectState
    intent: UUID
    author: Author
    intended_at: datetime
    deadline: datetime  # of the first byte, by the store's clock
    keep_until: datetime
    settled_at: datetime | None = None
    receipt: bytes | None = None
    by: str = ""  # whose word settled it, where it was not the sender's own
    why: str = ""
    tenant: str = ""  # of its author's run, which it outlives


# --- entries ----------------------------------------------------------------------------------


class Intend(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt is about to perform it. `intent` is a new id."""

    address: Address
    author: Author
    intent: UUID
    deadline: timedelta
    keep: timedelta  # how long the row is kept after it was settled

    verb = EffectVerb.INTEND


class Confirm(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt: the intent was performed. Never fenced by the run: evidence is always kept."""

    address: Address
    author: Author
    intent: UUID
    receipt: bytes
    keep: timedelta

    verb = EffectVerb.CONFIRM


class Withdraw(msgspec.Struct, frozen=True, kw_only=True):
    """The sender says that its intent was not performed, and will not be."""

    address: Address
    intent: UUID
    why: str = ""

    verb = EffectVerb.WITHDRAW


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody can know any more whether the intent was performed.

    `swept` is said by those who merely look on: it counts only when the intent is not live.
    """

    address: Address
    intent: UUID
    why: str
    swept: bool = False

    verb = EffectVerb.DOUBT


class Resolve(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word, or that of `verify`, on an uncertain effect."""

    address: Address
    performed: bool
    by: str
    reason: str
    accept_double: bool = False
    own: UUID | None = None  # the asker's own intent, whose sending it saw end

    verb = EffectVerb.CLEAR


Entry = Intend | Confirm | Withdraw | Doubt | Resolve


class Outcome(StrEnum):
    """What an entry came to."""

    GO = "go"  # intended by you: perform it now
    DONE = "done"  # it is done, by you or before; the receipt says so
    WAIT = "wait"  # another's intent is on its way; ask again after `until`
    UNCERTAIN = "uncertain"
    CLEARED = "cleared"  # it is open again: not performed
    STALE = "stale"  # the asker does not hold its run any more
    ALREADY = "already"  # there was nothing to change
    REFUSED = "refused"  # `why` says what stands against it
    UNKNOWN = "unknown"  # there is no such effect
    CONTRADICTED = "contradicted"  # a receipt against somebody's word; kept, with an incident


class Posted(msgspec.Struct, frozen=True):
    """The answer to one entry."""

    outcome: Outcome
    receipt: bytes | None = None
    until: datetime | None = None
    why: str = ""
    intent: UUID | None = None
    settled_at: datetime | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit: what became of an effect, and by whose word."""

    address: Address
    intent: UUID
    verb: EffectVerb
    by: str
    why: str
    at: datetime
    receipt: bytes | None = None
    accepted_double: bool = False


class EffectFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which effects to list: newest intents first, `limit` at most."""

    state: EffectState | None = None
    task: str | None = None
    run: UUID | None = None
    tenant: str | None = None  # None: of all; empty: of the house
    limit: int = 50


def settled_for(state: EffectState | None, *, parked: bool) -> bool:
    """Whether a run that is about to await an effect need not: what it awaits has come about.

    A parked run awaits the end of a doubt, a waiting one the end of a live intent.
    """
    return state is not (EffectState.UNCERTAIN if parked else EffectState.INTENDED)

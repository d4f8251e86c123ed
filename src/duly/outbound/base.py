"""What senders and destinations owe, and how they say that it did not go well.

A *sender* performs one effect and answers one question truthfully: performed (it returns a
receipt), not performed (`NotPerformed`), or nobody knows (`OutcomeUnknown`). It says "not
performed" only where a standard, or the order of the bytes, leaves no doubt. A *destination*
takes messages of the outbox, at least once each, in order.

Drivers are imported by the module that needs them and by no other: `duly.outbound.mail`,
`duly.outbound.http`, `duly.outbound.rabbitmq`. This module imports none, and does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from duly.core.faults import Fault
from duly.errors import DulyError, EnvironmentFailure, InvalidValue, NotPerformed, UsageError

if TYPE_CHECKING:
    from duly.core.notices import Notice
    from duly.core.outbox import Message

SHOWN = 300
"""Characters of a stranger's answer that go into a message or a receipt."""


class Destination(Protocol):
    """Where messages of the outbox go.

    Delivery is at least once, always under the message's own id. Order holds for messages of one
    topic and key: the next one is put on the wire only after the one before it was confirmed. So
    the answer never holds a message whose predecessor is missing from it, and who consumes sees
    the *first* copies of a topic and key in the order they were given, whatever breaks; only a
    copy of what was seen before may come later. Messages without a key are in no order.
    """

    @property
    def name(self) -> str:
        """Say which destination this is, without any secret."""
        ...

    async def open(self) -> None:
        """Connect, or raise `DestinationUnavailable`. `send` does it too when need be."""
        ...

    async def send(self, messages: Sequence[Message]) -> list[UUID]:
        """Hand messages on, in the order given, and return the ids that were confirmed.

        What is not in the answer is sent again later with the same id. When the destination goes
        away after some were confirmed, those are returned and the next call raises. Raises
        `DestinationUnavailable` when nothing can be confirmed, and `Unroutable` when a message
        has nowhere to go; both name in `confirmed` what was taken before.
        """
        ...

    async def close(self) -> None:
        """Disconnect. Never raises; a later `open` or `send` connects anew."""
        ...


class Channel(Protocol):
    """Where people are told. It keeps nothing between two notices."""

    @property
    def name(self) -> str:
        """Say which channel this is; unique within an application."""
        ...

    async def send(self, notice: Notice) -> None:
        """Deliver a notice, under its own id, so that a copy can be known for one.

        Returns once it was taken. Raises `DestinationUnavailable` when it was not, or may not have
        been; `DestinationRefused` when trying again can hardly help.
        """
        ...


class DestinationUnavailable(EnvironmentFailure):
    """The destination is away. `confirmed` are the ids it took from the same call before that."""

    def __init__(self, message: str, *, confirmed: Iterable[UUID] = ()) -> None:
        super().__init__(message)
        self.confirmed = list(confirmed)


class DestinationRefused(DestinationUnavailable):
    """The destination answered, and said no: wrong password, no permission, another kind."""

    permanent = True


class Unroutable(DestinationUnavailable):
    """Messages that the broker can give to no queue; `ids` are theirs. A binding mends it."""

    def __init__(
        self, message: str, *, ids: Iterable[UUID] = (), confirmed: Iterable[UUID] = ()
    ) -> None:
        super().__init__(message, confirmed=confirmed)
        self.ids = list(ids)


class OutcomeUnknown(DulyError):
    """An effect may have been performed, or not: its answer was lost. Never tried again by guess.

    `answer` is what came back, shortened, where anything did; `fault` what that says of
    the other side, where its sender knows.
    """

    def __init__(
        self, message: str, *, answer: str | None = None, fault: Fault | None = None
    ) -> None:
        super().__init__(message)
        self.answer, self.fault = answer, fault


class Declined(NotPerformed):
    """The other side answered that it did not, and will not, or not now.

    `permanent` says whether the same request can ever succeed; `retry_after_s` is how many
    seconds the other side asks to wait, where it says so; the next try comes no sooner.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool,
        retry_after_s: float | None = None,
        answer: str | None = None,
        fault: Fault | None = None,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after_s = retry_after_s
        self.answer, self.fault = answer, fault


class Unreachable(NotPerformed):
    """The other side could not be reached: not one byte of the request was written."""

    def __init__(self, message: str, *, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


class Unsendable(InvalidValue, NotPerformed):
    """What was to be sent cannot be right; it was refused before anything was connected."""

    permanent = True
    fault = Fault.OURS


class Forbidden(Unsendable):
    """The rules do not let this address be called; nothing was connected."""

    fault = Fault.NOT_ALLOWED


class CallFailed(DulyError):
    """An HTTP call failed, and nothing is left in doubt by that.

    `permanent` says that the same call would fail again; `retry_after_s` is how many seconds the
    other side asks to wait; `answer` is its status, where it gave one.
    """

    def __init__(
        self,
        message: str,
        *,
        fault: Fault,
        permanent: bool = True,
        retry_after_s: float | None = None,
        answer: str | None = None,
    ) -> None:
        super().__init__(message)
        self.fault, self.permanent = fault, permanent
        self.retry_after_s, self.answer = retry_after_s, answer


def missing_extra(extra: str, package: str) -> UsageError:
    """Say which extra brings a driver that is not installed."""
    return UsageError(
        f"expected {package} to be installed; install it with: pip install 'duly[{extra}]'"
    )


def plain(text: object) -> str:
    """Return a stranger's text on one line, printable, and at most `SHOWN` characters long."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"

"""What every channel owes: it hands a notice on, or says whether another try can help.

A channel may be asked to send the same notice again, because an answer may be lost: the notice's
id goes along every time, so that the other side can tell a copy. `DestinationUnavailable` means
that a later try may succeed, `DestinationRefused` that somebody has to change something first.
When the other side asks to be left alone for a while, nothing is sent before that is over.

Never shows a secret: neither in an error nor in `repr`. Never decides when, or whether, to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from duly.core.notices import Notice
from duly.errors import InvalidValue, NotPerformed
from duly.outbound.base import (
    Declined,
    DestinationRefused,
    DestinationUnavailable,
    OutcomeUnknown,
)

SHORTEST_HIDDEN = 4
"""Texts shorter than this are not struck out of answers: too much else would be."""


class ComeBackLater(DestinationUnavailable):
    """The other side asked to be left alone for `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Posting:
    """A notice as the senders of effects see it: one key for every try, and never too late."""

    def __init__(self, notice: Notice) -> None:
        self.id: UUID = notice.id
        self.key = str(notice.id)

    def last_call(self) -> None:
        """A notice that comes late is better than none."""


class Rest:
    """Until when the other side wants to be left alone, by the event loop's clock."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._until = float("-inf")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Raise at once while it lasts; hear of the next one from what is raised within."""
        left_s = self._until - asyncio.get_running_loop().time()
        if left_s > 0:
            told = f"{self._name} asked to be left alone for another {left_s:.0f} s"
            raise ComeBackLater(told, retry_after_s=left_s)
        try:
            yield
        except ComeBackLater as error:
            self._until = asyncio.get_running_loop().time() + error.retry_after_s
            raise


def hidden_of(url: str) -> list[str]:
    """Return what of a URL is struck out of answers that echo it: the whole, and its path."""
    path = url.partition("://")[2].partition("/")[2]
    return [url, path] if len(path) >= SHORTEST_HIDDEN else [url]


@contextmanager
def told_as_channel(name: str) -> Iterator[None]:
    """Say what a sender raises in the words of channels.

    An outcome that nobody knows is a reason to send again: a notice is told at least once.
    """
    try:
        yield
    except Declined as error:
        told = f"{name}: {error}"
        if error.permanent:
            raise DestinationRefused(told) from None
        if error.retry_after_s:
            raise ComeBackLater(told, retry_after_s=error.retry_after_s) from None
        raise DestinationUnavailable(told) from None
    except InvalidValue as error:  # it cannot be right as it is: a secret is missing, an address
        raise DestinationRefused(f"{name}: {error}") from None
    except (NotPerformed, OutcomeUnknown) as error:
        raise DestinationUnavailable(f"{name}: {error}") from None

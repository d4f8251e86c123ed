"""Every error Duly raises, in one tree that is split by whose fault it is.

`UsageError`: the caller can mend it. `EnvironmentFailure`: the world can mend it, and
trying again may help. `DulyBug`: only we can mend it. Messages follow one pattern:
*expected X to be …, got …*, with the nearest right name where there is one.

Driver exceptions are translated into this tree at the border of a store or a transport,
and nowhere else. Nothing in this module imports anything of Duly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from types import MappingProxyType

LONGEST_MISNOMER = 200
"""Of a longer name only the beginning is compared with the names that there are."""


class DulyError(Exception):
    """The root. `permanent` says whether the same call can ever succeed unchanged.

    `told` holds what a program may read of the message: `expected`, `got`, `nearest`.
    """

    permanent = True
    told: Mapping[str, str] = MappingProxyType({})


# --- the caller's mistake -----------------------------------------------------------------


class UsageError(DulyError):
    """Something the caller passed, wrote or configured cannot be right."""


class InvalidValue(UsageError, ValueError):
    """A value is outside what its place allows; the message says what was expected."""

    @classmethod
    def expected(cls, what: str, to_be: str, got: object) -> InvalidValue:
        """Build the message of the house pattern; `got` is shortened to 80 characters."""
        error = cls(f"expected {what} to be {to_be}, got {brief(got)}")
        error.told = {"expected": f"{what} to be {to_be}", "got": brief(got)}
        return error


class UnknownName(UsageError, LookupError):
    """A name is not known here; the message offers the nearest ones that are."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """Build the message: the kind of thing, the name that came, the nearest names."""
        names = list(known)
        error = cls(f"no {kind} is called {brief(name)}{nearest(name, names)}")
        close = get_close_matches(name[:LONGEST_MISNOMER], sorted(names), n=1, cutoff=0.6)
        error.told = {"expected": f"a {kind}", "got": brief(name)}
        error.told |= {"nearest": close[0]} if close else {}
        return error


class Refused(UsageError):
    """The call is well-formed, but the state of the thing forbids it; the message says why."""


class ConfigError(UsageError):
    """A setting is unknown, malformed, or does not fit another one."""


class ForeignContext(UsageError):
    """A `Context` was used outside the attempt it belongs to."""


# --- the environment's failure ------------------------------------------------------------


class EnvironmentFailure(DulyError):
    """The world did not do its part."""

    permanent = False


class StoreUnavailable(EnvironmentFailure):
    """The store cannot be reached now, or did not answer; the outcome may be unknown."""


class StoreFull(StoreUnavailable):
    """The store has no room left: the disk is full. Nothing of the call was kept."""


class StoreReadOnly(EnvironmentFailure):
    """The store can be read but not written: file permissions, or a replica."""

    permanent = True


class StoreRefused(EnvironmentFailure):
    """The store answered, and said no: wrong password, no such database, no permission."""

    permanent = True


class StoreMismatch(EnvironmentFailure):
    """The store's schema is older or newer than this code; the message names the command."""

    permanent = True


class BreakerOpen(EnvironmentFailure):
    """A call was held back: its target is broken. Nothing was sent.

    `since` says since when, `rest` how long until a call may try; nothing raised here is counted.
    """

    def __init__(
        self, message: str, *, breaker: str, since: datetime | None, rest: timedelta
    ) -> None:
        super().__init__(message)
        self.breaker, self.since, self.rest = breaker, since, rest


# --- our bug ------------------------------------------------------------------------------


class DulyBug(DulyError):
    """Something that cannot be, was. Please report it with the message."""


class ImpossibleTransition(DulyBug):
    """A move that is not in its table of states was asked for."""


# --- what happens to work -----------------------------------------------------------------


class WorkFailed(DulyError):
    """A run that was waited for did not succeed; carries its last error as text.

    Not permanent: who waits for a child that failed may fare better at another try.
    """

    permanent = False


class NotPerformed(DulyError):
    """An effect was certainly not performed: raised by whoever performs it.

    Its intent is withdrawn, and the run is tried again by its retry policy.
    """

    permanent = False


class TooLate(NotPerformed):
    """The send deadline of an effect had passed before its first byte."""


class ChildFailed(DulyError):
    """A supervised child process ended otherwise than with exit code 0; the message says how."""

    permanent = False


class WorkCancelled(DulyError):
    """The run this code works for was cancelled, timed out, or taken away."""


def brief(got: object, most: int = 80) -> str:
    """Return a value as code would write it, on one line, cut to `most` characters.

    Raises nothing: a whole number of thousands of digits has no text in Python, and is told by
    its type.
    """
    try:
        shown = repr(got[: most + 1] if isinstance(got, str | bytes) else got)
    except (ValueError, RecursionError):
        shown = f"a value of type {type(got).__name__}"
    shown = shown if shown.isprintable() else ascii(shown)[1:-1]
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def one_line(text: object, most: int = 200) -> str:
    """Return a stranger's words, such as a parser's, on one printable line, cut to `most`."""
    shown = "".join(c if c.isprintable() else " " for c in str(text)[: 4 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the known names when few, or an empty text."""
    names = sorted(known)
    close = get_close_matches(name[:LONGEST_MISNOMER], names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    if 0 < len(names) <= 8:
        return "; known: " + ", ".join(names)
    return ""

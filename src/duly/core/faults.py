"""What went wrong with a call to a target, in a word, and whether that says the target is broken.

A fault is data: a short word, words for people, and whether it counts for a breaker. Counted is
what says that the *target* is broken. Our own bug never is, nor a request that our own code got
wrong, unless the request is fixed (a timer's): then nobody but the target can have changed, and
any status that is not expected counts.

`fault_of` reads an error by its kind, never by its words: what its sender said of it first, then
the names of its classes, then the number of the system's error, then what it was raised from. An
error of Duly about its own store or its own use is never a target's. Pure: imports no driver.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeVar

from duly.errors import DulyBug, EnvironmentFailure, StoreRefused, StoreUnavailable, UsageError


class Fault(StrEnum):
    """What went wrong with a call."""

    ROUTE_NOT_FOUND = "route_not_found"
    CONTRACT_CHANGED = "contract_changed"
    ACCESS_DENIED = "access_denied"
    BUSY = "busy"
    SERVER_ERROR = "server_error"
    REDIRECTED = "redirected"
    UNEXPECTED_STATUS = "unexpected_status"
    TIMED_OUT = "timed_out"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_FAILED = "connection_failed"
    NAME_NOT_FOUND = "name_not_found"
    TLS_FAILED = "tls_failed"
    ONLY_STARTED = "only_started"
    VANISHED = "vanished"
    REPORTED = "reported"
    NOT_ALLOWED = "not_allowed"
    OURS = "ours"

    @property
    def words(self) -> str:
        """What people read: `route not found`."""
        return FAULTS[self].words


class FaultRow(NamedTuple):
    """What a fault is called and means, and whether it counts: at all, and for a fixed request.

    `again` says whether the same call, made later, may succeed while nobody changes anything.
    """

    words: str
    meaning: str
    again: bool
    counts: bool
    counts_when_fixed: bool = True


FAULTS: Mapping[Fault, FaultRow] = {
    Fault.ROUTE_NOT_FOUND: FaultRow(
        "route not found", "404, 410: nobody serves this route any more", False, False
    ),
    Fault.CONTRACT_CHANGED: FaultRow(
        "contract changed",
        "400, 405, 406, 411 to 417, 422, 426, 428, 431, 501, 505: it wants another request",
        False,
        False,
    ),
    Fault.ACCESS_DENIED: FaultRow(
        "access denied", "401, 402, 403, 407, 451: the caller may not do this", False, False
    ),
    Fault.BUSY: FaultRow("busy", "408, 425, 429, and 503 with Retry-After: later", True, True),
    Fault.SERVER_ERROR: FaultRow("server error", "any other 5xx: the target failed", True, True),
    Fault.REDIRECTED: FaultRow(
        "redirected", "3xx: the route is elsewhere; it is never followed", False, False
    ),
    Fault.UNEXPECTED_STATUS: FaultRow(
        "unexpected status", "an answer that is not among those expected", False, False
    ),
    Fault.TIMED_OUT: FaultRow(
        "timed out", "no answer, or no connection, within the deadline", True, True
    ),
    Fault.CONNECTION_REFUSED: FaultRow(
        "connection refused", "nobody listens there, or nothing leads there", True, True
    ),
    Fault.CONNECTION_FAILED: FaultRow(
        "connection failed", "the connection broke, or spoke no HTTP", True, True
    ),
    Fault.NAME_NOT_FOUND: FaultRow("name not found", "the host's name leads nowhere", True, True),
    Fault.TLS_FAILED: FaultRow(
        "TLS failed", "no trusted, encrypted connection came about", False, True
    ),
    Fault.ONLY_STARTED: FaultRow(
        "only started",
        "202 was answered, and neither expected nor is its completion waited for",
        False,
        False,
    ),
    Fault.VANISHED: FaultRow("vanished", "started, and never said to be completed", False, True),
    Fault.REPORTED: FaultRow(
        "reported as failed", "started, and the target said that it failed", False, False
    ),
    Fault.NOT_ALLOWED: FaultRow(
        "target not allowed", "our rules do not let this address be called", False, False, False
    ),
    Fault.OURS: FaultRow(
        "our own error",
        "nothing was sent, or the error says nothing of a target",
        False,
        False,
        False,
    ),
}


def words_of(said: str, otherwise: str | None = None) -> str:
    """Return what people read for a fault that a row says; a word of newer code is left as it is.

    With `otherwise`, that stands for such a word, and for none.
    """
    row = FAULTS.get(Fault(said)) if said in FAULTS else None
    if row is not None:
        return row.words
    return said if otherwise is None else otherwise


_KINDS: Mapping[str, Fault] = {
    "builtins.ConnectionRefusedError": Fault.CONNECTION_REFUSED,
    "builtins.TimeoutError": Fault.TIMED_OUT,
    "builtins.ConnectionError": Fault.CONNECTION_FAILED,
    "socket.gaierror": Fault.NAME_NOT_FOUND,
    "socket.herror": Fault.NAME_NOT_FOUND,
    "ssl.SSLError": Fault.TLS_FAILED,
    "ssl.SSLCertVerificationError": Fault.TLS_FAILED,
    "aiohttp.client_exceptions.ClientConnectorDNSError": Fault.NAME_NOT_FOUND,
    "aiohttp.client_exceptions.ClientSSLError": Fault.TLS_FAILED,
    "aiohttp.client_exceptions.ClientConnectorCertificateError": Fault.TLS_FAILED,
    "aiohttp.client_exceptions.ClientConnectionError": Fault.CONNECTION_FAILED,
    "aiohttp.client_exceptions.ServerTimeoutError": Fault.TIMED_OUT,
    "aiosmtplib.errors.SMTPTimeoutError": Fault.TIMED_OUT,
    "aiosmtplib.errors.SMTPConnectError": Fault.CONNECTION_FAILED,
    "aiosmtplib.errors.SMTPServerDisconnected": Fault.CONNECTION_FAILED,
}
"""Classes of errors by their full names; the nearest of an error's classes decides."""

_GENERAL = frozenset({Fault.CONNECTION_FAILED})
"""Faults that what an error was raised from may tell more of."""

_NUMBERS: Mapping[int, Fault] = {
    errno.ECONNREFUSED: Fault.CONNECTION_REFUSED,
    errno.ETIMEDOUT: Fault.TIMED_OUT,
    errno.ECONNRESET: Fault.CONNECTION_FAILED,
    errno.ECONNABORTED: Fault.CONNECTION_FAILED,
    errno.EHOSTUNREACH: Fault.CONNECTION_FAILED,
    errno.EHOSTDOWN: Fault.CONNECTION_FAILED,
    errno.ENETUNREACH: Fault.CONNECTION_FAILED,
    errno.ENETDOWN: Fault.CONNECTION_FAILED,
    errno.EPIPE: Fault.CONNECTION_FAILED,
}

_DEEP = 6
_OWN = (UsageError, DulyBug, StoreUnavailable, StoreRefused)

E = TypeVar("E", bound=BaseException)


def fault_of(error: BaseException) -> Fault:
    """Name what went wrong; `ours` for whatever says nothing of a target."""
    found = Fault.OURS
    seen: BaseException | None = error
    for _ in range(_DEEP):
        if seen is None:
            break
        known = said_of(seen)
        if known is not None:
            return known
        if isinstance(seen, _OWN) or type(seen) is EnvironmentFailure:
            break
        here = _by_kind(seen)
        if here is not Fault.OURS and (found is Fault.OURS or found in _GENERAL):
            found = here
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return found


def said_of(error: BaseException) -> Fault | None:
    """Return the fault that an error itself names; None for any that names none."""
    said = getattr(error, "fault", None)
    return Fault(said) if isinstance(said, str) and said in FAULTS else None


def _by_kind(error: BaseException) -> Fault:
    for kind in type(error).__mro__:
        if kind is OSError:
            break
        known = _KINDS.get(f"{kind.__module__}.{kind.__qualname__}")
        if known is not None and not (known in _GENERAL and _number(error) is not None):
            return known
    return _number(error) or Fault.OURS


def _number(error: BaseException) -> Fault | None:
    number = error.errno if isinstance(error, OSError) else None
    return None if number is None else _NUMBERS.get(number)


def blamed(error: E, fault: Fault) -> E:
    """Return an error that says which fault it is of, for whoever counts."""
    error.fault = fault  # type: ignore[attr-defined]  # read by `fault_of`, from any error
    return error


def counts(fault: Fault, *, fixed: bool = False) -> bool:
    """Whether a fault says that the target is broken; `fixed`: for a request that never varies."""
    row = FAULTS[fault]
    return row.counts or (fixed and row.counts_when_fixed)

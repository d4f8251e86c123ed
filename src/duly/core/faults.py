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

from duly.core.answers import ErrorClass, class_of
from duly.errors import DulyBug, EnvironmentFailure, StoreRefused, StoreUnavailable, UsageError


class Fault(StrEnum):
    """What went wrong with a call."""

    ROUTE_NOT_FOUND = "route_not_found"
    CONTRACT_CHANGED = "contract_changed"
    ACCESS_DENIED = "access_denied"
    BUSY = "busy"
    SERVER_ERROR = "server_error"
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


class FaultRow(NamedTuple):
    """What a fault is called, and whether it counts: at all, and for a request that is fixed."""

    words: str
    counts: bool
    counts_when_fixed: bool = True


FAULTS: Mapping[Fault, FaultRow] = {
    Fault.ROUTE_NOT_FOUND: FaultRow("route not found", False),
    Fault.CONTRACT_CHANGED: FaultRow("contract changed", False),
    Fault.ACCESS_DENIED: FaultRow("access denied", False),
    Fault.BUSY: FaultRow("busy", True),
    Fault.SERVER_ERROR: FaultRow("server error", True),
    Fault.UNEXPECTED_STATUS: FaultRow("unexpected status", False),
    Fault.TIMED_OUT: FaultRow("timed out", True),
    Fault.CONNECTION_REFUSED: FaultRow("connection refused", True),
    Fault.CONNECTION_FAILED: FaultRow("connection failed", True),
    Fault.NAME_NOT_FOUND: FaultRow("name not found", True),
    Fault.TLS_FAILED: FaultRow("TLS failed", True),
    Fault.ONLY_STARTED: FaultRow("only started", False),
    Fault.VANISHED: FaultRow("vanished", True),
    Fault.REPORTED: FaultRow("reported as failed", False),
    Fault.NOT_ALLOWED: FaultRow("target not allowed", False, False),
    Fault.OURS: FaultRow("our own error", False, False),
}

FAULT_OF: Mapping[ErrorClass, Fault] = {
    ErrorClass.NOT_FOUND: Fault.ROUTE_NOT_FOUND,
    ErrorClass.CONTRACT: Fault.CONTRACT_CHANGED,
    ErrorClass.DENIED: Fault.ACCESS_DENIED,
    ErrorClass.BUSY: Fault.BUSY,
    ErrorClass.SERVER: Fault.SERVER_ERROR,
    ErrorClass.MOVED: Fault.UNEXPECTED_STATUS,
    ErrorClass.UNEXPECTED: Fault.UNEXPECTED_STATUS,
    ErrorClass.TIMED_OUT: Fault.TIMED_OUT,
    ErrorClass.NAME: Fault.NAME_NOT_FOUND,
    ErrorClass.REFUSED: Fault.CONNECTION_REFUSED,
    ErrorClass.TLS: Fault.TLS_FAILED,
    ErrorClass.BROKEN_OFF: Fault.CONNECTION_FAILED,
    ErrorClass.STARTED: Fault.ONLY_STARTED,
    ErrorClass.VANISHED: Fault.VANISHED,
    ErrorClass.REPORTED: Fault.REPORTED,
    ErrorClass.FORBIDDEN: Fault.NOT_ALLOWED,
    ErrorClass.OURS: Fault.OURS,
}
"""The fault of each class that an answer, or its absence, has."""

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
        said = getattr(seen, "fault", None)
        if isinstance(said, str) and said in FAULTS:
            return Fault(said)
        known = class_of(seen)
        if known is not None:
            return FAULT_OF[known]
        if isinstance(seen, _OWN) or type(seen) is EnvironmentFailure:
            break
        here = _by_kind(seen)
        if here is not Fault.OURS and (found is Fault.OURS or found in _GENERAL):
            found = here
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return found


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

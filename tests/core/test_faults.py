"""What an error says of a target: a word for each, and which of them count for a breaker."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from duly.core.answers import fault_of_status
from duly.core.faults import FAULTS, Fault, blamed, counts, fault_of
from duly.errors import InvalidValue, NotPerformed, StoreUnavailable

STATUSES = [
    (400, Fault.CONTRACT_CHANGED, False, True),
    (401, Fault.ACCESS_DENIED, False, True),
    (403, Fault.ACCESS_DENIED, False, True),
    (404, Fault.ROUTE_NOT_FOUND, False, True),
    (405, Fault.CONTRACT_CHANGED, False, True),
    (408, Fault.BUSY, True, True),
    (410, Fault.ROUTE_NOT_FOUND, False, True),
    (415, Fault.CONTRACT_CHANGED, False, True),
    (418, Fault.UNEXPECTED_STATUS, False, True),
    (422, Fault.CONTRACT_CHANGED, False, True),
    (429, Fault.BUSY, True, True),
    (302, Fault.REDIRECTED, False, True),
    (500, Fault.SERVER_ERROR, True, True),
    (502, Fault.SERVER_ERROR, True, True),
    (503, Fault.SERVER_ERROR, True, True),
    (504, Fault.SERVER_ERROR, True, True),
]


@pytest.mark.parametrize(("status", "fault", "counted", "counted_when_fixed"), STATUSES)
def test_a_status_has_its_word_and_counts_or_not(
    status: int, fault: Fault, counted: bool, counted_when_fixed: bool
) -> None:
    assert fault_of_status(status) is fault
    assert counts(fault) is counted
    assert counts(fault, fixed=True) is counted_when_fixed


def test_a_503_that_says_when_to_come_back_is_busy() -> None:
    assert fault_of_status(503, retry_after="7") is Fault.BUSY


def raised_from(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


class Flaky(ConnectionError):
    """A driver's error of a general kind."""


ERRORS: list[tuple[BaseException, Fault]] = [
    (ConnectionRefusedError(), Fault.CONNECTION_REFUSED),
    (OSError(errno.ECONNREFUSED, "refused"), Fault.CONNECTION_REFUSED),
    (ConnectionResetError(), Fault.CONNECTION_FAILED),
    (Flaky(), Fault.CONNECTION_FAILED),
    (OSError(errno.EHOSTUNREACH, "no route"), Fault.CONNECTION_FAILED),
    (TimeoutError("slow"), Fault.TIMED_OUT),
    (socket.gaierror(-2, "no such name"), Fault.NAME_NOT_FOUND),
    (ssl.SSLCertVerificationError("expired"), Fault.TLS_FAILED),
    (raised_from(Flaky(), ConnectionRefusedError()), Fault.CONNECTION_REFUSED),
    (raised_from(RuntimeError("wrapped"), TimeoutError()), Fault.TIMED_OUT),
    (raised_from(NotPerformed("no"), socket.gaierror(-2, "no")), Fault.NAME_NOT_FOUND),
    (blamed(NotPerformed("no"), Fault.BUSY), Fault.BUSY),
    # Our own: a bug, a file, a wrong use of Duly, a store that is away.
    (ZeroDivisionError(), Fault.OURS),
    (FileNotFoundError(errno.ENOENT, "gone"), Fault.OURS),
    (PermissionError(errno.EACCES, "no"), Fault.OURS),
    (InvalidValue("wrong"), Fault.OURS),
    (raised_from(StoreUnavailable("away"), ConnectionRefusedError()), Fault.OURS),
    (NotPerformed("said no"), Fault.OURS),
]


@pytest.mark.parametrize(("error", "fault"), ERRORS, ids=repr)
def test_an_error_is_named_by_its_kind(error: BaseException, fault: Fault) -> None:
    assert fault_of(error) is fault


def test_every_fault_has_words_and_our_own_never_counts() -> None:
    assert set(FAULTS) == set(Fault)
    assert all(row.words and row.words[0] != " " for row in FAULTS.values())
    assert not counts(Fault.OURS) and not counts(Fault.OURS, fixed=True)

"""Which fault a broken request has: from the driver's exception to a word of the core.

The order of the cases matters: a certificate error is an error of connecting too. What fits
nothing is a connection that broke. Never decides whether the request was acted on: that is known
by whether its first byte was written, and by nobody's exception.
"""

from __future__ import annotations

import asyncio

import aiohttp

from duly.core.faults import Fault


def fault_of_failure(error: BaseException) -> Fault:
    """Return the fault of what a request raised."""
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return Fault.TLS_FAILED
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Fault.NAME_NOT_FOUND
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return Fault.TIMED_OUT
    if isinstance(error, aiohttp.ClientConnectorError):
        late = isinstance(error.os_error, TimeoutError)
        return Fault.TIMED_OUT if late else Fault.CONNECTION_REFUSED
    return Fault.CONNECTION_FAILED

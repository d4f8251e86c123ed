"""Which class of error a broken request is: from the driver's exception to a word of the core.

The order of the cases matters: a certificate error is an error of connecting too. What fits
nothing is a connection that broke. Never decides whether the request was acted on: that is known
by whether its first byte was written, and by nobody's exception.
"""

from __future__ import annotations

import asyncio

import aiohttp

from duly.core.answers import ErrorClass


def class_of_failure(error: BaseException) -> ErrorClass:
    """Return the class of what a request raised."""
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return ErrorClass.TLS
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ErrorClass.NAME
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return ErrorClass.TIMED_OUT
    if isinstance(error, aiohttp.ClientConnectorError):
        late = isinstance(error.os_error, TimeoutError)
        return ErrorClass.TIMED_OUT if late else ErrorClass.REFUSED
    return ErrorClass.BROKEN_OFF

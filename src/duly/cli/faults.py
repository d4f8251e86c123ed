"""What a failure means to whoever typed the command: one sentence, and an exit code.

Codes: 1 it failed, 2 the command was wrong, 69 the store cannot be reached, 70 a bug of ours (or
the supervisor gave up), 75 try again later, 78 the configuration or the application is wrong,
130 interrupted. A user's mistake never shows a traceback; `DULY_DEBUG=1` shows it for anything.
"""

from __future__ import annotations

import errno
import os
import traceback

import click

from duly.cli.display import say
from duly.errors import (
    ConfigError,
    DulyBug,
    DulyError,
    EnvironmentFailure,
    Refused,
    StoreFull,
    StoreUnavailable,
    UsageError,
)

FAILED, USAGE = 1, 2
UNREACHABLE, BUG, TEMPORARY, MISCONFIGURED = 69, 70, 75, 78
INTERRUPTED = 130


class Fault(Exception):
    """A failure that was understood: what to say, and how to exit."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.sentence, self.code = sentence, code


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("DULY_DEBUG", "") not in ("", "0")


def fault_of(error: BaseException) -> Fault:
    """Return what an exception comes to."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, click.ClickException):
        return Fault(error.format_message(), error.exit_code)
    if isinstance(error, DulyError):
        return Fault(str(error), _code(error))
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Fault("interrupted", INTERRUPTED)
    if isinstance(error, TimeoutError):
        return Fault(str(error) or "it took too long; try again later", TEMPORARY)
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        code = TEMPORARY if error.errno in (errno.ENOSPC, errno.EDQUOT) else FAILED
        return Fault(f"{error.strerror}: {error.filename or 'no file named'}", code)
    said = f"{type(error).__name__}: {error}"
    return Fault(f"this is a bug of Duly: {said}; DULY_DEBUG=1 shows where, please report it", BUG)


_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EMFILE}
)


def _code(error: DulyError) -> int:
    match error:
        case ConfigError():
            return MISCONFIGURED
        case Refused():
            return FAILED
        case UsageError():
            return USAGE
        case StoreFull():
            return TEMPORARY
        case StoreUnavailable():
            return UNREACHABLE
        case EnvironmentFailure():
            return MISCONFIGURED if error.permanent else TEMPORARY
        case DulyBug():
            return BUG
    return FAILED


def tell(error: BaseException) -> int:
    """Write the sentence (and, where wanted, the traceback) on stderr; return the exit code."""
    fault = fault_of(error)
    if debugging():
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, click.UsageError):
        error.show()
    else:
        say(f"duly: {fault.sentence}", err=True)
    return fault.code

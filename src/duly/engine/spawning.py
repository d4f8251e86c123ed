"""A child process as a supervised loop: begun, waited for, and its end told in words.

A child is spawned, never forked, in a process group of its own. Whenever it ends, in whatever way,
it is begun again; any end but exit code 0 is a failure. At a stop, and at a missed deadline, the
group is asked to end (SIGTERM), and after a grace is killed. A child does not outlive its
supervisor's stop; it may outlive a supervisor that is killed itself, unless whoever runs the
service ends what it left: systemd, containers and Nomad do.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from duly.core.clock import Clock
from duly.core.restarts import RestartPolicy
from duly.engine.turning import Called
from duly.errors import ChildFailed, InvalidValue

GRACE_S = 5.0
"""How long a child that was asked to end may take, before it is killed."""


class Spawned(Called):
    """A supervised loop: runs a command, again and again."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        policy: RestartPolicy,
        every: timedelta,
        clock: Clock,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(lambda: None, name=name, policy=policy, every=every, clock=clock)
        self._command, self._env = tuple(command), env
        self.pid: int | None = None  # of the child that runs now

    async def _call(self) -> None:
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            env=self._env,
            process_group=0 if os.name == "posix" else None,
        )
        self.pid = child.pid
        try:
            code = await child.wait()
        finally:
            try:
                await _end(child)
            finally:
                self.pid = None
        if code != 0:
            raise ChildFailed(f"{self._command[0]} {told(code)}")

    def stack(self) -> str | None:
        """Say which process it is: where that stands, it alone knows."""
        return f"process {self.pid}: {' '.join(self._command)}"[:1_000]


async def _end(child: asyncio.subprocess.Process) -> None:
    """See to it that a child has ended: ask, wait for the grace, kill."""
    if child.returncode is not None:
        return
    try:
        _send(child.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await child.wait()
    finally:
        if child.returncode is None:
            _send(child.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            await child.wait()


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def told(code: int) -> str:
    """Say how a process ended, from its return code as Python gives it: negative for a signal."""
    if code < 0:
        return f"was killed by {_signal(-code)}"
    if code > 128 and _is_signal(code - 128):
        return f"ended with exit code {code}, as shells tell of {_signal(code - 128)}"
    return f"ended with exit code {code}"


def _is_signal(number: int) -> bool:
    return number in set(signal.Signals)


def _signal(number: int) -> str:
    name = signal.Signals(number).name if _is_signal(number) else "signal"
    return f"{name} ({number})"


def check_command(command: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Return a command as it is run. Raises `InvalidValue` for one that could never run."""
    if isinstance(command, str) or not command:
        raise InvalidValue.expected("command", 'a list such as ["ffmpeg", "-i", "…"]', command)
    try:
        words = tuple(os.fspath(one) for one in command)
    except TypeError:
        raise InvalidValue.expected("command", "a list of texts", command) from None
    if any("\0" in one for one in words):
        raise InvalidValue.expected("command", "a list of texts without NUL", command)
    if shutil.which(words[0]) is None:
        raise InvalidValue.expected("command", "a program that can be run here", words[0])
    return words

"""Who else runs on this host, and the moment one of them is gone.

A process descriptor (`pidfd_open`, Linux 5.3) becomes readable when its process has ended,
threads included. Two processes that see the same PID namespace of the same boot of the same
kernel mean the same process by a pid; while the true one lives, nothing else has its pid, so
the end of what that pid names proves the instance dead. Elsewhere nothing is claimed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from duly.core.fleet import Instance


class HostProcesses:
    """`Processes` by process descriptors."""

    def here(self) -> tuple[str, int, str]:
        """Return host name, pid, and the identity of this kernel's boot and PID namespace."""
        return socket.gethostname(), os.getpid(), _pid_space()

    def watch(self, other: Instance, gone: Callable[[], None]) -> Callable[[], None] | None:
        """Watch a process of this PID namespace; see `ports.Processes`."""
        if not other.pid_space or other.pid_space != _pid_space():
            return None
        if not hasattr(os, "pidfd_open"):
            return None
        loop = asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(other.pid)
        except ProcessLookupError:
            handle = loop.call_soon(gone)
            return handle.cancel
        except OSError:
            return None
        return _Watch(loop, descriptor, gone).stop

    def gone(self, other: Instance) -> bool:
        """Whether no process of this PID namespace has the instance's pid any more."""
        if not other.pid_space or other.pid_space != _pid_space():
            return False
        try:
            os.kill(other.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def memory_kills(self) -> int:
        """Return how many processes this host's kernel has ended for want of memory; 0 if unknown.

        The control group's own count where there is one (`memory.events`), else the host's.
        """
        for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
            try:
                text = Path(path).read_text()
            except OSError:
                continue
            for line in text.splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0


class _Watch:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, descriptor: int, gone: Callable[[], None]
    ) -> None:
        self._loop, self._descriptor, self._gone = loop, descriptor, gone
        self._open = True
        loop.add_reader(descriptor, self._fell)

    def _fell(self) -> None:
        self.stop()
        self._gone()

    def stop(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)


def _pid_space() -> str:
    """Name this kernel's boot and this process's PID namespace; empty where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""

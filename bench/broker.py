"""The Redis that peers with a broker are measured on: started for one run, thrown away afterwards.

Taken from the path, never installed: without a `redis-server` those peers are left out, and that
is said. Guarantees: it listens on one free port of loopback, writes every command to its log and
flushes it each second (the setting its documentation recommends for durability), and is ended by
its own pid. So an acknowledged job may be lost with the machine's last second; with the other
products it is not.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from bench.processes import cpu_s

PATIENCE_S = 30.0


def find_redis() -> str | None:
    """Return where the server's program is, or None."""
    return shutil.which("redis-server")


class Broker:
    """One Redis; a context manager."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="duly-bench-redis-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])

    def __enter__(self) -> Broker:
        settings = {
            **{"bind": "127.0.0.1", "port": self._port, "dir": self._folder, "save": ""},
            **{"appendonly": "yes", "appendfsync": "everysec"},
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [self._program, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            self._await_answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The address of its first database."""
        return f"redis://127.0.0.1:{self._port}/0"

    def empty(self) -> str:
        """Forget everything; return the address."""
        assert self._ask(b"FLUSHALL\r\n") == b"+OK\r\n", "the broker empties itself"
        return self.url

    def cpu_s(self) -> float:
        """Processor time it has used."""
        return cpu_s(self._process.pid)

    def _await_answer(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                assert self._ask(b"PING\r\n") == b"+PONG\r\n", "the broker answers"
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S) as line:
            line.sendall(command)
            return line.recv(64)

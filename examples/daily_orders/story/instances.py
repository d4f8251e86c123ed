"""The web application as several processes: started, killed with -9, replaced, stopped.

Each is `uvicorn examples.daily_orders.web:web` on a port of its own, behind no balancer: the load
goes to whichever answers. Their logs are files in the story's folder. Ends only what it started.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import psutil  # type: ignore[import-untyped,unused-ignore]

ROOT = Path(__file__).parents[3]
HOST = "127.0.0.1"


class Instances:
    """The fleet. `ports` stay the same when a process is replaced."""

    def __init__(self, count: int, folder: Path) -> None:
        self.ports = _free_ports(count)
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.kills = 0
        self._started = 0

    def start(self) -> None:
        """Start a process on every port that has none."""
        for port in self.ports:
            if port in self._processes and self._processes[port].poll() is None:
                continue
            self._started += 1
            command = [
                sys.executable, "-m", "uvicorn", "examples.daily_orders.web:web",
                "--host", HOST, "--port", str(port), "--log-level", "warning",
            ]  # fmt: skip
            with (self._folder / f"instance-{self._started}.log").open("wb") as log:
                self._processes[port] = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

    async def serving(self, session: aiohttp.ClientSession) -> None:
        """Wait until every port answers."""
        for port in self.ports:
            while True:
                with suppress(aiohttp.ClientError):
                    async with session.get(f"http://{HOST}:{port}/openapi.json") as answer:
                        if answer.status == 200:
                            break
                if self._processes[port].poll() is not None:
                    raise RuntimeError(f"an instance did not start:\n{self.logs()}")
                await asyncio.sleep(0.05)

    def kill(self, pid: int) -> str:
        """Kill one of ours with -9; returns which one it was."""
        port, process = next((p, one) for p, one in self._processes.items() if one.pid == pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.kills += 1
        return f"instance {self.ports.index(port) + 1}"

    def kill_all(self) -> None:
        """Kill every one with -9, as a power cut would."""
        for one in self._processes.values():
            if one.poll() is None:
                self.kill(one.pid)

    def client_of(self, port: int) -> int:
        """Return the process that a local port belongs to."""
        for one in self._processes.values():
            with suppress(psutil.Error):
                for conn in psutil.Process(one.pid).net_connections("tcp"):
                    if conn.laddr.port == port and conn.raddr:
                        return one.pid
        raise LookupError(f"no instance has the port {port}")

    def stop(self) -> int:
        """SIGTERM the living and wait; returns how many did not end well within 20 s."""
        living = [one for one in self._processes.values() if one.poll() is None]
        for one in living:
            one.terminate()
        # uvicorn raises the signal again once it has shut down: that is its way to end well.
        return sum(_waited(one) not in (0, -signal.SIGTERM) for one in living)

    def logs(self) -> str:
        """Return the ends of all logs."""
        texts = [one.read_text("utf-8", "replace") for one in sorted(self._folder.glob("*.log"))]
        return "\n".join(text[-1_500:] for text in texts if text)


def _waited(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports

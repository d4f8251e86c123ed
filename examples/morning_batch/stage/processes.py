"""The processes of the story: web services and consumers, each a real one, all on loopback.

Everything that is started here is ended here, by its own process id. One that ends by itself is
an error at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "examples.morning_batch"
STOP_S = 40


class Process:
    """One process of the story; what it says goes to a file beside the others."""

    def __init__(self, folder: Path, name: str, *line: str, **env: str) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self.ending = False  # whether it was told to end
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *line],
                cwd=ROOT,
                env=os.environ | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def said(self, word: str) -> bool:
        """Whether it has said a word so far."""
        return word in self.log.read_text("utf-8", "replace")

    async def done(self) -> None:
        """Wait for its own end; raises when that was not a good one."""
        code = await asyncio.to_thread(self._popen.wait)
        if code:
            raise RuntimeError(f"{self.name} ended with {code}")

    async def end(self, how: signal.Signals) -> None:
        """Signal it and wait; what does not leave in time is killed."""
        self.ending = True
        if self.lives:
            self._popen.send_signal(how)
        try:
            await asyncio.to_thread(self._popen.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            await asyncio.to_thread(self._popen.wait)


class Web(Process):
    """A web service that also works."""

    def __init__(self, folder: Path, name: str, **env: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(folder, name, f"{PACKAGE}.api", "--port", str(port), **env)

    async def ask(self, day: str) -> dict[str, str] | None:
        """Ask for a day's batch; None while it does not answer."""
        return await asyncio.to_thread(self._ask, day)

    def _ask(self, day: str) -> dict[str, str] | None:
        request = urllib.request.Request(f"{self.url}/batches/{day}", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 202, f"expected 202 Accepted, got {answer.status}"
                body: dict[str, str] = json.load(answer)
                return body
        except OSError:
            return None


class Fleet:
    """The web services that there are; an ended one is replaced, as a host does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._env: dict[str, str] = {}
        self.webs: list[Web] = []
        self.killed = self.recycled = 0

    def start(self, count: int, env: dict[str, str]) -> None:
        """Start so many, with what they are to find in their environment."""
        for _ in range(count):
            self.webs.append(Web(self._folder, f"web-{len(self.webs) + 1}", **env))
        self._env = env

    def check(self) -> None:
        """Raise if one ended by itself."""
        for one in self.webs:
            if not one.lives and not one.ending:
                raise RuntimeError(f"{one.name} ended by itself")

    def by_pid(self, pid: int) -> Web | None:
        """Return a living one."""
        return next((one for one in self.webs if one.pid == pid and one.lives), None)

    async def replace(self, web: Web, how: signal.Signals) -> None:
        """End one, in either manner, and start another in its place."""
        await web.end(how)
        if how is signal.SIGKILL:
            self.killed += 1
        else:
            self.recycled += 1
        self.start(1, self._env)

    async def ask(self, day: str) -> dict[str, str]:
        """Ask for a day's batch, whoever answers."""
        while True:
            self.check()
            for web in reversed(self.webs):
                if web.lives and (answer := await web.ask(day)) is not None:
                    return answer
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """End all of them politely."""
        await asyncio.gather(*(one.end(signal.SIGTERM) for one in self.webs if one.lives))

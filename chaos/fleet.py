"""The processes of a trial: started, killed, frozen and stopped, each by its own pid.

A worker has a name of the harness's giving, because a pid is not one: two workers in PID
namespaces of their own are both process 1 of the same host name. Ending the fleet ends every
process it started, whatever happened before.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from chaos.declared import Spec
from chaos.journal import now_s
from chaos.nursery import Child, Nursery
from chaos.report import Moment
from chaos.waiting import until

ROOT = Path(__file__).resolve().parent.parent
APART = ("unshare", "--pid", "--fork", "--kill-child")
PRELOADED = "LD_PRELOAD"


class Worker:
    """One process. `pid` is the worker's own, also when it was started through another."""

    def __init__(self, name: str, process: subprocess.Popen[bytes] | Child, *, apart: bool) -> None:
        self.name, self.process, self._apart = name, process, apart

    @property
    def pid(self) -> int:
        if not self._apart:
            return self.process.pid
        place = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(place.read_text().split()[0])

    @property
    def living(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def signal(self, what: signal.Signals) -> None:
        """Send a signal to the worker itself."""
        if self._apart:
            os.kill(self.pid, what)
        else:
            self.process.send_signal(what)

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.process.wait(timeout=30)


class Fleet:
    """Workers of one spec. Their standard error goes to files in `folder`."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.workers: list[Worker] = []
        self.killed = 0
        self.moments: list[Moment] = []
        self._folder = folder
        self._spec = folder / "spec.json"
        self._spec.write_bytes(msgspec.json.encode(spec))
        self._killed: set[Worker] = set()
        self._here: list[Worker] = []  # those that had not ended when it was looked
        self._nursery: Nursery | None = None

    def start(
        self,
        count: int = 1,
        *,
        apart: bool = False,
        env: Mapping[str, str] | None = None,
        tree: Path = ROOT,
    ) -> list[Worker]:
        """Start workers, in PID namespaces of their own if they are to be apart.

        `tree` is the source tree whose code they are: this one, or one of an earlier version.
        Whoever can be forked of a process that has imported everything already is: who is of this
        tree, and has no library put before the others.
        """
        started: list[Worker] = []
        for _ in range(count):
            name = f"w{len(self.workers) + 1}"
            given = {"CHAOS_SPEC": str(self._spec), "CHAOS_WORKER": name, **(env or {})}
            if tree != ROOT:
                given["PYTHONPATH"] = f"{tree / 'src'}:{tree}"
            process = (
                self._spawned(name, given, apart=apart, tree=tree)
                if tree != ROOT or PRELOADED in given
                else self._forked(name, given, apart=apart)
            )
            started.append(Worker(name, process, apart=apart))
            self.workers.append(started[-1])
            self._here.append(started[-1])
        return started

    def _spawned(
        self, name: str, env: Mapping[str, str], *, apart: bool, tree: Path
    ) -> subprocess.Popen[bytes]:
        command = [*(APART if apart else ()), sys.executable, "-m", "chaos.worker"]
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command,
                env=os.environ | env,
                cwd=tree,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _forked(self, name: str, env: Mapping[str, str], *, apart: bool) -> Child:
        if self._nursery is None:
            self._nursery = Nursery(self._spec)
        return self._nursery.bear(env, self._folder / f"{name}.log", apart=apart)

    @property
    def living(self) -> list[Worker]:
        """Workers that have not ended."""
        self._here = [one for one in self._here if one.living]
        return list(self._here)

    def by_name(self, name: str) -> Worker:
        """Return a worker."""
        return next(one for one in self.workers if one.name == name)

    def kill(self, worker: Worker) -> None:
        """Kill -9 one worker."""
        self.moments.append(Moment(now_s(), worker.name))
        worker.kill()
        self._killed.add(worker)
        self.killed += 1

    async def stop(self, *workers: Worker, within_s: float = 60) -> list[int]:
        """SIGTERM these (none given: all), wait for them, return their exit codes."""
        chosen = [one for one in workers or self.living if one.living]
        for one in chosen:
            one.signal(signal.SIGTERM)
        await until(
            lambda: not any(one.living for one in chosen), within_s=within_s, what="workers to stop"
        )
        return [one.process.returncode or 0 for one in chosen]

    @property
    def ended_badly(self) -> list[str]:
        """Who has ended otherwise than well without being killed, each with its exit code."""
        codes = {one.name: one.process.poll() for one in self.workers if one not in self._killed}
        return [f"{name}: {code}" for name, code in codes.items() if code]

    def end(self) -> None:
        """Kill whatever is left."""
        for one in self.living:
            one.process.kill()
        for one in self.workers:
            one.process.wait(timeout=30)
        self.end_nursery()

    def end_nursery(self) -> None:
        """End the process that forks workers, if there is one, and thereby all that it forked."""
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.end()

    def logs(self) -> str:
        """Return the ends of the workers' standard error, for a report of what went wrong."""
        texts = [
            f"--- {one.name}\n{text[-1500:]}"
            for one in self.workers
            if (text := (self._folder / f"{one.name}.log").read_text("utf-8", "replace").strip())
        ]
        return "\n".join(texts[-8:])


async def can_be_apart() -> bool:
    """Whether this machine lets us make PID namespaces."""
    if shutil.which("unshare") is None:
        return False
    probe = await asyncio.create_subprocess_exec(
        *APART, "true", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return await probe.wait() == 0

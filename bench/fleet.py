"""Processes of one measurement: workers and enqueuers, and the journal they write.

Every worker is a process (or, apart, a process in a PID namespace of its own) that runs until it
is killed. Leaving the context kills what is left, by pid, and removes the journal.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bench.processes import cpu_s, family, memory_mb
from bench.products import Product

ADAPTERS = Path(__file__).resolve().parent / "adapters"
PATIENCE_S = 300.0


class Line(NamedTuple):
    """One line of the journal; `at` in seconds since the epoch."""

    kind: str
    key: int
    at: float
    who: str


class Worker:
    """A worker process. `name` is what it signs with in the journal."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, *, apart: bool) -> None:
        self.process, self.name, self._apart = process, name, apart
        self.killed = False

    @property
    def pid(self) -> int:
        """The worker's own process id, as seen from here."""
        if not self._apart:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text("ascii").split()[0])

    def kill(self) -> float:
        """Kill it as a dying machine does; return when (seconds since the epoch)."""
        pids = family(self.pid)
        at, self.killed = time.time(), True
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        return at

    def memory_mb(self) -> tuple[float, float]:
        """Resident and proportional memory in MB, of it and its children."""
        return memory_mb(self.pid)

    def cpu_s(self) -> float:
        """Processor time it and its children have used."""
        return cpu_s(self.pid)

    def stand_still(self, *, still: bool) -> None:
        """Stop it where it is, or let it go on."""
        for pid in family(self.pid):
            os.kill(pid, signal.SIGSTOP if still else signal.SIGCONT)


class Fleet:
    """The processes of one product on one database."""

    def __init__(self, product: Product, url: str, *, slots: int = 0) -> None:
        self.product = product
        self.folder = Path(tempfile.mkdtemp(prefix="duly-bench-"))
        self.journal = self.folder / "journal"
        self.workers: list[Worker] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DULY_")},
            "BENCH_URL": url,
            "BENCH_SLOTS": str(slots),
            "BENCH_JOURNAL": str(self.journal),
            "BENCH_FOLDER": str(self.folder),
        }

    def __enter__(self) -> Fleet:
        try:
            self.run("install")
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, verb: str, *options: object) -> str:
        """Run a verb of the adapter to its end and return what it printed."""
        done = subprocess.run(
            self._line(verb, *options),
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        if done.returncode:
            raise RuntimeError(f"{self.product.name} {verb}: {done.stderr[-2000:]}")
        return done.stdout

    def put(self, *options: object) -> float:
        """Enqueue, and return jobs per second."""
        took = json.loads(self.run("put", *options).splitlines()[-1])
        return float(took["count"] / took["seconds"])

    def start(self, *, apart: bool = False, **more: object) -> Worker:
        """Start a worker, in a PID namespace of its own when `apart`; `more` is environment."""
        name = f"w{len(self.workers)}"
        given = {key: str(value) for key, value in more.items()}
        line = self._line("work")
        if apart:
            line = ["unshare", "--pid", "--fork", "--kill-child", *line]
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                line,
                env={**self._environment, "BENCH_WHO": name, **given},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        worker = Worker(process, name, apart=apart)
        self.workers.append(worker)
        return worker

    def start_idle(self, *, apart: bool = False) -> Worker:
        """Start a worker and wait until it has run a job and has nothing to do.

        The others stand still meanwhile: woken by the same word, one that is warm already would
        win every job.
        """
        others = [one for one in self.workers if one.process.poll() is None]
        key = -10 - len(self.workers)
        if not self.product.hears_others:
            self.put("--base", key, "--gap", 0.001)
        worker = self.start(apart=apart)
        for one in others:
            one.stand_still(still=True)
        try:
            if self.product.hears_others:
                self.put("--base", key, "--gap", 0.001)
            self.await_start(key)
        finally:
            for one in others:
                one.stand_still(still=False)
        return worker

    def await_start(
        self, key: int, times: int = 1, *, patience_s: float = PATIENCE_S
    ) -> list[Line]:
        """Wait until the function of `key` has started so many times; return the starts."""
        self.until(
            lambda: len(self.lines("S", key=key)) >= times, every=0.002, patience_s=patience_s
        )
        return self.lines("S", key=key)

    def lines(self, kind: str, *, key: int | None = None) -> list[Line]:
        """Read the journal's lines of one kind, and of one key if given."""
        if not self.journal.exists():
            return []
        parts = (text.split() for text in self.journal.read_text("ascii").splitlines())
        read = [Line(p[0], int(p[1]), int(p[2]) / 1e9, p[3]) for p in parts if p[0] == kind]
        return read if key is None else [one for one in read if one.key == key]

    def marks(self) -> int:
        """How many bytes the journal has: cheaper to ask than its lines."""
        return self.journal.stat().st_size if self.journal.exists() else 0

    def until(
        self, met: Callable[[], bool], *, every: float = 0.005, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait for something; raises with the worker's own words when one has died."""
        end = time.monotonic() + patience_s
        while not met():
            for worker in self.workers:
                if worker.process.poll() is not None and not worker.killed:
                    log = (self.folder / f"{worker.name}.log").read_text("utf-8", "replace")
                    raise RuntimeError(f"{self.product.name}: a worker ended: {log[-2000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"{self.product.name}: nothing came of it in {patience_s} s")
            time.sleep(every)

    def let_go(self, key: int) -> None:
        """Let the function that holds `key` return."""
        Path(f"{self.journal}.{key}").touch()

    def _line(self, verb: str, *options: object) -> list[str]:
        run = str(ADAPTERS / "run.py")
        return [self.product.python, run, self.product.module, verb, *map(str, options)]

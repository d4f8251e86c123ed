"""A process that has imported everything already, and forks workers: a start costs a moment.

    harness ── a line: what to be ──▶ nursery ── fork ──▶ worker
            ◀─ a line: its pid ──────
            ── a line: a pid ───────▶ nursery ── wait ──▶ worker, which is gone
            ◀─ a line: its code ─────

A worker of it is a real process, with a pid, a boot, threads and connections of its own: before
the fork nothing is opened and no thread runs. It ends with the nursery, and the nursery with the
harness. Nobody is reaped before the harness asks how it ended, and the harness holds a descriptor
of each until it does; so no signal ever meets a stranger that was given the same pid. One that is
to be apart is process 1 of a PID namespace, behind a process that waits for it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

PR_SET_PDEATHSIG = 1
CLONE_NEWPID = 0x20000000


class Order(msgspec.Struct, frozen=True):
    """What a worker is to be: its environment beyond ours, and where its words go."""

    env: dict[str, str]
    log: str
    apart: bool = False  # process 1 of a PID namespace of its own


class Child:
    """A worker that a nursery forked: what a fleet asks of `subprocess.Popen`, and no more.

    `returncode` is None before it ended, and after that its exit code, or the signal that ended it
    with a minus before it. Who ended together with its nursery was killed.
    """

    def __init__(self, pid: int, code_of: Callable[[int], int]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._code_of, self._descriptor = code_of, os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return None while it lives, and how it ended after."""
        return self._look(0)

    def wait(self, timeout: float) -> int:
        """Wait until it is gone; raise `TimeoutExpired` after so many seconds."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout)
        return code

    def send_signal(self, what: int) -> None:
        """Send it a signal, unless it is gone."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, what)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _look(self, within_s: float) -> int | None:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            if poll.poll(within_s * 1000):
                os.close(self._descriptor)
                self.returncode = self._code_of(self.pid)
        return self.returncode


class Nursery:
    """The harness's end. `spec` is the path of the workers' spec."""

    def __init__(self, spec: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.nursery"],
            env=os.environ | {"CHAOS_SPEC": str(spec)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def bear(self, env: Mapping[str, str], log: Path, *, apart: bool) -> Child:
        """Start a worker; its own words go to `log`.

        Of one that is `apart` this is the process which waits for it, and ends as it does.
        """
        return Child(self._ask(Order(dict(env), str(log), apart)), self._code_of)

    def end(self) -> None:
        """End it, and whoever of its workers lives still."""
        self._process.kill()
        self._process.communicate(timeout=30)

    def _code_of(self, pid: int) -> int:
        """Ask how a worker that is gone ended; from then on its pid may be a stranger's."""
        if self._process.poll() is not None:
            return -signal.SIGKILL  # it went with its nursery
        return self._ask(pid)

    def _ask(self, what: Order | int) -> int:
        ask, answer = self._process.stdin, self._process.stdout
        assert ask is not None and answer is not None, "both are pipes"
        ask.write(msgspec.json.encode(what) + b"\n")
        ask.flush()
        return int(answer.readline())


def main() -> int:
    """Fork a worker for each order, and say of each that is asked for how it ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _import_all()
    here = os.getpid()
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=Order | int)
        if isinstance(asked, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1])
        elif not (answer := os.fork()):
            _be(asked, here)
        os.write(1, b"%d\n" % answer)
    return 0


def _import_all() -> None:
    """Import what a worker of this spec needs, and connect to nothing."""
    from chaos import worker  # noqa: F401 - the harness, which imports this module, is no worker
    from chaos.declared import Spec, build
    from chaos.failpoints import import_points

    spec = msgspec.json.decode(Path(os.environ["CHAOS_SPEC"]).read_bytes(), type=Spec)
    app = build(spec, None)
    import_points(app.store)
    gc.collect()
    gc.freeze()


def _be(order: Order, nursery: int) -> NoReturn:
    """Become the worker of an order; does not return."""
    from chaos import worker

    code = 1
    try:
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order.env)
        if order.apart:
            _part(nursery)
        code = worker.main(child_of=None if order.apart else nursery)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _part(nursery: int) -> None:
    """Go on as process 1 of a PID namespace; who was here before waits, and ends as that ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != nursery:
        os._exit(1)
    if libc.unshare(CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "no PID namespace can be made")
    if pid := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())

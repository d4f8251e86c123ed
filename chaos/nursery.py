"""A process that has imported everything already, and forks workers: a start costs a moment.

    harness ── a line: what to be ──▶ nursery ── fork ──▶ worker
            ◀─ a line: its pid ──────

A worker of it is a real process, with a pid, a boot, threads and connections of its own: before
the fork nothing is opened and no thread runs. It ends with the nursery, and the nursery with the
harness. The dead are reaped only when the next worker is asked for, and by then the harness holds
a descriptor of each; so no signal ever meets a stranger that was given the same pid.
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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

ENDED = 0
PR_SET_PDEATHSIG = 1


class Order(msgspec.Struct, frozen=True):
    """What a worker is to be: its environment beyond ours, and where its words go."""

    env: dict[str, str]
    log: str


class Child:
    """A worker that a nursery forked: what a fleet asks of `subprocess.Popen`, and no more.

    How it ended only its nursery knows: `returncode` is None before, and ENDED after.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return None while it lives."""
        return self._look(0)

    def wait(self, timeout: float) -> int:
        """Wait until it is gone; raise `TimeoutExpired` after so many seconds."""
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout)
        return ENDED

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
                self.returncode = ENDED
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

    def bear(self, env: Mapping[str, str], log: Path) -> Child:
        """Start a worker; its own words go to `log`."""
        ask, answer = self._process.stdin, self._process.stdout
        assert ask is not None and answer is not None, "both are pipes"
        ask.write(msgspec.json.encode(Order(dict(env), str(log))) + b"\n")
        ask.flush()
        return Child(int(answer.readline()))

    def end(self) -> None:
        """End it, and whoever of its workers lives still."""
        self._process.kill()
        self._process.communicate(timeout=30)


def main() -> int:
    """Fork a worker for each line; end with the lines."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _import_all()
    born = 0
    for line in sys.stdin.buffer:
        while born and os.waitpid(-1, os.WNOHANG)[0]:
            born -= 1
        order = msgspec.json.decode(line, type=Order)
        here = os.getpid()
        if not (pid := os.fork()):
            _be(order, here)
        born += 1
        os.write(1, b"%d\n" % pid)
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


def _be(order: Order, nursery: int) -> None:
    """Become the worker of an order; does not return."""
    from chaos import worker

    code = 1
    try:
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order.env)
        code = worker.main(child_of=nursery)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())

"""The real command in a process of its own: what is typed, and what comes back.

The environment has no settings of Duly but those a test gives. Output is waited for by reading,
never by sleeping; whatever still runs at the end of a test is killed by its own pid.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_S = 60.0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings of Duly."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DULY_")}
    return kept | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1"} | dict(more or {})


def duly(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "duly.cli", *args],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


class Living:
    """A command that goes on: its output is read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def until(self, words: str) -> str:
        """Read on to the first line with these words."""
        assert self.process.stdout is not None, "it is piped"
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError(f"ended without {words!r}:\n{''.join(self.lines)}")

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        self.lines.append(out)
        return self.process.returncode

    def pressed_until_it_ends(self, number: int) -> int:
        """Send a signal again and again, as an impatient person does; return the exit code."""
        while self.process.poll() is None:
            self.process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):  # signals close together count as one
                self.process.wait(timeout=0.2)
        return self.end()

    @property
    def text(self) -> str:
        """All that was read."""
        return "".join(self.lines)


def _hears_interrupts() -> None:
    """Undo what a shell does to tests that it runs in the background: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def living(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Living]:
    """Start a command that goes on, and see to it that it does not outlive the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "duly.cli", *args],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_hears_interrupts,
    )
    # A reader waits for a line for ever: the alarm ends the process, and with it the reading.
    alarm = threading.Timer(PATIENCE_S, process.kill)
    alarm.start()
    try:
        yield Living(process)
    finally:
        alarm.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()

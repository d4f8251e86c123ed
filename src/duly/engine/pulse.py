"""Signs of life: how a function that loops by itself shows that it gets on; where a hang stands.

A turn has one `Pulse`. Beating is a write of one number, from any thread, and costs next to
nothing; the supervisor looks at it when a deadline would be over. The pulse of the turn under way
is found through a context variable, which follows into threads and tasks that the turn begins.
Stacks are read, never touched, and are bounded: they go to a log.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import traceback
import types
from collections.abc import Callable

FRAMES = 20
"""Frames of a stack that are told: the innermost ones."""

LONGEST_STACK = 4_000


class Pulse:
    """The signs of life of one turn, in seconds of the clock it is given."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.began = self.last = self._missed_at = now()
        self.missed = 0  # deadlines missed by the turn under way
        self.turning = False  # whether a turn is under way
        self.wanted = True  # False once whoever beats should come to an end

    def begin(self) -> None:
        """A turn begins."""
        self.began = self.last = self._missed_at = self._now()
        self.missed, self.turning = 0, True

    def beat(self) -> None:
        """Show that the turn gets on; from any thread."""
        self.last = self._now()

    def miss(self) -> float:
        """A deadline was missed; return for how many seconds the turn went on before that."""
        lasted_s = max(0.0, self.last - self._missed_at)
        self.missed, self._missed_at = self.missed + 1, self._now()
        return lasted_s

    @property
    def seen(self) -> float:
        """The moment from which a deadline counts: the last sign of life, or the last miss."""
        return max(self.last, self._missed_at)

    @property
    def lasted_s(self) -> float:
        """How long the turn goes on by now."""
        return self._now() - self.began


_PULSE: contextvars.ContextVar[Pulse] = contextvars.ContextVar("duly_pulse")


def bind(pulse: Pulse) -> None:
    """Make this the pulse of whatever the current context calls."""
    _PULSE.set(pulse)


def beat() -> bool:
    """Show that a supervised function gets on, and return whether it should go on.

    For functions that loop by themselves: each call begins the policy's `deadline` anew, as a
    beat of systemd's watchdog does. False means that the supervisor is stopping: return soon,
    because a thread cannot be cancelled. Outside a supervised function it does nothing and
    returns True, so that the function can be called by itself. From any thread.
    """
    pulse = _PULSE.get(None)
    if pulse is None:
        return True
    pulse.beat()
    return pulse.wanted


def stack_of_task(task: asyncio.Task[object]) -> str:
    """Return where a task stands, innermost frame last; empty when it has ended.

    A task tells only the frame of its outermost coroutine: what that awaits is followed from
    coroutine to coroutine, as far as there are frames.
    """
    lines: list[str] = []
    waiting: object = task.get_coro()
    while waiting is not None:
        frame = _attribute(waiting, "frame")
        if not isinstance(frame, types.FrameType):
            break
        lines += traceback.format_stack(frame, limit=1)
        waiting = _attribute(waiting, "await")
    return _bounded("".join(lines[-FRAMES:]))


def _attribute(waiting: object, what: str) -> object:
    """Return `frame` or `await` of a coroutine, a generator or an asynchronous generator."""
    kinds = ("cr", "gi", "ag")
    names = (f"{kind}_{'yieldfrom' if (kind, what) == ('gi', 'await') else what}" for kind in kinds)
    return next((getattr(waiting, name) for name in names if hasattr(waiting, name)), None)


def stack_of_thread(ident: int | None) -> str:
    """Return where a thread stands, innermost frame last; empty when it has ended."""
    frame = None if ident is None else sys._current_frames().get(ident)
    if frame is None:
        return ""
    return _bounded("".join(traceback.format_stack(frame)[-FRAMES:]))


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST_STACK else f"…{text[-LONGEST_STACK:]}"

"""What can be watched, as loops: a coroutine function, a function on a thread.

A call is a turn. A function that returns is called again after `every`; one that loops by itself
never returns, and beats. So nothing that is supervised ever stops in silence: what returned is
called again, what raised or hangs is a failure.

A coroutine is cancelled when it misses its deadline. A thread cannot be: it is told by `beat()`,
is never called a second time while the first goes on, and each further deadline that it misses is
one more failure.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from duly.core.clock import Clock
from duly.core.durations import parse_duration
from duly.core.restarts import Length, RestartPolicy
from duly.engine.pulse import stack_of_thread
from duly.engine.threads import Threads
from duly.errors import InvalidValue, brief

CALM_S = 10.0
"""A turn that goes on for so long after a failure counts as sound again, though not as well."""

EVERY = timedelta(seconds=1)
"""The pause between a turn that returned and the next one."""

Function = Callable[[], Any]


class Called:
    """A supervised loop: calls a coroutine function, again and again."""

    threaded = False
    calm_s: float | None = CALM_S

    def __init__(
        self,
        fn: Function,
        *,
        name: str,
        policy: RestartPolicy,
        every: timedelta,
        clock: Clock,
    ) -> None:
        self.fn, self.name, self.policy = fn, name, policy
        self._every_s, self._clock = every.total_seconds(), clock
        self._first = True

    async def ready(self) -> None:
        """Wait until the next call is due."""
        if self._first:
            self._first = False
        else:
            await self._clock.pause(self._every_s)

    async def turn(self) -> None:
        """Call it once."""
        try:
            await self._call()
        except SystemExit as ended:
            # Raised on, it would end the event loop, and with it what others have in hand.
            raise RuntimeError(f"it called sys.exit({ended.code!r})") from ended
        except (Exception, asyncio.CancelledError):
            self._first = True  # the supervisor pauses after a failure; not twice
            raise

    async def _call(self) -> None:
        await self.fn()

    def stack(self) -> str | None:
        """Return where it stands, or None where its task tells it."""
        return None


class Threaded(Called):
    """A supervised loop: calls a function on a thread of its own, again and again."""

    threaded = True

    def __init__(self, fn: Function, **how: Any) -> None:
        super().__init__(fn, **how)
        self._threads = Threads(1)
        self._ident: int | None = None

    async def _call(self) -> None:
        await self._threads.submit(self._run)

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self.fn()
        finally:
            self._ident = None

    def stack(self) -> str | None:
        """Return where the thread stands."""
        return stack_of_thread(self._ident)

    def close(self) -> None:
        """Let the thread end, when its function has returned."""
        self._threads.stop()


def loop_of(
    fn: Function, name: str | None, policy: RestartPolicy, *, every: Length, clock: Clock
) -> Called:
    """Make a loop of a function; raises `InvalidValue` for what cannot be one."""
    check_policy(policy)
    check_callable(fn)
    kind = Called if _is_async(fn) else Threaded
    return kind(
        fn,
        name=name_of(fn) if name is None else name,
        policy=policy,
        every=parse_duration(every, what="every"),
        clock=clock,
    )


def check_policy(policy: object) -> None:
    """Raise `InvalidValue` for what is no policy; None is none, and allowed."""
    if policy is not None and not isinstance(policy, RestartPolicy):
        raise InvalidValue.expected("policy", "a RestartPolicy(...)", policy)


def check_callable(fn: object) -> None:
    """Raise `InvalidValue` for what cannot be called without arguments."""
    if inspect.iscoroutine(fn):
        fn.close()
        raise InvalidValue(
            "expected the function itself, got what calling it returned: write watch(poll),"
            " not watch(poll())"
        )
    if not callable(fn):
        raise InvalidValue.expected("fn", "a function without arguments", fn)
    try:
        inspect.signature(fn).bind()
    except TypeError as error:
        raise InvalidValue(
            f"expected fn to be a function without arguments, got {brief(fn)}: {error};"
            " functools.partial gives it some"
        ) from None
    except ValueError:
        return  # a built-in that tells no signature is taken at its word


def _is_async(fn: Function) -> bool:
    inner = _innermost(fn)
    call = getattr(inner, "__call__", None)  # noqa: B004 - the method is what is looked at
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(call)


def name_of(fn: object) -> str:
    """Return what a function is called where nobody gave it a name."""
    inner = _innermost(fn)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _innermost(fn: object) -> object:
    """Return the function that a `functools.partial` calls in the end."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn

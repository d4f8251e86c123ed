"""What an adapter implements: the few verbs a measurement needs of a product.

Functions of jobs are `noop` (writes its start and returns) and `hold` (writes its start and waits
until it is let go); where there are durable steps, `steps` takes BENCH_STEPS of them. Keys are
whole numbers from 0; negative ones warm up. An adapter drives its product through its public face
alone, and with the settings its documentation recommends.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Protocol

from journal import let_go, mark

URL = os.environ.get("BENCH_URL", "")
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))
SLOTS = int(os.environ.get("BENCH_SLOTS", "0"))
STEPS = int(os.environ.get("BENCH_STEPS", "0"))


class System(Protocol):
    """One product, in this process."""

    async def install(self) -> None:
        """Make the schema in an empty database."""
        ...

    async def open(self, callers: int) -> None:
        """Connect the side that enqueues, which so many coroutines will call at once."""
        ...

    async def close(self) -> None:
        """Leave again."""
        ...

    async def put(self, job: str, key: int) -> None:
        """Enqueue one job; committed on return."""
        ...

    async def put_many(self, job: str, keys: range) -> None:
        """Enqueue jobs in one call; committed on return."""
        ...

    async def put_due(self, keys: range, at: float) -> None:
        """Enqueue one-off no-ops due at one instant, seconds since the epoch; committed."""
        ...

    def work(self) -> None:
        """Be a worker until killed."""
        ...


async def noop(key: int) -> None:
    """Do nothing but leave a trace."""
    mark("S", key)


async def hold(key: int) -> None:
    """Keep a worker's hand on a job until it is let go."""
    mark("S", key)
    while not let_go(key):  # noqa: ASYNC110 - it is another process that lets go
        await asyncio.sleep(0.02)


def hold_thread(key: int) -> None:
    """`hold` for a product whose functions run in threads or processes."""
    mark("S", key)
    while not let_go(key):
        time.sleep(0.02)

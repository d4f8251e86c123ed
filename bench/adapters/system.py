"""What an adapter implements: the few verbs a measurement needs of a product.

Functions of jobs are `noop` (writes its start and returns) and `hold` (writes its start and waits
until it is let go). Keys are whole numbers from 0; negative ones warm up. An adapter drives its
product through its public face alone, and with the settings its documentation recommends.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from journal import let_go, mark

URL = os.environ.get("BENCH_URL", "")
SLOTS = int(os.environ.get("BENCH_SLOTS", "0"))


class System(Protocol):
    """One product, in this process."""

    async def install(self) -> None:
        """Make the schema in an empty database."""
        ...

    async def open(self) -> None:
        """Connect the side that enqueues."""
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

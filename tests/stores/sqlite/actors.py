"""Small programs that tests run as processes of their own, against one database file.

Each prints what the test needs to know, a line at a time, flushed at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from duly.core.fleet import Instance
from duly.core.runs import Ending, NewRun
from duly.core.states import RunVerb
from duly.stores.sqlite import SqliteStore
from duly.stores.sqlite.presence import FilePresence

T0 = datetime(2026, 1, 5, tzinfo=UTC)


def say(*words: object) -> None:
    """Print a line at once."""
    print(*words, flush=True)


async def claimer(store: SqliteStore) -> None:
    """Claim and complete until nothing is left; print each run taken."""
    boot = uuid4()
    named = Instance(
        boot=boot, name="n", host="h", pid=1, pid_space="", owner="o", version="1", tasks=("t",)
    )
    await store.register(named, {})
    while True:
        claimed = await store.claim(boot, uuid4(), queues=["default"], tasks=["t"], limit=7)
        if not claimed.runs:
            return
        for run in claimed.runs:
            say(run.id)
        done = [Ending(run=r.id, epoch=r.epoch, verb=RunVerb.COMPLETE) for r in claimed.runs]
        await store.end(boot, done)


async def firer(store: SqliteStore) -> None:
    """Fire what is due in each of ten minutes; print each occurrence fired."""
    for minute in range(1, 11):
        fired = await store.fire(new_id=uuid4, now=T0 + timedelta(minutes=minute))
        for name, due, _ in fired.fired:
            say(name, due.isoformat())


async def writer(store: SqliteStore) -> None:
    """Enqueue one by one, for ever; print each id once it is acknowledged."""
    while True:
        run = NewRun(id=uuid4(), task="t")
        await store.enqueue([run])
        say(run.id)


async def enqueuer(store: SqliteStore) -> None:
    """Enqueue one run."""
    await store.enqueue([NewRun(id=uuid4(), task="t")])
    say("done")


async def holder(path: Path, boot: UUID) -> None:
    """Hold a boot's lock until killed."""
    await FilePresence(path).hold(boot)
    say("held")
    await asyncio.Event().wait()


ACTS: dict[str, Callable[[SqliteStore], Awaitable[None]]] = {
    "claimer": claimer,
    "enqueuer": enqueuer,
    "firer": firer,
    "writer": writer,
}


async def main(act: str, path: Path, *rest: str) -> None:
    """Do one act on one file."""
    if act == "holder":
        await holder(path, UUID(rest[0]))
        return
    store = SqliteStore(path)
    await store.open()
    try:
        await ACTS[act](store)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))

"""The command line of one adapter, run by the bench under the product's own Python.

    run.py MODULE install | work
    run.py MODULE put --count N [--base K] [--job noop] [--many SIZE | --at-once C | --gap S]
    run.py MODULE put --count N --due AT --every S [--base K] [--many SIZE]

`put` prints a line of JSON: how many jobs, and seconds from the first call to the last answer.
A gap enqueues one by one at uneven intervals around S seconds and marks each in the journal.
`--due` enqueues no-ops that are due later: each call's at one instant, the first call's at AT
(seconds since the epoch) and each next one's S seconds after.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import random
import time
from collections.abc import Awaitable

from journal import mark
from system import System

LINGER_S = 0.05
"""How long an enqueuer with a gap lives on, as programs that enqueue now and then do."""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("verb", choices=["install", "work", "put"])
    parser.add_argument("--job", default="noop")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--base", type=int, default=0)
    parser.add_argument("--many", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--due", type=float, default=0.0)
    parser.add_argument("--every", type=float, default=0.0)
    return parser.parse_args()


async def put(of: System, asked: argparse.Namespace) -> None:
    """Enqueue as asked, and say how long it took."""
    await of.open(asked.at_once)
    if not asked.gap and not asked.many and not asked.due:
        await of.put(asked.job, -1)  # statements are prepared and connections made by now
    keys = range(asked.base, asked.base + asked.count)
    began = time.perf_counter()
    if asked.gap:
        await put_slowly(of, asked, keys)
        await asyncio.sleep(LINGER_S)
    elif asked.due:
        for number, some in enumerate(parts_of(keys, asked.many or 1)):
            await of.put_due(some, asked.due + number * asked.every)
    elif asked.many:
        for some in parts_of(keys, asked.many):
            await of.put_many(asked.job, some)
    else:
        await put_at_once(of, asked, keys)
    print(json.dumps({"count": asked.count, "seconds": time.perf_counter() - began}))
    await of.close()


def parts_of(keys: range, size: int) -> list[range]:
    """Cut keys into ranges of a size."""
    return [
        range(first, min(keys.stop, first + size)) for first in range(keys.start, keys.stop, size)
    ]


async def put_slowly(of: System, asked: argparse.Namespace, keys: range) -> None:
    """Enqueue one by one at uneven intervals."""
    lots = random.Random(1)
    for key in keys:
        await asyncio.sleep(asked.gap * lots.uniform(0.5, 1.5))
        mark("B", key)
        await of.put(asked.job, key)
        mark("C", key)


async def put_at_once(of: System, asked: argparse.Namespace, keys: range) -> None:
    """Enqueue one by one in each of so many coroutines."""

    async def one(mine: range) -> None:
        for key in mine:
            await of.put(asked.job, key)

    parts: list[Awaitable[None]] = [
        one(keys[number :: asked.at_once]) for number in range(asked.at_once)
    ]
    await asyncio.gather(*parts)


def main() -> None:
    """Do what the command line asks."""
    asked = parse()
    of: System = importlib.import_module(asked.module).Adapter()
    if asked.verb == "work":
        of.work()
    elif asked.verb == "install":
        asyncio.run(of.install())
    else:
        asyncio.run(put(of, asked))


if __name__ == "__main__":
    main()

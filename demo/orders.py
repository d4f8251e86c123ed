"""The user's file of the demo: orders in tables of their own, exported on a short clock.

The export claims the orders that no file has yet, in one transaction of the order database, and
then writes the file in full under the occurrence's name. So a run that is killed anywhere
and repeated by another instance writes the same file again, and an order that was
committed late simply goes into the next one: every order ends in exactly one file.
"""

from __future__ import annotations

import asyncio
import csv
import os
import time
from pathlib import Path

from ledger import OrderBook, open_book

from duly import Context, Duly

HERE = Path(os.environ["DEMO_DIR"])
EVERY = os.environ.get("DEMO_EVERY", "4s")
WORK_S = 1.2  # how long one export takes, so that a kill can strike in the middle

app = Duly(name="orders", settings={"engine.stop_grace": "5s"})


@app.task(every=EVERY, catch_up="all", retries=5)
async def export_orders(ctx: Context) -> int:
    """Write the orders that no file has yet into the file of this occurrence."""
    assert ctx.due is not None, "a schedule's run has an occurrence"
    name = f"orders-{ctx.due:%Y%m%dT%H%M%S}.csv"
    note(f"start {ctx.run_id} {ctx.attempt} {os.getpid()} {time.time():.6f}")
    book = await open_book()
    try:
        rows = await book.claim_for(name)
        await write_slowly(HERE / "files" / name, rows)
    finally:
        await book.close()
    return len(rows)


async def write_slowly(path: Path, rows: list[tuple[int, str, float]]) -> None:
    """Write a file under another name and move it into place, taking some time over it."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    with draft.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order", "placed_at", "amount"])
        for _ in range(10):
            await asyncio.sleep(WORK_S / 10)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def note(line: str) -> None:
    """Append a line to the demo's log of attempts; appends this short are atomic."""
    with (HERE / "attempts.log").open("a") as log:
        log.write(line + "\n")


__all__ = ["OrderBook", "app", "export_orders"]

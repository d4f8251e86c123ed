"""The main job, shown: three instances, one schedule, and a kill -9 in the middle of the work.

    make demo                   on an embedded SQLite file
    make demo STORE=postgres    on a PostgreSQL that this program starts itself

Orders are placed all the while, some committed late and out of order. Whoever holds the
export is killed, three times over. At the end everything is read back, from the store and from
the files, and judged by keys. Exits with 1 if anything is off.
"""

from __future__ import annotations

import asyncio
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from duly import Duly, RunState
from duly.core.runs import RunFilter, RunView
from duly.core.triggers import occurrences_between, trigger_from_spec

HERE = Path(__file__).parent
INSTANCES, KILLS = 3, 3
EVERY_S = 4
SCHEDULE = "export_orders"


class Fleet:
    """The worker processes of the demo; a killed one is replaced at the end only."""

    def __init__(self, env: dict[str, str], logs: Path) -> None:
        self._env, self._logs = env, logs
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, count: int) -> None:
        """Start workers; their logs go to files."""
        for _ in range(count):
            log = (self._logs / f"worker-{len(self.processes) + 1}.log").open("wb")
            command = [sys.executable, "-m", "duly.cli", "worker", str(HERE / "orders.py")]
            self.processes.append(
                subprocess.Popen(command, env=self._env, stdout=log, stderr=subprocess.STDOUT)
            )

    def name_of(self, pid: int) -> str:
        """Return the short name of a worker."""
        pids = [one.pid for one in self.processes]
        return f"worker {pids.index(pid) + 1}" if pid in pids else f"pid {pid}"

    def kill(self, pid: int) -> float:
        """Kill one of ours with -9; returns the moment."""
        process = next(one for one in self.processes if one.pid == pid)
        moment = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait()
        return moment

    def stop(self) -> list[int]:
        """End the living politely; returns their exit codes."""
        living = [one for one in self.processes if one.poll() is None]
        for one in living:
            one.terminate()
        codes = []
        for one in living:
            try:
                codes.append(one.wait(timeout=20))
            except subprocess.TimeoutExpired:
                one.kill()
                codes.append(-9)
        return codes


async def place_orders(stop: asyncio.Event) -> int:
    """Place orders until told to stop; every fifth batch is committed late. Returns how many."""
    from ledger import open_book

    number, batch, late = 0, 0, set[asyncio.Task[None]]()

    async def place(first: int, count: int, hold_s: float) -> None:
        book = await open_book()
        try:
            stamp = datetime.now(UTC).isoformat()
            rows = [(first + i, stamp, round(random.random() * 100, 2)) for i in range(count)]
            await book.place(rows, hold_s=hold_s)
        finally:
            await book.close()

    while not stop.is_set():
        batch += 1
        count = random.randint(1, 9)
        hold_s = EVERY_S * 0.6 if batch % 5 == 0 else 0.0
        task = asyncio.ensure_future(place(number, count, hold_s))
        late.add(task)
        task.add_done_callback(late.discard)
        number += count
        await asyncio.sleep(0.1)
    await asyncio.gather(*late)
    return number


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="duly-demo-") as place:
        directory = Path(place)
        (directory / "files").mkdir()
        store = os.environ.get("STORE") or "sqlite"
        if store not in ("sqlite", "postgres"):
            print(f"expected STORE to be sqlite or postgres, got {store!r}", file=sys.stderr)
            return 2
        if store == "sqlite":
            return await show(directory, f"sqlite:///{directory}/duly.db", f"{directory}/shop.db")
        sys.path.insert(0, str(HERE.parent))
        from tests.servers import start_postgres

        server = start_postgres()
        try:
            url = server.fresh_database()
            return await show(directory, url, url)
        finally:
            server.stop()


async def show(directory: Path, store: str, book: str) -> int:
    env = os.environ | {
        "DULY_STORE": store,
        "DEMO_BOOK": book,
        "DEMO_DIR": str(directory),
        "DEMO_EVERY": f"{EVERY_S}s",
    }
    os.environ.update(env)
    app = Duly(store, name="orders")
    await app.store.migrate()
    stop = asyncio.Event()
    fleet = Fleet(dict(env), directory)
    async with app:
        try:
            placing = asyncio.ensure_future(place_orders(stop))
            fleet.start(INSTANCES)
            say(f"{INSTANCES} instances on {app.store.name}, an export every {EVERY_S} s")
            kills = [await kill_the_holder(app, fleet) for _ in range(KILLS)]
            stop.set()
            placed = await placing
            await finish(app)
        finally:
            stop.set()
            codes = fleet.stop()
        return await judge(app, directory, fleet, kills=kills, placed=placed, codes=codes)


Kill = tuple[UUID, int, float]
"""The run that was in hand, the pid that held it, the moment."""


async def kill_the_holder(app: Duly, fleet: Fleet) -> Kill:
    """Wait for a run that has just begun, and kill -9 whoever holds it."""
    seen = {view.id for view in await app.client.runs(RunFilter(limit=500))}
    while True:
        running = await app.client.runs(RunFilter(state=RunState.RUNNING))
        fresh = [view for view in running if view.id not in seen and view.epoch == 1]
        if fresh:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.4)
    view = fresh[0]
    pid = next(one.pid for one in await app.client.instances() if one.boot == view.boot)
    moment = fleet.kill(pid)
    say(f"killed {fleet.name_of(pid)} with -9, in the middle of {view.due:%H:%M:%S}")
    fleet.start(1)
    while True:
        now = await app.client.run(view.id)
        if now.epoch > 1:
            break
        await asyncio.sleep(0.01)
    taker = next(one.pid for one in await app.client.instances() if one.boot == now.boot)
    say(f"       {fleet.name_of(taker)} took the run over, attempt {now.epoch}")
    return view.id, pid, moment


async def finish(app: Duly) -> None:
    """Let the occurrences until now end, and one more take the orders that came late."""
    last = datetime.now(UTC) + timedelta(seconds=EVERY_S)
    while True:
        row = await app.client.schedule(SCHEDULE)
        if row.fired_through >= last:
            break
        await asyncio.sleep(0.2)
    await app.client.pause(SCHEDULE, by="demo", reason="the show is over")
    for view in await app.client.runs(RunFilter(schedule=SCHEDULE, limit=1000)):
        await app.client.result(view.id, timeout=60)


async def judge(
    app: Duly, directory: Path, fleet: Fleet, *, kills: list[Kill], placed: int, codes: list[int]
) -> int:
    """Read everything back, print it, and say whether it is as promised."""
    from ledger import open_book

    row = await app.client.schedule(SCHEDULE)
    runs = sorted(await fetch(app), key=lambda view: str(view.due))
    assert row.created_at is not None, "a stored schedule knows since when"
    trigger = trigger_from_spec(row.definition.trigger)
    due = occurrences_between(trigger, row.created_at, row.fired_through, limit=1000)
    pids = {one.boot: one.pid for one in await app.client.instances()}
    print(f"\n  {'occurrence':<12}{'state':<12}{'attempts':<10}by")
    for view in runs:
        hands = [fleet.name_of(pids[one.boot]) for one in view.attempts]
        hands += [fleet.name_of(pids[view.boot])] if view.boot else []
        print(f"  {view.due:%H:%M:%S}    {view.state:<12}{view.epoch:<10}{', then '.join(hands)}")

    fired = Counter(view.due for view in runs)
    exported = Counter(order for path in (directory / "files").glob("*.csv") for order in ids(path))
    book = await open_book()
    orders = set(await book.all_ids())
    await book.close()
    takeovers = [takeover_ms(directory, kill) for kill in kills]
    figures = [
        ("occurrences due", len(due), None),
        ("occurrences fired", len(fired), len(due)),
        ("fired more than once", sum(n > 1 for n in fired.values()), 0),
        ("due and not fired", sum(one not in fired for one in due), 0),
        ("runs that did not succeed", sum(v.state != RunState.SUCCEEDED for v in runs), 0),
        ("orders placed", placed, len(orders)),
        ("orders exported", len(exported), len(orders)),
        ("orders in two files", sum(n > 1 for n in exported.values()), 0),
        ("orders in no file", len(orders - exported.keys()), 0),
        ("kills -9 / runs taken over", len(kills), sum(v.epoch > 1 for v in runs)),
        ("workers that did not stop well", sum(code != 0 for code in codes), 0),
    ]
    print()
    for name, value, wanted in figures:
        print(f"  {name:<34}{value:>8}{'' if wanted in (None, value) else f'   expected {wanted}'}")
    print(f"  {'kill to next attempt, ms':<34}{', '.join(f'{ms:.0f}' for ms in takeovers):>8}\n")
    wrong = [name for name, value, wanted in figures if wanted not in (None, value)]
    say("as promised" if not wrong else "NOT as promised: " + "; ".join(wrong))
    return 1 if wrong else 0


async def fetch(app: Duly) -> list[RunView]:
    listed = await app.client.runs(RunFilter(schedule=SCHEDULE, limit=1000))
    return [await app.client.run(view.id) for view in listed]


def ids(path: Path) -> list[int]:
    with path.open(newline="") as file:
        return [int(row["order"]) for row in csv.DictReader(file)]


def takeover_ms(directory: Path, kill: Kill) -> float:
    """From the kill to the first line of the task's code in the next attempt."""
    run, _, moment = kill
    starts = [line.split() for line in (directory / "attempts.log").read_text().splitlines()]
    again = min(
        float(at) for _, one, attempt, _, at in starts if one == str(run) and attempt == "2"
    )
    return (again - moment) * 1000


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(asyncio.run(main()))

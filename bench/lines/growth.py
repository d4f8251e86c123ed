"""J: what ten million ended runs that are kept cost the runs of today.

Claims and drains on an empty store, then on one with the kept runs (`--scale` takes a part of ten
million), a million in one go, then while a reader holds a snapshot for a minute, which keeps the
server from tidying up. The live tables are measured in that minute's end and after it: they hold
what is ready and held, and must not grow with what has ended. The kept runs are written by one
statement per quarter million, straight into the store's tables, as if they had ended within the
last day.
"""

from __future__ import annotations

import asyncio
import time

from bench.fleet import Fleet
from bench.lines.drain import drain
from bench.products import DULY
from bench.results import percentile
from bench.scene import Scene
from duly.core.fleet import Instance
from duly.core.runs import Ending, NewRun
from duly.core.states import RunVerb
from duly.engine import SystemClock
from duly.stores.postgres import PostgresStore

KEPT, PIECE, HELD_S, EACH = 10_000_000, 250_000, 60, 10

FILL = """
with ids as (
  select (lpad(to_hex($1::bigint + g * 80000000 / $4), 12, '0') || '7000' || '8'
      || lpad(to_hex(g), 15, '0'))::uuid as id,
    to_timestamp(($1 + g * 80000000 / $4) / 1000.0) as at
  from generate_series($2::bigint, $3::bigint - 1) g
), made as (
  insert into duly_run (id, enqueued_at, task, args, queue, priority, origin, max_running)
  select id, at, 'noop', '{"key":12345}', 'default', 0, 'call', 0 from ids)
insert into duly_ended (id, state, epoch, failures, deaths, ended_at, boot, started_at, result)
select id, 'succeeded', 1, 0, 0, at, (select id from ids limit 1), at, 'null' from ids
"""
LEFT = "select (select count(*) from duly_ready) + (select count(*) from duly_held)"
LIVE_MB = """
select sum(pg_total_relation_size(name::regclass)) / 1048576.0
from unnest(array['duly_ready', 'duly_held', 'duly_later']) name
"""


def measure(scene: Scene) -> None:
    """Measure the empty store, then the full one, then under a snapshot."""
    kept = max(1000, int(scene.some(KEPT, 10_000) * scene.scale))
    database = scene.database(DULY)
    for rows, name in ((0, "duly, empty"), (kept, "duly")):
        url = scene.server.fresh(database)
        asyncio.run(PostgresStore(url).migrate())
        _fill(scene, database, rows)
        _claims(scene, url, name, rows)
        rates = [_drained(scene, url) for _ in range(scene.rounds)]
        scene.results.add("J drain", name, rates, unit="runs/s", kept=rows)
    at_once = scene.some(1_000_000, 600)
    rate = _drained(scene, scene.server.url(database), at_once)
    scene.results.add("J drain in one go", "duly", [rate], unit="runs/s", kept=kept, runs=at_once)
    _under_snapshot(scene, scene.server.url(database), kept)


def _fill(scene: Scene, database: str, rows: int) -> None:
    a_day_ago_ms = int(time.time() - 86_400) * 1000
    for first in range(0, rows, PIECE):
        last = min(rows, first + PIECE)
        scene.server.ask(FILL, a_day_ago_ms, first, last, rows, database=database)
    scene.settle(DULY)


def _claims(scene: Scene, url: str, name: str, kept: int) -> None:
    took = asyncio.run(_timed_claims(url, scene.some(1000, 20)))
    for part, word in ((0.5, "p50"), (0.99, "p99")):
        line, figure = f"J claim of {EACH}, {word}", percentile(took, part)
        scene.results.add(line, name, [figure], unit="ms", kept=kept, claims=len(took))


async def _timed_claims(url: str, claims: int) -> list[float]:
    """Claim and end a few runs at a time; milliseconds of each claim."""
    store, clock, took = PostgresStore(url), SystemClock(), []
    await store.open()
    boot = clock.new_id()
    instance = Instance(
        boot=boot, name="bench", host="bench", pid=0, pid_space="", owner="bench", version="0",
        tasks=("noop",),
    )  # fmt: skip
    await store.register(instance, {})
    for _ in range(claims):
        await store.enqueue([NewRun(id=clock.new_id(), task="noop") for _ in range(EACH)])
        at = time.perf_counter()
        claim = await store.claim(
            boot, clock.new_id(), queues=("default",), tasks=("noop",), limit=EACH
        )
        took.append((time.perf_counter() - at) * 1e3)
        taken = claim.runs
        assert len(taken) == EACH, "what was enqueued is claimed"
        ends = [Ending(run=one.id, epoch=one.epoch, verb=RunVerb.COMPLETE) for one in taken]
        await store.end(boot, ends)
    await store.close()
    return took


def _drained(scene: Scene, url: str, count: int | None = None) -> float:
    """Drain once on what the store keeps already."""
    database, count = scene.database(DULY), count or scene.some(30_000, 300)
    with Fleet(DULY, url) as fleet:
        fleet.put("--count", count, "--many", 1000)
        is_over = lambda: scene.server.ask(LEFT, database=database)[0][0] == 0  # noqa: E731 - read once
        return drain(fleet, count, is_over).rate


def _under_snapshot(scene: Scene, url: str, kept: int) -> None:
    database = scene.database(DULY)
    rates: list[float] = []
    with scene.server.snapshot(database):
        end = time.monotonic() + scene.some(HELD_S, 0)
        while not rates or time.monotonic() < end:
            rates.append(_drained(scene, url))
        grown = float(scene.server.ask(LIVE_MB, database=database)[0][0])
    line, more = "J drain under a snapshot", {"kept": kept, "first": round(rates[0])}
    scene.results.add(line, "duly", rates, unit="runs/s", **more, last=round(rates[-1]))
    scene.settle(DULY)
    tidied = float(scene.server.ask(LIVE_MB, database=database)[0][0])
    drained = len(rates) * scene.some(30_000, 300)
    more = {"kept": kept, "drained": drained}
    scene.results.add("J live tables under a snapshot", "duly", [grown], unit="MB", **more)
    scene.results.add("J live tables, snapshot gone", "duly", [tidied], unit="MB", **more)

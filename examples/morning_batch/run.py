"""The whole story in one command: a broker, a shop, three web services, kills, and the figures.

    python -m examples.morning_batch.run                      on an SQLite file
    python -m examples.morning_batch.run --store postgres     on a PostgreSQL that is started here
    python -m examples.morning_batch.run --store URL          on an empty PostgreSQL database

Exits with 1 when a promise was broken. Everything it starts listens on loopback, and is gone
at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from uuid import UUID

from duly import Duly, RunState, RunView
from examples.morning_batch.stage.judging import Figures, figures, show, wrong
from examples.morning_batch.stage.processes import PACKAGE, ROOT, Fleet, Process, Web
from examples.morning_batch.stage.scene import KILL, RECYCLE, Scale, Scene, published
from examples.morning_batch.stage.stock import fill, lose_two_thirds
from tests.outbound.rabbit_server import RabbitMissing, RabbitServer, rabbit_server

NEVER, OFTEN = "0 0 0 29 2 *", "*/2 * * * * *"
UNAVAILABLE = 69
LONGEST_S = 540.0

FULL = Scale(
    rows=20_000,
    work_ms=1.0,
    instances=3,
    hits=((0.1, KILL), (0.2, RECYCLE), (0.35, KILL), (0.7, RECYCLE), (0.85, KILL)),
    outage_at=0.45,
    outage_s=5.0,
    compared=True,
    resumed=True,
)
SMALL = Scale(
    rows=900,
    work_ms=4.0,
    instances=2,
    hits=((0.1, KILL), (0.5, RECYCLE)),
    outage_at=0.2,
    outage_s=0.0,
    compared=False,
    resumed=False,
)


async def tell(scene: Scene, broker: RabbitServer) -> Figures:
    """Let everything happen; returns the figures."""
    await fill(scene.shop, scene.scale.rows)
    queues = ("prices", "unprotected") if scene.scale.compared else ("prices",)
    consumers = [consumer(scene, queue) for queue in queues]
    try:
        for one in consumers:
            await scene.until_so(partial(one.said, "consuming"), one.name)
        if scene.scale.compared:
            await as_it_was(scene)
        await calm_days(scene)
        await the_day(scene, broker)
        await a_third(scene)
        return await figures(scene)
    finally:
        await scene.fleet.stop()
        for one in consumers:
            await one.end(signal.SIGTERM)


def consumer(scene: Scene, queue: str) -> Process:
    journal = scene.folder / f"{queue}.csv"
    journal.touch()
    line = (f"{PACKAGE}.consumer", queue, str(journal))
    return Process(scene.folder, f"consumer-{queue}", *line, **scene.env)


def loop_over(scene: Scene, day: str, **env: str) -> Process:
    line = (f"{PACKAGE}.unprotected", day)
    return Process(scene.folder, f"loop-{day}", *line, **(scene.env | env))


async def as_it_was(scene: Scene) -> None:
    """The unprotected loop: undisturbed, then killed after a third, then invoked once more."""
    say(f"an unprotected loop over {scene.scale.rows:,} rows, undisturbed")
    for what, env in (("no work", {"BATCH_WORK_MS": "0"}), ("with work", {})):
        began = time.monotonic()
        await loop_over(scene, "undisturbed", **env).done()
        scene.seconds[f"unprotected loop, {what}"] = time.monotonic() - began
    say("the same loop, killed after a third, and invoked once more")
    loop = loop_over(scene, "killed")
    third = scene.scale.rows // 3
    await scene.until_so(lambda: scene.got("unprotected", "killed").rows >= third, "a third")
    await loop.end(KILL)
    await loop_over(scene, "again", BATCH_WORK_MS="0").done()
    rows = scene.scale.rows
    await scene.until_so(lambda: scene.got("unprotected", "again").rows == rows, "its messages")


async def calm_days(scene: Scene) -> None:
    """Three days on which nothing happens: now it is known what is usual."""
    scene.fleet.start(1, scene.env | {"BATCH_CRON": NEVER, "BATCH_WORK_MS": "0"})
    all_took: list[float] = []
    for offset in (-3, -2, -1):
        day = scene.day(offset)
        await scene.fleet.ask(day)
        began = time.monotonic()
        await scene.arrived(day, scene.scale.rows)
        all_took.append(time.monotonic() - began)
        say(f"{day}: calm, {scene.scale.rows:,} prices in {all_took[-1]:.1f} s")
    scene.seconds["calm day, no work (median)"] = median(all_took)
    await scene.fleet.stop()


async def the_day(scene: Scene, broker: RabbitServer) -> None:
    """The schedule starts the batch, others ask too; the host and the broker do their worst."""
    scene.fleet.start(scene.scale.instances, scene.env | {"BATCH_CRON": OFTEN})
    run = await scene.until(lambda: scene.run_of(scene.today), "the schedule to fire")
    assert run is not None, "just found"
    began = time.monotonic()
    say(f"{scene.today}: the schedule started run {run.id}; {scene.scale.instances} instances")
    outage = asyncio.create_task(broker_away(scene, broker))
    for share, how in scene.scale.hits:
        await scene.reached(share)
        await hit_the_holder(scene, how)
        scene.asked.append(await scene.fleet.ask(scene.today))
    await outage
    await scene.arrived(scene.today, scene.scale.rows)
    scene.seconds["the day, with work and all"] = time.monotonic() - began
    for _ in range(3):
        scene.asked.append(await scene.fleet.ask(scene.today))
    await scene.app.client.pause("morning", by="the story", reason="the day is over")


async def hit_the_holder(scene: Scene, how: signal.Signals) -> None:
    """End the process that holds the run, and see another one go on with it."""
    view, web = await holder(scene)
    word = "kill -9" if how is KILL else "SIGTERM"
    say(f"  {word} for {web.name}, which holds it ({published(view):,} prices published)")
    await scene.fleet.replace(web, how)

    async def resumed() -> RunView | None:
        now = await scene.app.client.run(view.id)
        return now if now.epoch > view.epoch else None

    now = await scene.until(resumed, "the run to be resumed")
    say(f"    resumed as attempt {now.epoch if now else '?'}")


async def holder(scene: Scene) -> tuple[RunView, Web]:
    """Wait until today's run is in the hands of a process that lives."""
    while True:
        view = await scene.run_of(scene.today)
        pids = {one.boot: one.pid for one in await scene.app.client.instances()}
        if view is not None and view.state is RunState.RUNNING and view.boot is not None:
            web = scene.fleet.by_pid(pids.get(view.boot, 0))
            if web is not None:
                return view, web
        await asyncio.sleep(0.02)


async def broker_away(scene: Scene, broker: RabbitServer) -> None:
    """Kill the broker for a while; what is published meanwhile waits in the outbox."""
    await scene.reached(scene.scale.outage_at)
    await asyncio.to_thread(broker.kill)
    say("  the broker is killed")
    back_at = time.monotonic() + scene.scale.outage_s
    starting: asyncio.Task[None] | None = None
    while starting is None or not starting.done():
        if starting is None and time.monotonic() >= back_at:
            starting = asyncio.create_task(asyncio.to_thread(broker.start))
        scene.waited = max(scene.waited, await scene.waiting())
        await asyncio.sleep(0.1)
    await starting
    say(f"  the broker is back; {scene.waited:,} messages wait for it")


async def a_third(scene: Scene) -> None:
    """The next day: an import failed in the night, and a third of the table is left."""
    await lose_two_thirds(scene.shop)
    day = scene.day(1)
    run = UUID((await scene.fleet.ask(day))["run"])
    count = await scene.app.client.result(run, timeout=120)
    say(f"{day}: the run succeeded, and published {count:,} prices")
    await scene.until(lambda: scene.told("expect.output"), "the alarm")
    await scene.arrived(day, count)
    if scene.scale.resumed:
        say("waiting for the word that the interruptions are over; looked at once a minute")
        await scene.until(lambda: over(scene), "the word that the run was resumed")
    await read_incidents(scene)


async def over(scene: Scene) -> bool:
    return all(one.closed_at for one in await scene.told("run.interrupted"))


async def read_incidents(scene: Scene) -> None:
    """Ask as a person does, and print what is said."""
    say("what `duly incidents --all` says:")
    line = [sys.executable, "-m", "duly.cli", "incidents", "--all", "--store", scene.store]
    shown = await asyncio.to_thread(
        subprocess.run, [*line, "-o", "json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for one in reversed(json.loads(shown.stdout)):
        print(f"    {one['severity']} {one['kind']}: {one['summary']}")
        if one["became"]:
            print(f"      over: {one['became']}")


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


# --- the places -----------------------------------------------------------------------------


async def play(scale: Scale, store: str, shop: str, folder: Path) -> Figures:
    """Start the broker, and let the story take place on a store."""
    with rabbit_server() as broker:
        app = Duly(store, name="onlooker")
        await app.store.migrate()
        async with app, asyncio.timeout(LONGEST_S):
            today = f"{datetime.now(UTC):%Y-%m-%d}"
            fleet = Fleet(folder)
            scene = Scene(scale, folder, store, shop, broker.url, today, app, fleet)
            return await tell(scene, broker)


async def play_on(store: str, scale: Scale, folder: Path) -> Figures:
    """Find or start the database that is wanted."""
    if store == "sqlite":
        return await play(scale, f"sqlite:///{folder}/duly.db", f"{folder}/shop.db", folder)
    if store != "postgres":
        return await play(scale, store, store, folder)
    from tests.servers import start_postgres

    server = await asyncio.to_thread(start_postgres)
    try:
        url = await asyncio.to_thread(server.empty_database)
        return await play(scale, url, url, folder)
    finally:
        await asyncio.to_thread(server.stop)


def main() -> int:
    parser = argparse.ArgumentParser(description="The morning batch, and everything against it.")
    parser.add_argument("--store", default="sqlite", help="sqlite, postgres, or a PostgreSQL URL")
    parser.add_argument("--small", action="store_true", help="a few seconds of everything")
    parser.add_argument("--figures", type=Path, help="also write the figures to this JSON file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="duly-morning-") as folder:
        try:
            found = asyncio.run(play_on(given.store, SMALL if given.small else FULL, Path(folder)))
        except RabbitMissing as reason:
            print(reason, file=sys.stderr)
            return UNAVAILABLE
        except BaseException:
            for log in sorted(Path(folder).glob("*.log")):
                print(
                    f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-1500:]}", file=sys.stderr
                )
            raise
    show(found)
    if given.figures:
        given.figures.write_text(json.dumps(found))
    return 1 if wrong(found) else 0


if __name__ == "__main__":
    sys.exit(main())

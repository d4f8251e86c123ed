"""Two versions on one store: the code before the newest schema, and this one, in one fleet.

Workers of the former version run on their schema while the store is migrated beneath them; then
workers of this version replace them one after the other, and then the way back (the newer schema
stays); the campaign goes there and back ten times, and ends with this version. The older code is
taken from the history of this repository: the commit before the one that brought the newest
migration. Without history the trial says so and is skipped.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chaos.declared import Every
from chaos.fleet import ROOT, Fleet
from chaos.journal import Journal
from chaos.places import Place
from chaos.report import Report
from chaos.scale import Scale
from chaos.scenarios.outage import judge, load
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until

MIGRATIONS = "src/duly/stores/postgres/migrations"
NEEDED = ("src", "chaos", "tests")
INSTANCES = 3
MIGRATE = """
import asyncio, sys
from duly import Duly

async def main():
    app = Duly(sys.argv[1])
    await app.store.migrate()
    await app.store.close()

asyncio.run(main())
"""


async def try_it(place: Place, scale: Scale) -> Report:
    """Roll from the former version to this one and back, under work, some rounds."""
    report = Report(trial="upgrade", store=place.name)
    commit = _of_the_former_schema()
    if commit is None:
        report.skipped = "no history of this repository is at hand, so no former version"
        return report
    old = place.folder / "former"
    await asyncio.to_thread(_unpack, commit, old)
    if place.server is not None:
        place.url = await asyncio.to_thread(place.server.empty_database)
    await asyncio.to_thread(_migrate, old, place.url)
    rounds = scale.count(1, 10)
    end = datetime.now(UTC) + timedelta(seconds=scale.pick(16, 20 + rounds * 20))
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 5, end=end) for n in range(10))

    async def first(fleet: Fleet) -> None:
        """The former version is at work already when the store is migrated beneath it."""
        journal = Journal(place.folder / "journal")
        fleet.start(INSTANCES, tree=old)
        await until(
            lambda: journal.count()["instance.started"] >= INSTANCES,
            within_s=60,
            what="the former version to join",
        )
        await pause(2)
        await asyncio.to_thread(_migrate, ROOT, place.url)

    async with trial_of(report, place, schedules=made, first=first) as trial:
        stop = asyncio.Event()
        asking = asyncio.ensure_future(load(trial, stop))
        codes: list[int] = []
        for _ in range(rounds):
            codes += await _roll(trial, ROOT)
            codes += await _roll(trial, old)
        if scale.full:
            codes += await _roll(trial, ROOT)
        stop.set()
        asked, acknowledged = await asking
        report.note("former version, by commit", commit[:10])
        report.note("workers replaced", len(codes))
        report.must_be("exit codes that are not 0", sum(code != 0 for code in codes), 0)
        await trial.quiet(within_s=240)
        kinds = trial.journal.count()
        report.must_be("boots declared dead", kinds["instance.declared_dead"], 0)
        await judge(trial, end, asked=asked, acknowledged=acknowledged)
    return report


async def _roll(trial: Trial, tree: Path) -> list[int]:
    """Replace every worker by one of another version, one after the other."""
    codes = []
    for worker in trial.fleet.living:
        await pause(0.5)
        trial.struck(worker.name)
        codes += await trial.fleet.stop(worker)
        trial.fleet.start(tree=tree)
        await trial.joined(len(trial.fleet.workers))
    return codes


def _of_the_former_schema() -> str | None:
    """Return the newest commit whose migrations are the first ones of today, and not all."""
    today = sorted(one.name for one in (ROOT / MIGRATIONS).glob("*.sql"))
    for commit in _git("log", "--format=%H", "--", MIGRATIONS):
        listed = _git("ls-tree", "--name-only", commit, f"{MIGRATIONS}/")
        names = sorted(Path(one).name for one in listed if one.endswith(".sql"))
        if names and len(names) < len(today) and names == today[: len(names)]:
            return commit
    return None


def _git(*words: str) -> list[str]:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
    )
    return [] if done.returncode else done.stdout.split()


def _unpack(commit: str, folder: Path) -> None:
    folder.mkdir()
    with subprocess.Popen(
        ["git", "-C", str(ROOT), "archive", commit, *NEEDED], stdout=subprocess.PIPE
    ) as archive:
        subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive.stdout, check=True)


def _migrate(tree: Path, url: str) -> None:
    path = f"{tree / 'src'}:{tree}"
    subprocess.run(
        [sys.executable, "-c", MIGRATE, url], check=True, env=os.environ | {"PYTHONPATH": path}
    )

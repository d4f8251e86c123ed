"""Wall clocks that disagree: one of three instances is an hour ahead.

Due-ness is the store's to say (P13), so nothing fires early. On SQLite the store's clock is that
of whichever process writes; there the trial does not apply, and says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from chaos.declared import Every
from chaos.places import Place
from chaos.report import Report
from chaos.scale import Scale
from chaos.trial import trial_of

LIBRARY = "faketime/libfaketime.so.1"
PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib")


async def try_it(place: Place, scale: Scale) -> Report:
    """Fire schedules with one clock ahead, and look when each occurrence was fired."""
    report = Report(trial="clocks", store=place.name)
    if place.server is None:
        report.skipped = "processes that share a SQLite file share the clock of their host"
        return report
    found = [path for one in PLACES if (path := Path(one) / LIBRARY).exists()]
    if not found:
        report.skipped = "libfaketime is not installed"
        return report
    end = datetime.now(UTC) + timedelta(seconds=scale.pick(10, 120))
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 3, end=end) for n in range(20))
    async with trial_of(report, place, schedules=made) as trial:
        ahead = {"LD_PRELOAD": str(found[0]), "FAKETIME": "+1h", "DONT_FAKE_MONOTONIC": "1"}
        trial.fleet.start(1, env=ahead)
        trial.fleet.start(2)
        await trial.joined(3)
        await trial.quiet()
        runs = await trial.every_run()
        seen = await trial.judge_occurrences(end, runs)
        told = trial.judge_attempts(runs)
        early = sum(one.due is not None and one.enqueued_at < one.due for one in runs)
        by_ahead = sum(one.kind == "end" and one.worker == "w1" for one in trial.journal.lines)
        kinds = trial.journal.count()
        report.note("occurrences due / fired", f"{seen.due}/{seen.fired}")
        report.note("runs done by the instance that is ahead", by_ahead)
        report.must_be("fired early", early, 0)
        report.must_be("lost", seen.lost, 0)
        report.must_be("doubled or invented", seen.doubled + seen.invented, 0)
        report.must_be("runs that did not succeed", told.unended, 0)
        report.must_be("boots declared dead", kinds["instance.declared_dead"], 0)
        report.must_be("loops that failed", kinds["loop.failed"], 0)
    return report

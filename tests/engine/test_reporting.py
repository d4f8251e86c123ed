"""Reports: what a person should know is told once, in words that help, and closed when over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from duly import Context, Duly, events
from duly.core.fleet import Incident, Instance, InstanceState, Proof, TakenOver
from duly.core.steps import Event, approval
from duly.engine.reporting import RHYTHM
from tests.engine.bench import Bench, in_time, lasts


async def open_ones(bench: Bench, kind: str) -> list[Incident]:
    return [one for one in await bench.client.incidents() if one.kind == kind]


async def closed(bench: Bench, kind: str, within_s: float = 200) -> Incident:
    await bench.until(lambda: _closed(bench, kind) is not None, within_s)
    found = _closed(bench, kind)
    assert found is not None
    return found


def _closed(bench: Bench, kind: str) -> Incident | None:
    all_ = [one for one in bench.tables.incidents if one.kind == kind]
    return all_[-1] if all_ and all_[-1].closed_at is not None else None


async def opened(bench: Bench, kind: str, within_s: float = 200) -> Incident:
    await bench.until(lambda: any(one.kind == kind for one in bench.tables.incidents), within_s)
    return next(one for one in bench.tables.incidents if one.kind == kind)


@in_time
async def test_failures_of_a_task_are_one_incident_that_its_next_success_closes(
    bench: Bench,
) -> None:
    app, broken = Duly("memory://"), [True]

    @app.task(retries=0)
    async def work() -> None:
        if broken:
            raise OSError("disk full")

    await bench.start(app)
    for _ in range(100):
        await bench.ask("work")
    incident = await opened(bench, "run.failed")
    assert (incident.subject, incident.severity) == ("work", "critical")
    assert incident.summary == "work failed for good: OSError: disk full"
    await bench.past(200)
    assert len(await open_ones(bench, "run.failed")) == 1
    broken.clear()
    run = await bench.ask("work")
    over = await closed(bench, "run.failed")
    assert over.evidence["closed"] == f"the run {run} succeeded"
    told = [one for one in bench.told(events.IncidentOpened) if one.kind == "run.failed"]
    assert len(told) == 1
    assert len([one for one in bench.told(events.IncidentClosed) if one.kind == "run.failed"]) == 1
    broken.append(True)
    await bench.ask("work")
    await bench.until(lambda: _closed(bench, "run.failed") is None)
    bench.assert_sound()


@in_time
async def test_a_retry_is_no_incident(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(retries=2, backoff=1)
    async def work(ctx: Context) -> None:
        if ctx.attempt < 3:
            raise OSError("not yet")

    await bench.start(app)
    await bench.ended(await bench.ask("work"))
    await bench.past(200)
    assert await bench.client.incidents() == []


async def numbers(after: int | None) -> AsyncIterator[tuple[int, int]]:
    for n in range((after or 0) + 1, 31):
        yield n, n


def interrupted_app() -> Duly:
    app = Duly("memory://")

    @app.task
    async def work(ctx: Context) -> None:
        async for n in ctx.each("rows", numbers):
            await ctx.publish("rows", n)
            ctx.progress(n, 30)
            await lasts(1)

    return app


@in_time
async def test_a_stop_in_the_middle_says_what_was_cut_off_and_what_was_done(bench: Bench) -> None:
    app = interrupted_app()
    engine, _ = await bench.start(app)
    run = await bench.ask("work")
    await bench.past(10.5)
    await engine.stop(grace=timedelta(seconds=1))
    [incident] = await open_ones(bench, "run.interrupted")
    assert incident.summary.startswith("host:1 ended (stopped, and handed back what did not end")
    assert f"in the middle of work (run {run}), " in incident.summary
    assert " of 30 done, " in incident.summary
    assert " messages published; it goes on elsewhere" in incident.summary
    assert incident.evidence["runs"] == str(run)
    assert [one.run for one in bench.told(events.RunInterrupted)] == [run]
    await bench.start(app)
    over = await closed(bench, "run.interrupted")
    assert over.evidence["closed"] == "work was resumed by host:1, attempt 2, and succeeded"
    assert over.closed_at is not None
    ended = (await bench.view(run)).ended_at
    assert ended is not None
    assert over.closed_at >= ended


@in_time
async def test_a_death_in_the_middle_is_told_by_who_took_over(bench: Bench) -> None:
    app = interrupted_app()
    engine, store = await bench.start(app)
    runs = [await bench.ask("work") for _ in range(8)]
    await bench.past(10.5)
    store.away = True
    store.before["register"] = 10**9
    engine._keeper.stop()
    await bench.start(app)
    incident = await opened(bench, "run.interrupted")
    assert incident.summary.startswith("host:1 ended (lease expired")
    assert incident.summary.endswith(", and 3 more; it goes on elsewhere")
    assert incident.evidence["count"] == "8"
    assert set(incident.evidence["runs"].split()) == {str(run) for run in runs}
    assert incident.evidence["boot"] == str(engine.boot)
    assert {one.run for one in bench.told(events.RunInterrupted)} == set(runs)
    over = await closed(bench, "run.interrupted")
    assert over.evidence["closed"].count("and succeeded") == 5


@in_time
async def test_a_polite_stop_that_cuts_nothing_off_is_not_told(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work() -> None:
        await lasts(5)

    engine, _ = await bench.start(app, slots=1)
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.held)
    await engine.stop(grace=timedelta(seconds=30))
    assert await bench.client.incidents() == []


@in_time
async def test_an_approval_is_asked_for_and_closed_when_it_is_given(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work(ctx: Context) -> bool:
        return (await ctx.approve("boss")).approved

    await bench.start(app)
    run = await bench.ask("work")
    incident = await opened(bench, "run.approval")
    assert incident.subject == f"{run} boss"
    assert incident.summary == f"run {run} of work waits for a decision: boss"
    assert incident.evidence["what helps"] == f"duly runs approve {run} boss"
    word = Event(name=approval(run, "boss"), body=b'{"approved":true,"by":"ann"}')
    await bench.client.emit(word)
    assert "it was decided" in (await closed(bench, "run.approval")).evidence["closed"]


@in_time
async def test_code_that_changed_is_told_and_closed_when_the_run_left(bench: Bench) -> None:
    app, kind = Duly("memory://"), [int]

    async def one() -> Any:
        return 1

    @app.task
    async def work(ctx: Context) -> None:
        one.__annotations__["return"] = kind[0]
        await ctx.step("one", one)
        await ctx.sleep("nap", 10)

    await bench.start(app)
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.later)
    kind[0] = dict  # type: ignore[assignment]
    incident = await opened(bench, "run.changed")
    assert incident.summary.startswith(f"run {run} of work is parked: code changed: step 'one'")
    assert incident.evidence["what helps"] == f"duly runs fork {run} --from STEP"
    await bench.client.cancel(run, by="ann", reason="forked")
    assert "the run is cancelled" in (await closed(bench, "run.changed")).evidence["closed"]


@in_time
async def test_a_report_that_the_store_could_not_take_is_tried_again(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(retries=0)
    async def work() -> None:
        raise OSError("disk full")

    _, store = await bench.start(app)
    store.before["open_incident"] = 2
    store.after["open_incident"] = 1
    await bench.ask("work")
    await opened(bench, "run.failed", within_s=15)
    await bench.past(200)
    assert len(await open_ones(bench, "run.failed")) == 1


# --- rhythms ------------------------------------------------------------------------------

LIVES = {
    "every 29 hours": ([29.0] * 4, "app", True),
    "at random": ([3.0, 29.0, 11.0, 7.5], "app", False),
    "of another owner": ([29.0] * 4, "other", False),
}


@pytest.mark.parametrize("case", LIVES)
def test_a_host_that_ends_its_processes_regularly_is_told_before_it_meets_a_run(case: str) -> None:
    hours, owner, expected = LIVES[case]

    @in_time
    async def check(bench: Bench) -> None:
        app = Duly("memory://")

        @app.task(every="1h")
        async def work() -> None:
            await lasts(1800)

        start, end = bench.now() - timedelta(hours=sum(hours)), bench.now()
        for length in hours:
            end = start + timedelta(hours=length)
            boot = bench.clock.new_id()
            bench.tables.instances[boot] = _lived(boot, owner, start, end)
            bench.tables.carries[boot] = {}
            start = end
        await bench.start(app)
        await bench.past(3600 * 30)
        found = [one for one in bench.tables.incidents if one.kind == RHYTHM]
        assert bool(found) is expected
        if found:
            assert "29 h" in found[0].summary
            assert found[0].evidence["schedule"] == "work"
        assert len({one.subject for one in found}) == len(found), "told once"

    check()
    assert hours


def _lived(boot: Any, owner: str, start: Any, end: Any) -> Instance:
    one = Instance(
        boot=boot, name="host:1", host="host", pid=1, pid_space="", owner=owner, version="1"
    )
    return replace(one, state=InstanceState.GONE, started_at=start, seen_at=end)


@in_time
async def test_a_run_parked_as_poison_is_told_and_closed_when_it_left(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work(ctx: Context) -> None:
        await ctx.approve("boss")

    engine, _ = await bench.start(app)
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.later)
    taken = TakenOver(bench.clock.new_id(), True, parked=(run,))
    for _ in range(3):
        engine.reporting.took(taken, Proof.LEASE, "")
    incident = await opened(bench, "run.poison")
    assert incident.evidence["what helps"] == f"duly runs retry {run}"
    await bench.past(130)
    assert len(await open_ones(bench, "run.poison")) == 1, "while it is parked"
    await bench.client.cancel(run, by="ann", reason="no more")
    assert (await closed(bench, "run.poison")).evidence["closed"] == "the run is cancelled"


@in_time
async def test_a_quiet_fleet_is_looked_at_seldom_and_a_changed_one_each_minute(
    bench: Bench,
) -> None:
    app = Duly("memory://")

    @app.task
    async def work() -> None: ...

    _, store = await bench.start(app)
    await bench.past(20 * 60)
    store.sent.clear()
    await bench.past(60 * 60)
    assert 5 <= store.sent.count("sweep") <= 7
    await bench.start(app)
    store.sent.clear()
    await bench.past(200)
    swept = sum(one._store.sent.count("sweep") for one in bench.engines)  # type: ignore[attr-defined]
    assert swept >= 2


@pytest.mark.parametrize("away_s", [20, 200])
def test_a_store_that_was_away_for_long_is_told_of_once_it_is_back(away_s: int) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        _, one = await bench.start(Duly("memory://"))
        _, other = await bench.start(Duly("memory://"))
        await bench.past(60)
        one.away = other.away = True
        await bench.past(away_s)
        one.away = other.away = False
        await bench.past(30)
        found = [each for each in bench.tables.incidents if each.kind == "store.away"]
        assert len(found) == (1 if away_s > 60 else 0), "the fleet says it once"
        if found:
            assert found[0].summary.startswith("the store did not answer for ")
            assert 150 < int(found[0].evidence["away_s"]) < 260
            await closed(bench, "store.away")

    check()
    assert away_s

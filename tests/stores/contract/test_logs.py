"""Logs: the fullest of each attempt, of the newest attempts, as long as their run is there."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from duly.core.logs import ATTEMPTS_KEPT, AttemptLog
from duly.core.states import RunVerb
from duly.stores.base import Retention
from tests.stores.world import World

HOSTILE = b'[{"text":"\\u0000 \\ud83d\\ude00 \xc3\xa9 \x27; drop table duly_run"}]'


def log(run: UUID, epoch: int = 1, told: int = 1, lines: bytes = b"[]") -> AttemptLog:
    return AttemptLog(run=run, epoch=epoch, told=told, lines=lines)


async def test_what_is_kept_is_read_back_by_attempt(world: World) -> None:
    run, other = await world.enqueue(), await world.enqueue()
    logs = [log(run, 2, 9, HOSTILE), log(other), log(run, 1)]
    await world.twice(world.store.log, logs)
    assert await world.store.logged(run) == [log(run, 1), log(run, 2, 9, HOSTILE)]
    assert await world.store.logged(other) == [log(other)]


async def test_the_log_that_tells_most_holds_whenever_it_comes(world: World) -> None:
    run = await world.enqueue()
    for told, lines in ((2, b"[2]"), (1, b"[1]"), (3, b"[3]"), (3, b"[4]")):
        await world.store.log([log(run, told=told, lines=lines)])
    assert await world.store.logged(run) == [log(run, told=3, lines=b"[3]")]
    await world.store.log([log(run, told=5), log(run, told=6, lines=b"[6]"), log(run, told=4)])
    assert await world.store.logged(run) == [log(run, told=6, lines=b"[6]")]


async def test_of_a_run_that_is_not_known_nothing_is_kept(world: World) -> None:
    known, unknown = await world.enqueue(), world.new_id()
    await world.store.log([log(unknown), log(known)])
    await world.store.log([])
    assert await world.store.logged(unknown) == []
    assert await world.store.logged(known) == [log(known)]


async def test_only_the_newest_attempts_of_a_run_keep_theirs(world: World) -> None:
    run, other = await world.enqueue(), await world.enqueue()
    await world.store.log([log(other)])
    for epoch in range(1, ATTEMPTS_KEPT + 3):
        await world.store.log([log(run, epoch)])
    kept = [one.epoch for one in await world.store.logged(run)]
    assert kept == list(range(3, ATTEMPTS_KEPT + 3))
    assert await world.store.logged(other) == [log(other)]


async def test_logs_outlast_their_attempt_and_go_with_their_run(world: World) -> None:
    boot, run = await world.held()
    await world.store.log([log(run.id)])
    await world.end(boot, run, RunVerb.FAIL)
    assert await world.store.logged(run.id) == [log(run.id)]
    keep = Retention(history=timedelta(hours=1), last=0)
    gone = await world.store.prune(keep, now=world.turn(7200))
    assert gone.runs == 1
    assert await world.store.logged(run.id) == []

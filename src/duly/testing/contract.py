"""The contract of a store, for whoever writes one: the promises that everything else rests on.

    await check_store(make_my_store)

Each check gets a store of its own and sends its verbs with a `now` of its own, so that nothing
waits. Verbs are sent twice wherever the contract says that twice equals once. The checks are the
compact part of what Duly's own stores must pass: identity, fences, claims, deaths, limits,
firing, breakers. They prove nothing about concurrency between connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from duly.core.breakers import Ask, BreakerPolicy, Came, Report
from duly.core.fleet import Claim, Instance, Proof
from duly.core.ids import uuid7
from duly.core.runs import Answer, Ending, Enqueued, NewRun, Reuse
from duly.core.schedules import Definition, Overlap
from duly.core.states import RunState, RunVerb, ScheduleVerb
from duly.core.verdicts import Verdict
from duly.stores.base import Store

MakeStore = Callable[[], Awaitable[Store]]

_START = datetime(2026, 3, 1, 12, tzinfo=UTC)
_LEASE = timedelta(seconds=15)


class ContractBroken(AssertionError):
    """A store does not do what its contract says; the message is the promise it broke."""


async def check_store(make_store: MakeStore) -> int:
    """Hold a store to its contract; return how many promises were checked.

    `make_store` returns a new, empty store each time; it is migrated, opened and closed here.
    Raises `ContractBroken` at the first promise that does not hold.
    """
    for promise in PROMISES:
        store = await make_store()
        await store.migrate()
        await store.open()
        try:
            await promise(_Bench(store))
        finally:
            await store.close()
    return len(PROMISES)


def _expect(holds: bool, promise: str) -> None:
    if not holds:
        raise ContractBroken(promise)


class _Bench:
    """One store, one clock, one sequence of ids."""

    def __init__(self, store: Store) -> None:
        self.store, self.now = store, _START
        self._made = 0

    def new_id(self) -> UUID:
        self._made += 1
        return uuid7(int(_START.timestamp() * 1000) + self._made, self._made)

    async def boot(self) -> UUID:
        boot = self.new_id()
        one = Instance(
            boot=boot,
            name="bench",
            host="bench",
            pid=1,
            pid_space="",
            owner="bench",
            version="1",
            tasks=("t",),
        )
        await self.store.register(one, {}, now=self.now)
        return boot

    async def permitted(self) -> str:
        ask = Ask("b", self.new_id(), timedelta(minutes=1))
        [permit] = await self.store.breaker_calls(self.new_id(), [ask], now=self.now)
        return permit.permission.value

    async def enqueue(self, new: NewRun) -> Enqueued:
        return (await self.store.enqueue([new], now=self.now))[0]

    def new(self, *, key: str | None = None, limit_key: str | None = None) -> NewRun:
        limit = 1 if limit_key else 0
        return NewRun(id=self.new_id(), task="t", key=key, limit_key=limit_key, limit=limit)

    async def claim(self, boot: UUID, claim: UUID | None = None, *, limit: int = 10) -> Claim:
        return await self.store.claim(
            boot,
            claim or self.new_id(),
            queues=("default",),
            tasks=("t",),
            limit=limit,
            lease=_LEASE,
            now=self.now,
        )

    async def end(self, boot: UUID, run: UUID, epoch: int, verb: RunVerb) -> Answer:
        delay_us = 1_000_000 if verb is RunVerb.RETRY else None
        ending = Ending(run=run, epoch=epoch, verb=verb, delay_us=delay_us)
        return (await self.store.end(boot, [ending], now=self.now))[0]

    async def state(self, run: UUID) -> RunState | None:
        view = await self.store.run(run)
        return None if view is None else view.state

    async def fire(self) -> int:
        return len((await self.store.fire(new_id=self.new_id, now=self.now)).fired)

    async def declare(self) -> None:
        definition = Definition(
            name="s",
            task="t",
            trigger={"kind": "every", "interval": "1m"},
            overlap=Overlap.ALLOW,
        )
        boot = await self.boot()
        await self.store.declare(boot, "bench", [definition], new_id=self.new_id, now=self.now)


async def _identity(b: _Bench) -> None:
    new = b.new()
    first, second = await b.enqueue(new), await b.enqueue(new)
    _expect(first == second, "a run that is enqueued again gets the same answer")
    boot = await b.boot()
    [run] = (await b.claim(boot)).runs
    await b.end(boot, run.id, run.epoch, RunVerb.COMPLETE)
    await b.enqueue(new)
    _expect(not (await b.claim(boot)).runs, "a run that has ended is not enqueued anew by a resend")


async def _keys(b: _Bench) -> None:
    first = await b.enqueue(b.new(key="k"))
    joined = await b.enqueue(b.new(key="k"))
    _expect((joined.run, joined.reuse) == (first.run, Reuse.JOINED), "a live key is joined")
    boot = await b.boot()
    [run] = (await b.claim(boot)).runs
    await b.end(boot, run.id, run.epoch, RunVerb.COMPLETE)
    returned = await b.enqueue(b.new(key="k"))
    _expect(returned.reuse is Reuse.RETURNED, "the key of a succeeded run returns that run")


async def _claims(b: _Bench) -> None:
    boot, claim = await b.boot(), b.new_id()
    for _ in range(3):
        await b.enqueue(b.new())
    first = await b.claim(boot, claim, limit=2)
    again = await b.claim(boot, claim, limit=2)
    _expect(len(first.runs) == 2, "a claim takes no more than its limit")
    _expect(first.runs == again.runs, "the same claim again returns what it took, and no more")
    other = await b.claim(await b.boot())
    taken = {one.id for one in first.runs}
    _expect(not taken & {one.id for one in other.runs}, "a run is in one pair of hands only")


async def _fences(b: _Bench) -> None:
    boot, stranger = await b.boot(), await b.boot()
    await b.enqueue(b.new())
    [run] = (await b.claim(boot)).runs
    for who, epoch in ((stranger, run.epoch), (boot, run.epoch + 1)):
        answer = await b.end(who, run.id, epoch, RunVerb.COMPLETE)
        _expect(answer is Answer.STALE, "an ending with another boot or epoch is stale")
    _expect(await b.state(run.id) is RunState.RUNNING, "a stale ending writes nothing")
    done = await b.end(boot, run.id, run.epoch, RunVerb.COMPLETE)
    again = await b.end(boot, run.id, run.epoch, RunVerb.COMPLETE)
    _expect((done, again) == (Answer.DONE, Answer.ALREADY), "an ending resent answers `already`")


async def _retries(b: _Bench) -> None:
    boot = await b.boot()
    await b.enqueue(b.new())
    [run] = (await b.claim(boot)).runs
    await b.end(boot, run.id, run.epoch, RunVerb.RETRY)
    await b.store.promote(now=b.now)
    _expect(not (await b.claim(boot)).runs, "a retry is not ready before its delay has passed")
    b.now += timedelta(seconds=1)
    await b.store.promote(now=b.now)
    again = (await b.claim(boot)).runs
    _expect(len(again) == 1, "a retry is ready when its delay has passed")
    _expect((again[0].epoch, again[0].failures) == (2, 1), "a retry counts a failure and an epoch")


async def _deaths(b: _Bench) -> None:
    boot, heir = await b.boot(), await b.boot()
    await b.enqueue(b.new())
    [run] = (await b.claim(boot)).runs
    early = await b.store.take_over(boot, Proof.LEASE, now=b.now)
    _expect(not early.buried, "a lease that has not ended proves no death")
    b.now += _LEASE + timedelta(seconds=1)
    _expect(await b.store.lapsed(now=b.now) == [boot], "a lapsed holder is listed")
    _expect((await b.store.take_over(boot, Proof.LEASE, now=b.now)).taken == 1, "its runs move on")
    again = await b.store.take_over(boot, Proof.PROCESS, now=b.now)
    _expect(not again.buried, "a boot is buried once")
    _expect(not (await b.claim(boot)).alive, "a dead boot claims nothing")
    answer = await b.end(boot, run.id, run.epoch, RunVerb.COMPLETE)
    _expect(answer is Answer.STALE, "a dead boot ends nothing")
    _expect(len((await b.claim(heir)).runs) == 1, "what it held is done by another")
    _expect(await b.store.come_back(boot, now=b.now) == 1, "a boot that returns is forgiven")
    _expect(await b.store.come_back(boot, now=b.now) == 0, "it is forgiven once")


async def _strays(b: _Bench) -> None:
    boot, claim = await b.boot(), b.new_id()
    await b.enqueue(b.new())
    await b.claim(boot, claim)
    kept = await b.store.renew(boot, [], [claim], lease=_LEASE, now=b.now)
    _expect(kept.released == 0, "what a pending claim took is not released")
    gone = await b.store.renew(boot, [], [], lease=_LEASE, now=b.now)
    _expect(gone.released == 1, "what memory does not know is released")
    _expect(len((await b.claim(await b.boot())).runs) == 1, "what was released can be claimed")


async def _limits(b: _Bench) -> None:
    boot = await b.boot()
    for _ in range(2):
        await b.enqueue(b.new(limit_key="one"))
    [run] = (await b.claim(boot)).runs
    await b.end(boot, run.id, run.epoch, RunVerb.COMPLETE)
    _expect(len((await b.claim(boot)).runs) == 1, "a slot that is freed admits the next")


async def _cancels(b: _Bench) -> None:
    boot = await b.boot()
    idle = (await b.enqueue(b.new())).run
    done = await b.store.cancel(idle, by="x", reason="y", now=b.now)
    again = await b.store.cancel(idle, by="x", reason="y", now=b.now)
    _expect((done, again) == (Answer.DONE, Answer.ALREADY), "a run is cancelled once")
    await b.enqueue(b.new())
    [run] = (await b.claim(boot)).runs
    asked = await b.store.cancel(run.id, by="x", reason="y", now=b.now)
    _expect(asked is Answer.REQUESTED, "the holder of a running run is asked")
    renewal = await b.store.renew(boot, [(run.id, run.epoch)], [], lease=_LEASE, now=b.now)
    _expect([one for one, _ in renewal.cancels] == [run.id], "its holder hears of it")
    await b.end(boot, run.id, run.epoch, RunVerb.RELEASE)
    _expect(await b.state(run.id) is RunState.CANCELLED, "it ends cancelled when it would live on")


async def _firing(b: _Bench) -> None:
    await b.declare()
    _expect(await b.fire() == 0, "nothing before its declaration is due")
    b.now += timedelta(minutes=1)
    _expect(await b.fire() == 1, "an occurrence fires when it is due")
    _expect(await b.fire() == 0, "an occurrence fires once")
    b.now += timedelta(minutes=3)
    _expect(await b.fire() == 1, "of a missed stretch the latest fires")
    said = [(one.verdict, one.count) for one in await b.store.verdicts("s")]
    due = [(Verdict.FIRED, 1), (Verdict.MISSED, 2), (Verdict.FIRED, 1)]
    _expect(said == due, "every occurrence that was due has one verdict")


async def _pausing(b: _Bench) -> None:
    await b.declare()
    for verb, verdict in ((ScheduleVerb.PAUSE, 0), (ScheduleVerb.RESUME, 1)):
        answer = await b.store.move("s", verb, by="x", reason="y", new_id=b.new_id, now=b.now)
        _expect(answer is Answer.DONE, "a schedule is paused and resumed")
        if verdict == 0:
            b.now += timedelta(minutes=2)
            _expect(await b.fire() == 0, "a paused schedule does not fire")
    said = [(one.verdict, one.by) for one in await b.store.verdicts("s")]
    _expect(said == [(Verdict.BLOCKED, "x")], "what was due meanwhile is blocked, and by whom")


async def _leaving(b: _Bench) -> None:
    boot = await b.boot()
    await b.enqueue(b.new())
    await b.claim(boot)
    _expect(await b.store.leave(boot, now=b.now) == 1, "who leaves hands back what it holds")
    _expect(await b.store.leave(boot, now=b.now) == 0, "who left has nothing more to hand back")
    [run] = (await b.claim(await b.boot())).runs
    _expect(run.deaths == 0, "a run that was handed back counts no death")


async def _breakers(b: _Bench) -> None:
    policy = BreakerPolicy(threshold=2, pause=timedelta(minutes=1), jitter=0.0)
    report = Report(breaker="b", came=Came.BROKEN, policy=policy)
    boot, telling = b.new_id(), b.new_id()
    for _ in range(2):
        await b.store.breaker_tell(boot, telling, [report], now=b.now)
    _expect(await b.permitted() == "pass", "a telling that is sent again counts once")
    await b.store.breaker_tell(boot, b.new_id(), [report], now=b.now)
    _expect(await b.permitted() == "refused", "a breaker opens at its threshold")
    b.now += timedelta(minutes=1)
    _expect(await b.permitted() == "probe", "after its pause one call probes")
    _expect(await b.permitted() == "refused", "one probe at a time")


PROMISES: tuple[Callable[[_Bench], Awaitable[None]], ...] = (
    _identity,
    _keys,
    _claims,
    _fences,
    _retries,
    _deaths,
    _strays,
    _limits,
    _cancels,
    _firing,
    _pausing,
    _leaving,
    _breakers,
)

"""Hands and leases: what is in hand is known, and a lease is trusted for less than it lasts.

The two are shared by the event loop and the keeper's thread; here both are turned by hand, so
that each order in which they may meet is a test of its own.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from duly.core.fleet import Renewal
from duly.core.runs import Claimed, Origin
from duly.engine.hands import Hands
from duly.engine.lease import DOUBTS, Lease
from duly.errors import StoreUnavailable
from simulation.ports import EPOCH
from tests.engine.bench import Bench, in_time


def claimed(bench: Bench, epoch: int = 1) -> Claimed:
    return Claimed(
        bench.clock.new_id(), epoch, "work", b"{}", "default", 0, 0, None, None, None, None,
        Origin.CALL, EPOCH,
    )  # fmt: skip


# --- the lease ----------------------------------------------------------------------------


class Line:
    def __init__(self) -> None:
        self.fails = False
        self.renewals = 0

    def renew(self, *_: object, **__: object) -> Renewal:
        self.renewals += 1
        if self.fails:
            raise StoreUnavailable("lost")
        return Renewal(alive=True)

    def close(self) -> None:
        return None


async def make_lease(bench: Bench) -> tuple[Lease, Hands, Line]:
    hands, line = Hands(), Line()
    lease = Lease(bench.clock, hands, length=timedelta(seconds=15), margin=timedelta(seconds=3))
    lease.bind(bench.clock.new_id(), lambda: line, lambda renewal, named: None)
    return lease, hands, line


@in_time
async def test_a_lease_is_trusted_from_its_sending_until_its_margin(bench: Bench) -> None:
    lease, _, _ = await make_lease(bench)
    assert not lease.trusted
    lease.prolonged(bench.clock.monotonic())
    await bench.past(11.9)
    assert lease.trusted
    await bench.past(0.2)
    assert not lease.trusted
    assert 2.8 < lease.remaining_s < 3.0


@in_time
async def test_a_late_answer_counts_from_when_it_was_asked(bench: Bench) -> None:
    lease, _, _ = await make_lease(bench)
    sent = bench.clock.monotonic()
    await bench.past(11)
    lease.prolonged(sent)
    assert lease.trusted
    await bench.past(1.1)
    assert not lease.trusted


@in_time
async def test_empty_hands_renew_nothing_except_in_doubt(bench: Bench) -> None:
    lease, _, line = await make_lease(bench)
    lease.beat()
    assert line.renewals == 0
    lease.doubt()
    line.fails = True
    lease.beat()
    line.fails = False
    for _ in range(2 * DOUBTS):
        lease.beat()
    assert line.renewals == 1 + DOUBTS


@in_time
async def test_a_renewal_that_is_lost_prolongs_nothing_and_opens_the_gate(bench: Bench) -> None:
    lease, hands, line = await make_lease(bench)
    line.fails = True
    await hands.announce(bench.clock.new_id())
    lease.beat()
    assert (lease.trusted, lease.failures) == (False, 1)
    await asyncio.wait_for(hands.announce(bench.clock.new_id()), 1)
    assert hands.busy


@in_time
async def test_an_answer_about_an_old_boot_is_never_told_of_the_next(bench: Bench) -> None:
    lease, hands, line = await make_lease(bench)
    told: list[str] = []
    first, second = bench.clock.new_id(), bench.clock.new_id()

    class Slow(Line):
        def renew(self, *_: object, **__: object) -> Renewal:
            lease.bind(second, lambda: line, lambda renewal, named: told.append("second"))
            return Renewal(alive=True)

    lease.bind(first, Slow, lambda renewal, named: told.append("first"))
    await hands.announce(bench.clock.new_id())
    lease.beat()
    await bench.past(0.1)
    assert told == ["first"]
    assert not lease.trusted


# --- hands --------------------------------------------------------------------------------


@in_time
async def test_no_claim_begins_while_a_renewal_is_under_way(bench: Bench) -> None:
    hands, claim = Hands(), bench.clock.new_id()
    held, pending = hands.list_for_renewal()
    assert (held, pending) == ([], [])
    waiting = asyncio.ensure_future(hands.announce(claim))
    await bench.past(1)
    assert not waiting.done()
    hands.renewal_over()
    hands.reopen()
    await waiting
    assert hands.list_for_renewal() == ([], [claim])


@in_time
async def test_a_claim_stays_announced_until_its_runs_are_in_hand(bench: Bench) -> None:
    hands, claim, run = Hands(), bench.clock.new_id(), claimed(bench)
    await hands.announce(claim)
    assert hands.list_for_renewal()[1] == [claim]
    hands.take(claim, (run,))
    assert hands.list_for_renewal() == ([(run.id, 1)], [])


@in_time
async def test_an_old_holding_never_drops_a_new_one_of_its_run(bench: Bench) -> None:
    hands, first = Hands(), claimed(bench)
    [old] = hands.take(bench.clock.new_id(), (first,))
    again = Claimed(*(2 if n == "epoch" else getattr(first, n) for n in first.__struct_fields__))
    [new] = hands.take(bench.clock.new_id(), (again,))
    hands.drop([old])
    assert hands.has(new)
    assert not hands.has(old)
    hands.drop([new])
    assert not hands.busy

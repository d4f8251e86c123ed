"""The verbs of the fleet: presence, leases, deaths and what they mean for runs in flight.

A boot that was declared dead or has left is refused by each of them, for ever. Whether a lease
has ended is judged under the write lock, by the one clock of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.fleet import (
    Horizon,
    Instance,
    InstanceState,
    Proof,
    Renewal,
    TakenOver,
    proven_gone,
)
from duly.core.rules import DEATHS_TO_PARK, after_death
from duly.core.runs import SUSPECT_QUEUE, Answer
from duly.core.states import RUN_MOVES, Place, RunState, RunVerb, advance
from duly.stores.base import Signal
from duly.stores.sqlite.claim import RENEW
from duly.stores.sqlite.moves import (
    POISON,
    End,
    Numbers,
    Spot,
    begins_at,
    find,
    free,
    hand_back,
    held_by,
    held_spot,
    in_list,
    leave_place,
    note_attempt,
    put_ended,
    put_later,
    put_ready,
    unshelve,
)
from duly.stores.sqlite.rows import (
    instant,
    instant_or_none,
    json_text,
    micros,
    uuid_of,
)
from duly.stores.sqlite.tx import Row, Tx

_HERE = "('live', 'stopping')"
_INSTANCE = """boot, name, host, pid, pid_space, owner, version, tasks, state, started_at,
    seen_at, lease_until, reason, cluster, left_at"""
_HORIZON = """select
    (select min(next_fire) from duly_schedule where next_fire is not null),
    (select min(b.next_at) from duly_backlog b
        join duly_schedule s on s.name = b.schedule and s.state = 'active'),
    (select min(wake_at) from duly_later where wake_at is not null),
    (select min(i.lease_until) from duly_instance i
        where i.boot <> ? and i.state in ('live', 'stopping') and i.lease_until is not null
        and exists (select 1 from duly_held where boot = i.boot))"""


def register(
    tx: Tx, instance: Instance, carries: Mapping[str, str], now: datetime | None
) -> Answer:
    """Make a boot known; see `Store.register`."""
    at, boot = tx.now(now), instance.boot.bytes
    state = tx.value("select state from duly_instance where boot = ?", boot)
    if state not in (None, InstanceState.LIVE, InstanceState.STOPPING):
        return Answer.STALE
    tx.do("delete from duly_carries where boot = ?", boot)
    tx.many(
        "insert into duly_carries (boot, schedule, digest) values (?,?,?)",
        [(boot, schedule, digest) for schedule, digest in carries.items()],
    )
    unshelve(tx, instance.tasks, micros(at))
    if state is not None:
        tx.do(
            "update duly_instance set tasks = ?, seen_at = ? where boot = ?",
            json_text(instance.tasks),
            micros(at),
            boot,
        )
        return Answer.ALREADY
    _insert(tx, instance, micros(at))
    tx.tell(Signal.FLEET)
    return Answer.DONE


def _insert(tx: Tx, one: Instance, at: int) -> None:
    tx.do(
        f"insert into duly_instance ({_INSTANCE}) values (?,?,?,?,?,?,?,?,?,?,?,null,null,?,null)",
        one.boot.bytes,
        one.name,
        one.host,
        one.pid,
        one.pid_space,
        one.owner,
        one.version,
        json_text(one.tasks),
        one.state.value,
        at,
        at,
        one.cluster,
    )


def beat(
    tx: Tx, boot: UUID, queues: Sequence[str], tasks: Sequence[str], *, now: datetime | None
) -> Horizon:
    """Show presence and look ahead; see `Store.beat`."""
    at = tx.now(now)
    alive = tx.do(
        f"update duly_instance set seen_at = ? where boot = ? and state in {_HERE}",
        micros(at),
        boot.bytes,
    )
    ahead = tx.one(_HORIZON, boot.bytes)
    assert ahead is not None, "a select without a table has one row"
    fires = [us for us in ahead[:2] if us is not None]
    return Horizon(
        now=at,
        next_fire=instant_or_none(min(fires, default=None)),
        next_wake=instant_or_none(ahead[2]),
        ready=_claimable(tx, queues, tasks),
        suspects=_claimable(tx, [SUSPECT_QUEUE], tasks),
        alive=bool(alive),
        next_expiry=instant_or_none(ahead[3]),
    )


def _claimable(tx: Tx, queues: Sequence[str], tasks: Sequence[str]) -> bool:
    if not queues or not tasks:
        return False
    found = tx.value(
        f"select 1 from duly_ready where queue in {in_list(queues)}"
        f" and task in {in_list(tasks)} limit 1",
        *queues,
        *tasks,
    )
    return found is not None


def renew(
    tx: Tx,
    boot: UUID,
    held: Sequence[tuple[UUID, int]],
    pending: Sequence[UUID],
    *,
    lease: timedelta,
    now: datetime | None,
) -> Renewal:
    """Prolong a lease and compare notes; see `Store.renew`."""
    tx.must_be_trusted()
    at = tx.now(now)
    if not tx.do(RENEW, micros(at), micros(at + lease), boot.bytes):
        return Renewal(alive=False)
    known = {(run.bytes, epoch) for run, epoch in held}
    awaited = {claim.bytes for claim in pending}
    rows = tx.all(
        "select id, epoch, claim, cancel from duly_held where boot = ? order by id", boot.bytes
    )
    stray = {
        run for run, epoch, claim, _ in rows
        if (run, epoch) not in known and claim not in awaited
    }  # fmt: skip
    for run in sorted(stray):
        hand_back(tx, run, micros(at), "its claim was never answered")
    lost = known - {(run, epoch) for run, epoch, _, _ in rows}
    return Renewal(
        True,
        tuple(uuid_of(run) for run in sorted(run for run, _ in lost)),
        len(stray),
        tuple(
            (uuid_of(run), why) for run, _, _, why in rows if why is not None and run not in stray
        ),
    )


def leave(tx: Tx, boot: UUID, now: datetime | None) -> int:
    """End a boot by itself; see `Store.leave`."""
    at = micros(tx.now(now))
    gone = tx.do(
        "update duly_instance set state = 'gone', seen_at = ?1, lease_until = null,"
        f" left_at = ?1, reason = 'stopped' where boot = ?2 and state in {_HERE}",
        at,
        boot.bytes,
    )
    if not gone:
        return 0
    held = held_by(tx, boot)
    for run in held:
        hand_back(tx, run, at, "its instance stopped")
    tx.tell(Signal.FLEET)
    return len(held)


def take_over(tx: Tx, boot: UUID, proof: Proof, cause: str, *, now: datetime | None) -> TakenOver:
    """Declare a boot dead and move its runs on; see `Store.take_over`."""
    tx.must_be_trusted()
    at = micros(tx.now(now))
    by_lease = "and (lease_until is null or lease_until <= ?)" if proof is Proof.LEASE else ""
    buried = tx.do(
        "update duly_instance set state = 'dead', lease_until = null, reason = ?, left_at = ?"
        f" where boot = ? and state in {_HERE} {by_lease}",
        proof.told(cause),
        at,
        boot.bytes,
        *([at] if by_lease else []),
    )
    if not buried:
        return TakenOver(boot, False)
    ends: dict[str, list[UUID]] = {"ready": [], "parked": [], "cancelled": []}
    for run in held_by(tx, boot):
        ends[_take(tx, run, proof.told(cause), at)].append(uuid_of(run))
    tx.tell(Signal.FLEET)
    return TakenOver(
        boot, True, tuple(ends["ready"]), tuple(ends["parked"]), tuple(ends["cancelled"])
    )


def _take(tx: Tx, run: bytes, why: str, at: int) -> str:
    spot = held_spot(tx, run)
    assert spot.hand is not None, "a held run is in a hand"
    if spot.hand.cancel is not None:
        state = advance(RUN_MOVES, RunState.RUNNING, RunVerb.CANCEL)
        put_ended(tx, run, at, spot=spot, end=End(state, reason=spot.hand.cancel))
        return "cancelled"
    note_attempt(tx, run, spot=spot, verb=RunVerb.TAKE_OVER, at=at, detail=why)
    leave_place(tx, run, spot)
    before = spot.numbers
    numbers = Numbers(before.epoch, before.failures, before.deaths + 1)
    if after_death(numbers.deaths).park:
        state = advance(RUN_MOVES, RunState.RUNNING, RunVerb.PARK)
        put_later(tx, run, state, asked=spot.asked, numbers=numbers, reason=POISON)
        free(tx, run, spot.asked.limit_key, at)
        return "parked"
    advance(RUN_MOVES, RunState.RUNNING, RunVerb.TAKE_OVER)
    put_ready(tx, run, begins_at(spot, at), asked=spot.asked, numbers=numbers)
    return "ready"


def prove(tx: Tx, boot: UUID) -> Answer:
    """Note that a boot's process is proven gone; see `Store.prove`."""
    known = instance(tx, boot.bytes)
    if known is None:
        return Answer.UNKNOWN
    if known.state in (InstanceState.LIVE, InstanceState.STOPPING):
        return Answer.IMPOSSIBLE
    if proven_gone(known):
        return Answer.ALREADY
    told = Proof.PROCESS.told(f"after: {known.reason}" if known.reason else "")
    tx.do("update duly_instance set reason = ? where boot = ?", told, boot.bytes)
    return Answer.DONE


def come_back(tx: Tx, boot: UUID, now: datetime | None) -> int:
    """Take back the deaths a living boot was counted for; see `Store.come_back`."""
    at = micros(tx.now(now))
    taken = tx.all(
        "select run, epoch from duly_attempt where boot = ? and outcome = 'take_over'"
        " order by run, epoch",
        boot.bytes,
    )
    for run, epoch in taken:
        tx.do(
            "update duly_attempt set outcome = ?, detail = 'taken over from a living holder'"
            " where run = ? and epoch = ?",
            RunVerb.RELEASE.value,
            run,
            epoch,
        )
        _forgive(tx, run, at)
    return len(taken)


def _forgive(tx: Tx, run: bytes, at: int) -> None:
    """Take one death back, and let a run go on that is no longer poison by that."""
    spot = find(tx, run)
    if spot is None or spot.place is Place.ENDED:
        return
    numbers = Numbers(spot.numbers.epoch, spot.numbers.failures, max(0, spot.numbers.deaths - 1))
    poison = spot.state is RunState.PARKED and spot.reason == POISON
    if poison and numbers.deaths < DEATHS_TO_PARK:
        advance(RUN_MOVES, spot.state, RunVerb.UNPARK)
        leave_place(tx, run, spot)
        put_ready(tx, run, at, asked=spot.asked, numbers=numbers)
        return
    _count_deaths(tx, run, spot, numbers.deaths)


def _count_deaths(tx: Tx, run: bytes, spot: Spot, deaths: int) -> None:
    if spot.place is Place.READY:
        tx.do(
            "update duly_ready set deaths = ? where queue = ? and priority = ? and id = ?",
            deaths,
            spot.queue,
            spot.asked.priority,
            run,
        )
    else:
        tx.do(f"update duly_{spot.place.value} set deaths = ? where id = ?", deaths, run)


def lapsed(tx: Tx, now: datetime | None) -> list[UUID]:
    """Return boots that hold runs and whose lease has ended; see `Store.lapsed`."""
    rows = tx.all(
        f"""select boot from duly_instance i where state in {_HERE} and lease_until <= ?
        and exists (select 1 from duly_held where boot = i.boot) order by lease_until, boot""",
        micros(tx.now(now)),
    )
    return [uuid_of(boot) for (boot,) in rows]


def instances(tx: Tx, *, here: bool) -> list[Instance]:
    """Return known instances; see `Store.instances`."""
    which = "where state in ('live', 'stopping')" if here else ""
    rows = tx.all(
        f"""select {_INSTANCE}, (select count(*) from duly_held h where h.boot = i.boot)
        from duly_instance i {which} order by boot desc"""
    )
    return [instance_of(row[:-1], held=row[-1]) for row in rows]


def instance(tx: Tx, boot: bytes) -> Instance | None:
    """Return one instance as it is kept, without what it holds."""
    row = tx.one(f"select {_INSTANCE} from duly_instance where boot = ?", boot)
    return None if row is None else instance_of(row)


def instance_of(row: Row, *, held: int = 0) -> Instance:
    """Build an instance from the columns of `_INSTANCE`."""
    return Instance(
        boot=uuid_of(row[0]),
        name=row[1],
        host=row[2],
        pid=row[3],
        pid_space=row[4],
        owner=row[5],
        version=row[6],
        tasks=tuple(msgspec.json.decode(row[7])),
        state=InstanceState(row[8]),
        started_at=instant(row[9]),
        seen_at=instant(row[10]),
        lease_until=instant_or_none(row[11]),
        held=held,
        reason=row[12],
        cluster=row[13],
        left_at=instant_or_none(row[14]),
    )


def instance_rows(tx: Tx) -> list[Instance]:
    """Return the instances as they are kept, without what they hold."""
    return [instance_of(row) for row in tx.all(f"select {_INSTANCE} from duly_instance")]

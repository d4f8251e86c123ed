"""What runs await: locking its names, waking whoever awaits it, beginning to wait.

Whoever waits and whoever wakes lock the same name, in one order: by an advisory lock for events
and the ends of runs, by the row itself for effects (an effect without a row is not waited for).
Then the rows of all that the awaiting runs await are locked, so that the last two of a group
cannot each leave the waking to the other. Both look with statements of their own afterwards; so
neither can miss the other. All of this comes before limits and runs in the lock order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from uuid import UUID

import msgspec

from duly.core.effects import Address, settled_for
from duly.core.states import PLACE, RUN_MOVES, EffectState, Place, RunState, RunVerb, advance
from duly.core.steps import WAKEABLE, Await, of_run
from duly.stores.postgres.enqueue import states_of
from duly.stores.postgres.places import End, Mover, free, identities, put_ended, put_ready
from duly.stores.postgres.unit import BeginAgain, Unit

EVENT, RUN, EFFECT = "event:", "run:", "effect:"


# --- locking --------------------------------------------------------------------------------


async def lock_awaited(
    unit: Unit, names: Iterable[str], runs: Collection[UUID] = (), *, rows_locked: bool = False
) -> None:
    """Lock these names, and all that the runs which await them (and `runs`) await.

    Limits are locked afterwards, `unit.awaited.limits` among them. With `rows_locked` the rows
    of effects are locked already. Raises `BeginAgain` when it comes too late for the lock order.
    """
    fresh = sorted(set(names) - unit.awaited.named)
    if not fresh and not runs:
        return
    if fresh and unit.rooms:
        raise BeginAgain(fresh)
    keys = sorted({lock_key(one) for one in fresh if not one.startswith(EFFECT)})
    if keys:
        await unit.fetch(LOCK_NAMES, keys)
    if not rows_locked:
        await _share_effects(unit, [one for one in fresh if one.startswith(EFFECT)])
    unit.awaited.named.update(fresh)
    await _load(unit, fresh, runs)


def lock_key(name: str) -> int:
    """The key of the advisory lock that stands for a name."""
    digest = blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


async def _share_effects(unit: Unit, names: Sequence[str]) -> None:
    """Hold the rows of awaited effects as they are, and note their states."""
    if not names:
        return
    by_address = {Address.of(one.removeprefix(EFFECT)): one for one in names}
    addresses = sorted(by_address)
    unit.awaited.effects.update(dict.fromkeys(names))
    for task, name, key, state in await unit.fetch(
        SHARE_EFFECTS,
        [one.task for one in addresses],
        [one.name for one in addresses],
        [one.key for one in addresses],
    ):
        unit.awaited.effects[by_address[Address(task, name, key)]] = state


async def _load(unit: Unit, names: Sequence[str], runs: Collection[UUID]) -> None:
    found: set[UUID] = set()
    for run, event, group in await unit.fetch(LOCK_AWAITS, names, sorted(runs)):
        unit.awaited.by_run.setdefault(run, set()).add((event, group))
        found.add(run)
    if found:
        known = await identities(unit, found)
        unit.awaited.limits.update(one.limit_key for one in known.values() if one.limit_key)


async def lock_ends(
    unit: Unit, known: Collection[Mover], limits: Iterable[str | None] = ()
) -> None:
    """Lock what the ends of these runs touch: whoever awaits them, then limits."""
    await lock_awaited(unit, [of_run(one.id) for one in known if one.child])
    wanted = {*limits, *(one.limit_key for one in known), *unit.awaited.limits}
    await unit.lock_limits(wanted)


# --- waking ---------------------------------------------------------------------------------


async def wake(unit: Unit, events: Iterable[str]) -> int:
    """Let those runs go on that awaited these, one after the other, and nothing else of a group.

    The names are locked. Returns how many runs went on.
    """
    met: list[tuple[UUID, str]] = []
    woken: list[UUID] = []
    by_run = unit.awaited.by_run
    for event in events:
        if event not in unit.awaited.named:
            raise BeginAgain(event)
        for run in sorted(run for run, mine in by_run.items() if any(e == event for e, _ in mine)):
            mine = by_run[run]
            rest = {one for one in mine if one[0] != event}
            if {group for _, group in mine - rest} - {group for _, group in rest}:
                del by_run[run]
                woken.append(run)
            else:
                by_run[run] = rest
                met.append((run, event))
    if met:
        await unit.fetch(DROP_MET, [run for run, _ in met], [event for _, event in met])
    if not woken:
        return 0
    await unit.fetch(DROP_AWAITS, woken)
    return await awaken(unit, woken)


async def awaken(unit: Unit, runs: Sequence[UUID]) -> int:
    """Make runs ready that wait, or are parked for what will come about, in the order given."""
    taken = {row[0]: row for row in await unit.fetch(TAKE_AWAITING, runs, sorted(WAKEABLE))}
    if not taken:
        return 0
    known = await identities(unit, taken)
    back: list[Mover] = []
    for run in runs:
        if run not in taken:
            continue
        _, epoch, failures, deaths, state = taken[run]
        verb = RunVerb.UNPARK if state == RunState.PARKED else RunVerb.PROMOTE
        advance(RUN_MOVES, RunState(state), verb)
        back.append(
            msgspec.structs.replace(known[run], epoch=epoch, failures=failures, deaths=deaths)
        )
    await put_ready(unit, back)
    return len(back)


async def finish(unit: Unit, ends: Sequence[End], known: dict[UUID, Mover]) -> None:
    """End runs that left their places: give slots back, and wake whoever awaits them.

    Several at once, unless somebody awaits one of them: then in turns, because a run that is
    woken and one that waits for a limit may want the same slot.
    """
    for turn in [[one] for one in ends] if unit.awaited.by_run else [ends]:
        await put_ended(unit, turn)
        limited = [one.id for one in turn if known[one.id].limit_key is not None]
        if limited:
            await free(unit, limited)
        await wake(unit, [of_run(one.id) for one in turn if known[one.id].child])


# --- waiting --------------------------------------------------------------------------------


class Happened(msgspec.Struct):
    """What of some awaited things has come about, by one look under their locks."""

    done: set[str]
    effects: dict[str, str | None]

    def met(self, name: str, *, parked: bool) -> bool:
        """Whether a run that waits, or is parked, need not await this."""
        if not name.startswith(EFFECT):
            return name in self.done
        state = self.effects.get(name)
        return settled_for(EffectState(state) if state else None, parked=parked)


async def look(unit: Unit, names: Collection[str]) -> Happened:
    """See what of these locked names has come about."""
    done: set[str] = set()
    events = [one.removeprefix(EVENT) for one in names if one.startswith(EVENT)]
    if events:
        done |= {EVENT + row[0] for row in await unit.fetch(HAPPENED, events)}
    runs = [UUID(one.removeprefix(RUN)) for one in names if one.startswith(RUN)]
    if runs:
        states = await states_of(unit, runs)
        done |= {of_run(run) for run in runs if _is_over(states.get(run, (None, None))[0])}
    return Happened(done, unit.awaited.effects)


def _is_over(state: RunState | None) -> bool:
    return state is None or PLACE[state] is Place.ENDED


async def forget_awaits(unit: Unit, runs: Iterable[UUID]) -> None:
    """A run that goes on awaits nothing of what it awaited before; its rows are locked."""
    mine = [run for run in runs if unit.awaited.by_run.pop(run, None) is not None]
    if mine:
        await unit.fetch(DROP_AWAITS, mine)


async def begin_to_wait(
    unit: Unit, waits: Sequence[tuple[UUID, tuple[Await, ...], bool]], happened: Happened
) -> None:
    """Note what runs in `later` await, (run, awaits, parked) each, or make them ready.

    A run is made ready when all of one group has come about already.
    """
    rows: list[tuple[UUID, str, str]] = []
    ready: list[UUID] = []
    for run, awaits, parked in waits:
        left = {(a.event, a.group) for a in awaits if not happened.met(a.event, parked=parked)}
        if {one.group for one in awaits} - {group for _, group in left}:
            ready.append(run)
            continue
        unit.awaited.by_run[run] = left
        rows += [(run, event, group) for event, group in sorted(left)]
    if rows:
        await unit.fetch(PUT_AWAITS, *map(list, zip(*rows, strict=True)))
    if ready:
        await awaken(unit, ready)


LOCK_NAMES = "select pg_advisory_xact_lock(k) from unnest($1::bigint[]) k"

SHARE_EFFECTS = """
select e.* from unnest($1::text[], $2::text[], $3::text[]) d (task, name, key)
cross join lateral (
  select e.task, e.name, e.key, e.state from duly_effect e
  where e.task = d.task and e.name = d.name and e.key = d.key for share) e
"""

LOCK_AWAITS = """
with who as materialized (
  select run from duly_await where event = any($1::text[])
  union select u.run from unnest($2::uuid[]) u (run)
)
select a.* from (select run from who order by run) w
cross join lateral (
  select a.run, a.event, a.grp from duly_await a where a.run = w.run
  order by a.event, a.grp for update) a
"""

PUT_AWAITS = """
insert into duly_await (run, event, grp)
select * from unnest($1::uuid[], $2::text[], $3::text[]) on conflict do nothing
"""

DROP_AWAITS = "delete from duly_await where run = any($1::uuid[])"

DROP_MET = """
delete from duly_await a using unnest($1::uuid[], $2::text[]) d (run, event)
where a.event = d.event and a.run = d.run
"""

TAKE_AWAITING = """
delete from duly_later where id = any($1::uuid[])
  and (state = 'waiting' or (state = 'parked' and reason = any($2::text[])))
returning id, epoch, failures, deaths, state
"""

HAPPENED = "select name from duly_event where name = any($1::text[])"

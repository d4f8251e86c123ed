"""Effects and the lines of their audit as rows: from the tables to the core's records and back.

Statements name each row by its address. A new effect is written only if there is none; rows that
exist are replaced under their lock, by an upsert that always conflicts, so that no join can be
planned badly. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duly.core.effects import Address, Author, Effect, EffectFilter, Line
from duly.core.states import EffectState, EffectVerb
from duly.stores.postgres.unit import Unit, sparse, uniform

_COLUMNS = """
task, name, key, state, intent, run, boot, epoch, intended_at, deadline, keep_until, settled_at,
receipt, by, why, tenant
"""


def effect_of(row: Any) -> Effect:
    """Build an effect from the columns of its table."""
    (task, name, key, state, intent, run, boot, epoch, intended_at, deadline, keep_until,
     settled_at, receipt, by, why, tenant) = row  # fmt: skip
    return Effect(
        address=Address(task, name, key),
        state=EffectState(state),
        intent=intent,
        author=Author(run, boot, epoch),
        intended_at=intended_at,
        deadline=deadline,
        keep_until=keep_until,
        settled_at=settled_at,
        receipt=receipt,
        by=by,
        why=why,
        tenant=tenant,
    )


def address_columns(addresses: Sequence[Address]) -> list[list[str]]:
    """One array for each part of an address; a task's name that is the same is sent once."""
    return [
        uniform([one.task for one in addresses]),
        uniform([one.name for one in addresses]),
        [one.key for one in addresses],
    ]


def _columns(rows: Sequence[Effect]) -> list[list[Any]]:
    return [
        *address_columns([one.address for one in rows]),
        uniform([one.state for one in rows]),
        [one.intent for one in rows],
        uniform([one.author.run for one in rows]),
        uniform([one.author.boot for one in rows]),
        uniform([one.author.epoch for one in rows]),
        uniform([one.intended_at for one in rows]),
        uniform([one.deadline for one in rows]),
        uniform([one.keep_until for one in rows]),
        sparse([one.settled_at for one in rows]),
        sparse([one.receipt for one in rows]),
        uniform([one.by for one in rows]),
        uniform([one.why for one in rows]),
        uniform([one.tenant for one in rows]),
    ]


async def insert_effects(unit: Unit, rows: Sequence[Effect]) -> int:
    """Write the first rows of effects, in the order of their addresses; return how many were."""
    ordered = sorted(rows, key=lambda one: one.address)
    return len(await unit.fetch(INSERT, *_columns(ordered)))


async def replace_effects(unit: Unit, rows: Sequence[Effect]) -> None:
    """Replace rows that are locked."""
    if rows:
        await unit.fetch(REPLACE, *_columns(sorted(rows, key=lambda one: one.address)))


async def drop_effects(unit: Unit, addresses: Sequence[Address]) -> None:
    """Remove rows that are locked."""
    if addresses:
        await unit.fetch(DROP, *address_columns(addresses))


def line_of(row: Any) -> Line:
    """Build a line of the audit from its columns."""
    task, name, key, intent, verb, by, why, at, receipt, accepted_double = row
    return Line(
        address=Address(task, name, key),
        intent=intent,
        verb=EffectVerb(verb),
        by=by,
        why=why,
        at=at,
        receipt=receipt,
        accepted_double=accepted_double,
    )


async def put_lines(unit: Unit, lines: Sequence[Line]) -> None:
    """Add lines to the audit, in the order given."""
    if lines:
        await unit.fetch(
            PUT_LINES,
            unit.now,
            *address_columns([one.address for one in lines]),
            [one.intent for one in lines],
            [one.verb for one in lines],
            [one.by for one in lines],
            [one.why for one in lines],
            [one.receipt for one in lines],
            [one.accepted_double for one in lines],
        )


def where_clause(where: EffectFilter) -> list[Any]:
    """The statement that lists effects by a filter, and its arguments.

    A state is written out, so that the index of those rows can serve.
    """
    parts: list[str] = []
    args: list[Any] = [where.limit]
    if where.state is not None:
        parts.append(f"state = '{EffectState(where.state).value}'")
    for name, value in (("task", where.task), ("run", where.run), ("tenant", where.tenant)):
        if value is not None:
            args.append(value)
            parts.append(f"{name} = ${len(args)}")
    if where.tenant:  # so that the index of those rows that have one can serve
        parts.append("tenant <> ''")
    condition = "where " + " and ".join(parts) if parts else ""
    return [
        f"select {_COLUMNS} from duly_effect {condition}"
        " order by intended_at desc, intent desc limit $1",
        *args,
    ]


EFFECT = f"select {_COLUMNS} from duly_effect where task = $1 and name = $2 and key = $3"

AUDIT_COLUMNS = "task, name, key, intent, verb, by, why, at, receipt, accepted_double"

AUDIT = f"""
select {AUDIT_COLUMNS} from duly_effect_line where task = $1 and name = $2 and key = $3
order by number
"""

LOCK_EFFECTS = f"""
select e.* from unnest($1::text[], $2::text[], $3::text[]) d (task, name, key)
cross join lateral (
  select {_COLUMNS} from duly_effect e
  where e.task = coalesce(d.task, ($1)[1]) and e.name = coalesce(d.name, ($2)[1])
    and e.key = d.key for update) e
"""

OLD_INTENTS = f"""
select {_COLUMNS} from duly_effect where state = 'intended' and deadline <= $1::timestamptz
order by deadline, intent limit $2
"""

INTENDED = f"""
select {_COLUMNS} from duly_effect where state = 'intended' order by task, name, key
"""

FACTS = """
select d.n, h.id is not null or g.id is not null, i.state, i.lease_until, i.reason,
  coalesce(r.tenant, '')
from unnest($1::uuid[], $2::uuid[], $3::int[], $4::bool[]) with ordinality
  d (run, boot, epoch, asks, n)
left join lateral (
  select h.id from duly_held h
  where d.asks and h.id = d.run and h.boot is not distinct from d.boot and h.epoch = d.epoch
  for key share) h on true
left join lateral (
  select g.id from duly_held g
  where not d.asks and g.id = d.run and g.boot is not distinct from d.boot and g.epoch = d.epoch
  limit 1) g on true
left join lateral (
  select state, lease_until, reason from duly_instance where boot = d.boot limit 1) i on true
left join lateral (select tenant from duly_run where d.asks and id = d.run limit 1) r on true
"""

_ROWS = f"""
insert into duly_effect ({_COLUMNS})
select coalesce(d.task, ($1)[1]), coalesce(d.name, ($2)[1]), d.key, coalesce(d.state, ($4)[1]),
  d.intent, coalesce(d.run, ($6)[1]), coalesce(d.boot, ($7)[1]), coalesce(d.epoch, ($8)[1]),
  coalesce(d.intended_at, ($9)[1]), coalesce(d.deadline, ($10)[1]),
  coalesce(d.keep_until, ($11)[1]), d.settled_at, d.receipt, coalesce(d.by, ($14)[1]),
  coalesce(d.why, ($15)[1]), coalesce(d.tenant, ($16)[1])
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::uuid[],
  $8::int[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
  $13::bytea[], $14::text[], $15::text[], $16::text[])
  d (task, name, key, state, intent, run, boot, epoch, intended_at, deadline, keep_until,
    settled_at, receipt, by, why, tenant)
"""

INSERT = _ROWS + " on conflict (task, name, key) do nothing returning 1"

REPLACE = (
    _ROWS
    + """
on conflict (task, name, key) do update set state = excluded.state, intent = excluded.intent,
  run = excluded.run, boot = excluded.boot, epoch = excluded.epoch,
  intended_at = excluded.intended_at, deadline = excluded.deadline,
  keep_until = excluded.keep_until, settled_at = excluded.settled_at, receipt = excluded.receipt,
  by = excluded.by, why = excluded.why, tenant = excluded.tenant
"""
)

DROP = """
delete from duly_effect e using unnest($1::text[], $2::text[], $3::text[]) d (task, name, key)
where e.task = coalesce(d.task, ($1)[1]) and e.name = coalesce(d.name, ($2)[1]) and e.key = d.key
"""

PUT_LINES = f"""
insert into duly_effect_line ({AUDIT_COLUMNS})
select coalesce(d.task, ($2)[1]), coalesce(d.name, ($3)[1]), d.key, d.intent, d.verb, d.by, d.why,
  $1::timestamptz, d.receipt, d.accepted_double
from unnest($2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::text[],
  $9::bytea[], $10::bool[]) with ordinality
  d (task, name, key, intent, verb, by, why, receipt, accepted_double, n)
order by d.n
"""

"""What the agreement machine draws from: few names, so that everything meets everything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import Bundle

from duly.core.effects import Address
from duly.core.runs import ENDING_VERBS, SUSPECT_QUEUE, Claimed, NewRun
from duly.core.schedules import CatchUp, CatchUpMode, Definition, Overlap
from duly.core.states import RunVerb, ScheduleVerb
from duly.core.steps import APPROVAL, UNCERTAIN, Progress, StepKind
from duly.stores.base import Retention
from tests.stores.world import DAY, HOUR, MINUTE, T0

SECOND = timedelta(seconds=1)
Drawn = Mapping[str, Any]

Attempted = tuple[UUID, Claimed]

again = st.sampled_from([False, True])
boots = Bundle("boots")
runs = Bundle("runs")
claims = Bundle("claims")
claim_ids = Bundle("claim_ids")

TASKS = ("t", "u")
QUEUES = ("default", "b")
LIMIT_KEYS = ("l1", "l2")

ticks = st.sampled_from(
    [timedelta(0)] * 6 + [SECOND, 7 * SECOND, 16 * SECOND, MINUTE, MINUTE + SECOND, 4 * MINUTE]
)
"""How far the clock goes before a verb; often it stands."""

aheads = st.sampled_from([timedelta(0), SECOND, MINUTE])
"""How long before their time runs are made ready; a minute is more than is allowed."""

strides = st.sampled_from([-MINUTE, 11 * MINUTE, 11 * MINUTE, HOUR, 5 * HOUR])
"""Rare long ways, and one back."""

claim_queues = st.sampled_from(
    [QUEUES, QUEUES, (*QUEUES, SUSPECT_QUEUE), (SUSPECT_QUEUE,), ("b",), ()]
)
claim_tasks = st.sampled_from([TASKS, TASKS, ("t",), ("u",)])
instance_tasks = st.sampled_from([("t", "u"), ("t", "u"), ("t",), ("u",), ()])
ending_verbs = st.sampled_from(sorted(ENDING_VERBS))
schedule_verbs = st.sampled_from(sorted(ScheduleVerb))
names = st.sampled_from(["s1", "s2"])

runs_asked = st.fixed_dictionaries(
    {
        "task": st.sampled_from(TASKS),
        "queue": st.sampled_from(QUEUES),
        "priority": st.integers(-1, 1),
        "key": st.sampled_from([None, None, "k1", "k2"]),
        "limit": st.sampled_from([0, 0, 1, 2]),
        "limit_key": st.sampled_from(LIMIT_KEYS),
        "run_at": st.sampled_from([None, None, timedelta(0), SECOND, MINUTE]),
        "expires_at": st.sampled_from([None, None, None, 10 * SECOND, 2 * MINUTE]),
        "parent": st.sampled_from([None, None, 0, 1, 3]),
    }
)


TENANTS = {-1: "", 0: "", 1: "acme"}
"""Whose a run or a schedule is, by its priority: what is drawn with it makes stories no longer."""


def run_of(asked: Drawn, run: UUID, now: datetime, parent: UUID | None) -> NewRun:
    """The run that was drawn, as it is asked for now."""
    how = {**asked, "parent": parent, "tenant": TENANTS[asked["priority"]]}
    if not how["limit"]:
        del how["limit"], how["limit_key"]
    for part in ("run_at", "expires_at"):
        how[part] = None if how[part] is None else now + how[part]
    return NewRun(id=run, **how)


TRIGGERS = (
    {"kind": "every", "interval": "1m"},
    {"kind": "every", "interval": "1h"},
    {"kind": "every", "interval": "90s", "anchor": T0.isoformat()},
    {"kind": "every", "interval": "1m", "end": (T0 + 20 * MINUTE).isoformat()},
    {"kind": "once", "at": (T0 + 3 * MINUTE).isoformat()},
    {"kind": "cron", "expression": "*/30 * * * *", "tz": "Europe/Amsterdam"},
)

catch_ups = st.builds(
    CatchUp,
    mode=st.sampled_from(sorted(CatchUpMode)),
    max_age=st.sampled_from([3 * MINUTE, DAY]),
    max_count=st.sampled_from([0, 3, 12]),
    pace=st.sampled_from([timedelta(0), timedelta(0), MINUTE]),
    batch=st.booleans(),
)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """A definition that `check_definition` lets pass."""
    overlap = draw(st.sampled_from(sorted(Overlap)))
    limited = overlap in (Overlap.ALLOW, Overlap.SKIP) and draw(st.booleans())
    definition = Definition(
        name=draw(names),
        task=draw(st.sampled_from(TASKS)),
        trigger=draw(st.sampled_from(TRIGGERS)),
        catch_up=draw(catch_ups),
        overlap=overlap,
        jitter=draw(st.sampled_from([timedelta(0), timedelta(0), 20 * SECOND])),
        expires_after=draw(st.sampled_from([None, None, 2 * MINUTE])),
        limit_key="l1" if limited else None,
        limit=1 if limited else 0,
        priority=draw(st.integers(0, 1)),
    )
    return msgspec.structs.replace(definition, tenant=TENANTS[definition.priority])


retentions = st.builds(
    Retention,
    history=st.sampled_from([timedelta(0), 30 * MINUTE, 4 * HOUR]),
    last=st.sampled_from([0, 2, 100]),
    keys=st.sampled_from([timedelta(0), HOUR, 6 * HOUR]),
)


def ending_parts(verb: RunVerb, delay: int, text: bool) -> Drawn:
    """The rest of an ending that fits its verb."""
    parts: dict[str, Any] = {"result": b"[1]" if verb is RunVerb.COMPLETE and text else None}
    if verb in (RunVerb.RETRY, RunVerb.FAIL):
        parts["error"] = "boom" if text else None
    elif verb is not RunVerb.COMPLETE:
        parts["reason"] = "so" if text else None
    if verb is RunVerb.RETRY or (verb is RunVerb.WAIT and text):
        parts["delay_us"] = delay
    return MappingProxyType(parts)


# --- what outlasts an attempt -------------------------------------------------------------

EVENTS = ("e", "f", "g", "h", "i", "j")
TOPICS = ("m", "n")
ADDRESSES = (Address("t", "pay", "x"), Address("t", "pay", "y: z"), Address("u", "mail", "x"))
INTERVALS = (timedelta(0), 5 * SECOND, MINUTE)

topics = st.sampled_from(TOPICS)
events = st.sampled_from(EVENTS)
addresses = st.sampled_from(ADDRESSES)
park_reasons = st.sampled_from([UNCERTAIN, APPROVAL, "so", None])

steps = st.fixed_dictionaries(
    {
        "name": st.sampled_from("abc"),
        "number": st.integers(0, 2),
        "kind": st.sampled_from(sorted(StepKind)),
        "value": st.sampled_from([b"1", b'"v"']),
    }
)
progresses = st.builds(
    Progress,
    done=st.sampled_from([None, 3]),
    note=st.sampled_from([None, "so"]),
    published=st.integers(0, 1),
)
notes = st.fixed_dictionaries(
    {
        "steps": st.lists(steps, max_size=2),
        "topics": st.lists(topics, max_size=2),
        "runs": st.lists(runs_asked, max_size=2),
        "progress": st.none() | progresses,
    }
)
awaited = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["event", "run", "effect"]),
        "pick": st.sampled_from(range(20)),
        "group": st.sampled_from(["", "", "g"]),
    }
)
entries = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(
            ["intend", "intend", "confirm", "withdraw", "doubt", "sweep", "clear", "perform"]
        ),
        "address": addresses,
        "pick": st.integers(0, 20),
        "own": st.sampled_from([True, True, True, False]),
        "wait": st.sampled_from(INTERVALS),
        "bold": st.booleans(),
    }
)

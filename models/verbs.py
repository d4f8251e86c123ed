"""What each action of a model is in the code: a move of a table, a verb of the store, or neither.

Every inline of every model is listed here once. One that stands for a verb of the code bears its
name, alone or followed by `_` and what it is about; `part` is a piece of a transaction, `world`
what the code has no say in. `moves` are the moves that an action may make, as verbs of the tables
in `core.states`; a model that goes two moves at once names both. `tests/models/test_verbs.py`
compares all of it with the models' text, with the stores' protocol and with the tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from duly.core.states import EffectVerb as E
from duly.core.states import RunVerb as R
from duly.core.states import ScheduleVerb as S

Move = tuple[StrEnum, ...]
"""One verb, or several that a model makes in one go."""


@dataclass(frozen=True)
class Action:
    """`kind` is where the name is from: run, effect, schedule, store, core, part or world."""

    kind: str
    moves: tuple[Move, ...] = ()


def _of(kind: str, *moves: StrEnum | Move) -> Action:
    return Action(kind, tuple(one if isinstance(one, tuple) else (one,) for one in moves))


PART, WORLD, STORE = Action("part"), Action("world"), Action("store")

ACTIONS: Mapping[str, Mapping[str, Action]] = {
    "ledger": {
        "claim": _of("run", R.CLAIM),
        "park": _of("run", R.PARK),
        "retry": _of("run", (R.RETRY, R.PROMOTE)),
        "complete": _of("run", R.COMPLETE),
        "take_over": _of("run", R.TAKE_OVER),
        "intend": _of("effect", E.INTEND, R.WAIT),
        "confirm": _of("effect"),
        "doubt": _of("effect", E.DOUBT),
        "doubt_own": _of("effect"),
        "withdraw": _of("effect"),
        "clear": _of("effect"),
        "settle_done": _of("part", E.CONFIRM),
        "erase": _of("part", E.WITHDRAW, E.CLEAR),
        "wake": PART,
        "wake_one": _of("part", R.PROMOTE, R.UNPARK),
        "die": WORLD,
        "perform": WORLD,
        "send": WORLD,
        "last_call_and_send": WORLD,
        "pass_deadline": WORLD,
    },
    "takeover": {
        "register": STORE,
        "claim": _of("run", R.CLAIM),
        "renew": STORE,
        "release": _of("run", R.RELEASE),
        "complete": _of("run", R.COMPLETE),
        "take_over": _of("run", R.TAKE_OVER),
        "take_over_early": STORE,
        "take_over_expired": STORE,
        "watch": STORE,
        "prove": STORE,
        "lock_again": PART,
        "suspect_": PART,
        "take_exclusively": PART,
        "reconnect": PART,
        "die": WORLD,
        "lose_session": WORLD,
        "restart": WORLD,
        "cut": WORLD,
        "age": WORLD,
        "drop_dead_connections": WORLD,
    },
    "firing": {
        "fire": STORE,
        "edit": STORE,
        "pause": _of("schedule", S.PAUSE),
        "resume": _of("schedule", S.RESUME),
        "retire": _of("schedule", S.RETIRE),
        "revive": _of("schedule", S.REVIVE),
        "drain": Action("core"),
        "settle": Action("core"),
        "begin": PART,
        "begin_unlocked": PART,
        "commit_": PART,
        "insert_run": PART,
        "judge": PART,
        "advance": PART,
    },
    "waking": {
        "wait_for_event": _of("run", R.WAIT),
        "wait_for_slot": _of("run", R.WAIT, R.CLAIM),
        "complete": _of("run", R.COMPLETE, R.TAKE_OVER),
        "wake_next": _of("part", R.PROMOTE),
    },
}
"""By model and inline."""

PROCESSES: Mapping[str, Mapping[str, Action]] = {
    "waking": {"waker": _of("part", R.PROMOTE), "sweep": _of("part", R.PROMOTE)},
}
"""Processes that move something outside of any inline."""

PLANNERS: Mapping[str, str] = {"drain": "plan_drain", "settle": "plan_settle"}
"""What `core.firing` calls the actions of kind `core`."""

STATES: Mapping[str, str] = {
    "absent": "none",
    "waiting_event": "waiting",
    "waiting_slot": "waiting",
}
"""States that a model calls by another name than the code does."""

_INLINE = re.compile(r"^inline (\w+)\(", re.MULTILINE)
_OPENING = re.compile(r"^(?:inline|proctype) (\w+)\(", re.MULTILINE)


def inlines_of(text: str) -> list[str]:
    """Return the names of the inlines in a model's text, in order."""
    return _INLINE.findall(text)


def owner_of_lines(text: str) -> dict[int, str]:
    """Return, by number of line from 1, the inline or process that a line belongs to."""
    opened = {text.count("\n", 0, one.start()) + 1: one[1] for one in _OPENING.finditer(text)}
    owners, name = dict[int, str](), ""
    for number in range(1, text.count("\n") + 2):
        name = opened.get(number, name)
        owners[number] = name
    return owners

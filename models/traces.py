"""Walks of the models, replayed against the transition tables of the code.

spin walks a model at random, from a seed, and prints each step with the line it stands in. So
each change of a state is known with the action that made it, and must be a row of
`core.states`: this state, that verb, that state afterwards. What a walk does not visit it does
not judge; the moves that were seen are returned, and a test demands that none is missing.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from duly.core.states import (
    EFFECT_MOVES,
    RUN_MOVES,
    SCHEDULE_MOVES,
    EffectState,
    RunState,
    ScheduleState,
)
from models.check import HERE
from models.verbs import ACTIONS, PROCESSES, STATES, Move, owner_of_lines

STEPS = 1_500
Table = Mapping[Any, Mapping[Any, Any]]


@dataclass(frozen=True)
class Kind:
    """A variable of a model that holds a state: how it is written, and what it stands for."""

    written: re.Pattern[str]
    states: type[StrEnum]
    table: Table
    begins: str
    mtype: str


def _run(written: str) -> Kind:
    return Kind(re.compile(written), RunState, RUN_MOVES, "ready", "run_state")


KINDS: Mapping[str, tuple[Kind, ...]] = {
    "ledger": (
        _run(r"runs\[(\w+)\]\.state"),
        Kind(re.compile(r"(effect)\.state"), EffectState, EFFECT_MOVES, "none", "effect_state"),
    ),
    "takeover": (_run(r"(work)\.state"),),
    "firing": (
        Kind(
            re.compile(r"(row)\.state"), ScheduleState, SCHEDULE_MOVES, "active", "schedule_state"
        ),
    ),
    "waking": (_run(r"state\[(\w+)\]"),),
}

_STEP = re.compile(r"proc +(\d+) \((\S+?):\d+\) \S+:(\d+) \(state \d+\)\t\[(.*)\]$")
_ASSIGNED = re.compile(r"([^\s()]+(?:\(\w+-\w+\)\S*)?) = (\S+)$")
_SUM = re.compile(r"\(?(\w+)(?:([+-])(\w+))?\)?")
_INDEX = re.compile(r"\[([^\]]+)\]")
_BORN = re.compile(r"creates proc +(\d+) \(")
_GIVEN = re.compile(r"\(run \w+\((\d+)\)\)$")
_MTYPE = re.compile(r"mtype:(\w+)\s*=\s*\{([^}]*)\}")


@dataclass
class Walk:
    """What one walk showed: the moves, and those that no table has."""

    moves: set[StrEnum] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def walk(model: str, seed: int) -> Walk:
    """Walk a model once, and replay what it did. Raises RuntimeError if spin says no."""
    path = HERE / f"{model}.pml"
    with tempfile.TemporaryDirectory(prefix="duly-model-") as room:
        done = subprocess.run(
            ["spin", "-p", f"-n{seed}", f"-u{STEPS}", str(path)],
            cwd=room,
            capture_output=True,
            text=True,
            timeout=60,
        )
    if done.returncode != 0:
        raise RuntimeError(f"spin cannot walk {model}: {done.stdout[-500:]}{done.stderr}")
    return replay(model, path, done.stdout)


def replay(model: str, path: Path, words: str) -> Walk:
    """Hold each change of a state in spin's words against its table."""
    text, seen = path.read_text(), Walk()
    owners, names = owner_of_lines(text), _names(text)
    states: dict[tuple[str, str], StrEnum] = {}
    for line, process, place, value in _changes(words):
        for kind in KINDS[model]:
            written = kind.written.fullmatch(place)
            if written is None:
                continue
            key = (kind.mtype, written[1])
            before = states.get(key, kind.states(kind.begins))
            name = names[kind.mtype].get(value, value).lower()
            after = states[key] = kind.states(STATES.get(name, name))
            owner = owners[line] or process
            _judge(seen, model, owner, kind.table, (before, after))
    return seen


def _judge(
    seen: Walk, model: str, owner: str, table: Table, change: tuple[StrEnum, StrEnum]
) -> None:
    before, after = change
    action = ACTIONS[model].get(owner) or PROCESSES.get(model, {}).get(owner)
    fitting = [
        one for one in (action.moves if action else ()) if _goes(table, before, one) is after
    ]
    for move in fitting:
        seen.moves.update(move)
    if before is not after and not fitting:
        seen.wrong.append(f"{model}: {owner} takes {before} to {after}, which is no row of a table")


def _goes(table: Table, state: StrEnum, move: Move) -> StrEnum | None:
    """Return where a move leads by the table, or None when it is not possible."""
    at: StrEnum | None = state
    for verb in move:
        at = table[at].get(verb) if at is not None else None
    return at


def _changes(words: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield each assignment: line, process, variable with its index resolved, value."""
    born, local = "", dict[tuple[str, str], str]()
    for one in words.splitlines():
        if made := _BORN.search(one):
            born = made[1]
        step = _STEP.search(one)
        if step is None:
            continue
        number, process, line, said = step.groups()
        if given := _GIVEN.match(said):
            local[born, "me"] = given[1]
        assigned = _ASSIGNED.match(said)
        if assigned is None:
            continue
        place, value = assigned.groups()
        value = local[number, place] = _counted(value, number, local)
        yield int(line), process, _resolved(place, number, local), value


def _resolved(place: str, number: str, local: Mapping[tuple[str, str], str]) -> str:
    return _INDEX.sub(lambda index: f"[{_counted(index[1], number, local)}]", place)


def _counted(sum_: str, number: str, local: Mapping[tuple[str, str], str]) -> str:
    """Return what a number, a local variable, or a sum of two such comes to; else it as it is."""
    parts = _SUM.fullmatch(sum_)
    if parts is None:
        return sum_
    first, sign, second = parts[1], parts[2], parts[3] or "0"
    known = [one if one.isdigit() else local.get((number, one), "0") for one in (first, second)]
    if not all(one.isdigit() for one in known):
        return sum_
    left, right = map(int, known)
    return str(left - right if sign == "-" else left + right)


def _names(text: str) -> dict[str, dict[str, str]]:
    """Return the names of each mtype by the numbers that spin prints: it counts from the last."""
    named = dict[str, dict[str, str]]()
    for one in _MTYPE.finditer(text):
        members = [name.strip() for name in one[2].split(",")]
        named[one[1]] = {str(len(members) - n): name for n, name in enumerate(members)}
    return named

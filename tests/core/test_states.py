"""The tables of states: complete, without dead ends that are not ends, and drawn as they are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from duly.core.runs import ENDING_VERBS
from duly.core.states import (
    BREAKER_MOVES,
    EFFECT_MOVES,
    ENDS,
    PLACE,
    RUN_MOVES,
    SCHEDULE_MOVES,
    BreakerState,
    BreakerVerb,
    EffectState,
    EffectVerb,
    Place,
    RunState,
    RunVerb,
    ScheduleState,
    ScheduleVerb,
    advance,
    diagram,
)
from duly.errors import DulyBug, ImpossibleTransition

Moves = Mapping[Any, Mapping[Any, Any]]
TABLES: dict[str, tuple[Moves, type[StrEnum], type[StrEnum], StrEnum]] = {
    "run": (RUN_MOVES, RunState, RunVerb, RunState.READY),
    "schedule": (SCHEDULE_MOVES, ScheduleState, ScheduleVerb, ScheduleState.ACTIVE),
    "effect": (EFFECT_MOVES, EffectState, EffectVerb, EffectState.NONE),
    "breaker": (BREAKER_MOVES, BreakerState, BreakerVerb, BreakerState.CLOSED),
}
LOOPS = {
    (RunState.WAITING, RunVerb.WAIT),  # from one wait into another
    (BreakerState.HALF_OPEN, BreakerVerb.PROBE),  # from one probe to the next
    # A person's word holds from then on, where the state stays as it is.
    (BreakerState.OPEN, BreakerVerb.FORCE_OPEN),
    (BreakerState.CLOSED, BreakerVerb.FORCE_CLOSE),
    (BreakerState.CLOSED, BreakerVerb.RESUME),
}
every_table = pytest.mark.parametrize("name", TABLES)


def reachable(moves: Moves, start: StrEnum) -> set[StrEnum]:
    """Return the states that some series of moves leads to."""
    found, edge = {start}, [start]
    while edge:
        fresh = set(moves[edge.pop()].values()) - found
        found |= fresh
        edge += sorted(fresh)
    return found


@every_table
def test_every_state_and_every_verb_has_its_place(name: str) -> None:
    moves, states, verbs, _ = TABLES[name]
    assert set(moves) == set(states)
    assert {verb for row in moves.values() for verb in row} == set(verbs)


@every_table
def test_every_state_can_be_reached(name: str) -> None:
    moves, states, _, start = TABLES[name]
    entries = {RunState.SCHEDULED} if name == "run" else set()
    assert reachable(moves, start) | entries == set(states)


@every_table
def test_no_verb_leads_nowhere_from_where_it_stands(name: str) -> None:
    moves, _, _, _ = TABLES[name]
    loops = {(s, v) for s, row in moves.items() for v, after in row.items() if after is s}
    assert loops <= LOOPS


def test_every_live_run_can_reach_an_end() -> None:
    for state in RunState:
        assert reachable(RUN_MOVES, state) & ENDS
    assert {s for s, row in RUN_MOVES.items() if not row} == ENDS - {RunState.FAILED}


def test_every_live_run_can_be_cancelled() -> None:
    for state in set(RunState) - ENDS:
        assert advance(RUN_MOVES, state, RunVerb.CANCEL) is RunState.CANCELLED


def test_every_schedule_can_be_active_again_and_be_retired() -> None:
    for state in ScheduleState:
        assert ScheduleState.ACTIVE in reachable(SCHEDULE_MOVES, state)
        assert ScheduleState.RETIRED in reachable(SCHEDULE_MOVES, state)


def test_a_performed_effect_is_never_taken_back() -> None:
    assert not EFFECT_MOVES[EffectState.DONE]
    assert EffectState.DONE not in EFFECT_MOVES[EffectState.NONE].values()


def test_every_way_an_attempt_ends_is_a_move_of_a_running_run() -> None:
    assert set(RUN_MOVES[RunState.RUNNING]) - ENDING_VERBS == {RunVerb.TAKE_OVER}


def test_only_a_claim_leads_into_hands() -> None:
    into = {(s, v) for s, row in RUN_MOVES.items() for v, after in row.items()
            if PLACE[after] is Place.HELD}  # fmt: skip
    assert into == {(RunState.READY, RunVerb.CLAIM)}
    assert set(PLACE) == set(RunState)


@every_table
def test_what_is_not_in_the_table_raises_and_says_what_is(name: str) -> None:
    moves, states, verbs, _ = TABLES[name]
    for state in states:
        for verb in set(verbs) - set(moves[state]):
            with pytest.raises(ImpossibleTransition, match=f"{verb} is not possible in {state}"):
                advance(moves, state, verb)
    assert issubclass(ImpossibleTransition, DulyBug)


@every_table
def test_the_diagram_shows_each_move_once_in_the_tables_order(name: str) -> None:
    moves, _, _, _ = TABLES[name]
    first, *lines = diagram(moves).splitlines()
    assert first == "stateDiagram-v2"
    drawn = [tuple(line.replace("-->", ":").split(":")) for line in lines]
    kept = [(s, a, v) for s, row in moves.items() for v, a in row.items()]
    assert [tuple(part.strip() for part in one) for one in drawn] == kept
    assert diagram(moves) == diagram(dict(moves))

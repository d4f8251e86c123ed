"""The models speak of the code: their actions bear its verbs, and their moves are its tables' rows.

A name is looked up where it is from: the tables of states, the protocol of the stores, the
planners of the core. What the models then do with those names is walked through by spin and
replayed against the same tables, move by move.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from duly.core import firing
from duly.core.ledger import decide
from duly.core.states import EffectVerb, RunVerb, ScheduleVerb
from duly.stores.base import Presence, Store
from models.check import HERE, missing
from models.mutants import RULES, mutants_of
from models.table import table
from models.traces import KINDS, replay, walk
from models.verbs import ACTIONS, PLANNERS, PROCESSES, Action, inlines_of

MODELS = sorted(ACTIONS)
WALKS = 24
VERBS = {
    "run": {verb.value for verb in RunVerb},
    "effect": {verb.value for verb in EffectVerb},
    "schedule": {verb.value for verb in ScheduleVerb},
    "store": {name for face in (Store, Presence) for name in dir(face) if name[0] != "_"},
    "core": set(PLANNERS),
}
NAMED = [
    (model, name, action)
    for model, actions in ACTIONS.items()
    for name, action in actions.items()
    if action.kind not in ("part", "world")
]


def text_of(model: str) -> str:
    return (HERE / f"{model}.pml").read_text()


def test_every_model_is_spoken_for() -> None:
    assert sorted(path.stem for path in HERE.glob("*.pml")) == MODELS == sorted(KINDS)


@pytest.mark.parametrize("model", MODELS)
def test_every_action_of_a_model_is_listed(model: str) -> None:
    assert set(inlines_of(text_of(model))) == set(ACTIONS[model])


@pytest.mark.parametrize(("model", "name", "action"), NAMED, ids=[f"{m}-{n}" for m, n, _ in NAMED])
def test_an_action_bears_the_verb_of_the_code(model: str, name: str, action: Action) -> None:
    verbs = [verb for verb in VERBS[action.kind] if name == verb or name.startswith(f"{verb}_")]
    assert verbs, f"{model}: no verb of {action.kind} is called {name}"
    own = {verb.value for move in action.moves for verb in move}
    assert not own or own & set(verbs), f"{model}: {name} moves by {own} alone"


def test_a_verb_that_the_code_renames_is_missed() -> None:
    assert "takeover" not in VERBS["run"] and "reserve" not in VERBS["store"]


def test_planners_are_functions_of_the_core() -> None:
    assert [name for name in PLANNERS.values() if not callable(getattr(firing, name, None))] == []


def test_the_ledger_model_knows_every_verb_of_the_ledger() -> None:
    assert callable(decide)
    actions = {verb.value for verb in EffectVerb}
    assert actions <= set(ACTIONS["ledger"])


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("model", MODELS)
def test_every_move_of_a_model_is_a_row_of_the_tables(model: str) -> None:
    walks = [walk(model, seed) for seed in range(1, WALKS + 1)]
    assert [wrong for one in walks for wrong in one.wrong] == []
    actions = [*ACTIONS[model].values(), *PROCESSES.get(model, {}).values()]
    wanted = {verb for one in actions for move in one.moves for verb in move}
    assert wanted - set().union(*(one.moves for one in walks)) == set()


STEP = "  7:\tproc  1 (worker:1) ledger.pml:{line} (state 3)\t[{said}]\n"


@pytest.mark.parametrize(
    ("action", "said", "words"),
    [
        ("claim", "runs[0].state = 1", "claim takes ready to succeeded"),
        ("complete", "runs[0].state = 1", "complete takes ready to succeeded"),
        ("intend", "effect.state = 1", "intend takes none to done"),
        ("die", "runs[1].state = 4", "die takes ready to running"),
    ],
)
def test_a_move_that_no_table_has_is_told(action: str, said: str, words: str) -> None:
    path = HERE / "ledger.pml"
    line = next(
        number
        for number, text in enumerate(path.read_text().splitlines(), 2)
        if text.startswith(f"inline {action}(")
    )
    seen = replay("ledger", path, STEP.format(line=line, said=said))
    assert [one for one in seen.wrong if words in one], seen.wrong


def test_every_mutant_of_a_model_is_named_and_refuted_in_the_gate() -> None:
    known = {
        (path.stem, macro)
        for path in Path(HERE).glob("*.pml")
        for macro in re.findall(r"\bM_[A-Z_]+\b", path.read_text())
    }
    refuted = {
        (case.model, macro)
        for case in table()
        if case.quick and case.expected == "refuted"
        for macro in mutants_of(case)
    }
    assert known == set(RULES) == refuted

"""The mutants: which rule of a protocol each leaves out, and the table of how they fell.

A mutant is a macro `M_…` of a model: the protocol with one rule left out. Every one that a model
knows has its line here, and a case of the quick table that refutes a promise by it; a test holds
both. The table is what `python -m models` prints at its end: rule, promise, states searched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from models.table import Case

RULES: dict[tuple[str, str], str] = {
    ("ledger", "M_NO_LEDGER"): "nothing is written before the send",
    ("ledger", "M_INTENT_AFTER"): "the intent is written after the send",
    ("ledger", "M_RESEND_ON_INTENT"): "a later attempt sends again on an intent it finds",
    ("ledger", "M_UNKNOWN_IS_FAILURE"): "an unknown outcome counts as not performed",
    ("ledger", "M_UNFENCED_WITHDRAW"): "whoever says not performed is believed",
    ("ledger", "M_NO_QUARANTINE"): "a person's word counts while the sender may live",
    ("ledger", "M_NO_WAIT"): "another run's live intent is not waited for",
    ("ledger", "M_EPOCH_ONLY"): "an intent's fence is its epoch, without the run",
    ("ledger", "M_UNFENCED_COMPLETION"): "an attempt's end is not fenced",
    ("ledger", "M_SILENT"): "what is uncertain opens no incident",
    ("ledger", "M_NO_WAKE"): "settling an effect wakes nobody",
    ("ledger", "M_NO_LAST_CALL"): "the sender does not look at its deadline",
    ("ledger", "M_PERSON_ERRS"): "a person says performed of what was not",
    ("takeover", "M_STEAL_AFTER_RESTART"): "locks that fell with the server count as a death",
    ("takeover", "M_ONE_LOST"): "one lost connection counts as a death",
    ("takeover", "M_DEAD_MAY_CLAIM"): "a boot declared dead may claim",
    ("takeover", "M_NO_BOOT_IN_FENCE"): "an attempt's fence is its epoch, without the boot",
    ("takeover", "M_UNFENCED_COMPLETION"): "an attempt's end is not fenced",
    ("takeover", "M_PROOF_ELSEWHERE"): "a process out of sight counts as proven gone",
    ("firing", "M_NO_UNIQUE_KEY"): "occurrences have no unique key",
    ("firing", "M_UNLOCKED_MARK"): "the mark is read without the row's lock",
    ("firing", "M_ADVANCE_APART"): "the mark advances in a commit of its own",
    ("firing", "M_EDIT_WITHOUT_SETTLING"): "an edit settles nothing first",
    ("firing", "M_LOCK_FREE_PAUSE"): "a pause does not lock the row",
    ("firing", "M_LOCK_FREE_EDIT"): "an edit does not lock the row",
    ("firing", "M_LOCK_FREE_RETIRE"): "a retirement does not lock the row",
    ("firing", "M_RESUME_WITHOUT_SETTLING"): "a resume judges nothing of the pause",
    ("firing", "M_RETIRE_WITHOUT_SETTLING"): "a retirement settles nothing first",
    ("firing", "M_RETIRE_FORGETS_BACKLOG"): "a retirement drops its backlog",
    ("firing", "M_REVIVE_WITHOUT_SETTLING"): "a revival judges nothing of the retirement",
    ("waking", "M_NO_COMMON_LOCK"): "who waits and who wakes lock nothing in common",
    ("waking", "M_LOOK_THEN_TAKE"): "a slot is seen free, and taken later",
}
"""By model and macro: the rule left out, in words."""


class Found(Protocol):
    """What the table needs of an outcome."""

    @property
    def case(self) -> Case: ...

    @property
    def answer(self) -> str: ...

    @property
    def states(self) -> int: ...


def mutants_of(case: Case) -> list[str]:
    """Return the macros of mutants that are on in a case."""
    return [flag for flag in case.flags.split() if flag.startswith("M_")]


def told(outcomes: Iterable[Found]) -> Iterator[str]:
    """Yield the lines of the table: each case with a mutant in it that must be refuted."""
    yield f"{'model':<9} {'promise':<16} {'answer':<10} {'states':>9}  the rule left out"
    for one in outcomes:
        macros = mutants_of(one.case)
        if not macros or one.case.expected != "refuted":
            continue
        rule = "; ".join(RULES[one.case.model, macro] for macro in macros)
        promise = one.case.prop
        yield f"{one.case.model:<9} {promise:<16} {one.answer:<10} {one.states:>9,}  {rule}"

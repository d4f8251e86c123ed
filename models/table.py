"""The questions put to the models: each with the answer it must give.

A case is one (model, flags, property): `holds` for a promise, `refuted` for a mutant, a known
limit, or a witness that something interesting is reachable. `quick` cases are the gate's share;
the others search with larger budgets of faults. Nothing here runs anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Answer = Literal["holds", "refuted", "incomplete"]


@dataclass(frozen=True)
class Case:
    """One question to a model, the answer it must give, and why it is asked."""

    model: str
    prop: str
    expected: Answer
    flags: str = ""
    quick: bool = True

    @property
    def name(self) -> str:
        return "-".join([self.model, self.prop, *self.flags.split()])

    @property
    def liveness(self) -> bool:
        return self.prop in {"terminates", "recovers", "every_verdict", "woken"}


def table() -> Iterator[Case]:
    """Yield every case, those of the gate first within each model."""
    yield from _ledger()
    yield from _takeover()
    yield from _firing()
    yield from _waking()


def _ledger() -> Iterator[Case]:
    small = "RESENDS=0 DELAYS=0"
    tiny = f"{small} REFUSALS=0"
    promises = ("at_most_once", "done_is_true", "uncertain_alert", "fenced", "one_receipt")
    for prop in (*promises, "undisputed"):
        yield Case("ledger", prop, "holds", small)
        yield Case("ledger", prop, "holds", quick=False)
    yield Case("ledger", "at_most_once", "holds", "REFUSALS=0 DELAYS=0")
    yield Case("ledger", "at_most_once", "holds", f"GAP {small}")
    yield Case("ledger", "terminates", "holds", tiny)
    yield Case("ledger", "terminates", "holds", "RESENDS=0", quick=False)
    for flags in ("ZOMBIES=2", "CRASHES=2", "BY_DEADLINE DELAYS=2 RESENDS=0"):
        yield Case("ledger", "at_most_once", "holds", flags, quick=False)
    for mutant in ("NO_LEDGER", "INTENT_AFTER", "RESEND_ON_INTENT", "UNKNOWN_IS_FAILURE"):
        yield Case("ledger", "at_most_once", "refuted", f"M_{mutant} RUNS=1")
    for mutant in ("UNFENCED_WITHDRAW", "NO_WAIT", "EPOCH_ONLY"):
        yield Case("ledger", "at_most_once", "refuted", f"M_{mutant}")
    yield Case("ledger", "at_most_once", "refuted", f"M_NO_QUARANTINE {tiny}")
    yield Case("ledger", "undisputed", "refuted", f"M_NO_QUARANTINE {tiny}")
    yield Case("ledger", "one_receipt", "refuted", f"M_NO_WAIT {small}")
    yield Case("ledger", "fenced", "refuted", f"M_UNFENCED_COMPLETION {tiny}")
    yield Case("ledger", "uncertain_alert", "refuted", "M_SILENT")
    yield Case("ledger", "at_most_once", "refuted", "BY_DEADLINE DELAYS=2 M_NO_LAST_CALL")
    yield Case("ledger", "at_most_once", "refuted", "BY_DEADLINE DELAYS=2 GAP")
    yield Case("ledger", "done_is_true", "refuted", "M_PERSON_ERRS")
    yield Case("ledger", "terminates", "refuted", "M_NO_WAKE")
    for witness in ("never_both_done", "never_resolved", "never_waited", "never_late"):
        yield Case("ledger", witness, "refuted", f"WITNESS {tiny}")


def _takeover() -> Iterator[Case]:
    calm = "RESTARTS=0 BREAKS=0 AGEINGS=1 BOOTS=4"
    for prop in ("fenced", "dead_stay_dead"):
        yield Case("takeover", prop, "holds", calm)
    yield Case("takeover", "not_stolen", "holds", "CUTS=1 CRASHES=0 BREAKS=0 AGEINGS=0 BOOTS=4")
    yield Case("takeover", "spared", "holds", "CUTS=1 RESTARTS=0 AGEINGS=0 BOOTS=4")
    yield Case("takeover", "proof_is_true", "holds", "CUTS=0 AGEINGS=0 BREAKS=0 BOOTS=4")
    yield Case("takeover", "recovers", "holds", "CUTS=0 RESTARTS=0 BREAKS=0 AGEINGS=1")
    for prop in ("fenced", "dead_stay_dead", "not_stolen", "proof_is_true"):
        yield Case("takeover", prop, "holds", "CUTS=1 AGEINGS=1", quick=False)
    yield Case("takeover", "fenced", "holds", "FAILOVERS=1 RESTARTS=0 CUTS=0", quick=False)
    yield Case("takeover", "recovers", "holds", "RESTARTS=0 BREAKS=0", quick=False)
    for prop, flags in (
        ("not_stolen", "M_STEAL_AFTER_RESTART CUTS=1 CRASHES=0 AGEINGS=0 BREAKS=0"),
        ("spared", "M_ONE_LOST CUTS=1 RESTARTS=0"),
        ("dead_stay_dead", "M_DEAD_MAY_CLAIM RESTARTS=0 BREAKS=0 CUTS=0"),
        ("recovers", "M_DEAD_MAY_CLAIM RESTARTS=0 BREAKS=0 CUTS=0"),
        ("fenced", "M_NO_BOOT_IN_FENCE FAILOVERS=1 RESTARTS=0"),
        ("fenced", f"M_UNFENCED_COMPLETION {calm}"),
        ("proof_is_true", f"M_PROOF_ELSEWHERE {calm}"),
        ("never_early", calm),
        ("never_done_late", calm),
    ):
        yield Case("takeover", prop, "refuted", flags)


def _firing() -> Iterator[Case]:
    promises = ("at_most_once", "right_revision", "paused_is_still", "every_verdict")
    for prop in promises:
        yield Case("firing", prop, "holds")
        yield Case("firing", prop, "holds", "INSTANCES=3 CRASHES=2", quick=False)
    yield Case("firing", "at_most_once", "holds", "M_NO_UNIQUE_KEY")
    yield Case("firing", "at_most_once", "holds", "M_UNLOCKED_MARK TICKS=2 CRASHES=0")
    for prop, flags in (
        ("at_most_once", "M_NO_UNIQUE_KEY M_UNLOCKED_MARK"),
        ("every_verdict", "M_ADVANCE_APART"),
        ("right_revision", "M_EDIT_WITHOUT_SETTLING"),
        ("right_revision", "M_LOCK_FREE_EDIT"),
        ("paused_is_still", "M_LOCK_FREE_PAUSE"),
        ("paused_is_still", "M_LOCK_FREE_RETIRE"),
        ("paused_is_still", "M_RESUME_WITHOUT_SETTLING"),
        ("every_verdict", "M_RETIRE_WITHOUT_SETTLING"),
        ("every_verdict", "M_RETIRE_FORGETS_BACKLOG"),
        ("paused_is_still", "M_REVIVE_WITHOUT_SETTLING"),
        ("never_revived", ""),
        ("never_drained", ""),
        ("never_held", ""),
    ):
        yield Case("firing", prop, "refuted", flags)


def _waking() -> Iterator[Case]:
    yield Case("waking", "woken", "holds")
    yield Case("waking", "woken", "holds", "WITHOUT_SWEEP")
    yield Case("waking", "woken", "holds", "M_NO_COMMON_LOCK")
    yield Case("waking", "limit_holds", "holds", "M_NO_COMMON_LOCK")
    yield Case("waking", "limit_holds", "holds")
    yield Case("waking", "woken", "refuted", "M_NO_COMMON_LOCK WITHOUT_SWEEP")
    yield Case("waking", "limit_holds", "refuted", "M_LOOK_THEN_TAKE M_NO_COMMON_LOCK")
    yield Case("waking", "limit_holds", "holds", "M_LOOK_THEN_TAKE")
    yield Case("waking", "never_slept", "refuted")

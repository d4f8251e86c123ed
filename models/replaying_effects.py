"""The audit of effects, replayed: each line must be what the ledger decides from what was there.

A plain intent and a plain receipt leave no line. So an intent that a line speaks of is entered
first, and the row that the store shows is reached at the end by such plain entries alone. The
decisions are those of `core.ledger.decide`, not a copy of them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from duly.core.effects import (
    DEADLINE,
    KEEP,
    UNCERTAIN,
    Author,
    Confirm,
    Doubt,
    Effect,
    Entry,
    Intend,
    Line,
    Outcome,
    Resolve,
    Withdraw,
)
from duly.core.ledger import Decided, Facts, decide
from duly.core.states import EffectState, EffectVerb
from models.histories import INCIDENTS, EffectHistory, Histories, boots_of

NOBODY = Author(run=UUID(int=0), boot=UUID(int=0), epoch=0)
_ELSEWHERE = "again by another intent"


def effect_wrongs(past: Histories) -> list[str]:
    """Say what in the effects' histories the ledger would not have decided."""
    boots = {one.id: boots_of(one) for one in past.runs}
    told = {one.subject for one in past.incidents if one.kind == UNCERTAIN}
    all_told = len(past.incidents) < INCIDENTS
    found: list[str] = []
    for effect in past.effects:
        wrongs = [*_replayed(effect), *_authored(effect.row, boots)]
        doubted = effect.row is not None and effect.row.state is EffectState.UNCERTAIN
        if doubted and all_told and str(effect.address) not in told:
            wrongs.append("it is uncertain, and no incident tells of it")
        found += [f"effect {effect.address}: {one}" for one in wrongs]
    return found


def _replayed(effect: EffectHistory) -> Iterator[str]:
    row: Effect | None = None
    for line in effect.lines:
        if _needs_intent(row, line):
            other = line.verb is EffectVerb.CONFIRM and effect.row is not None
            intent = effect.row.intent if other and effect.row else line.intent
            row, said = _intended(row, effect, intent, line.at)
            yield from said
        decided = decide(row, _entry(line), _facts(line))
        if decided.line is None or decided.line.verb is not line.verb:
            there = "nothing" if row is None else f"{row.state} by {row.intent}"
            yield f"{line.verb} of {line.intent} at {line.at.isoformat()} is no move from {there}"
            return
        row = _kept(row, decided)
    yield from _ended(row, effect)


def _needs_intent(row: Effect | None, line: Line) -> bool:
    """Whether a plain intent, which leaves no line, must have come before this line."""
    if line.verb is EffectVerb.CONFIRM and not line.by:
        return row is None and _ELSEWHERE in line.why
    return row is None


def _intended(
    row: Effect | None, effect: EffectHistory, intent: UUID, at: datetime
) -> tuple[Effect | None, list[str]]:
    author = effect.row.author if effect.row and effect.row.intent == intent else NOBODY
    entry = Intend(
        address=effect.address, author=author, intent=intent, deadline=DEADLINE, keep=KEEP
    )
    decided = decide(row, entry, Facts(now=at))
    wrong = [] if decided.answer.outcome is Outcome.GO else [f"{intent} was intended over another"]
    return _kept(row, decided), wrong


def _ended(row: Effect | None, effect: EffectHistory) -> Iterator[str]:
    """Compare where the lines lead with the row that is there."""
    seen = effect.row
    if seen is None:
        if row is not None and row.state is not EffectState.DONE:  # a done one may be pruned
            yield f"its lines leave it {row.state}, and it has no row"
        return
    if row is None:
        row, said = _intended(row, effect, seen.intent, seen.intended_at)
        yield from said
    if row is not None and row.state is EffectState.INTENDED and seen.state is EffectState.DONE:
        confirm = Confirm(
            address=effect.address,
            author=seen.author,
            intent=seen.intent,
            receipt=seen.receipt or b"",
            keep=timedelta(0),
        )
        row = _kept(row, decide(row, confirm, Facts(now=seen.intended_at)))
    if row is None or (row.state, row.intent, row.by) != (seen.state, seen.intent, seen.by):
        there = "nothing" if row is None else f"{row.state} by {row.intent}"
        yield f"its lines leave {there}, and its row says {seen.state} by {seen.intent}"


def _entry(line: Line) -> Entry:
    match line.verb:
        case EffectVerb.CONFIRM if not line.by:
            return Confirm(
                address=line.address,
                author=NOBODY,
                intent=line.intent,
                receipt=line.receipt or b"",
                keep=KEEP,
            )
        case EffectVerb.WITHDRAW:
            return Withdraw(address=line.address, intent=line.intent, why=line.why)
        case EffectVerb.DOUBT | EffectVerb.INTEND:
            return Doubt(address=line.address, intent=line.intent, why=line.why)
        case EffectVerb.CONFIRM | EffectVerb.CLEAR:
            return Resolve(
                address=line.address,
                performed=line.verb is EffectVerb.CONFIRM,
                by=line.by,
                reason=line.why,
                accept_double=line.accepted_double,
            )


def _facts(line: Line) -> Facts:
    return Facts(now=line.at, author_gone=not line.accepted_double)


def _kept(row: Effect | None, decided: Decided) -> Effect | None:
    return decided.row if decided.write else row


def _authored(row: Effect | None, boots: Mapping[UUID, Mapping[int, UUID | None]]) -> Iterator[str]:
    """The author of a row is an attempt that there was, of the boot that made it."""
    if row is None or row.author.run not in boots:
        return
    of_run = boots[row.author.run]
    if row.author.epoch not in of_run:
        yield f"attempt {row.author.epoch} of run {row.author.run} intended it, and never was"
    elif of_run[row.author.epoch] != row.author.boot:
        yield f"{row.author.boot} intended it in an attempt that was not its own"

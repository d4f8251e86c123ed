"""The ledger of effects: what may be performed, what was, and what nobody knows.

An effect is an act on the outside world that cannot be taken back. Its address (task, name, key)
has one row at most. The row moves by `core.states.EFFECT_MOVES`, and every move is decided here,
from the row, an entry, and a few facts that the store looks up under the row's lock:

    intend ──▶ intended ──▶ done        a receipt, however late: evidence is always kept
                  │  └────▶ (no row)    the sender says: not performed
                  ▼
              uncertain ──▶ done | (no row)   a late receipt, `verify`, or a person

* Nobody sends again by guess. Another's live intent is waited for. An intent is live until its
  send deadline and margin have passed, and for as long as its holder holds its run.
* What is uncertain opens an incident in the same commit, and is closed by the same commit that
  settles it.
* *Not performed*, said by anyone but the sender, counts only when the process that intended it
  is proven gone: one that is merely frozen could wake up and send (models/ledger.pml finds it).
  `accept_double` takes that risk, by name and with a reason.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from duly.core.effects import (
    CONTRADICTED,
    MARGIN,
    UNCERTAIN,
    Address,
    Author,
    Confirm,
    Doubt,
    Effect,
    Entry,
    Intend,
    Line,
    Outcome,
    Posted,
    Resolve,
    Withdraw,
)
from duly.core.fleet import Incident
from duly.core.states import EFFECT_MOVES, EffectState, EffectVerb, advance


class Facts(msgspec.Struct, frozen=True):
    """What the store looked up under the row's lock."""

    now: datetime
    fenced: bool = True  # the asker holds its run
    author_holds: bool = False  # the row's author holds its run, under a lease that is good
    author_gone: bool = False  # the process of the row's author is proven gone
    tenant: str = ""  # of the run of whoever intends


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry comes to, and what the store is to write.

    `row` replaces the effect's row when `write`; None removes it. `wake` says that whoever awaits
    this effect is to look again. `opened` and `closed` are incidents.
    """

    answer: Posted
    row: Effect | None = None
    write: bool = False
    wake: bool = False
    line: Line | None = None
    opened: Incident | None = None
    closed: bool = False


def decide(row: Effect | None, entry: Entry, facts: Facts) -> Decided:
    """Say what an entry about an effect comes to. Pure; raises nothing."""
    match entry:
        case Intend():
            return _intend(row, entry, facts)
        case Confirm():
            return _confirm(row, entry, facts)
        case Withdraw():
            return _withdraw(row, entry, facts)
        case Doubt():
            return _doubt(row, entry, facts)
        case Resolve():
            return _resolve(row, entry, facts)


def live(row: Effect, facts: Facts) -> bool:
    """Whether an intent may still be on its way."""
    if row.state is not EffectState.INTENDED or facts.author_gone:
        return False
    return facts.author_holds or facts.now < row.deadline + MARGIN


def _intend(row: Effect | None, entry: Intend, facts: Facts) -> Decided:
    if not facts.fenced:
        return _only(Outcome.STALE)
    if row is None:
        state = advance(EFFECT_MOVES, EffectState.NONE, EffectVerb.INTEND)
        made = Effect(
            address=entry.address,
            state=state,
            intent=entry.intent,
            author=entry.author,
            intended_at=facts.now,
            deadline=facts.now + entry.deadline,
            keep_until=facts.now + entry.keep,
            tenant=facts.tenant,
        )
        return Decided(answer=Posted(Outcome.GO, intent=entry.intent), row=made, write=True)
    if row.state is EffectState.DONE:
        return Decided(answer=_done(row))
    if row.intent == entry.intent:
        sure = row.state is EffectState.INTENDED
        return _only(Outcome.GO if sure else Outcome.UNCERTAIN, intent=row.intent)
    if row.state is EffectState.UNCERTAIN:
        return _only(Outcome.UNCERTAIN, why=row.why, intent=row.intent)
    if live(row, facts):
        until = max(row.deadline + MARGIN, facts.now + MARGIN)
        return _only(Outcome.WAIT, until=until, intent=row.intent)
    return _doubted(row, "its sender died, or lost its run, before it said what came of it", facts)


def _confirm(row: Effect | None, entry: Confirm, facts: Facts) -> Decided:
    if row is not None and row.state is EffectState.DONE and row.intent == entry.intent:
        # Done by this intent already; a person's word gives way to the receipt itself.
        return _better_receipt(row, entry, facts) if row.by else _only(Outcome.ALREADY)
    if row is not None and row.intent == entry.intent:
        advance(EFFECT_MOVES, row.state, EffectVerb.CONFIRM)
        late = row.state is EffectState.UNCERTAIN
        why = "a late receipt" if late else ""
        after = _replace(row, EffectState.DONE, facts, receipt=entry.receipt, why=why)
        line = _line(row, entry.verb, facts, why=why, receipt=entry.receipt) if late else None
        return Decided(
            answer=Posted(Outcome.DONE, entry.receipt, settled_at=facts.now, intent=row.intent),
            row=after,
            write=True,
            wake=True,
            line=line,
            closed=late,
        )
    return _contradicted(row, entry, facts)


def _better_receipt(row: Effect, entry: Confirm, facts: Facts) -> Decided:
    after = msgspec.structs.replace(row, receipt=entry.receipt, by="", why="a late receipt")
    line = _line(row, entry.verb, facts, why=after.why, receipt=entry.receipt)
    return Decided(answer=_done(after), row=after, write=True, line=line)


def _contradicted(row: Effect | None, entry: Confirm, facts: Facts) -> Decided:
    """A receipt for an intent that was said not to be performed: kept, and told to a person.

    If nothing has been sent since, the receipt stands: it is done, and is not sent again.
    """
    after = row or Effect(
        address=entry.address,
        state=EffectState.DONE,
        intent=entry.intent,
        author=entry.author,
        intended_at=facts.now,
        deadline=facts.now,
        keep_until=facts.now + entry.keep,
        settled_at=facts.now,
        receipt=entry.receipt,
        why="a receipt against the word that it was not performed",
    )
    again = "" if row is None else f"; it is {row.state.value} again by another intent"
    summary = f"{entry.address} was performed, although it was said not to be{again}"
    line = Line(
        address=entry.address,
        intent=entry.intent,
        verb=entry.verb,
        by="",
        why=summary,
        at=facts.now,
        receipt=entry.receipt,
    )
    return Decided(
        answer=_only(Outcome.CONTRADICTED, why=summary).answer,
        row=after,
        write=row is None,
        wake=row is None,
        line=line,
        opened=_incident(CONTRADICTED, entry.address, summary, entry.intent, entry.author),
    )


def _withdraw(row: Effect | None, entry: Withdraw, facts: Facts) -> Decided:
    if row is None or row.intent != entry.intent or row.state is EffectState.DONE:
        return _only(Outcome.ALREADY)
    advance(EFFECT_MOVES, row.state, EffectVerb.WITHDRAW)
    return Decided(
        answer=Posted(Outcome.CLEARED),
        write=True,
        wake=True,
        line=_line(row, entry.verb, facts, why=entry.why),
        closed=row.state is EffectState.UNCERTAIN,
    )


def _doubt(row: Effect | None, entry: Doubt, facts: Facts) -> Decided:
    if row is None or row.intent != entry.intent or row.state is not EffectState.INTENDED:
        return _only(Outcome.ALREADY)
    if entry.swept and live(row, facts):
        return _only(Outcome.ALREADY)
    return _doubted(row, entry.why, facts)


def _doubted(row: Effect, why: str, facts: Facts) -> Decided:
    state = advance(EFFECT_MOVES, row.state, EffectVerb.DOUBT)
    after = msgspec.structs.replace(row, state=state, why=why)
    summary = f"nobody knows whether {row.address} was performed: {why}"
    return Decided(
        answer=Posted(Outcome.UNCERTAIN, why=why, intent=row.intent),
        row=after,
        write=True,
        wake=True,
        line=_line(row, EffectVerb.DOUBT, facts, why=why),
        opened=_incident(UNCERTAIN, row.address, summary, row.intent, row.author),
    )


def _resolve(row: Effect | None, entry: Resolve, facts: Facts) -> Decided:
    if row is None:
        return _only(Outcome.UNKNOWN, why="nothing was intended there, or it was cleared already")
    if row.state is EffectState.DONE:
        if entry.performed:
            return Decided(answer=msgspec.structs.replace(_done(row), outcome=Outcome.ALREADY))
        return _only(Outcome.REFUSED, why="it is done; a receipt cannot be unsaid")
    if row.state is EffectState.INTENDED:
        why = "it is on its way; wait until its sender has answered, or is given up"
        return _only(Outcome.REFUSED, why=why, until=row.deadline + MARGIN)
    return _performed(row, entry, facts) if entry.performed else _cleared(row, entry, facts)


def _performed(row: Effect, entry: Resolve, facts: Facts) -> Decided:
    advance(EFFECT_MOVES, row.state, EffectVerb.CONFIRM)
    after = _replace(row, EffectState.DONE, facts, by=entry.by, why=entry.reason)
    return Decided(
        answer=_done(after),
        row=after,
        write=True,
        wake=True,
        line=_line(row, EffectVerb.CONFIRM, facts, by=entry.by, why=entry.reason),
        closed=True,
    )


def _cleared(row: Effect, entry: Resolve, facts: Facts) -> Decided:
    safe = facts.author_gone or entry.own == row.intent
    if not safe and not entry.accept_double:
        why = (
            "the process that intended it is not proven gone, and could still send it;"
            " end that process, or take the risk of a double with --accept-double"
        )
        return _only(Outcome.REFUSED, why=why, intent=row.intent)
    advance(EFFECT_MOVES, row.state, EffectVerb.CLEAR)
    line = _line(row, EffectVerb.CLEAR, facts, by=entry.by, why=entry.reason)
    return Decided(
        answer=Posted(Outcome.CLEARED),
        write=True,
        wake=True,
        line=msgspec.structs.replace(line, accepted_double=not safe),
        closed=True,
    )


def _only(outcome: Outcome, **said: object) -> Decided:
    return Decided(answer=msgspec.structs.replace(Posted(outcome), **said))


def _done(row: Effect) -> Posted:
    return Posted(
        Outcome.DONE, row.receipt, why=row.why, intent=row.intent, settled_at=row.settled_at
    )


def _replace(row: Effect, state: EffectState, facts: Facts, **more: object) -> Effect:
    return msgspec.structs.replace(row, state=state, settled_at=facts.now, **more)


def _line(
    row: Effect,
    verb: EffectVerb,
    facts: Facts,
    *,
    by: str = "",
    why: str = "",
    receipt: bytes | None = None,
) -> Line:
    return Line(
        address=row.address,
        intent=row.intent,
        verb=verb,
        by=by,
        why=why,
        at=facts.now,
        receipt=receipt,
    )


def _incident(kind: str, address: Address, summary: str, intent: UUID, author: Author) -> Incident:
    evidence = {
        "effect": str(address),
        "intent": str(intent),
        "run": str(author.run),
        "boot": str(author.boot),
    }
    return Incident(
        kind=kind, subject=str(address), severity="critical", summary=summary, evidence=evidence
    )

"""Why an effect stands where it stands: done by whom, in flight until when, in doubt since when.

The ledger's row decides; the audit tells what people and late receipts said. Where there is
no row the effect is open: whoever asks for it next performs it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from duly.core.effects import KEEP, MARGIN, Effect, Line
from duly.core.fleet import proven_gone
from duly.core.runs import RunView
from duly.core.spoken import instant_text
from duly.core.states import EffectState, EffectVerb, RunState
from duly.core.why.causes import Cause
from duly.core.why.evidence import SHOWN, Explanation, Fleet, Standing, explanation
from duly.core.why.remembered import SHOWN_VALUE, EffectKnown, command, effect_words


def explain_effect(one: EffectKnown, fleet: Fleet) -> Explanation:
    """Say how an effect stands, how that came about, and what helps."""
    story = [(line.at, told_line(line, fleet)) for line in one.lines]
    if one.row is not None:
        # First of its instant: what is said about an intent never comes before it.
        story.insert(0, (one.row.intended_at, _intended(one.row, one.author, fleet)))
    story.sort(key=lambda it: it[0])
    return explanation(
        f"effect {one.address}",
        _standing(one, fleet),
        story=[told for _, told in story],
        see=() if one.row is None else (str(one.row.author.run),),
    )


def _standing(one: EffectKnown, fleet: Fleet) -> Standing:
    row = one.row
    if row is None:
        return _open(one)
    match row.state:
        case EffectState.DONE:
            return _done(row, fleet)
        case EffectState.INTENDED:
            return _in_flight(row, one.author, fleet)
        case EffectState.UNCERTAIN:
            doubt = in_doubt(one, fleet)
            why = f": {row.why}" if row.why else ""
            told = f"uncertain{_since(one, fleet)}{why}"
            return msgspec.structs.replace(doubt, headline=told, causes=doubt.causes[1:])
        case EffectState.NONE:
            raise AssertionError("a row without an intent is never kept")


def _done(row: Effect, fleet: Fleet) -> Standing:
    at = "" if row.settled_at is None else f" at {fleet.at(row.settled_at)}"
    headline, cause = f"done{at} by the run {row.author.run}", Cause.EFFECT_DONE
    if row.by:
        cause = Cause.EFFECT_DONE_BY_WORD
        headline = f"done{at}, by the word of {row.by}: {row.why}"
    causes = [] if row.receipt is None else [f"receipt: {_receipt(row.receipt)}"]
    causes.append(f"whoever asks for it again gets this answer, until {fleet.at(row.keep_until)}")
    return Standing(cause, headline, causes, since=row.settled_at)


def _in_flight(row: Effect, author: RunView | None, fleet: Fleet) -> Standing:
    until = row.deadline + MARGIN
    holds = (
        author is not None
        and author.state is RunState.RUNNING
        and (author.boot, author.epoch) == (row.author.boot, row.author.epoch)
    )
    cause = Cause.EFFECT_IN_FLIGHT
    if fleet.now < until:
        tail = f"believed to be on its way until {fleet.at(until)}"
    elif holds:
        cause = Cause.EFFECT_LATE
        tail = f"late, but its run is in hand: the send deadline was {fleet.at(row.deadline)}"
    else:
        cause = Cause.EFFECT_GIVEN_UP
        tail = f"given up since {fleet.at(until)}: the next sweep makes it uncertain"
    causes = ["another run that asks for it waits; it is never sent a second time by guess"]
    helps = [command("why", str(row.author.run))]
    return Standing(cause, f"in flight, {tail}", causes, helps, since=row.intended_at)


def _open(one: EffectKnown) -> Standing:
    cleared = one.lines and one.lines[-1].verb in (EffectVerb.CLEAR, EffectVerb.WITHDRAW)
    again = " again" if cleared else ""
    headline = f"open{again}: nothing is intended, done or uncertain there"
    causes = ["whoever asks for it next performs it"]
    if not cleared:
        causes.append(f"keys are forgotten {KEEP.days} days after their period")
        if one.near:
            causes.append(f"on record are: {'; '.join(one.near[:SHOWN])}")
    return Standing(Cause.EFFECT_OPEN_AGAIN if cleared else Cause.EFFECT_OPEN, headline, causes)


def in_doubt(one: EffectKnown, fleet: Fleet) -> Standing:
    """Say since when and why an effect is in doubt, and what it takes to resolve it."""
    assert one.row is not None, "a doubt is about a row"
    row = one.row
    gone = proven_gone(next((it for it in fleet.instances if it.boot == row.author.boot), None))
    who = fleet.who(row.author.boot)
    why = f": {row.why}" if row.why else ""
    causes = [f"{one.address} is in doubt{_since(one, fleet)}{why}"]
    causes.append("find out at its receiver whether it was performed; it is never guessed")
    if not gone:
        causes.append(
            f"the process that intended it ({who}) is not known to be gone, and could still send"
            " it: not performed is accepted once that is proven, or with --accept-double"
        )
    resolve = command("effects", "resolve", *effect_words(one.address))
    helps = [
        f"if it was performed: {resolve} --performed --reason WHY",
        f"if it was not: {resolve} --not-performed --reason WHY",
    ]
    also = () if gone else (Cause.SENDER_MAY_LIVE,)
    since = _doubted_at(one)
    return Standing(Cause.EFFECT_UNCERTAIN, causes[0], causes, helps, also, since=since)


def _since(one: EffectKnown, fleet: Fleet) -> str:
    at = _doubted_at(one)
    return "" if at is None else f" since {fleet.at(at)}"


def _doubted_at(one: EffectKnown) -> datetime | None:
    return next((it.at for it in reversed(one.lines) if it.verb is EffectVerb.DOUBT), None)


def _intended(row: Effect, author: RunView | None, fleet: Fleet) -> str:
    of = "" if author is None else f" of {author.task}"
    due = "" if author is None or author.due is None else (
        f" for {author.schedule} of {instant_text(author.due, fleet.zone)}")  # fmt: skip
    return (
        f"intended at {fleet.at(row.intended_at)} by the run {row.author.run}{of}{due},"
        f" attempt {row.author.epoch} on {fleet.who(row.author.boot)}"
    )


_SAID = {
    EffectVerb.INTEND: "intended",
    EffectVerb.CONFIRM: "said to be performed",
    EffectVerb.WITHDRAW: "withdrawn by its sender: not performed",
    EffectVerb.DOUBT: "became uncertain",
    EffectVerb.CLEAR: "said not to be performed",
}


def told_line(line: Line, fleet: Fleet) -> str:
    """Return a line of the audit in words."""
    said = "a receipt came" if line.receipt is not None else _SAID[line.verb]
    by = f" by {line.by}" if line.by else ""
    why = f": {line.why}" if line.why else ""
    risk = " (the risk of a double was accepted)" if line.accepted_double else ""
    return f"{said}{by} at {fleet.at(line.at)}{why}{risk}"


def _receipt(receipt: bytes) -> str:
    text = receipt.decode("utf-8", "replace")
    return text if len(text) <= SHOWN_VALUE else text[: SHOWN_VALUE - 1] + "…"

"""Who hears of what: the rules between incidents and channels.

A rule passes an incident when each of its conditions holds; an empty one holds for all. The
channels of every rule that passes hear of it, each once; without any rule every channel does. No
channel hears that it is down itself.
Patterns are those of file names (`breaker.*`), and tell small letters from capitals. Pure; says
nothing of when.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from duly.core.notices import CHANNEL_DOWN, ChannelPlan, NotifyPlan, Rule, rank


def planned(channels: Sequence[ChannelPlan], rules: Sequence[Rule]) -> NotifyPlan:
    """Return the plan of these channels and rules; a channel that no rule names hears all."""
    named = {name for rule in rules for name in rule.channels}
    free = tuple(one.name for one in channels if one.name not in named)
    rest = (Rule(channels=free),) if rules and free else ()
    return NotifyPlan(channels=tuple(channels), rules=(*rules, *rest))


def misnamed(kinds: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Return the patterns that fit none of the known kinds and look like one, each with that one.

    Kinds of users' own are nobody's mistake: what looks like none that is known is left alone.
    """
    families = {f"{kind.partition('.')[0]}.*" for kind in known}
    found = {}
    for pattern in kinds:
        if any(fnmatchcase(kind, pattern) for kind in known):
            continue
        near = get_close_matches(pattern, sorted({*known, *families}), n=1, cutoff=0.8)
        found.update(dict.fromkeys([pattern], near[0]) if near else {})
    return found


def heard_by(
    plan: NotifyPlan, *, kind: str, severity: str, subject: str = "", owner: str = ""
) -> tuple[str, ...]:
    """Return the names of the channels that hear of such an incident, in the plan's order."""
    about = {"kind": kind, "severity": severity, "subject": subject, "owner": owner}
    return tuple(one.name for one in plan.channels if hears(plan, one.name, **about))


def hears(
    plan: NotifyPlan, channel: str, *, kind: str, severity: str, subject: str = "", owner: str = ""
) -> bool:
    """Whether a channel hears of such an incident."""
    if kind == CHANNEL_DOWN and subject == channel:
        return False
    return not plan.rules or any(
        channel in rule.channels
        and _passes(rule, kind=kind, severity=severity, subject=subject, owner=owner)
        for rule in plan.rules
    )


def _passes(rule: Rule, *, kind: str, severity: str, subject: str = "", owner: str = "") -> bool:
    """Whether a rule lets such an incident through."""
    return (
        rank(severity) >= rank(rule.severity)
        and _fits(kind, rule.kinds)
        and _fits(owner, rule.owners)
        and _fits(subject, rule.subjects)
    )


def _fits(text: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(text, one) for one in patterns)

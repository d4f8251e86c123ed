"""Who hears of what: the rules between incidents and channels.

A rule passes an incident when each of its conditions holds; an empty one holds for all. The
channels of every rule that passes hear of it, each once; without any rule every channel does.
Patterns are those of file names (`breaker.*`), and tell small letters from capitals. Pure; says
nothing of when.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from duly.core.notices import SEVERITIES, NotifyPlan, Rule


def heard_by(
    plan: NotifyPlan, *, kind: str, severity: str, subject: str = "", owner: str = ""
) -> tuple[str, ...]:
    """Return the names of the channels that hear of such an incident, in the plan's order."""
    names = tuple(one.name for one in plan.channels)
    if not plan.rules:
        return names
    passing = {
        name
        for rule in plan.rules
        if passes(rule, kind=kind, severity=severity, subject=subject, owner=owner)
        for name in rule.channels
    }
    return tuple(name for name in names if name in passing)


def passes(rule: Rule, *, kind: str, severity: str, subject: str = "", owner: str = "") -> bool:
    """Whether a rule lets such an incident through."""
    return (
        grade_of(severity) >= grade_of(rule.severity)
        and _fits(kind, rule.kinds)
        and _fits(owner, rule.owners)
        and _fits(subject, rule.subjects)
    )


def grade_of(severity: str) -> int:
    """Return the place of a severity; one that is not known counts as the worst."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES) - 1


def _fits(text: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(text, one) for one in patterns)

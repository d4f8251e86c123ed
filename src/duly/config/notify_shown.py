"""`[notify]` as people are shown it: every value under the key by which it is written in a file.

Secrets are names (`secret:NAME`) in the settings already, and names are all that is shown. A URL
that stands in the file is shown without its query, where people put tokens that they should not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import time

from duly.config.notify import ConfiguredChannel, NotifySettings, without_query
from duly.core.durations import format_duration
from duly.core.notices import Rule


def shown(settings: NotifySettings) -> dict[str, object]:
    """Return the full name of each key → its value, as JSON has it; what is not set is None."""
    told: dict[str, object] = {}
    for channel in settings.channels:
        here = f"notify.channels.{channel.plan.name}"
        told |= {f"{here}.{key}": value for key, value in _channel(channel)}
    for number, rule in enumerate(settings.rules, 1):
        told |= {f"notify.rules[{number}].{key}": value for key, value in _rule(rule)}
    return told


def _channel(one: ConfiguredChannel) -> Iterator[tuple[str, object]]:
    plan = one.plan
    yield "kind", one.kind
    for each in fields(one.way):
        if each.name == "sender_name":
            continue  # told with the address
        value = getattr(one.way, each.name)
        if each.name == "sender":
            name = getattr(one.way, "sender_name", "")
            yield "from", f"{name} <{value}>" if name else value
        elif each.name == "url":
            yield "url", without_query(value)
        else:
            yield each.name, list(value) if isinstance(value, tuple) else value
    yield "zone", plan.zone
    quiet = plan.quiet_from is not None and plan.quiet_until is not None
    yield "quiet", f"{_clock(plan.quiet_from)}-{_clock(plan.quiet_until)}" if quiet else None
    yield "digest_at", _clock(plan.digest_at)
    yield "remind", [format_duration(gap) for gap in plan.remind]
    yield "gather", format_duration(plan.gather)


def _rule(rule: Rule) -> Iterator[tuple[str, object]]:
    yield "channels", list(rule.channels)
    yield "kinds", list(rule.kinds)
    yield "owners", list(rule.owners)
    yield "subjects", list(rule.subjects)
    yield "severity", rule.severity


def _clock(at: time | None) -> str | None:
    return None if at is None else f"{at:%H:%M}"

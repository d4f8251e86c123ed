"""Channels: by which people are told of incidents, as loops of an application's instances.

Every instance has a notifier for every channel; the store lets one of them tell at a time. Where no
channel is declared, nothing of this is imported, and nothing is asked of the store.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from uuid import UUID

import msgspec

from duly.core.durations import parse_duration
from duly.core.hearing import misnamed, planned
from duly.core.notices import REMINDERS, SEVERITIES, ChannelPlan, NotifyPlan, Rule
from duly.core.quiet import time_of_day
from duly.core.zones import zone as find_zone
from duly.errors import InvalidValue, UnknownName, UsageError
from duly.outbound.base import Channel

if TYPE_CHECKING:
    from duly.app.duly import Duly
    from duly.outbound.notifier import Notifier

Duration = str | int | float | timedelta


class NotifyOptions(TypedDict, total=False):
    """What is agreed with a channel, and what it hears of.

    `kinds`, `owners` and `subjects` are patterns (`breaker.*`), `severity` the least that passes;
    a channel without any of them hears everything.
    """

    zone: str
    quiet: tuple[str, str] | None
    digest_at: str | None
    remind: Sequence[Duration]
    gather: Duration
    kinds: Sequence[str]
    owners: Sequence[str]
    subjects: Sequence[str]
    severity: str


_log = logging.getLogger("duly.notify")

SHORTEST_GAP = timedelta(minutes=1)
CONDITIONS = ("kinds", "owners", "subjects", "severity")


class Told(msgspec.Struct, frozen=True):
    """A channel as it was declared, with what it hears; no rules: everything."""

    channel: Channel
    agreed: ChannelPlan
    rules: tuple[Rule, ...] = ()


def declare_channel(known: dict[str, Told], channel: Channel, options: NotifyOptions) -> None:
    """Add a channel; raises `UsageError` and `InvalidValue` for what cannot be right."""
    for option in options:
        if option not in NotifyOptions.__annotations__:
            raise UnknownName.of("option of notify", option, NotifyOptions.__annotations__)
    name = getattr(channel, "name", None)
    if not isinstance(name, str) or not name or not callable(getattr(channel, "send", None)):
        raise InvalidValue.expected("a channel", "something with a name and send(notice)", channel)
    if name in known:
        raise UsageError(f"two channels are called {name!r}; give one another name")
    known[name] = Told(channel, _agreed(name, options), _rules(name, options))


def _agreed(name: str, options: NotifyOptions) -> ChannelPlan:
    zone, quiet = options.get("zone", "UTC"), options.get("quiet")
    find_zone(zone)
    if quiet is not None and (not isinstance(quiet, (tuple, list)) or len(quiet) != 2):
        raise InvalidValue.expected("quiet", 'two times of day, ("22:00", "07:00")', quiet)
    digest = options.get("digest_at")
    return ChannelPlan(
        name=name,
        zone=zone,
        quiet_from=time_of_day(quiet[0], what="quiet") if quiet else None,
        quiet_until=time_of_day(quiet[1], what="quiet") if quiet else None,
        digest_at=None if digest is None else time_of_day(digest, what="digest_at"),
        remind=tuple(_gap(one) for one in options.get("remind", REMINDERS)),
        gather=parse_duration(options.get("gather", ChannelPlan(name=name).gather), what="gather"),
    )


def _gap(given: Duration) -> timedelta:
    gap = parse_duration(given, what="remind")
    if gap < SHORTEST_GAP:
        raise InvalidValue.expected("remind", "gaps of a minute or more", given)
    return gap


def _rules(name: str, options: NotifyOptions) -> tuple[Rule, ...]:
    if not any(one in options for one in CONDITIONS):
        return ()
    severity = options.get("severity", SEVERITIES[0])
    if severity not in SEVERITIES:
        raise UnknownName.of("severity", str(severity), SEVERITIES)
    return (
        Rule(
            channels=(name,),
            kinds=_patterns("kinds", options.get("kinds", ())),
            owners=_patterns("owners", options.get("owners", ())),
            subjects=_patterns("subjects", options.get("subjects", ())),
            severity=severity,
        ),
    )


def _patterns(what: str, given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(one, str) for one in given):
        raise InvalidValue.expected(what, 'patterns, such as ["breaker.*"]', given)
    return tuple(given)


def notify_plan(told: Sequence[Told], rules: Sequence[Rule] = ()) -> NotifyPlan:
    """Return what all channels hear. Once there is a rule, who has none of its own hears all."""
    all_rules = [*rules, *(one for each in told for one in each.rules)]
    return planned([one.agreed for one in told], all_rules)


def plan_of(app: Duly) -> NotifyPlan:
    """Return what every channel hears, of the settings and declared; makes none of them."""
    told, settings = app.channels.values(), app.settings.notify
    agreed = [*(one.plan for one in settings.channels), *(one.agreed for one in told)]
    _check_names(app)
    return planned(agreed, [*settings.rules, *(one for each in told for one in each.rules)])


def rules_of(app: Duly) -> list[Rule]:
    """Return the rules that somebody wrote down: in the settings, then in code."""
    return [
        *app.settings.notify.rules,
        *(one for told in app.channels.values() for one in told.rules),
    ]


def doubts_of(app: Duly, *kinds: str) -> list[str]:
    """Say of the kinds of rules, and of `kinds`, which no incident of Duly's own has, but one near.

    Kinds of your own are allowed: what is near to nothing that is known is left alone.
    """
    from duly.core.why.incidents import KINDS

    said = [kind for rule in rules_of(app) for kind in rule.kinds]
    return [
        f"no incident of Duly's own is of the kind {kind!r}; did you mean {near!r}?"
        for kind, near in misnamed((*said, *kinds), KINDS).items()
    ]


def _check_names(app: Duly) -> None:
    for one in app.settings.notify.channels:
        if one.plan.name in app.channels:
            raise UsageError(
                f"two channels are called {one.plan.name!r}: one of the settings, one declared"
            )


def all_told(app: Duly) -> list[Told]:
    """Return the channels of the settings, then those that were declared.

    Raises what making them does, and `UsageError` for a name that both have.
    """
    configured: list[Told] = []
    if app.settings.notify.channels:
        from duly.outbound.channels import make_channels
        from duly.outbound.secrets import Secrets

        folder = app.settings.calls.secrets
        secrets = Secrets(os.environ, Path(folder) if folder else None)
        made = make_channels(app.settings, secrets=secrets, now=app.clock.now)
        configured = [Told(channel, agreed) for agreed, channel in made]
    _check_names(app)
    return [*configured, *app.channels.values()]


def make_notifiers(app: Duly, boot: Callable[[], UUID]) -> list[Notifier]:
    """Return a notifier for each channel; what tells is imported only where there is one."""
    told = all_told(app)
    if not told:
        return []
    from duly.outbound.notifier import Notifier

    for doubt in doubts_of(app):
        _log.warning("a rule of notify: %s", doubt)
    plan = notify_plan(told, app.settings.notify.rules)
    return [
        Notifier(
            one.channel,
            one.agreed,
            plan,
            application=app.name,
            store=app.store,
            clock=app.clock,
            bus=app.bus,
            boot=boot,
        )
        for one in told
    ]

"""`[notify]` in a file: the channels by name, and the rules of who hears what.

    [notify.channels.ops]
    kind = "email"
    host = "smtp.example.com"
    from = "Duly <duly@example.com>"
    to = ["ops@example.com"]

    [[notify.rules]]
    channels = ["ops"]
    severity = "warning"

`read_notify` takes the table and returns settings that can run, with every fault it found, each
under its own key. Secrets are named, as `secret:NAME`, and never part of the settings; which keys
there are is data (`config.notify_keys`). Nothing here connects to anything, or imports a driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from duly.config.notify_keys import KEYS, KINDS, RULE_KEYS, Key
from duly.config.specs import unknown
from duly.core.notices import ChannelPlan, Rule
from duly.errors import InvalidValue, UsageError, brief

MOST_CHANNELS, MOST_RULES = 50, 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}\Z")
Tls = Literal["starttls", "implicit", "none"]
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, kw_only=True)
class EmailSettings:
    """How mails go out. `password` is `secret:NAME`, or None where nobody logs in."""

    host: str
    sender: str
    to: tuple[str, ...]
    sender_name: str = ""
    port: int | None = None
    tls: Tls = "starttls"
    user: str | None = None
    password: str | None = None


@dataclass(frozen=True, kw_only=True)
class SlackSettings:
    """Which incoming webhook: `secret:NAME`."""

    url: str


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """Where to post: a URL or `secret:NAME`; `sign` are the secrets to sign with."""

    url: str
    sign: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AppriseSettings:
    """Which URLs of Apprise, each `secret:NAME`."""

    urls: tuple[str, ...]


Way = EmailSettings | SlackSettings | WebhookSettings | AppriseSettings
_WAYS: Mapping[str, type[Way]] = {
    "email": EmailSettings,
    "slack": SlackSettings,
    "webhook": WebhookSettings,
    "apprise": AppriseSettings,
}


@dataclass(frozen=True, kw_only=True)
class ConfiguredChannel:
    """One channel: what was agreed with it, and by which way its notices go."""

    plan: ChannelPlan
    kind: str
    way: Way

    @property
    def leads_to(self) -> str:
        """Where notices go, for people; no secret is part of it."""
        match self.way:
            case EmailSettings():
                return f"{', '.join(self.way.to)} through {self.way.host}"
            case SlackSettings() | WebhookSettings():
                return without_query(self.way.url)
            case AppriseSettings():
                return ", ".join(self.way.urls)


def without_query(url: str) -> str:
    """Return a URL as people are shown it: a query is where tokens stand that should not."""
    head, query, _ = url.partition("?")
    return head + ("?…" if query else "")


@dataclass(frozen=True, kw_only=True)
class NotifySettings:
    """All channels of the settings, and who hears what."""

    channels: tuple[ConfiguredChannel, ...] = ()
    rules: tuple[Rule, ...] = ()


def read_notify(table: object, place: str) -> tuple[NotifySettings, list[str]]:
    """Return what the table `notify` of a file says, and all that is wrong with it."""
    faults: list[str] = []
    given = _table_of(table, f"{place} notify", faults)
    known = {f"notify.{key}": None for key in ("channels", "rules")}
    for key in given.keys() - {"channels", "rules"}:
        faults.append(f"{place}: {unknown('setting', f'notify.{key}', known)}")
    named = _table_of(given.get("channels", {}), f"{place} notify.channels", faults)
    if len(named) > MOST_CHANNELS:
        faults.append(f"expected at most {MOST_CHANNELS} channels, got {len(named)}")
    found = [_channel(name, one, place, faults) for name, one in named.items()]
    listed = given.get("rules", [])
    if not isinstance(listed, list) or len(listed) > MOST_RULES:
        faults.append(f"expected {place} notify.rules to be at most {MOST_RULES} tables")
        listed = []
    rules = [
        _rule(one, f"{place} notify.rules[{number}]", named, faults)
        for number, one in enumerate(listed, 1)
    ]
    if faults:
        return NotifySettings(), faults
    channels = tuple(one for one in found if one is not None)
    return NotifySettings(channels=channels, rules=tuple(one for one in rules if one)), []


def _channel(name: str, table: object, place: str, faults: list[str]) -> ConfiguredChannel | None:
    here = f"{place} notify.channels.{name if _NAME.match(name) else brief(name)}"
    before = len(faults)
    if not _NAME.match(name):
        faults.append(f"expected {here} to be named by letters, digits and _ . - (64 at most)")
    given = dict(_table_of(table, here, faults))
    kind = given.pop("kind", None)
    if len(faults) > before:
        return None
    if kind not in KINDS:
        told = unknown("kind of channel", kind if isinstance(kind, str) else "", dict(KINDS))
        faults.append(f"{here}.kind: {told}" if kind is not None else _missing(here, "kind"))
        return None
    assert isinstance(kind, str), "a kind is one of the texts that there are"
    read = _read(given, {**KINDS[kind], **KEYS}, here, faults)
    faults += [f"{here}.{told}" for told in _contradictions(read)]
    if len(faults) > before:
        return None
    plan = {key: read.pop(key) for key in _PLANNED if key in read}
    way: Any = _WAYS[kind]
    return ConfiguredChannel(plan=ChannelPlan(name=name, **plan), kind=kind, way=way(**read))


_PLANNED = ("zone", "quiet_from", "quiet_until", "digest_at", "remind", "gather")


def _rule(
    table: object, here: str, channels: Mapping[str, object], faults: list[str]
) -> Rule | None:
    before = len(faults)
    read = _read(_table_of(table, here, faults), RULE_KEYS, here, faults)
    for name in read.get("channels", ()):
        if name not in channels:
            faults.append(f"{here}.channels: {unknown('channel', name, dict(channels))}")
    return Rule(**read) if len(faults) == before else None


def _read(
    given: Mapping[str, object], keys: Mapping[str, Key], here: str, faults: list[str]
) -> dict[str, Any]:
    """Read every key by its own reader; a reader returns the fields that its value stands for."""
    faults += [f"{here}: {unknown('key', key, dict(keys))}" for key in given if key not in keys]
    read: dict[str, Any] = {}
    for name, key in keys.items():
        if name in given:
            try:
                read |= key.read(given[name])
            except UsageError as error:
                faults.append(f"{here}.{name}: {error}")
        elif key.needed:
            faults.append(_missing(here, name))
    return read


def _contradictions(read: Mapping[str, Any]) -> Iterable[str]:
    """Say what two values say against each other."""
    if ("user" in read) != ("password" in read):
        yield "user: expected user and password together"
    if read.get("tls") == "none" and "user" in read and read.get("host") not in _LOOPBACK:
        yield "tls: expected 'starttls' or 'implicit' where there is a user, got 'none'"


def _missing(here: str, key: str) -> str:
    return f"expected {here} to have {key}"


def _table_of(value: object, what: str, faults: list[str]) -> Mapping[str, object]:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return value
    faults.append(str(InvalidValue.expected(what, "a table", value)))
    return {}

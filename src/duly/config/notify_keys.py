"""Which keys a channel and a rule have: how each is read, and what it means to people.

Tables of data: the reader of `[notify]` and the page of settings are both made from them. A reader
takes what TOML can hold and returns the fields that it stands for, or raises `InvalidValue`. What
is a secret can only be named, as `secret:NAME`; a message never shows what stands there instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import time, timedelta
from typing import Any, NamedTuple

from duly.core.durations import format_duration, parse_duration
from duly.core.notices import REMINDERS, SEVERITIES
from duly.core.targets import read_target
from duly.core.zones import zone
from duly.errors import InvalidValue, UnknownName

Fields = dict[str, Any]

MOST_LISTED, LONGEST_TEXT = 50, 300
LONGEST_GATHER, SHORTEST_REMINDER = timedelta(hours=1), timedelta(minutes=1)
TLS = ("starttls", "implicit", "none")

_SECRET = re.compile(r"secret:[A-Z][A-Z0-9_]{0,63}\Z")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z")
_QUIET = re.compile(r"([0-9:]{5}) ?- ?([0-9:]{5})\Z")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}\Z")
_SENDER = re.compile(r"(?P<name>[^<>@\",;:\\()\[\]]{1,64}) <(?P<address>[^<> ]{3,320})>\Z")
_ADDRESS = re.compile(r"[!#-'*+\-/-9=?A-Z^-~.]{1,64}@[A-Za-z0-9.:\[\]-]{1,255}\Z")


class Key(NamedTuple):
    """One key: how it is read, its shape and its meaning for people, whether it must be there."""

    read: Callable[[object], Fields]
    shape: str
    meaning: str
    default: str = ""
    needed: bool = False


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT or not value.isprintable():
        raise InvalidValue.expected(what, f"a text of 1 to {LONGEST_TEXT} characters", value)
    return value


def _texts(value: object, what: str) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_LISTED:
        raise InvalidValue.expected(what, f"a list of 1 to {MOST_LISTED} texts", value)
    found = tuple(_text(one, what) for one in listed)
    if len(set(found)) < len(found):
        raise InvalidValue.expected(what, "a list without repetitions", value)
    return found


def _secret(value: object, what: str) -> str:
    if not isinstance(value, str) or not _SECRET.match(value):
        raise InvalidValue(
            f"expected {what} to name a secret, as in secret:NAME (A-Z, 0-9 and _), got something"
            " else, which is not shown"
        )
    return value


def _address(value: object, what: str) -> str:
    if not isinstance(value, str) or not _ADDRESS.match(value):
        raise InvalidValue.expected(what, "an ASCII address such as ann@example.com", value)
    return value


# --- what every channel has -----------------------------------------------------------------


def _zone(value: object) -> Fields:
    return {"zone": zone(value).name}  # type: ignore[arg-type]  # it judges the type itself


def _time(value: object, what: str) -> time:
    if isinstance(value, time) and value.tzinfo is None and not value.second:
        return value
    match = _CLOCK.match(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidValue.expected(what, 'a time of day such as "08:00"', value)
    return time(int(match[1]), int(match[2]))


def _quiet(value: object) -> Fields:
    match = _QUIET.match(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidValue.expected("quiet", 'two times of day such as "22:00-07:00"', value)
    begin, end = _time(match[1], "quiet"), _time(match[2], "quiet")
    if begin == end:
        raise InvalidValue.expected("quiet", "two different times of day", value)
    return {"quiet_from": begin, "quiet_until": end}


def _remind(value: object) -> Fields:
    listed: list[Any] = value if isinstance(value, list) else [value]
    if len(listed) > MOST_LISTED:
        raise InvalidValue.expected("remind", f"at most {MOST_LISTED} durations", len(listed))
    gaps = tuple(parse_duration(one, what="remind") for one in listed)
    if any(one < SHORTEST_REMINDER for one in gaps):
        raise InvalidValue.expected("remind", "a minute or more each", value)
    if list(gaps) != sorted(gaps):
        raise InvalidValue.expected("remind", "gaps that do not shrink", value)
    return {"remind": gaps}


def _gather(value: object) -> Fields:
    length = parse_duration(value, what="gather")  # type: ignore[arg-type]
    if length > LONGEST_GATHER:
        raise InvalidValue.expected("gather", "an hour at most", value)
    return {"gather": length}


KEYS: Mapping[str, Key] = {
    "zone": Key(_zone, "time zone", "In which people of this channel read times.", "UTC"),
    "quiet": Key(
        _quiet,
        "two times of day",
        'Hours of rest in that zone, such as "22:00-07:00": only what is critical goes out.',
    ),
    "digest_at": Key(
        lambda value: {"digest_at": _time(value, "digest_at")},
        "time of day",
        'When the digest of the day goes out, such as "08:00".',
    ),
    "remind": Key(
        _remind,
        "list of durations",
        "After how long an open incident is told of again; the last gap goes on. `[]`: never.",
        ",".join(format_duration(one) for one in REMINDERS),
    ),
    "gather": Key(
        _gather, "duration", "What happens within this time of a notice goes out together.", "60s"
    ),
}

# --- what each kind has ---------------------------------------------------------------------


def _host(value: object) -> Fields:
    if not isinstance(value, str) or not _HOST.match(value):
        raise InvalidValue.expected("host", "a host such as smtp.example.com", value)
    return {"host": value}


def _port(value: object) -> Fields:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65_536:
        raise InvalidValue.expected("port", "a whole number from 1 to 65535", value)
    return {"port": value}


def _tls(value: object) -> Fields:
    if value not in TLS:
        raise InvalidValue.expected("tls", " or ".join(map(repr, TLS)), value)
    return {"tls": value}


def _from(value: object) -> Fields:
    match = _SENDER.match(value) if isinstance(value, str) and value.isprintable() else None
    if match is None:
        return {"sender": _address(value, "from")}
    return {"sender": _address(match["address"], "from"), "sender_name": match["name"].strip()}


def _to(value: object) -> Fields:
    return {"to": tuple(_address(one, "to") for one in _texts(value, "to"))}


def _url(value: object) -> Fields:
    if isinstance(value, str) and _SECRET.match(value):
        return {"url": value}
    read_target(value)
    return {"url": value}


def _secrets(key: str) -> Callable[[object], Fields]:
    def read(value: object) -> Fields:
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not 0 < len(listed) <= MOST_LISTED:
            raise InvalidValue(f"expected {key} to be a list of secret:NAME")
        return {key: tuple(_secret(one, key) for one in listed)}

    return read


KINDS: Mapping[str, Mapping[str, Key]] = {
    "email": {
        "host": Key(_host, "host", "The mail server.", needed=True),
        "port": Key(_port, "integer", "Its port.", "587, 465 or 25, by `tls`"),
        "tls": Key(_tls, " | ".join(TLS), "How the connection is encrypted.", "starttls"),
        "user": Key(lambda value: {"user": _text(value, "user")}, "text", "Who logs in."),
        "password": Key(
            lambda value: {"password": _secret(value, "password")}, "secret:NAME", "With what."
        ),
        "from": Key(_from, "address", "From whom, such as Duly <duly@example.com>.", needed=True),
        "to": Key(_to, "list of addresses", "To whom.", needed=True),
    },
    "slack": {
        "url": Key(
            lambda value: {"url": _secret(value, "url")},
            "secret:NAME",
            "The URL of the incoming webhook.",
            needed=True,
        ),
    },
    "webhook": {
        "url": Key(_url, "URL or secret:NAME", "Where to post.", needed=True),
        "sign": Key(
            _secrets("sign"), "list of secret:NAME", "What to sign with, `whsec_…`.", needed=True
        ),
    },
    "apprise": {
        "urls": Key(_secrets("urls"), "list of secret:NAME", "URLs of Apprise.", needed=True),
    },
}

# --- what a rule has ------------------------------------------------------------------------


def _severity(value: object) -> Fields:
    if value not in SEVERITIES:
        raise UnknownName.of("severity", value if isinstance(value, str) else "", SEVERITIES)
    return {"severity": value}


def _patterns(key: str) -> Callable[[object], Fields]:
    return lambda value: {key: _texts(value, key)}


RULE_KEYS: Mapping[str, Key] = {
    "channels": Key(_patterns("channels"), "list of channels", "Who hears of it.", needed=True),
    "kinds": Key(_patterns("kinds"), "list of patterns", "Of which kinds: `breaker.*`.", "all"),
    "owners": Key(_patterns("owners"), "list of patterns", "Of whose.", "all"),
    "subjects": Key(_patterns("subjects"), "list of patterns", "Of what.", "all"),
    "severity": Key(_severity, " | ".join(SEVERITIES), "The least that passes.", "info"),
}

"""An HTTP call as data: what to send, what answer is expected, and how to know that it is done.

`read_call` takes what a person wrote (a table of TOML, a JSON object) and returns either an
`HttpCall` that can be right, or every fault at once, each with its key. Secrets are never part
of a call: a header says `secret:NAME`, and the value is looked up right before it is sent. The
only substitution is that of the run's occurrence, `{due}` and its kind, in a template and in the
path of the URL; there are no expressions.

Pure: where a call may go is judged by `core.targets`, what its answer means by `core.answers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from duly.core.access import on_rows
from duly.core.breakers import Breaker, breaker_of_tenant, check_breaker, fitted
from duly.core.durations import parse_duration
from duly.core.secretive import is_secretive, refuse_reference
from duly.core.targets import Rules, read_target, shown_url
from duly.errors import InvalidValue, UnknownName, UsageError, brief, one_line

TASK = "http"
"""The name of the built-in task that makes calls."""

BY_TIMER, BY_HOST, BY_TENANT = "timer", "host", "tenant"
"""Whose a timer's breaker is, where it is no name that timers share."""

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.:-]")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
"""Methods that may be repeated (RFC 9110, 9.2.2); others go through the ledger of effects."""

BODILESS = frozenset({"GET", "HEAD"})
STARTED = 202

FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]{0,8000}\Z")
RESERVED = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "idempotency-key",
    "te", "trailer", "transfer-encoding", "upgrade", "webhook-id", "webhook-signature",
    "webhook-timestamp",
})  # fmt: skip
"""Headers that the sender sets itself."""

COMPLETION_HEADERS = ("duly-run", "duly-completion-token")

MOST_HEADERS, MOST_BODY = 50, 512 * 1024
MOST_KEPT = 128 * 1024
"""Bytes of an answer that are kept at most: as JSON they may take six times as much."""

KEPT_BYTES = 16 * 1024
DEADLINE, LONGEST_DEADLINE = timedelta(seconds=30), timedelta(hours=1)

_SECRET = re.compile(r"secret:([A-Za-z0-9_.-]*)")
_SECRET_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")
_PLACE = re.compile(r"\{([a-z_]{1,40})\}")
_STATUS = re.compile(r"(?:([1-5])xx|([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?)\Z")


class Fault(NamedTuple):
    """Something wrong with what a person wrote: under which key, and what was expected."""

    key: str
    message: str


class HttpCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True,
               forbid_unknown_fields=True):  # fmt: skip
    """One HTTP call. At most one of `json`, `text`, `template` is given.

    `expect` are the statuses that mean success; empty: any 2xx but 202. `completion_s` asks that
    a call answered with 202 is said to be completed within so many seconds, `heartbeat_s` that
    it shows life at least so often until then. `idempotent` overrides what the method says.
    """

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}  # msgspec copies it
    json: Any | UnsetType = UNSET
    text: str | None = None
    template: str | None = None
    expect: tuple[int, ...] = ()
    deadline_s: float = DEADLINE.total_seconds()
    kept_bytes: int = KEPT_BYTES
    completion_s: float | None = None
    heartbeat_s: float | None = None
    sign: tuple[str, ...] = ()
    idempotent: bool | None = None
    tz: str = "UTC"
    tenant: str = ""
    system: bool = False
    breaker: str = ""  # empty: its timer's own; `host`, `tenant`, or a name that timers share
    threshold: int = 0  # failures in a row that open it; 0: as many as a breaker's default

    @property
    def repeatable(self) -> bool:
        """Whether it may be made again when nobody knows what came of it."""
        return self.method in IDEMPOTENT if self.idempotent is None else self.idempotent

    @property
    def expected(self) -> frozenset[int]:
        """The statuses that mean success."""
        return frozenset(self.expect) or frozenset(range(200, 300)) - {STARTED}

    @property
    def endpoint(self) -> str:
        """What it calls, as people are told: the method, and the URL without its query."""
        return f"{self.method} {shown_url(self.url)}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the secrets it needs, without the word `secret:`."""
        named = [name for text in (*self.headers.values(), *self.sign) for name in secrets_in(text)]
        return tuple(dict.fromkeys(named))


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is made for; instants are those of the run's occurrence."""

    run: UUID
    schedule: str | None = None
    due: datetime | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None

    def told_in(self, zone: tzinfo) -> Occasion:
        """Return the same with its instants in a zone."""

        def local(at: datetime | None) -> datetime | None:
            return None if at is None else at.astimezone(zone)

        return msgspec.structs.replace(
            self,
            due=local(self.due),
            window_start=local(self.window_start),
            window_end=local(self.window_end),
        )

    def value(self, name: str) -> str:
        """Return what `{name}` stands for; raises `InvalidValue` where the run has none."""
        found = getattr(self, name)
        if found is None:
            raise InvalidValue(f"expected the run to have an occurrence, for {{{name}}}")
        return found.isoformat() if isinstance(found, datetime) else str(found)


PLACES = Occasion.__struct_fields__
"""The names that a template may hold, in braces."""


# --- substitution and secrets ---------------------------------------------------------------


def places_in(text: str) -> tuple[str, ...]:
    """Return the names in braces of a text; raises `UnknownName` for one that there is not.

    Other braces stand for themselves, so that JSON can be written as it is.
    """
    names = tuple(_PLACE.findall(text))
    for name in names:
        if name not in PLACES:
            raise UnknownName.of("value for a template", name, PLACES)
    return names


def render(text: str, occasion: Occasion, *, quoted: bool = False) -> str:
    """Return a text with its names in braces replaced; `quoted` for the path of a URL."""

    def value(found: re.Match[str]) -> str:
        told = occasion.value(found[1])
        return quote(told, safe="") if quoted else told

    places_in(text)
    return _PLACE.sub(value, text)


def secrets_in(text: str) -> tuple[str, ...]:
    """Return the names of the secrets that a text refers to as `secret:NAME`."""
    names = tuple(_SECRET.findall(text))
    for name in names:
        if not _SECRET_NAME.match(name):
            raise InvalidValue.expected(
                "a secret's name", "1 to 64 of A-Z, 0-9 and _, a letter first", name
            )
    return names


def with_secrets(text: str, look_up: Callable[[str], str]) -> str:
    """Return a text with each `secret:NAME` replaced by what `look_up` says."""
    return _SECRET.sub(lambda found: look_up(found[1]), text)


# --- reading what a person wrote ------------------------------------------------------------


def read_call(
    fields: Mapping[str, object], rules: Rules | None = None
) -> tuple[HttpCall | None, list[Fault]]:
    """Return the call that `fields` describe, or None and everything that is wrong with them.

    `rules` say where it may go, as far as the URL tells; without them only its form is read.
    """
    faults = [
        Fault(key, str(UnknownName.of("key", key, READERS))) for key in fields if key not in READERS
    ]
    given: dict[str, Any] = {}
    for key, read in READERS.items():
        if key in fields:
            try:
                given[READ_AS.get(key, key)] = read(fields[key])
            except UsageError as error:
                faults.append(Fault(key, str(error)))
    faults += _url(given, fields, rules)
    faults += _contradictions(given)
    if faults:
        return None, faults
    return HttpCall(**given), []


def check_call(fields: Mapping[str, object], rules: Rules | None = None) -> HttpCall:
    """Return the call that `fields` describe, or raise `InvalidValue` with all that is wrong."""
    call, faults = read_call(fields, rules)
    if call is None:
        raise InvalidValue("; ".join(f"{one.key}: {one.message}" for one in faults))
    return call


def _url(
    given: dict[str, Any], fields: Mapping[str, object], rules: Rules | None
) -> Iterable[Fault]:
    """Put the URL together from `base` and `path` where it is not given whole, and judge it."""
    base, path = given.pop("base", None), given.pop("path", None)
    if {"url", "base", "path"} & (fields.keys() - given.keys()) and base is path is None:
        return  # it was refused already
    if ("url" in given) == (base is not None) or (path is not None and base is None):
        yield Fault("url", "expected url, or base and path")
        return
    key = "url" if base is None else "path" if path is not None else "base"
    if base is not None:
        given["url"] = base.rstrip("/") + (path or "/")
    whole: str = given["url"]
    try:
        places_in(whole)
        (read_target if rules is None else rules.read)(whole)
    except UsageError as error:
        yield Fault(key, str(error))


def breaker_of(call: HttpCall, own: Breaker) -> Breaker:
    """Return the breaker before a call: `own`, or the one it shares by host, tenant or name.

    What tenants share is theirs: its name begins with theirs, and nobody else's call has it.
    """
    own = own.lasting(timedelta(seconds=call.deadline_s))
    if call.threshold:
        own = msgspec.structs.replace(own, threshold=call.threshold)
    if not call.breaker:
        return own
    name = _host_of(call.url) if call.breaker == BY_HOST else call.breaker
    if call.tenant:
        name = breaker_of_tenant(call.tenant, "" if call.breaker == BY_TENANT else name)
    return msgspec.structs.replace(own, name=fitted(name))


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    place = parts.hostname or "" if parts.port is None else f"{parts.hostname}:{parts.port}"
    return "host:" + _NOT_IN_A_NAME.sub("_", place)


def _contradictions(given: Mapping[str, Any]) -> Iterable[Fault]:
    """Say what two values say against each other."""
    if given.get("breaker") == BY_TENANT and not given.get("tenant"):
        yield Fault("breaker", "expected a tenant too, where the breaker is the tenant's")
    bodies = [key for key in ("json", "text", "template") if key in given]
    if len(bodies) > 1:
        yield Fault(bodies[1], f"expected one body, got {' and '.join(bodies)}")
    method = given.get("method", "GET")
    if bodies and method in BODILESS:
        yield Fault(bodies[0], f"expected a {method} to have no body")
    if "heartbeat_s" in given and "completion_s" not in given:
        yield Fault("heartbeat", "expected completion too: how long it may take in all")
    if given.get("heartbeat_s", 0) > given.get("completion_s", 0) > 0:
        yield Fault("heartbeat", "expected it to be shorter than completion")


def _text(what: str, value: object, most: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise InvalidValue.expected(what, f"a text of 1 to {most:,} characters", value)
    return value


def _public(what: str, value: object, most: int) -> str:
    """Read a text that is sent as it is written, to be read by anybody who sees the call."""
    text = _text(what, value, most)
    refuse_reference(what, text)
    return text


def _method(value: object) -> str:
    method = value.upper() if isinstance(value, str) else value
    if method not in METHODS:
        raise UnknownName.of("method", str(value), METHODS)
    return str(method)


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > MOST_HEADERS:
        raise InvalidValue.expected(
            "headers", f"at most {MOST_HEADERS} names with their values", type(value).__name__
        )
    seen: set[str] = set()
    for name, text in value.items():
        if not isinstance(name, str) or not FIELD_NAME.match(name):
            raise InvalidValue.expected("a header's name", "letters, digits and hyphens", name)
        if name.lower() in seen:
            raise InvalidValue(f"expected each header once, got {name} again")
        if name.lower() in RESERVED or name.lower() in COMPLETION_HEADERS:
            raise InvalidValue.expected("a header's name", "one that you may set", name)
        if not isinstance(text, str) or not FIELD_VALUE.match(text):
            raise InvalidValue(
                f"expected the header {name} to be one line of at most 8,000 characters"
            )
        if is_secretive(name) and not secrets_in(text):
            raise InvalidValue(
                f"expected the header {name} to name a secret, as in 'Bearer secret:NAME'"
            )
        secrets_in(text)
        seen.add(name.lower())
    return dict(value)


def _json(value: object) -> object:
    try:
        data = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidValue(f"expected json to be made of plain values: {one_line(error)}") from None
    if len(data) > MOST_BODY:
        raise InvalidValue(f"expected json to be at most {MOST_BODY:,} bytes, got {len(data):,}")
    refuse_reference("json", data.decode())
    return msgspec.json.decode(data)


def _template(value: object) -> str:
    text = _public("template", value, MOST_BODY)
    places_in(text)
    return text


def _statuses(value: object) -> tuple[int, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    found: set[int] = set()
    for one in listed:
        match = _STATUS.match(str(one)) if not isinstance(one, bool) else None
        if match is None:
            raise InvalidValue.expected("expect", 'statuses such as 200, "2xx" or "200-204"', value)
        if match[1]:
            found |= set(range(int(match[1]) * 100, int(match[1]) * 100 + 100))
        else:
            found |= set(range(int(match[2]), int(match[3] or match[2]) + 1))
    if not found:
        raise InvalidValue.expected("expect", "at least one status", value)
    return tuple(sorted(found))


def _seconds(what: str, most: timedelta) -> Callable[[object], float]:
    def read(value: object) -> float:
        length = parse_duration(value, what=what)  # type: ignore[arg-type]
        if not timedelta(milliseconds=100) <= length <= most:
            raise InvalidValue.expected(what, f"from 100ms to {most}", value)
        return length.total_seconds()

    return read


def _kept(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_KEPT:
        raise InvalidValue.expected("kept_bytes", f"from 0 to {MOST_KEPT:,}", value)
    return value


def _sign(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    named: list[str] = []
    for one in listed:
        if not isinstance(one, str) or _SECRET.fullmatch(one) is None:
            raise InvalidValue("expected sign to name secrets, as in 'secret:NAME'")
        secrets_in(one)
        named.append(one)
    if not 1 <= len(named) <= 4:
        raise InvalidValue.expected("sign", "1 to 4 secrets", len(named))
    return tuple(named)


def _flag(what: str) -> Callable[[object], bool]:
    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise InvalidValue.expected(what, "true or false", value)
        return value

    return read


def _tenant(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValue.expected("tenant", "a text", value)
    return on_rows(value)


def _system(value: object) -> bool:
    if value not in ("user", "system"):
        raise InvalidValue(f"expected kind to be user or system, got {brief(value)}")
    return value == "system"


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise InvalidValue.expected("path", "a text that begins with /", value)
    return _public("path", value, 2000)


def _breaker(value: object) -> str:
    if value == BY_TIMER:
        return ""
    name = check_breaker(value)
    if ":" in name:
        raise InvalidValue.expected("breaker", "timer, host, tenant, or a name without :", value)
    return name


def _threshold(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
        raise InvalidValue.expected("threshold", "a whole number from 1 to 1000", value)
    return value


READERS: Mapping[str, Callable[[object], Any]] = {
    "url": lambda value: _public("url", value, 2000),
    "base": lambda value: _public("base", value, 2000),
    "path": _path,
    "method": _method,
    "headers": _headers,
    "json": _json,
    "text": lambda value: _public("text", value, MOST_BODY),
    "template": _template,
    "expect": _statuses,
    "deadline": _seconds("deadline", LONGEST_DEADLINE),
    "kept_bytes": _kept,
    "completion": _seconds("completion", timedelta(days=7)),
    "heartbeat": _seconds("heartbeat", timedelta(days=1)),
    "sign": _sign,
    "idempotent": _flag("idempotent"),
    "tenant": _tenant,
    "kind": _system,
    "breaker": _breaker,
    "threshold": _threshold,
}
"""What a call may be given, and how each is read."""

READ_AS = {
    "deadline": "deadline_s",
    "completion": "completion_s",
    "heartbeat": "heartbeat_s",
    "kind": "system",
}

"""A timer as data: a schedule whose task is an HTTP call, read from what a person wrote.

`read_timer` turns one table of keys into the definition of a schedule, or into every fault at
once, each with its key; `read_timers` does so for a whole file of them, with lines. A timer needs
no code: its call travels as the run's arguments, and any instance that carries the task `http`
makes it.

Pure: nothing is stored, and no name is resolved.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import msgspec

from duly.core.calls import READERS, TASK, Fault, HttpCall, read_call
from duly.core.durations import parse_duration
from duly.core.firing import check_definition
from duly.core.schedules import CatchUp, CatchUpMode, Definition, Overlap
from duly.core.targets import Rules
from duly.core.triggers import Cron, Every, Once, Trigger
from duly.core.zones import zone
from duly.errors import InvalidValue, UnknownName, UsageError, brief, nearest, one_line

MOST_TIMERS = 10_000
OWNER = "timers"
"""Who owns a timer of which nobody said whose it is."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}\Z", re.ASCII)
_WHEN = ("cron", "every", "at")
_SCHEDULE_KEYS = (*_WHEN, "tz", "catch_up", "max_age", "overlap", "jitter")
KEYS = (*READERS, *_SCHEDULE_KEYS)
"""What a timer may be given."""

SHARED = ("base", "headers", "tenant", "kind", "tz", "deadline")
"""What may stand at the top of a file, for all of its timers that do not say otherwise."""


class Timer(NamedTuple):
    """A definition of a schedule and the call that it makes."""

    definition: Definition
    call: HttpCall


class Located(NamedTuple):
    """A fault of a file: at which line (0: the whole file), and what it says."""

    line: int
    message: str


class TimerFile(NamedTuple):
    """What a file declares: whose timers, and which."""

    owner: str
    timers: tuple[Timer, ...]
    says_owner: bool = True  # else the owner is what timers have that nobody claimed


def call_of(definition: Definition) -> HttpCall | None:
    """Return the call of a timer's definition; None for a schedule that is no timer."""
    return call_in(definition.task, definition.args)


def call_in(task: str, args: bytes) -> HttpCall | None:
    """Return the call that a run with these arguments makes, if it makes one."""
    if task != TASK:
        return None
    try:
        return msgspec.json.decode(args, type=_Arguments).call
    except (msgspec.MsgspecError, RecursionError):
        return None


class _Arguments(msgspec.Struct):
    """The arguments of the task `http`."""

    call: HttpCall


def arguments_of(call: HttpCall) -> bytes:
    """Return the arguments of a run that makes the call."""
    return msgspec.json.encode(_Arguments(call))


def owned_by(definition: Definition, tenant: str) -> Definition:
    """Return a definition that bears a tenant.

    The call of a timer says so too: else it could share the breakers of others by their names.
    """
    call = call_of(definition)
    if call is not None:
        call = msgspec.structs.replace(call, tenant=tenant)
        definition = msgspec.structs.replace(definition, args=arguments_of(call))
    return msgspec.structs.replace(definition, tenant=tenant)


def read_timer(
    name: object, fields: Mapping[str, object], rules: Rules | None = None
) -> tuple[Timer | None, list[Fault]]:
    """Return the timer that `fields` describe, or None and everything that is wrong with them."""
    faults = [
        Fault(key, f"no key of a timer is called {brief(key)}{nearest(key, KEYS)}")
        for key in fields
        if key not in KEYS
    ]
    if not isinstance(name, str) or not _NAME.match(name):
        faults.append(Fault("", f"expected a timer's name to be {_NAMED}, got {brief(name)}"))
    of_call = {key: value for key, value in fields.items() if key in READERS}
    call, wrong = read_call(of_call, rules)
    faults += wrong
    trigger = _trigger(fields, faults)
    when = {
        key: _read(key, faults, partial(read, fields[key]))
        for key, read in _POLICIES.items()
        if key in fields
    }
    if faults or call is None or trigger is None:
        return None, faults
    call = msgspec.structs.replace(call, tz=str(fields.get("tz", "UTC")))
    definition = _definition(str(name), call, trigger, when)
    checked = _read("jitter", faults, lambda: check_definition(definition))
    return (None if checked is None else Timer(checked, call)), faults


_NAMED = "1 to 128 letters, digits and _ . : / -, a letter first"


def _definition(name: str, call: HttpCall, trigger: Trigger, when: Mapping[str, Any]) -> Definition:
    default = CatchUp()
    return Definition(
        name=name,
        task=TASK,
        trigger=trigger.spec(),
        args=arguments_of(call),
        catch_up=CatchUp(
            mode=when.get("catch_up", default.mode), max_age=when.get("max_age", default.max_age)
        ),
        overlap=when.get("overlap", Overlap.SKIP),
        tenant=call.tenant,
        **({"jitter": when["jitter"]} if "jitter" in when else {}),
    )


def _read(key: str, faults: list[Fault], read: Callable[[], Any]) -> Any:
    """Return what is read, or None with a fault under the key."""
    try:
        return read()
    except UsageError as error:
        faults.append(Fault(key, str(error)))
        return None


def _trigger(fields: Mapping[str, object], faults: list[Fault]) -> Trigger | None:
    """Return when it is due, or None with faults, each under the key that is wrong."""
    tz = _read("tz", faults, lambda: _zone(fields.get("tz"))) or "UTC"
    given = [key for key in _WHEN if key in fields]
    if len(given) != 1:
        told = f"expected exactly one of cron, every, at; got {' and '.join(given) or 'none'}"
        faults.append(Fault(given[1] if given else "cron", told))
        return None
    trigger: Trigger | None = _read(given[0], faults, lambda: _due(given[0], fields[given[0]], tz))
    return trigger


def _due(key: str, value: object, tz: str) -> Trigger:
    match key:
        case "cron":
            return Cron(_as_text("cron", value), tz=tz)
        case "every":
            return Every(parse_duration(value, what="every"))  # type: ignore[arg-type]
        case _:
            return Once(_instant(value))


def _zone(tz: object) -> str:
    if tz is None:
        return "UTC"
    zone(_as_text("tz", tz))
    return str(tz)


def _as_text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValue.expected(what, "a text", value)
    return value


def _instant(value: object) -> datetime:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        at = None
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InvalidValue.expected("at", "an instant with an offset", value)
    return at


def _choice(kind: type[StrEnum], what: str) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        try:
            return kind(str(value))
        except ValueError:
            known = [one.value for one in kind]
            raise UnknownName.of(f"value of {what}", str(value), known) from None

    return read


_POLICIES: Mapping[str, Callable[[Any], Any]] = {
    "catch_up": _choice(CatchUpMode, "catch_up"),
    "max_age": lambda value: parse_duration(value, what="max_age"),
    "overlap": _choice(Overlap, "overlap"),
    "jitter": lambda value: parse_duration(value, what="jitter"),
}


# --- files ----------------------------------------------------------------------------------


def read_timers(text: str, rules: Rules | None = None) -> tuple[TimerFile | None, list[Located]]:
    """Read a file of timers, in TOML: `owner`, what they share, and a table `[timers.NAME]` each.

    Returns None and everything that is wrong, by line, when anything is.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, [_syntax(error)]
    lines = _Lines(text)
    faults = [
        Located(lines.of(key), f"no key of a file of timers is called {brief(key)}"
                               f"{nearest(key, ('owner', 'timers', *SHARED))}")
        for key in document
        if key not in ("owner", "timers", *SHARED)
    ]  # fmt: skip
    owner = document.get("owner", OWNER)
    if not isinstance(owner, str) or not _NAME.match(owner):
        faults.append(Located(lines.of("owner"), f"expected owner to be {_NAMED}"))
    tables = document.get("timers", {})
    if not isinstance(tables, dict) or len(tables) > MOST_TIMERS:
        faults.append(Located(lines.of("timers"), f"expected at most {MOST_TIMERS:,} timers"))
        tables = {}
    shared = {key: document[key] for key in SHARED if key in document}
    found: list[Timer] = []
    for name, table in tables.items():
        faults += _one(name, table, shared, lines=lines, rules=rules, found=found)
    if faults:
        return None, sorted(faults)
    return TimerFile(str(owner), tuple(found), "owner" in document), []


def _one(
    name: str,
    table: object,
    shared: Mapping[str, object],
    *,
    lines: _Lines,
    rules: Rules | None,
    found: list[Timer],
) -> Iterator[Located]:
    """Read one timer of a file into `found`, or yield what is wrong with it."""
    if not isinstance(table, dict):
        yield Located(lines.of(name), f"{name}: expected a table [timers.{name}]")
        return
    general = {key: value for key, value in shared.items() if key != "base" or "url" not in table}
    timer, faults = read_timer(name, _merged(general, table), rules)
    for key, message in faults:
        yield Located(lines.of(key, name), f"{name}.{key}: {message}" if key else message)
    if timer is not None:
        found.append(timer)


def _merged(shared: Mapping[str, object], table: Mapping[str, object]) -> dict[str, object]:
    """Put a timer's own keys over those of the file; headers are put together."""
    merged = {**shared, **table}
    both = (shared.get("headers"), table.get("headers"))
    if all(isinstance(one, dict) for one in both):
        merged["headers"] = {**both[0], **both[1]}  # type: ignore[dict-item]
    return merged


def _syntax(error: Exception) -> Located:
    at = re.search(r"at line (\d+)", str(error))
    return Located(int(at[1]) if at else 0, f"expected TOML: {one_line(error)}")


class _Lines:
    """Finds the line of a key, as far as it is written in the usual way."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def of(self, key: str, name: str = "") -> int:
        """Return the line of a key within the table of a timer, else of the table; 0 if unknown."""
        start, end = (0, len(self._lines)) if not name else self._table(name)
        key = re.escape(key)
        pattern = re.compile(rf"\s*(?:\[[^\]]*\b)?[\"']?{key}[\"']?\s*(?:[=.\]])") if key else None
        for number in range(start, end):
            if pattern is not None and pattern.match(self._lines[number]):
                return number + 1
        return start + 1 if name and end else 0

    def _table(self, name: str) -> tuple[int, int]:
        """Return the stretch of a timer's table, or (0, 0)."""
        head = re.compile(rf"\s*\[timers\.[\"']?{re.escape(name)}[\"']?(?:\]|\.)")
        start = next((at for at, line in enumerate(self._lines) if head.match(line)), None)
        if start is None:
            return 0, 0
        for at in range(start + 1, len(self._lines)):
            if self._lines[at].lstrip().startswith("[") and not head.match(self._lines[at]):
                return start, at
        return start, len(self._lines)

"""What one setting is: its names, its kind, its bounds, its meaning; how its text is read.

A setting has a full name (`engine.lease`) and a short one (`lease`). Both hold everywhere: as
flag, in a file, and as environment variable (`DULY_ENGINE__LEASE`, `DULY_LEASE`). `Spec.read`
takes what a flag, a variable or a TOML file can hold and returns the value of the right type,
inside its bounds, or raises `ConfigError`; a secret is never part of a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from duly.config.urls import HIDDEN, mask_url
from duly.core.durations import format_duration, parse_duration
from duly.errors import ConfigError, InvalidValue, brief, nearest

ENV_PREFIX = "DULY_"
TEXT_LENGTH = 2_000

_KEY = "duly"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_TYPES = {timedelta: "duration", bool: "true | false", int: "integer", tuple: "list of names"}

Bounded = TypeVar("Bounded", timedelta, int)
Value = timedelta | int | str | tuple[str, ...]


@dataclass(frozen=True)
class SettingDoc:
    """A row of the table of settings, all texts; `default` is empty when there is none."""

    name: str
    type: str
    default: str
    env: str
    meaning: str
    secret: bool


@dataclass(frozen=True)
class Spec:
    """One setting. `low` and `high` are inclusive; `choices` closes the values of a text."""

    name: str
    short: str
    default: Value
    meaning: str
    low: Any = None
    high: Any = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    is_url: bool = False
    entries: str = ""  # what the entries of a list are, where they are no names; it may be empty

    @property
    def env(self) -> str:
        """The short name of the environment variable."""
        return ENV_PREFIX + self.short.upper()

    @property
    def long_env(self) -> str:
        """The name of the environment variable that tells the room too."""
        return ENV_PREFIX + self.name.upper().replace(".", "__")

    @property
    def type(self) -> str:
        """What kind of value it takes, for people."""
        if self.choices:
            return " | ".join(self.choices)
        if isinstance(self.default, str):
            return "secret text" if self.secret else "text"
        if self.entries:
            return f"list of {self.entries}"
        return _TYPES[type(self.default)]

    def read(self, value: object, what: str) -> Value:
        """Return the value that `value` stands for; `what` names it in a refusal."""
        if isinstance(self.default, timedelta):
            read: object = self._duration(value, what)
        elif isinstance(self.default, bool):
            read = _WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value
        elif isinstance(self.default, int):
            is_text = isinstance(value, str) and _INTEGER.fullmatch(value.strip())
            read = int(str(value)) if is_text else value
        elif isinstance(self.default, tuple):
            split = value.split(",") if isinstance(value, str) else value
            is_list = isinstance(split, list | tuple) and all(isinstance(n, str) for n in split)
            read = tuple(n.strip() for n in split) if is_list else split  # type: ignore[attr-defined]
            read = () if read == ("",) and self.entries else read
        else:
            read = value.lower() if self.choices and isinstance(value, str) else value
        return self.check(read, what)

    def check(self, value: object, what: str) -> Value:
        """Return `value` if it is of the right type and inside the bounds."""
        if isinstance(self.default, timedelta):
            if isinstance(value, timedelta):
                return self._bounded(value, what)
        elif isinstance(self.default, bool):
            if isinstance(value, bool):
                return value
        elif isinstance(self.default, int):
            if isinstance(value, int) and not isinstance(value, bool):
                return self._bounded(value, what)
        elif isinstance(self.default, tuple):
            if _are_entries(value) if self.entries else _are_names(value):
                return value  # type: ignore[return-value]
        elif isinstance(value, str) and self._is_fitting(value):
            return value
        raise expected(what, self._shape(), self.shown(value))

    def shown(self, value: object) -> object:
        """Return `value` as it may be shown: JSON-able, durations as text, secrets hidden."""
        if isinstance(value, timedelta):
            return format_duration(value) if value >= timedelta(0) else str(value)
        if self.secret and value:
            readable = self.is_url and isinstance(value, str) and "://" in value
            return mask_url(str(value)) if readable else HIDDEN
        return list(value) if isinstance(value, tuple) else value

    def doc(self) -> SettingDoc:
        """Return the row of the table of settings."""
        shown = self.shown(self.default)
        default = ",".join(shown) if isinstance(shown, list) else str(shown)
        if isinstance(shown, bool):
            default = default.lower()
        return SettingDoc(self.name, self.type, default, self.env, self.meaning, self.secret)

    def _duration(self, value: object, what: str) -> timedelta:
        try:
            return parse_duration(value, what=what)  # type: ignore[arg-type]
        except InvalidValue as refusal:
            raise ConfigError(str(refusal)) from None

    def _bounded(self, value: Bounded, what: str) -> Bounded:
        too_low = self.low is not None and value < self.low
        if too_low or (self.high is not None and value > self.high):
            raise expected(what, self._shape(), self.shown(value))
        return value

    def _is_fitting(self, value: str) -> bool:
        if self.choices:
            return value in self.choices
        empty_is_none = self.default == ""
        return (bool(value) or empty_is_none) and (
            len(value) <= TEXT_LENGTH and not _CONTROL.search(value)
        )

    def _shape(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.entries:
            return f"a list of {self.entries}"
        if isinstance(self.default, tuple):
            return "distinct names of letters, digits and _ . - (64 characters at most)"
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return f"a text of 1 to {TEXT_LENGTH} printable characters"
        kind = "a duration" if isinstance(self.default, timedelta) else "a whole number"
        low, high = self.shown(self.low), self.shown(self.high)
        return f"{kind} from {low} to {high}" if high is not None else f"{kind} of at least {low}"


def setting(default: Value, meaning: str, **more: Any) -> Any:
    """Return a dataclass field that carries what `Spec` needs; a secret is left out of `repr`."""
    metadata = {_KEY: {"default": default, "meaning": meaning, **more}}
    return field(default=default, repr=not more.get("secret", False), metadata=metadata)


def spec_of(room: str, name: str, metadata: Mapping[str, Any]) -> Spec:
    """Make the `Spec` of a field that `setting` made."""
    return Spec(name=f"{room}.{name}", **{"short": name, **metadata[_KEY]})


def expected(what: str, to_be: str, got: object) -> ConfigError:
    """Build a `ConfigError` in the pattern of the house."""
    return ConfigError(str(InvalidValue.expected(what, to_be, got)))


def unknown(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """Say that there is no such thing, with the nearest name that there is."""
    return f"no {kind} is called {brief(name)}{nearest(name, known)}"


def _are_names(value: object) -> bool:
    if not isinstance(value, tuple) or not value:
        return False
    fitting = all(isinstance(name, str) and _NAME.fullmatch(name) for name in value)
    return fitting and len(set(value)) == len(value)


def _are_entries(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(one, str) and 0 < len(one) <= 300 and one.isprintable() for one in value
    )

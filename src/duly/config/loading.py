"""Where settings come from: flag, then environment, then file, then default.

`load_settings` reads all four and tells of each value whence it came. Unknown names are errors
with the nearest right one, in files, flags, and among environment variables that begin with
`DULY_`; all faults are told at once. Nothing is read but the arguments and the files: the
process's own environment is passed in.

The table `notify` names channels, which have no short names and no variables: it stands in a file
only, and `config.notify` reads it.

Not settings, and passed over: `DULY_TEST_…`, the secrets of calls (`DULY_SECRET_…`), what the
command line reads for itself (`ELSEWHERE`), and the variables that an orchestrator sets for a
service called `duly` or `duly-…` (`DULY_SERVICE_HOST`, `DULY_PORT=tcp://…`). A variable that is
empty counts as not set. `DULY_CONFIG` names the file to read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duly.config.notify import NotifySettings, read_notify
from duly.config.notify_shown import shown
from duly.config.rooms import ROOMS, SHORT, SPECS, Settings
from duly.config.specs import ENV_PREFIX, Spec, unknown
from duly.errors import ConfigError, UnknownName, brief, one_line

CONFIG_ENV = "DULY_CONFIG"
NOTIFY = "notify"
ELSEWHERE = frozenset({CONFIG_ENV, "DULY_APP", "DULY_DEBUG"})
SECRET_FILE_BYTES = 65_536

_SERVICE = re.compile(r"DULY(_[A-Z0-9_]+)?_(SERVICE_(HOST|PORT)|PORT_[0-9]+_(TCP|UDP|SCTP))(_.*)?")
_SERVICE_PORT = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True)
class Loaded:
    """Settings that can run, and the origin of each."""

    settings: Settings
    origins: Mapping[str, str]
    notify_from: str = ""  # the file that the channels and rules stand in, if any does

    def origin(self, name: str) -> str:
        """Return whence a setting came: `env DULY_LEASE`, `duly.toml lease`, `default`, …"""
        if name not in self.origins:
            raise UnknownName.of("setting", name, self.origins)
        return self.origins[name]

    def describe(self) -> dict[str, dict[str, object]]:
        """Return name → `{"value", "origin"}`, JSON-able, secrets hidden; channels come last."""
        settings: dict[str, dict[str, object]] = {
            name: {"value": spec.shown(self._value(name)), "origin": self.origins[name]}
            for name, spec in SPECS.items()
        }
        return settings | {
            name: {"value": value, "origin": f"{self.notify_from} {name}"}
            for name, value in shown(self.settings.notify).items()
        }

    def _value(self, name: str) -> object:
        room, _, setting = name.partition(".")
        return getattr(getattr(self.settings, room), setting)


@dataclass(frozen=True)
class _Given:
    """A value as it was found, before it is read."""

    spec: Spec
    value: object
    origin: str


def load_settings(
    *,
    flags: Mapping[str, object],
    env: Mapping[str, str],
    files: Sequence[Path] | None = None,
    cwd: Path,
) -> Loaded:
    """Build the settings; of two sources that name one setting, the first below wins.

    `flags` by full or short name, None meaning not given; `env`; `files` in their order. With
    `files=None`: the file that `DULY_CONFIG` names, else `duly.toml` and `[tool.duly]` of
    `pyproject.toml` in `cwd`, where they exist. Raises `ConfigError` with one line per fault.
    """
    faults: list[str] = []
    chosen: dict[str, _Given] = {}
    notify: list[tuple[object, str]] = []
    sources: list[Iterable[_Given]] = [_flags(flags, faults), _env(env, cwd, faults)]
    sources += [_file(path, faults, notify) for path in _paths(files, env, cwd)]
    for source in sources:
        for name, given in _once_each(source, faults).items():
            chosen.setdefault(name, given)
    values = _read(chosen, faults)
    settings = _build(values, _channels(notify, faults), faults)
    origins = {name: chosen[name].origin if name in chosen else "default" for name in SPECS}
    return Loaded(settings, origins, notify[0][1] if notify else "")


def _read(chosen: Mapping[str, _Given], faults: list[str]) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {room: {} for room in ROOMS}
    for name, given in chosen.items():
        room, _, setting = name.partition(".")
        try:
            values[room][setting] = given.spec.read(given.value, f"{name} ({given.origin})")
        except ConfigError as fault:
            faults.append(str(fault))
    return values


def _channels(found: Sequence[tuple[object, str]], faults: list[str]) -> NotifySettings:
    """Read the first table of channels that there is; one of a later file is passed over."""
    told, wrong = read_notify(*found[0]) if found else (NotifySettings(), [])
    faults += wrong
    return told


def _build(
    values: Mapping[str, Mapping[str, Any]], notify: NotifySettings, faults: list[str]
) -> Settings:
    """Build the rooms; what contradicts itself is judged only when every value could be read."""
    built: dict[str, Any] = {}
    for room, kind in ROOMS.items() if not faults else ():
        try:
            built[room] = kind(**values[room])
        except ConfigError as fault:
            faults.append(str(fault))
    if faults:
        raise ConfigError("\n".join(faults))
    return Settings(**built, notify=notify)


def _once_each(source: Iterable[_Given], faults: list[str]) -> dict[str, _Given]:
    """Refuse two names for one setting in one source: which of them wins would be a guess."""
    found: dict[str, _Given] = {}
    for given in source:
        name = given.spec.name
        if name in found:
            faults.append(
                f"expected {name} to be set once, got {found[name].origin} and {given.origin}"
            )
        found[name] = given
    return found


# --- flags ----------------------------------------------------------------------------------


def _flags(flags: Mapping[str, object], faults: list[str]) -> list[_Given]:
    found = []
    for name, value in flags.items():
        spec = SPECS.get(name) or SHORT.get(name)
        if spec is None:
            faults.append(unknown("setting", name, {**SPECS, **SHORT}))
        elif value is not None:
            found.append(_Given(spec, value, "flag --" + name.replace("_", "-")))
    return found


# --- environment ----------------------------------------------------------------------------

_BY_ENV = {n: s for s in SPECS.values() for n in (s.env, s.long_env)}
_BY_FILE_ENV = {n + "_FILE": s for n, s in _BY_ENV.items() if s.secret}


def _env(env: Mapping[str, str], cwd: Path, faults: list[str]) -> list[_Given]:
    found = []
    for name in sorted(env):
        value = env[name]
        if not name.startswith(ENV_PREFIX) or not value or _is_foreign(name, value):
            continue
        if spec := _BY_ENV.get(name):
            found.append(_Given(spec, value, f"env {name}"))
        elif spec := _BY_FILE_ENV.get(name):
            secret = _secret(name, cwd / value, faults)
            if secret is not None:
                found.append(_Given(spec, secret, f"env {name}"))
        else:
            faults.append(unknown("environment variable", name, {**_BY_ENV, **_BY_FILE_ENV}))
    return found


_OTHERS = ("DULY_TEST_", "DULY_SECRET_")


def _is_foreign(name: str, value: str) -> bool:
    if name in ELSEWHERE or name.startswith(_OTHERS) or _SERVICE.fullmatch(name):
        return True
    return name.endswith("_PORT") and bool(_SERVICE_PORT.match(value))


def _secret(name: str, path: Path, faults: list[str]) -> str | None:
    """Read a secret's file; one line break at its end is not part of the secret."""
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_BYTES + 1)
        if len(content) <= SECRET_FILE_BYTES:
            return content.decode().removesuffix("\n").removesuffix("\r")
        why = f"it is larger than {SECRET_FILE_BYTES} bytes"
    except OSError as failure:
        why = failure.strerror or type(failure).__name__
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except ValueError:
        why = "no file has such a name"
    faults.append(f"expected {name} to name a readable file, got {brief(str(path), 300)}: {why}")
    return None


# --- files ----------------------------------------------------------------------------------


def _paths(files: Sequence[Path] | None, env: Mapping[str, str], cwd: Path) -> list[Path]:
    if files is not None:
        return [cwd / path for path in files]
    if named := env.get(CONFIG_ENV):
        return [cwd / named]
    return [path for path in (cwd / "duly.toml", cwd / "pyproject.toml") if path.exists()]


def _file(path: Path, faults: list[str], notify: list[tuple[object, str]]) -> list[_Given]:
    shown = one_line(path, 300)
    try:
        document: Any = tomllib.loads(path.read_text("utf-8"))
    except OSError as failure:
        faults.append(f"expected {shown} to be a readable file: {failure.strerror}")
        return []
    except (ValueError, RecursionError) as failure:  # a number may be too long, a name have a NUL
        faults.append(f"expected {shown} to be TOML: {one_line(failure)}")
        return []
    place = path.name
    if path.name == "pyproject.toml":
        tool = document.get("tool")
        document = tool.get("duly", {}) if isinstance(tool, dict) else {}
        place += " [tool.duly]"
    if not isinstance(document, dict):
        faults.append(f"expected {place} to be a table")
        return []
    if NOTIFY in document:  # tables by names of the user's own: no setting has such a shape
        notify.append((document.pop(NOTIFY), place))
    return list(_table(document, place, faults))


def _table(document: Mapping[str, object], place: str, faults: list[str]) -> Iterable[_Given]:
    for key, value in document.items():
        if key in ROOMS and isinstance(value, dict):
            for inner, setting in value.items():
                if spec := SPECS.get(f"{key}.{inner}"):
                    yield _Given(spec, setting, f"{place} {key}.{inner}")
                else:
                    known = {n: s for n, s in SPECS.items() if n.startswith(key + ".")}
                    faults.append(f"{place}: " + unknown("setting", f"{key}.{inner}", known))
        elif spec := SHORT.get(key):
            yield _Given(spec, value, f"{place} {key}")
        else:
            faults.append(f"{place}: " + unknown("setting", key, {**SHORT, **ROOMS, NOTIFY: None}))

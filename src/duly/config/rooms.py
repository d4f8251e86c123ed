"""The settings of each room: what can be set, its default, its bounds, what contradicts what.

Each room is a frozen dataclass that checks itself when it is built, so that a `Settings` that
exists is one that can run. Bounds of one value stand beside its default; what two values say
of each other stands in `__post_init__`. Everything refused is a `ConfigError` in the pattern
*expected X to be …, got …*. Documentation of settings is made from `settings_table`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from duly.config.notify import NotifySettings
from duly.config.specs import SettingDoc, Spec, expected, setting, spec_of
from duly.config.urls import StoreUrl, parse_store_url
from duly.core.durations import format_duration
from duly.core.fleet import PRESENT
from duly.core.targets import Rules
from duly.errors import ConfigError, InvalidValue

# `setting` returns a dataclass field, whose default is immutable.
# ruff: noqa: RUF009

_INSTANT = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_BEAT = PRESENT / 3
TOKEN_LENGTH = 24


class _Room:
    """Checks every value of a room against its own bounds."""

    def _check(self, room: str) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            name = f"{room}.{one.name}"
            SPECS[name].check(getattr(self, one.name), name)


@dataclass(frozen=True, kw_only=True)
class StoreSettings(_Room):
    """Where everything is remembered."""

    url: str = setting(
        "sqlite:///duly.db",
        "The database: sqlite:///file.db, postgresql://user:password@host/database or memory://.",
        short="store",
        secret=True,
        is_url=True,
    )
    pool: int = setting(
        5,
        "Connections for statements, beside the four that have duties of their own.",
        low=1,
        high=100,
    )

    allow_network_fs: bool = setting(
        False,
        "Open a SQLite file on a network file system although its locks are not reliable there.",
        short="sqlite_allow_network_fs",
    )

    def __post_init__(self) -> None:
        self._check("store")
        parse_store_url(self.url)

    @property
    def parsed(self) -> StoreUrl:
        """The URL, understood."""
        return parse_store_url(self.url)


@dataclass(frozen=True, kw_only=True)
class EngineSettings(_Room):
    """How an instance claims, holds, and hands back."""

    lease: timedelta = setting(
        timedelta(seconds=15),
        "How long what an instance holds stays its own after the last renewal.",
        low=_SECOND,
        high=timedelta(hours=1),
    )
    renewal: timedelta = setting(
        timedelta(seconds=5),
        "How often an instance that holds runs renews its lease.",
        low=_INSTANT * 100,
        high=timedelta(hours=1),
    )
    margin: timedelta = setting(
        timedelta(seconds=3),
        "How long before the end of its lease an instance stops starting effects and new work.",
        low=_INSTANT * 100,
        high=timedelta(hours=1),
    )
    takeover_grace: timedelta = setting(
        timedelta(milliseconds=250),
        "How long a holder whose death is not proven may take its locks again.",
        low=timedelta(0),
        high=timedelta(minutes=1),
    )
    presence: timedelta = setting(
        timedelta(seconds=30),
        "How often an idle instance shows presence and polls, as the net under notifications.",
        low=_INSTANT * 100,
        high=_BEAT,
    )
    stop_grace: timedelta = setting(
        timedelta(seconds=30),
        "How long running work may go on at a stop, before the process ends for certain.",
        low=timedelta(0),
        high=_DAY,
    )
    slots: int = setting(100, "Runs that may be in flight at once.", low=1, high=10_000)
    threads: int = setting(8, "Of these, how many synchronous tasks at once.", low=1, high=1_000)
    queues: tuple[str, ...] = setting(("default",), "Queues that are claimed from.")
    cluster: str = setting(
        "", "A name for the instances that stand or fall together: a region, a data centre."
    )
    loop_failures: int = setting(
        5,
        "Failures in a row after which a supervised loop gives up (exit code 70).",
        low=1,
        high=1_000,
    )
    probes: int = setting(
        0,
        "Port for /livez, /readyz and /metrics of a worker; 0: none.",
        low=0,
        high=65_535,
    )
    probes_host: str = setting(
        "127.0.0.1",
        "Address on which they listen; an orchestrator that asks from outside needs 0.0.0.0.",
    )
    history: timedelta = setting(
        timedelta(days=30), "How long ended runs are kept.", low=timedelta(hours=1)
    )
    history_last: int = setting(
        100, "Newest runs of each schedule that are kept however old.", low=0, high=100_000
    )
    key_retention: timedelta = setting(
        timedelta(days=400),
        "How long keys of runs and effects are remembered.",
        low=timedelta(hours=1),
    )

    logs: str = setting(
        "failed",
        "Which attempts keep what their code logs, where the task does not say.",
        choices=("failed", "all", "none"),
    )

    def __post_init__(self) -> None:
        self._check("engine")
        least = 2 * self.renewal + self.margin
        if self.lease <= least:
            # One renewal may fail, and the next must still come before the margin begins.
            raise _contradiction(
                "engine.lease", "longer than 2 × engine.renewal + engine.margin", least, self.lease
            )
        if self.takeover_grace >= self.lease:
            raise _contradiction(
                "engine.takeover_grace",
                "shorter than engine.lease",
                self.lease,
                self.takeover_grace,
            )
        if self.key_retention < self.history:
            raise _contradiction(
                "engine.key_retention",
                "no shorter than engine.history",
                self.history,
                self.key_retention,
            )


@dataclass(frozen=True, kw_only=True)
class LogSettings(_Room):
    """What is told on standard error."""

    level: str = setting(
        "info",
        "The least level that is told.",
        short="log_level",
        choices=("debug", "info", "warning", "error"),
    )
    format: str = setting(
        "auto",
        "Shape of a line; auto is text on a terminal and JSON elsewhere.",
        short="log_format",
        choices=("auto", "json", "text"),
    )

    def __post_init__(self) -> None:
        self._check("log")


@dataclass(frozen=True, kw_only=True)
class ServerSettings(_Room):
    """Where the API and the dashboard listen."""

    host: str = setting(
        "127.0.0.1",
        "Address to listen on; one that is not loopback demands a key or a token.",
        short="server_host",
    )
    port: int = setting(
        8300, "Port to listen on; 0 takes any free one.", short="server_port", low=0, high=65_535
    )
    token: str = setting(
        "",
        "A bearer token that may do everything, beside the keys of `duly keys`.",
        short="server_token",
        secret=True,
    )

    def __post_init__(self) -> None:
        self._check("server")
        if self.token and len(self.token) < TOKEN_LENGTH:
            raise expected("server.token", f"at least {TOKEN_LENGTH} characters long", "***")


@dataclass(frozen=True, kw_only=True)
class CallSettings(_Room):
    """Where HTTP timers may go, and where their secrets are."""

    allow: tuple[str, ...] = setting(
        (),
        "Targets that may be called beside public ones on ports 80 and 443: networks, hosts,"
        " ports, such as 10.0.0.0/8, shop.internal:8080, :8443.",
        short="calls_allow",
        entries="targets",
    )
    plain_http: bool = setting(
        False, "Let http:// be called too, and not only https://.", short="calls_plain_http"
    )
    secrets: str = setting(
        "",
        "A folder with a file per secret; DULY_SECRET_NAME comes before a file called NAME.",
        short="calls_secrets",
    )

    def __post_init__(self) -> None:
        self._check("calls")
        try:
            self.rules  # noqa: B018  # it is read to be checked
        except InvalidValue as error:
            raise ConfigError(f"calls.allow: {error}") from None

    @property
    def rules(self) -> Rules:
        """What may be called, understood."""
        return Rules.of(self.allow, plain_http=self.plain_http)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All rooms."""

    store: StoreSettings = field(default_factory=StoreSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    log: LogSettings = field(default_factory=LogSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    calls: CallSettings = field(default_factory=CallSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)


ROOMS: Mapping[str, Any] = {
    "store": StoreSettings,
    "engine": EngineSettings,
    "log": LogSettings,
    "server": ServerSettings,
    "calls": CallSettings,
}

SPECS: Mapping[str, Spec] = {
    spec.name: spec
    for room, kind in ROOMS.items()
    for spec in (spec_of(room, one.name, one.metadata) for one in fields(kind))
}

SHORT: Mapping[str, Spec] = {spec.short: spec for spec in SPECS.values()}


def settings_table() -> list[SettingDoc]:
    """Return every setting there is, in the order of the rooms."""
    return [spec.doc() for spec in SPECS.values()]


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _contradiction(what: str, to_be: str, bound: timedelta, got: timedelta) -> Exception:
    return expected(what, f"{to_be} ({format_duration(bound)})", format_duration(got))

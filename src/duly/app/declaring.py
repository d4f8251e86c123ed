"""From what a user writes in a decorator to tasks and definitions of schedules.

Everything is checked when it is declared, at import, so that a mistake is found before
anything starts. Durations are text (`"90s"`, `"1h30m"`), numbers of seconds, or `timedelta`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any, Literal, TypedDict, TypeVar

from duly.core.access import on_rows
from duly.core.breakers import Breaker, check_breaker
from duly.core.durations import parse_duration
from duly.core.expect import Expect
from duly.core.firing import check_definition
from duly.core.logs import Keeping
from duly.core.rules import RetryPolicy
from duly.core.schedules import CatchUp, CatchUpMode, Definition, Overlap
from duly.core.tasks import Task, task_from
from duly.core.triggers import Cron, Every, Once, Trigger
from duly.core.zones import zone
from duly.errors import InvalidValue, UsageError, nearest

Duration = str | int | float | timedelta
Choice = TypeVar("Choice", bound=StrEnum)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}\Z", re.ASCII)


class TaskOptions(TypedDict, total=False):
    """How a task runs, and what is expected of it.

    `limit` is (key, how many at once in the whole fleet). `breaker` names the target that the task
    calls: while the target is broken, runs wait and spend no retry. `logs` says which attempts keep
    what they log; None: as `engine.logs` says.
    """

    retries: int
    backoff: Duration
    backoff_longest: Duration
    timeout: Duration | None
    queue: str
    priority: int
    limit: tuple[str, int] | None
    expires_after: Duration | None
    expect: Expect | None
    breaker: str | Breaker | None
    logs: Literal["failed", "all", "none"] | None


class ScheduleOptions(TypedDict, total=False):
    """When a task is due; exactly one of `cron`, `every`, `at`."""

    cron: str | None
    every: Duration | None
    at: datetime | None
    tz: str
    seconds: Literal["first", "last"] | None
    anchor: datetime | None
    start: datetime | None
    end: datetime | None
    gap: Literal["after", "skip"]
    fold: Literal["first", "second", "both"]
    catch_up: Literal["skip", "latest", "all"]
    max_age: Duration
    max_count: int
    pace: Duration
    batch: bool
    overlap: Literal["skip", "queue_one", "queue_all", "cancel_running", "allow"]
    jitter: Duration
    tenant: str


SCHEDULE_OPTIONS = frozenset(ScheduleOptions.__annotations__)
TASK_OPTIONS = frozenset(TaskOptions.__annotations__)


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options of a task from those of its schedule; unknown ones are errors."""
    for name in options:
        if name not in TASK_OPTIONS | SCHEDULE_OPTIONS:
            raise UsageError(
                f"no option is called {name!r}{nearest(name, TASK_OPTIONS | SCHEDULE_OPTIONS)}"
            )
    task = {name: value for name, value in options.items() if name in TASK_OPTIONS}
    schedule = {name: value for name, value in options.items() if name in SCHEDULE_OPTIONS}
    return task, schedule


def make_task(fn: Callable[..., Any], name: str | None, options: Mapping[str, Any]) -> Task:
    """Make a task of a function and `TaskOptions`."""
    chosen = check_name("task", name or fn.__name__)
    limit = options.get("limit")
    key, most = (None, 0) if limit is None else _limit(limit)
    timeout = options.get("timeout")
    expires = options.get("expires_after")
    expect = options.get("expect")
    if not isinstance(expect, Expect | None):
        raise InvalidValue.expected("expect", "an Expect(...)", expect)
    return task_from(
        fn,
        name=chosen,
        retry=_retry(options),
        timeout=None if timeout is None else parse_duration(timeout, what="timeout"),
        queue=check_name("queue", options.get("queue", "default")),
        priority=options.get("priority", 0),
        limit_key=key,
        limit=most,
        expires_after=None if expires is None else parse_duration(expires, what="expires_after"),
        expect=expect,
        breaker=_breaker(options.get("breaker")),
        logs=None if options.get("logs") is None else _choice(Keeping, "logs", options["logs"]),
    )


def _breaker(given: object) -> Breaker | None:
    if isinstance(given, str):
        return Breaker(check_breaker(given))
    if not isinstance(given, Breaker | None):
        raise InvalidValue.expected("breaker", "a name, or a Breaker(...)", given)
    return given


def _retry(options: Mapping[str, Any]) -> RetryPolicy:
    default = RetryPolicy()
    return RetryPolicy(
        retries=options.get("retries", default.retries),
        base=parse_duration(options.get("backoff", default.base), what="backoff"),
        longest=parse_duration(
            options.get("backoff_longest", default.longest), what="backoff_longest"
        ),
    )


def _limit(limit: object) -> tuple[str, int]:
    match limit:
        case (str() as key, int() as most) if most >= 1 and 0 < len(key) <= 128:
            return key, most
        case _:
            raise InvalidValue.expected("limit", "a pair (key, at least 1)", limit)


def make_definition(name: str, task: Task, args: bytes, options: Mapping[str, Any]) -> Definition:
    """Make a definition of a schedule from `ScheduleOptions`; raises when it cannot be right."""
    trigger = make_trigger(name, options)
    definition = Definition(
        name=check_name("schedule", name),
        task=task.name,
        trigger=trigger.spec(),
        args=args,
        queue=task.queue,
        priority=task.priority,
        catch_up=_catch_up(options),
        overlap=_choice(Overlap, "overlap", options.get("overlap", "skip")),
        jitter=parse_duration(options.get("jitter", 0), what="jitter"),
        expires_after=task.expires_after,
        limit_key=task.limit_key,
        limit=task.limit,
        tenant=on_rows(options["tenant"]) if options.get("tenant") else "",
    )
    return check_definition(definition)


def make_trigger(name: str, options: Mapping[str, Any]) -> Trigger:
    """Make the trigger that `cron`, `every` or `at` asks for."""
    given = [one for one in ("cron", "every", "at") if options.get(one) is not None]
    if len(given) != 1:
        raise UsageError(
            f"expected exactly one of cron, every, at for schedule {name!r},"
            f" got {' and '.join(given) or 'none'}"
        )
    start, end = options.get("start"), options.get("end")
    if given == ["cron"]:
        return Cron(
            options["cron"],
            tz=options.get("tz", "UTC"),
            seconds=options.get("seconds"),
            gap=options.get("gap", "after"),
            fold=options.get("fold", "first"),
            start=start,
            end=end,
        )
    if given == ["every"]:
        interval = parse_duration(options["every"], what="every")
        anchor = options.get("anchor")
        if anchor is None:
            return Every(interval, start=start, end=end)
        return Every(interval, anchor=anchor, start=start, end=end)
    return Once(options["at"])


def _catch_up(options: Mapping[str, Any]) -> CatchUp:
    default = CatchUp()
    most = options.get("max_count", default.max_count)
    if not isinstance(most, int) or most < 0:
        raise InvalidValue.expected("max_count", "a whole number from 0", most)
    return CatchUp(
        mode=_choice(CatchUpMode, "catch_up", options.get("catch_up", "latest")),
        max_age=parse_duration(options.get("max_age", default.max_age), what="max_age"),
        max_count=most,
        pace=parse_duration(options.get("pace", 0), what="pace"),
        batch=bool(options.get("batch", False)),
    )


def _choice(kind: type[Choice], what: str, value: str) -> Choice:
    try:
        return kind(value)
    except ValueError:
        allowed = [one.value for one in kind]
        raise InvalidValue(
            f"expected {what} to be one of {', '.join(allowed)},"
            f" got {value!r}{nearest(str(value), allowed)}"
        ) from None


def check_name(kind: str, name: object) -> str:
    """Return a name of a task, schedule or queue; raise `InvalidValue` for one that misleads."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidValue.expected(
            f"the name of a {kind}", "1 to 128 letters, digits and _ . : / -, a letter first", name
        )
    return name


def zone_of(definition: Definition) -> tzinfo:
    """Return the zone a schedule's instants are shown in."""
    name = definition.trigger.get("tz")
    return zone(name).info if isinstance(name, str) else UTC

"""A task as its user sees it: still the function it was, and a way to ask for runs of it.

Arguments are checked against the function's annotations when a run is asked for, so that a
mistake is the caller's at once. Nothing here runs anything but the plain function itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from duly.client import Client, Options, RunHandle
from duly.core.durations import parse_duration
from duly.core.runs import NewRun
from duly.core.tasks import Task

if TYPE_CHECKING:
    from duly.app.duly import Duly


class RunOptions(TypedDict, total=False):
    """How one run is asked for: the options of `options()`."""

    key: str | None
    run_at: datetime | None
    delay: str | float | timedelta | None
    queue: str | None
    priority: int | None
    expires_after: str | float | timedelta | None
    tenant: str


class DeclaredTask:
    """A declared task. Calling it calls the function, here and now, with nothing recorded."""

    def __init__(self, app: Duly, spec: Task, options: Options | None = None) -> None:
        self._app, self.spec, self._options = app, spec, options or Options()
        functools.update_wrapper(self, spec.fn)

    def __repr__(self) -> str:
        return f"<task {self.spec.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.spec.fn(*args, **kwargs)

    @property
    def name(self) -> str:
        """The name under which the store knows it."""
        return self.spec.name

    def options(self, **options: Unpack[RunOptions]) -> DeclaredTask:
        """Return the same task with options for the runs that are asked for through it.

        `key`: one run per key, ever: a live one is joined, a succeeded one returned, a failed
        one retried. `run_at`, `delay`: not before. `queue`, `priority`: instead of the task's.
        `expires_after`: not started by then, it never runs. `tenant`: whose run it is, for who
        may see it; its key is scoped by it.
        """
        read: dict[str, Any] = dict(options)
        for name in ("delay", "expires_after"):
            if read.get(name) is not None:
                read[name] = parse_duration(read[name], what=name)
        return DeclaredTask(self._app, self.spec, Options(**read))

    async def enqueue(self, *args: Any, conn: Any = None, **kwargs: Any) -> RunHandle:
        """Ask for a run; acknowledged means it survives any crash.

        `conn` is an open transaction of the user's own on the same database (asyncpg, or
        SQLAlchemy): the run exists once that commits. Raises `InvalidValue` for arguments
        that do not fit, `Refused` when its key belongs to a parked run.
        """
        run = self._run(args, kwargs)
        return (await self._client.enqueue([run], conn=conn))[0]

    async def enqueue_many(
        self, calls: Iterable[Mapping[str, Any]], *, conn: Any = None
    ) -> list[RunHandle]:
        """Ask for a run per mapping of arguments, all or none, in one go."""
        client, spec, options = self._client, self.spec, self._options
        runs = [client.new_run(spec, spec.encode((), call), options) for call in calls]
        return await client.enqueue(runs, conn=conn) if runs else []

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> NewRun:
        return self._client.new_run(self.spec, self.spec.encode(args, kwargs), self._options)

    @property
    def _client(self) -> Client:
        return self._app.client

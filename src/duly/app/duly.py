"""The application: what a user's file declares, and how it is opened, used and run.

    app = Duly()

    @app.task(cron="0 1 * * *", tz="Europe/Amsterdam")
    async def mail_orders(ctx: Context) -> None: ...

Declaring touches nothing. `async with app` opens the store, for programs that ask for work;
`await app.work()` makes this process an instance that does it. Both may be used together.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, Unpack, overload

from duly.app.binding import Binding
from duly.app.declaring import (
    ScheduleOptions,
    TaskOptions,
    check_name,
    make_definition,
    make_task,
    split_options,
    zone_of,
)
from duly.app.notifying import NotifyOptions, Told, declare_channel
from duly.app.supervising import Supervised, declare
from duly.app.tasks import DeclaredTask
from duly.app.wiring import make_store
from duly.client import Client
from duly.config import Loaded, Settings, StoreKind, load_settings
from duly.core.breakers import Breaker, check_breaker
from duly.core.clock import Clock
from duly.core.fleet import Health
from duly.core.outbox import check_topic
from duly.core.restarts import Length, RestartPolicy
from duly.core.runs import Answer
from duly.core.schedules import Definition
from duly.core.tasks import Task
from duly.engine import Gate, Guard, HostProcesses, SystemClock
from duly.engine.turning import EVERY
from duly.errors import InvalidValue, Refused, UsageError
from duly.events import Bus
from duly.outbound.base import Channel, Destination
from duly.stores.base import Standing, Store

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from duly.core.why import Explanation
    from duly.pipeline import Difference

Fn = TypeVar("Fn", bound=Callable[..., Any])
Loop = TypeVar("Loop", bound=Callable[[], Any])
Lifespan = Callable[[], AbstractAsyncContextManager[Any]]


class Options(ScheduleOptions, TaskOptions, total=False):
    """Everything `@app.task` takes beside a name."""


class Duly:
    """A service's background work: its tasks, its schedules, and its store.

    `store` is a URL (default: `DULY_STORE`, `duly.toml`, else `sqlite:///duly.db`); `name`
    owns the schedules declared here; `version` is told to people. `lifespan` is an async
    context manager entered once per worker process; what it yields is `ctx.resources`.
    """

    def __init__(
        self,
        store: str | None = None,
        *,
        name: str = "app",
        version: str = "0",
        lifespan: Lifespan | None = None,
        settings: Mapping[str, object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = check_name("application", name)
        self.version = version
        self.lifespan = lifespan
        self.clock: Clock = clock or SystemClock()
        self.bus = Bus()
        self._client: tuple[Store, Client] | None = None
        self.tasks: dict[str, Task] = {}
        self.definitions: dict[str, Definition] = {}
        self.bindings: dict[str, Binding] = {}
        self.supervised: dict[str, Supervised] = {}
        self.channels: dict[str, Told] = {}
        self.health: Callable[[], Health] = lambda: Health(True, False, "starting")
        self._given: dict[str, object] = dict(settings or {})
        if store is not None:
            self._given["store"] = store
        self._loaded: Loaded | None = None
        self._store: Store | None = None
        self._gate: Gate | None = None
        self._kept = False  # whether the store outlives its closing: it is not ours, or forgets
        self._openings = 0
        self._loop: asyncio.AbstractEventLoop | None = None  # that the store was opened on

    def __repr__(self) -> str:
        return f"<Duly {self.name} tasks={len(self.tasks)} schedules={len(self.definitions)}>"

    # --- declaring ------------------------------------------------------------------------

    @overload
    def task(self, fn: Fn, /) -> DeclaredTask: ...
    @overload
    def task(
        self, /, *, name: str | None = None, **options: Unpack[Options]
    ) -> Callable[[Fn], DeclaredTask]: ...
    def task(self, fn: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
        """Declare a task, and with `cron`, `every` or `at` a schedule of the same name.

        Raises `UsageError` for an unknown option, a name that is taken, or a schedule that
        can never fire. Afterwards the function is a `DeclaredTask`: still callable as itself.
        """
        if fn is not None:
            return self._declare(fn, None, {})
        return lambda fn: self._declare(fn, name, options)

    def _declare(
        self, fn: Callable[..., Any], name: str | None, options: Mapping[str, Any]
    ) -> DeclaredTask:
        of_task, of_schedule = split_options(options)
        task = make_task(fn, name, of_task)
        if task.name in self.tasks:
            raise UsageError(f"two tasks are called {task.name!r}; give one another name=")
        declared = DeclaredTask(self, task)
        self.tasks[task.name] = task
        if of_schedule:
            try:
                self.schedule(task.name, declared, **of_schedule)
            except BaseException:
                del self.tasks[task.name]
                raise
        return declared

    def schedule(
        self,
        name: str,
        task: DeclaredTask,
        *,
        args: Mapping[str, Any] | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Definition:
        """Declare a further schedule for a task, with arguments of its own."""
        if name in self.definitions:
            raise UsageError(f"two schedules are called {name!r}")
        split_options(options)
        encoded = task.spec.encode((), args or {})
        definition = make_definition(name, task.spec, encoded, options)
        self.definitions[name] = definition
        return definition

    def carry_calls(self, **options: Unpack[TaskOptions]) -> DeclaredTask:
        """Carry the built-in task `http`: instances of this application make timers' calls too.

        `options` are those of the task, such as `retries`. Raises `UsageError` when a task of that
        name is declared already.
        """
        from duly.app.calling import carry_calls

        return carry_calls(self, **options)

    def bind(self, topic: str, *, to: DeclaredTask | Destination, per_second: int = 5_000) -> None:
        """Say where the messages of a topic go: to a task of this application, or a broker.

        A task gets each message as its arguments, or whole if it has a parameter `message`. What
        is published to a topic that is not bound is refused. `per_second` bounds how fast
        a backlog is relayed. Raises `UsageError` when the topic is bound already.
        """
        if check_topic(topic) in self.bindings:
            raise UsageError(f"the topic {topic!r} is bound already")
        if per_second < 1:
            raise InvalidValue.expected("per_second", "at least 1", per_second)
        self.bindings[topic] = Binding(to, per_second)

    @overload
    def supervise(self, fn: Loop, /) -> Loop: ...
    @overload
    def supervise(
        self,
        /,
        *,
        name: str | None = None,
        policy: RestartPolicy | None = None,
        every: Length = EVERY,
    ) -> Callable[[Loop], Loop]: ...
    @overload
    def supervise(
        self,
        fn: Loop,
        /,
        *,
        name: str | None = None,
        policy: RestartPolicy | None = None,
        every: Length = EVERY,
    ) -> Loop: ...
    def supervise(self, fn: Any = None, /, **how: Any) -> Any:
        """Run a function without arguments in every instance that works, under supervision.

        As a decorator or a verb; returns the function. A call is a turn: when it returns, the
        next comes after `every`; one that loops by itself calls `beat()`. A plain function runs
        on a thread. One that fails or hangs too often in a row (`policy`) opens an incident, the
        instance's work is handed back, and its process ends with 70. A store that is away counts
        for nothing. Raises `InvalidValue`, or `UsageError` for a name that is taken.
        """

        def chosen(fn: Any) -> Any:
            declare(self.supervised, fn, **how)
            return fn

        return chosen if fn is None else chosen(fn)

    def notify(self, channel: Channel, **agreed: Unpack[NotifyOptions]) -> None:
        """Tell people of incidents by a channel, from every instance, once for the whole fleet.

        `quiet=("22:00", "07:00")` lets only what is critical through; `digest_at="08:00"` sums up
        once a day; both in `zone`. `remind` are growing gaps, after which what is open is told
        again unless somebody acknowledged it; news within `gather` goes together. Raises
        `InvalidValue`, or `UsageError` for a name that is taken.
        """
        declare_channel(self.channels, channel, agreed)

    async def emit(self, name: str, value: Any = None, *, by: str = "") -> Answer:
        """Say that something happened, once; runs that wait for it go on. Again: `already`."""
        return await self.client.emit(name, value, by=by)

    async def why(self, thing: str) -> Explanation:
        """Say why a thing is as it is: causes with identifiers that stay, words, what helps.

        `thing` is what `duly why` takes: a run's id, a schedule, `schedule@occurrence`, an effect
        as `task name key`, or a name with its kind before it, such as `breaker:smtp`, `queue:mails`
        or `instance:host-1`. Raises `UnknownName` with the nearest, or `InvalidValue`.
        """
        from duly.app.explaining import Explaining

        return await Explaining(self.store, self.tasks).explain(thing)

    async def reconcile(
        self, conn: Any, table: str, *, pk: str, seen: str, seen_pk: str, where: str | None = None
    ) -> Difference:
        """Count rows of `table` that are not in `seen`; while there are any, an incident is open.

        As `duly.pipeline.reconcile`, on the caller's own connection. The incident is `rows.missing`
        of the table; the first look that finds none missing closes it.
        """
        from duly.app.reconciling import reconcile_and_tell

        how = {"pk": pk, "seen_pk": seen_pk, "where": where}
        return await reconcile_and_tell(self.client, conn, table, owner=self.name, seen=seen, **how)

    @property
    def zones(self) -> dict[str, tzinfo]:
        """The zone of each schedule."""
        return {name: zone_of(one) for name, one in self.definitions.items()}

    # --- settings and store ---------------------------------------------------------------

    def configure(self, **given: object) -> None:
        """Set settings by name, above environment and files; before the store is opened."""
        if self._openings:
            raise Refused("the store is open; configure before that")
        self._given.update({name: value for name, value in given.items() if value is not None})
        self._loaded = self._store = self._gate = None

    @property
    def loaded(self) -> Loaded:
        """The settings and where each came from; raises `ConfigError`."""
        if self._loaded is None:
            self._loaded = load_settings(flags=self._given, env=os.environ, cwd=Path.cwd())
        return self._loaded

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.loaded.settings

    @property
    def store(self) -> Store:
        """The store, made on first use; it may not be open yet."""
        if self._store is None:
            self._store = make_store(self.settings, self.clock)
            self._kept = self.settings.store.parsed.kind is StoreKind.MEMORY
        return self._store

    def use(self, store: Store) -> None:
        """Use a store that was made elsewhere: tests do."""
        self._store, self._kept, self._gate = store, True, None

    @property
    def gate(self) -> Gate:
        """The breakers as this process sees them, on this application's store."""
        if self._gate is None:
            self._gate = Gate(self.store, self.clock, emit=self.bus.emit, owner=self.name)
            self.store.listen(self._gate.hear)
        return self._gate

    def breaker(self, breaker: str | Breaker) -> Guard:
        """Guard a call of your own: `async with app.breaker("smtp"): ...`, or `with` on a thread.

        Raises `BreakerOpen` before the call while the target is broken; an error that says so is
        counted, for the whole fleet. A name stands for what a task declared under it, else for a
        `Breaker` of the defaults: where a call may take longer than its `probe_deadline`, 30 s, say
        so there, else another probes beside it. On a thread that is no task's the application must
        be open.
        """
        if isinstance(breaker, str):
            known = (one.breaker for one in self.tasks.values() if one.breaker is not None)
            same = (one for one in known if one.name == breaker)
            breaker = next(same, None) or Breaker(check_breaker(breaker))
        check_breaker(breaker.name)
        return Guard(lambda: self.gate, breaker, self.name, loop=lambda: self._loop)

    @property
    def client(self) -> Client:
        """The verbs of programs, on this application's store."""
        store = self.store
        if self._client is None or self._client[0] is not store:
            client = Client(store, self.tasks, self.clock, self.bus)
            client.gone = HostProcesses().gone
            self._client = store, client
        return self._client[1]

    async def open(self) -> Standing:
        """Open the store; an embedded one is migrated at once. Raises what `Store.open` does."""
        if self._openings == 0 and self.settings.store.parsed.kind is StoreKind.SQLITE:
            await self.store.migrate()
        standing = await self.store.open()
        self._openings += 1
        self._loop = asyncio.get_running_loop()
        return standing

    async def close(self) -> None:
        """Close the store when as many closed it as opened it; it may be opened again."""
        self._openings = max(0, self._openings - 1)
        if self._openings == 0:
            self._loop = None
        if self._openings == 0 and self._store is not None:
            await self._store.close()
            if not self._kept:
                self._store = self._gate = None  # a store that was closed is not opened again

    async def __aenter__(self) -> Duly:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def log(self, stream: TextIO | None = None) -> Callable[[], None]:
        """Tell what happens here as records of the logger `duly`; returns what ends that.

        For a process of your own that works, a web service say; `duly worker` does it by itself.
        With a `stream`, such as `sys.stderr`, lines are written to it as the settings of `log` say;
        without one they go wherever your own logging sends them.
        """
        from duly.server.logs import LEVELS, Logs, tell_on

        settings, root = self.settings.log, logging.getLogger()
        context = {"app": self.name}
        handler = None if stream is None else tell_on(stream, settings, context=context)
        logs = Logs(monotonic=self.clock.monotonic, level=LEVELS[settings.level])
        detach = logs.attach(self.bus)

        def end() -> None:
            detach()
            logs.flush()
            if handler is not None:
                root.removeHandler(handler)

        return end

    def asgi(self) -> ASGIApp:
        """Return the REST API as an ASGI application, to be served alone or mounted in another.

        It is closed by default: without a key (`duly keys create`) everything but `/livez` and
        `/readyz` answers 401. Mounted, the store is opened at the first request; with
        `async with app` in your own lifespan it is also closed when you stop. Raises
        `ConfigError` when the extra `server` is not installed.
        """
        from duly.app.serving import make_asgi

        return make_asgi(self)

    async def work(self, *, queues: Sequence[str] | None = None) -> int:
        """Be an instance of the fleet until cancelled; returns the exit code.

        Cancelling it stops gracefully, within `stop_grace`.
        """
        from duly.app.working import work

        return await work(self, queues=tuple(queues) if queues else None)

    async def watch(self) -> int:
        """Tell people when nobody else is left to, until cancelled; returns the exit code.

        For a process that does no work and lives longer than those that do, such as one in which
        the API is mounted; `duly server` does it by itself. It notices deaths, lateness and that
        no worker is there, and tells by the channels; it claims and fires nothing.
        """
        from duly.app.watching import watch

        return await watch(self)

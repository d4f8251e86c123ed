"""Tasks of the trials of durable work, declared in every worker beside the others.

`die` ends the process at a place that the harness has marked with a file, once: the file is
taken away first, so that the next process lives past it. Deliveries go to a target that is a
process of the harness's own, over a real socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from chaos.waiting import until
from duly import Context, Duly, Effect, NotPerformed
from duly.core.outbox import Message

STEPS = 50
CHILDREN = 3
SINK = "rows"


class Sink:
    """A `Destination` that writes ids and bodies to a file, at least once.

    A kill may cut a write short, between two pages. So each batch begins a line of its own, and a
    line is whole only if it ends with a full stop.
    """

    def __init__(self, path: Path) -> None:
        self.name, self._path = "sink", path

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, messages: Sequence[Message]) -> list[UUID]:
        lines = (f"{one.id} {one.key} {one.body.decode()} .\n" for one in messages)
        text = "\n" + "".join(lines)
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)
        return [one.id for one in messages]


Write = Callable[..., None]


def declare(app: Duly, write: Write, folder: Path) -> None:
    """Declare the tasks, and where their messages go."""
    _declare_steps(app, write, folder)
    _declare_iterations(app, write, folder)
    _declare_effects(app, write, folder)
    _declare_returning(app, write)
    app.bind(SINK, to=Sink(folder / "sink"), per_second=1_000_000)


def _declare_steps(app: Duly, write: Write, folder: Path) -> None:
    def die(place: str) -> None:
        mark = folder / f"die-{place}"
        try:
            mark.unlink()
        except FileNotFoundError:
            return
        write("died", detail=place)
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(retries=0)
    async def fifty(ctx: Context) -> int:
        """Fifty steps, each of which can be died at before, inside, and behind."""
        total = 0
        write("start", run=ctx.run_id, attempt=ctx.attempt)
        for number in range(STEPS):
            die(f"{number}-before")

            async def act(number: int = number) -> int:
                write("did", run=ctx.run_id, attempt=ctx.attempt, detail=str(number))
                die(f"{number}-inside")
                return number

            total += await ctx.step(f"step {number}", act)
            write("kept", run=ctx.run_id, attempt=ctx.attempt, detail=str(number))
            die(f"{number}-after")
        write("end", run=ctx.run_id, attempt=ctx.attempt)
        return total


def _declare_iterations(app: Duly, write: Write, folder: Path) -> None:
    @app.task(retries=0)
    async def rows(ctx: Context, count: int, first: int = 1) -> int:
        """Publish a message for each row of a source; they keep their order within seven keys."""
        write("start", run=ctx.run_id, attempt=ctx.attempt)
        async for row in ctx.each("rows", lambda after: _rows(after, count, first)):
            await ctx.publish(SINK, row, key=f"{first}:{row % 7}")
        write("end", run=ctx.run_id, attempt=ctx.attempt)
        return ctx.work.journal.progress.published

    @app.task(retries=0)
    async def bare(ctx: Context, count: int) -> int:
        """The same without any protection: each row goes straight to a file, and is not kept."""
        done = 0
        file = os.open(folder / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        async for _, row in _rows(None, count):
            os.write(file, f"{row % 7} {json.dumps(row)}\n".encode())
            done += 1
        os.close(file)
        return done


def _declare_effects(app: Duly, write: Write, folder: Path) -> None:
    @app.task(retries=5, backoff="50ms")
    async def deliver(ctx: Context, port: int, number: int) -> bool:
        """Deliver one thing, once."""
        write("start", run=ctx.run_id, attempt=ctx.attempt)
        receipt = await ctx.effect("deliver", _deliver, port, number, key=str(number))
        write("end", run=ctx.run_id, attempt=ctx.attempt)
        return receipt.first

    @app.task(retries=3, backoff="100ms")
    async def slow_delivery(ctx: Context, port: int, key: str, early: bool) -> bool:
        """Deliver with a long moment between intent and sending, or sending and answer."""
        write("start", run=ctx.run_id, attempt=ctx.attempt)

        async def send(effect: Effect) -> str:
            if early:
                answer = await _send(effect, port, key)
                write("sent", run=ctx.run_id, attempt=ctx.attempt, detail=key)
                await _moment(folder / f"go-{key}")
                return answer
            write("intended", run=ctx.run_id, attempt=ctx.attempt, detail=key)
            await _moment(folder / f"go-{key}")
            return await _send(effect, port, key)

        receipt = await ctx.effect("deliver", send, per="year", key=key, deadline="1s")
        write("end", run=ctx.run_id, attempt=ctx.attempt)
        return receipt.first


def _declare_returning(app: Duly, write: Write) -> None:
    @app.task(retries=3, backoff="50ms")
    async def again(ctx: Context) -> None:
        """Fail once behind a step: the next attempt remembers it."""
        write("start", run=ctx.run_id, attempt=ctx.attempt)
        await ctx.step("before", _nothing)
        write("end", run=ctx.run_id, attempt=ctx.attempt)
        if not ctx.failures:
            raise RuntimeError("the first time, always")

    @app.task(retries=0)
    async def child(ctx: Context, number: int) -> int:
        """Be one of a family."""
        write("start", run=ctx.run_id, attempt=ctx.attempt)
        write("end", run=ctx.run_id, attempt=ctx.attempt)
        return number

    @app.task(retries=0)
    async def family(ctx: Context) -> int:
        """Wait for children of which one may run at a time."""
        write("start", run=ctx.run_id, attempt=ctx.attempt)
        numbers = [{"number": number} for number in range(CHILDREN)]
        total: int = sum(await ctx.map("children", child, numbers, at_most=1))
        write("end", run=ctx.run_id, attempt=ctx.attempt)
        return total


async def _nothing() -> None: ...


async def _rows(after: int | None, count: int, first: int = 1) -> AsyncIterator[tuple[int, int]]:
    for row in range(first if after is None else after + 1, first + count):
        yield row, row


async def _moment(go: Path) -> None:
    """Wait until the harness lets it go on; the process may be frozen meanwhile."""
    await until(go.exists, within_s=600, what="the harness to let go")


async def _deliver(effect: Effect, port: int, number: int) -> str:
    return await _send(effect, port, str(number))


async def _send(effect: Effect, port: int, what: str) -> str:
    """Send a line and wait for its answer. Nothing was performed before the first byte."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise NotPerformed(f"no connection: {error}") from error
    try:
        effect.last_call()
        writer.write(f"{what} {effect.key}\n".encode())
        await writer.drain()
        answer = await reader.readline()
    finally:
        writer.close()
    if not answer.endswith(b"\n"):
        raise ConnectionError("the answer never came")
    return answer.decode().strip()


class Target:
    """The outside world: counts what really happened, and loses answers on purpose.

    Of the numbers that `loses` names, every second one is performed before its connection is
    cut, and the others are not: nobody who asks can tell which.
    """

    def __init__(self, loses: Callable[[str], bool] = lambda what: False) -> None:
        self.performed: dict[str, int] = {}
        self.lost: set[str] = set()
        self._loses = loses
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Target:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000)
        return self

    async def __aexit__(self, *_: Any) -> None:
        assert self._server is not None, "it was entered"
        self._server.close()

    @property
    def port(self) -> int:
        assert self._server is not None, "it was entered"
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await reader.readline()).decode()
            if line.endswith("\n"):
                self._perform(line.split(" ", 1)[0], writer)
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def _perform(self, what: str, writer: asyncio.StreamWriter) -> None:
        lose = self._loses(what)
        if not lose or int(what) % 20 >= 10:
            self.performed[what] = self.performed.get(what, 0) + 1
        if lose:
            self.lost.add(what)
        else:
            writer.write(f"performed {self.performed[what]}\n".encode())

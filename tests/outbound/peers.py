"""The other sides of these tests: an effect to send for, and servers that misbehave to order.

`Effect` counts the last calls it hears. `ScriptedSmtp` answers each verb as its script says and
records what it was given. `Http1` hands each request to a function. All of them live on
127.0.0.1 in the loop of the test, and are gone when their `async with` ends.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import UUID

from duly.errors import TooLate

HOST = "127.0.0.1"
CLOSE = "close"
HANG = "hang"


class Effect:
    """An effect to send for. From the `late_from`-th last call on, it is too late."""

    def __init__(self, key: str = "bill.42", *, late_from: int | None = None) -> None:
        self.id = UUID("0199a0b0-0000-7000-8000-000000000001")
        self.key = key
        self.calls = 0
        self._late_from = late_from

    def last_call(self) -> None:
        self.calls += 1
        if self._late_from is not None and self.calls >= self._late_from:
            raise TooLate("the send deadline has passed")


class ScriptedSmtp:
    """Answers `greeting`, each verb, `content` (the dot) as told: a reply, `CLOSE` or `HANG`."""

    def __init__(self, script: Mapping[str, str]) -> None:
        self.script = script
        self.port = 0
        self.verbs: list[str] = []
        self.contents: list[bytes] = []
        self._unanswered = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._reply(writer, "greeting", "220 here")
            while line := await reader.readline():
                verb = line.decode().split()[0].upper()
                self.verbs.append(verb)
                usual = "354 go on" if verb == "DATA" else "250 fine"
                if await self._reply(writer, verb, usual) == "354":
                    await self._take_content(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _take_content(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.contents.append(await reader.readuntil(b"\r\n.\r\n"))
        await self._reply(writer, "content", "250 2.0.0 queued as 7")

    async def _reply(self, writer: asyncio.StreamWriter, step: str, usual: str) -> str:
        answer = self.script.get(step, usual)
        if answer == CLOSE:
            raise ConnectionError
        if answer == HANG:
            await self._unanswered.wait()
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        return answer[:3]


Handle = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


class Request:
    """One request as it came over the wire."""

    def __init__(self, head: str, body: bytes) -> None:
        self.line, *fields = head.split("\r\n")
        pairs = (field.partition(":") for field in fields if field)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.body = body


class Http1:
    """A server that reads one request a connection and lets `handle` answer it, or not."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.port = 0
        self.connections = 0
        self.requests: list[Request] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request = Request(head, b"")
            size = int(request.headers.get("content-length", "0"))
            request.body = await reader.readexactly(size)
            self.requests.append(request)
            await self._handle(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


Server = ScriptedSmtp | Http1


@asynccontextmanager
async def served(peer: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Listen for a peer, and end every connection of it afterwards."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(peer.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, HOST, 0, ssl=context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await server.wait_closed()


@asynccontextmanager
async def closed_port() -> AsyncIterator[int]:
    """A port that is taken but not listened on: connections to it are refused."""
    import socket

    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


def make_certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A certificate for 127.0.0.1: the server's context, and one of a client that trusts it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    line = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(cert),
    ]  # fmt: skip
    subprocess.run(line, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    client = ssl.create_default_context(cafile=str(cert))
    return server, client

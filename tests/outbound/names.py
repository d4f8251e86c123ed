"""A name server on loopback that answers as its script says, and a resolver that really asks it.

Each question for a name takes the next answer of its script, the last one for ever: so a name can
change what it leads to between two questions. Datagrams go over UDP, as in life; only addresses
of the fourth version are asked for.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

from aiohttp.abc import AbstractResolver, ResolveResult

from tests.outbound.peers import HOST

Script = Mapping[str, Sequence[Sequence[str]]]


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for addresses; `asked` are the names in order."""

    def __init__(self, script: Script) -> None:
        self._left = {name: list(answers) for name, answers in script.items()}
        self.asked: list[str] = []
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, end = _read_name(data, 12)
        self.asked.append(name)
        answers = self._left.get(name, [[]])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        head = data[:2] + struct.pack(">5H", 0x8180 if found else 0x8183, 1, len(found), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack(">2HIH", 1, 1, 0, 4) + socket.inet_aton(one) for one in found
        )
        self._transport.sendto(head + data[12 : end + 4] + records, addr)

    def resolver(self) -> AbstractResolver:
        """Return a resolver that asks this server each time."""
        return _Asking(self.port)


class _Asking(AbstractResolver):
    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answer = await _ask(self._port, host)
        count = struct.unpack(">H", answer[6:8])[0]
        _, end = _read_name(answer, 12)
        records = answer[end + 4 :]
        found = [socket.inet_ntoa(records[at * 16 + 12 : at * 16 + 16]) for at in range(count)]
        if not found:
            raise OSError(f"{host} is not known")
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0,
                          flags=socket.AI_NUMERICHOST)
            for one in found
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is held between questions."""


async def _ask(port: int, name: str) -> bytes:
    loop = asyncio.get_running_loop()
    question = b"".join(bytes([len(one)]) + one.encode() for one in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect((HOST, port))
        head = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0)
        await loop.sock_sendall(asking, head + question + struct.pack(">2H", 1, 1))
        return await loop.sock_recv(asking, 4096)


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    parts = []
    while data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(parts), at + 1


@asynccontextmanager
async def naming(script: Script) -> AsyncIterator[NameServer]:
    """Run a name server for as long as the block."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(script), local_addr=(HOST, 0)
    )
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()

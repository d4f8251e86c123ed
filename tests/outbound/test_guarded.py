"""A guarded request goes to an address that was judged, or nowhere; and answers are bounded.

Real sockets: servers on loopback, and a name server that changes its mind between two questions.
What is called is what the servers counted.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from duly.core.faults import Fault, said_of
from duly.core.targets import Rules
from duly.errors import NotPerformed
from duly.outbound.base import Forbidden, OutcomeUnknown, Unreachable
from duly.outbound.guarded import Guard
from duly.outbound.http import Http
from tests.outbound.names import NameServer, naming
from tests.outbound.peers import HOST, Effect, Http1, Request, closed_port, served
from tests.outbound.test_http import answering, silent, stalling

PUBLIC = "93.184.216.34"  # never connected to
ELSEWHERE = "127.0.0.2"  # nobody listens there


def guarded(*allow: str, names: NameServer | None = None, **given: Any) -> Http:
    rules = Rules.of(allow, plain_http=True)
    return Http(guard=Guard(rules, resolver=None if names is None else names.resolver), **given)


async def refused(http: Http, url: str) -> str:
    """Send, and return why the guard refused; nothing was performed."""
    effect = Effect()
    with pytest.raises(Forbidden) as told:
        await http.send(effect, "POST", url)
    assert isinstance(told.value, NotPerformed) and effect.calls == 0
    assert said_of(told.value) is Fault.NOT_ALLOWED
    return str(told.value)


# --- where it goes ------------------------------------------------------------------------


async def test_an_address_of_the_house_is_refused_unless_it_is_allowed() -> None:
    peer = Http1(answering())
    async with served(peer):
        url = f"http://{HOST}:{peer.port}/"
        assert "the port" in await refused(guarded(), url)
        assert "loopback" in await refused(guarded(f":{peer.port}"), url)
        assert "the port" in await refused(guarded(f"10.0.0.0/8:{peer.port}"), url)
        assert peer.connections == 0
        receipt = await guarded(f"127.0.0.0/8:{peer.port}").send(Effect(), "POST", url)
    assert receipt["status"] == 200 and peer.connections == 1


async def test_a_name_is_refused_when_one_of_its_addresses_is() -> None:
    peer = Http1(answering())
    async with served(peer), naming({"two.example": [[PUBLIC, HOST]]}) as names:
        url = f"http://two.example:{peer.port}/"
        why = await refused(guarded(f":{peer.port}", names=names), url)
        assert "two.example" in why and "loopback" in why
    assert peer.connections == 0 and names.asked == ["two.example"]


async def test_a_name_that_changes_its_mind_is_asked_once_a_request_and_judged_each_time() -> None:
    """Rebinding: where it may go when it is looked at, elsewhere when it is called."""
    peer = Http1(answering())
    script = {"turns.example": [[ELSEWHERE], [HOST]], "stays.example": [[HOST]]}
    async with served(peer), naming(script) as names:
        allow = (f"{ELSEWHERE}:{peer.port}", f"stays.example:{peer.port}")
        http = guarded(*allow, names=names)
        url = f"http://turns.example:{peer.port}/"
        # The first answer may be called, and nobody listens there: it goes nowhere else.
        with pytest.raises(Unreachable):
            await http.send(Effect(), "POST", url)
        assert names.asked == ["turns.example"] and peer.connections == 0
        assert "loopback" in await refused(http, url)
        assert names.asked == ["turns.example"] * 2 and peer.connections == 0
        await http.send(Effect(), "POST", f"http://stays.example:{peer.port}/")
    assert peer.requests[0].headers["host"] == f"stays.example:{peer.port}"


async def test_the_last_look_is_at_the_very_address_that_is_connected() -> None:
    """Even an address that came by another way than the resolver is judged before its socket."""
    peer = Http1(answering())
    async with served(peer):
        guard = Guard(Rules.of([f":{peer.port}"], plain_http=True))
        target = guard.target(f"http://public.example:{peer.port}/")
        connector = guard.connector(target)
        make = connector._socket_factory  # type: ignore[attr-defined]
        with pytest.raises(Forbidden, match="loopback"):
            make((2, 1, 6, "", (HOST, peer.port)))
        make((2, 1, 6, "", (PUBLIC, peer.port))).close()
        await connector.close()
    assert peer.connections == 0


async def test_tls_is_asked_for_by_the_name_and_verified(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    theirs, ours = contexts
    asked: list[str | None] = []
    theirs.sni_callback = lambda _, name, __: asked.append(name)
    peer = Http1(answering())
    try:
        async with (
            served(peer, theirs),
            naming({"localhost": [[HOST]], "other.example": [[HOST]]}) as names,
        ):
            allow = (f"localhost:{peer.port}", f"other.example:{peer.port}")
            http = guarded(*allow, names=names, tls_context=ours)
            await http.send(Effect(), "POST", f"https://localhost:{peer.port}/")
            with pytest.raises(Unreachable) as told:
                await http.send(Effect(), "POST", f"https://other.example:{peer.port}/")
    finally:
        theirs.sni_callback = None
    assert asked == ["localhost", "other.example"] and len(peer.requests) == 1
    assert said_of(told.value) is Fault.TLS_FAILED


async def test_a_redirect_to_the_metadata_service_leads_nowhere() -> None:
    fields = "Location: http://169.254.169.254/latest/meta-data/\r\n"
    for status in (301, 302, 303):
        peer = Http1(answering(status, fields=fields))
        async with served(peer):
            with pytest.raises(OutcomeUnknown) as told:
                await guarded(f"{HOST}:{peer.port}").send(
                    Effect(), "GET", f"http://{HOST}:{peer.port}/"
                )
        assert peer.connections == 1
        assert said_of(told.value) is Fault.REDIRECTED


# --- what went wrong ----------------------------------------------------------------------


async def test_a_failure_has_its_class() -> None:
    async def closing(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with closed_port() as port, naming({}) as names:
        table: list[tuple[Any, str, Fault]] = [
            (None, f"http://{HOST}:{port}/", Fault.CONNECTION_REFUSED),
            (None, f"http://gone.example:{port}/", Fault.NAME_NOT_FOUND),
            (silent, "", Fault.CONNECTION_FAILED),
            (closing, "", Fault.CONNECTION_FAILED),
            (stalling, "", Fault.TIMED_OUT),
            (answering(404), "", Fault.ROUTE_NOT_FOUND),
            (answering(405), "", Fault.CONTRACT_CHANGED),
            (answering(401), "", Fault.ACCESS_DENIED),
            (answering(429), "", Fault.BUSY),
            (answering(500), "", Fault.SERVER_ERROR),
        ]
        for handle, url, wanted in table:
            peer = Http1(handle or answering())
            async with served(peer):
                http = guarded(f"{HOST}:*", f":{port}", names=names, deadline_s=0.5)
                with pytest.raises((NotPerformed, OutcomeUnknown)) as told:
                    await http.send(Effect(), "POST", url or f"http://{HOST}:{peer.port}/")
            assert said_of(told.value) is wanted, wanted
            assert wanted.words in str(told.value)


# --- what is kept -------------------------------------------------------------------------


def bomb(gib: int) -> bytes:
    """A gzip stream of so many GiB of zeros: one block of a MiB, again and again."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"\0" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (1024 * gib)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
async def test_a_gigabyte_that_came_as_a_megabyte_takes_less_than_20_mib() -> None:
    body = bomb(1)
    peer = Http1(answering(200, body, fields="Content-Encoding: gzip\r\n"))
    async with served(peer):
        http = guarded(f"{HOST}:{peer.port}", kept_bytes=2**20)
        url = f"http://{HOST}:{peer.port}/"
        await http.send(Effect(), "GET", url)  # what is imported and cached is so by now
        before = memory_from_now()
        receipt = await http.send(Effect(), "GET", url)
        grown = memory("VmHWM") - before
    assert len(body) < 2 * 2**20 and receipt["truncated"] and len(receipt["body"]) == 2**20
    print(f"peak memory grew by {grown / 1024:.1f} MiB")
    assert grown < 20 * 1024


def memory_from_now() -> int:
    """Let the peak begin anew; return what is in use, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(what: str) -> int:
    """Return a figure of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


async def test_an_encoding_within_an_encoding_is_not_undone() -> None:
    inner = zlib.compress(b"x" * 1000)
    peer = Http1(answering(200, zlib.compress(inner), fields="Content-Encoding: deflate, gzip\r\n"))
    async with served(peer):
        receipt = await guarded(f"{HOST}:{peer.port}").send(
            Effect(), "GET", f"http://{HOST}:{peer.port}/"
        )
    assert "xxx" not in receipt["body"]


async def test_an_answer_that_trickles_ends_with_the_deadline() -> None:
    """A byte at a time never ends a read; the deadline is that of the whole call."""

    def trickling(head: bytes) -> Any:
        async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
            loop, over = asyncio.get_running_loop(), asyncio.Event()
            writer.write(head)

            def drip() -> None:
                if not writer.transport.is_closing():
                    writer.write(b"x")
                    loop.call_later(0.01, drip)

            drip()
            await over.wait()

        return handle

    for head, known in ((b"HTTP/1.1 200 OK\r\nX-Slow: ", False),
                        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", True)):  # fmt: skip
        peer = Http1(trickling(head))
        async with served(peer):
            http = guarded(f"{HOST}:{peer.port}", deadline_s=0.3)
            sending = http.send(Effect(), "GET", f"http://{HOST}:{peer.port}/")
            if known:
                receipt = await sending
                assert receipt["truncated"] and set(receipt["body"]) == {"x"}
            else:
                with pytest.raises(OutcomeUnknown) as told:
                    await sending
                assert said_of(told.value) is Fault.TIMED_OUT


@pytest.mark.parametrize(
    "fields",
    ["".join(f"X-{n}: y\r\n" for n in range(100)), "X: " + "y" * 9000 + "\r\n"],
    ids=["many", "long"],
)
async def test_a_head_beyond_its_bounds_is_an_answer_that_was_lost(fields: str) -> None:
    peer = Http1(answering(200, fields=fields))
    async with served(peer):
        with pytest.raises(OutcomeUnknown) as told:
            await guarded(f"{HOST}:{peer.port}").send(
                Effect(), "GET", f"http://{HOST}:{peer.port}/"
            )
    assert said_of(told.value) is Fault.CONNECTION_FAILED


async def test_a_secret_that_is_echoed_is_struck_out_whole() -> None:
    secret = "s3cr3t-value"
    for body, kept in (
        (f"you said {secret}!".encode(), 1000),
        (b"0123456789" + secret.encode() + b"z" * 50, 15),  # cut in the middle of it
    ):
        for status in (200, 400):
            peer = Http1(answering(status, body))
            async with served(peer):
                http = guarded(f"{HOST}:{peer.port}", kept_bytes=kept)
                url = f"http://{HOST}:{peer.port}/"
                try:
                    said = (await http.send(Effect(), "GET", url, hide=[secret]))["body"]
                except NotPerformed as error:
                    said = str(error)
            assert "s3c" not in said and "[secr" in said

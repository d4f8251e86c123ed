"""Probes answer from a thread of their own, and speak for the loops."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from duly import Duly
from duly.app.working import channels_of
from duly.core.fleet import Health
from duly.core.telling import ChannelStanding
from duly.errors import ConfigError, StoreUnavailable
from duly.server.probes import Probes


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@contextmanager
def serving(health: Health) -> Iterator[int]:
    probes = Probes(lambda: health, lambda: ("text/plain", b"duly_held 3\n"))
    port = probes.start()
    try:
        yield port
    finally:
        probes.stop()


@pytest.mark.parametrize(
    ("health", "path", "expected"),
    [
        (Health(True, True), "/livez", (200, "ok\n")),
        (Health(True, True), "/readyz", (200, "ok\n")),
        (Health(True, True), "/healthz", (200, "ok\n")),
        (Health(False, False, "loop firing gave up"), "/livez", (503, "loop firing gave up\n")),
        (Health(True, False, "the store is away"), "/livez", (200, "ok\n")),
        (Health(True, False, "the store is away"), "/readyz", (503, "the store is away\n")),
        (Health(True, True), "/readyz?verbose", (200, "ok\n")),
        (Health(True, True), "/metrics", (200, "duly_held 3\n")),
        (Health(True, True), "/../etc", (404, "there is /livez, /readyz and /metrics\n")),
    ],
)
def test_a_probe_says_how_the_instance_fares(
    health: Health, path: str, expected: tuple[int, str]
) -> None:
    with serving(health) as port:
        assert get(port, path) == expected


WELL = ChannelStanding(name="ops")
BROKEN = ChannelStanding(
    name="night",
    failing_since=datetime(2026, 3, 1, tzinfo=UTC),
    why="no route",
    waiting=2,
    untold=7,
)
STANDING = (
    "channel ops: ok\n"
    "channel night: failing since 2026-03-01T00:00:00Z: no route; 2 notices and 7 incidents wait\n"
)


def away() -> list[ChannelStanding]:
    raise StoreUnavailable("away")


@pytest.mark.parametrize(
    ("channels", "path", "told"),
    [
        (lambda: [WELL, BROKEN], "/readyz?verbose", STANDING),
        (lambda: [WELL, BROKEN], "/readyz?verbose=1", STANDING),
        (lambda: [WELL, BROKEN], "/readyz", ""),
        (lambda: [WELL, BROKEN], "/readyz?verbos", ""),
        (lambda: [], "/readyz?verbose", ""),
        (away, "/readyz?verbose", "channels: the store does not answer\n"),
    ],
)
def test_a_verbose_probe_tells_how_channels_stand(
    channels: Callable[[], list[ChannelStanding]], path: str, told: str
) -> None:
    probes = Probes(lambda: Health(True, True), channels=channels)
    port = probes.start()
    try:
        assert get(port, path) == (200, "ok\n" + told)
    finally:
        probes.stop()


async def test_a_worker_asks_its_store_how_channels_stand_from_another_thread() -> None:
    app = Duly("memory://")
    async with app:
        ask = channels_of(app)
        await app.store.outlook(app.clock.new_id(), "ops")
        found = await asyncio.to_thread(ask)
        assert [one.name for one in found] == ["ops"]


def test_a_port_that_is_taken_is_a_clear_mistake() -> None:
    with (
        serving(Health(True, True)) as port,
        pytest.raises(ConfigError, match=f"{port} to be free"),
    ):
        Probes(lambda: Health(True, True), port=port).start()

"""Probes answer from a thread of their own, and speak for the loops."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from duly.core.fleet import Health
from duly.errors import ConfigError
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


def test_a_port_that_is_taken_is_a_clear_mistake() -> None:
    with (
        serving(Health(True, True)) as port,
        pytest.raises(ConfigError, match=f"{port} to be free"),
    ):
        Probes(lambda: Health(True, True), port=port).start()

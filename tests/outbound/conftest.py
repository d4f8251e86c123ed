"""What the tests of `outbound` share: certificates, and one RabbitMQ for the session."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from tests.outbound.peers import make_certificate
from tests.outbound.rabbit_server import RabbitMissing, RabbitServer, rabbit_server


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's TLS context, and that of a client that trusts it."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitServer]:
    """A broker; tests that stop it start it again."""
    try:
        with rabbit_server() as server:
            yield server
    except RabbitMissing as reason:
        pytest.skip(str(reason))

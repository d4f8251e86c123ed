"""Where the trials of this folder take place: a fresh SQLite file, or a real PostgreSQL.

The server belongs to one worker of the test run alone, because trials halt and restart it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Server, start_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL that may be treated badly."""
    started = start_postgres()
    yield started
    started.stop()

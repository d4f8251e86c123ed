"""The API keeps what its document says, whatever is sent: drawn requests, right and wrong ones.

Each route is called with requests that fit the document and with ones that do not, for things that
are there and things that are not. No answer may be a 5xx, have a status, a type or a body that the
document does not tell of, or be given to somebody without a key. What is drawn is bounded and
the same in every run; `DULY_TEST_HYPOTHESIS=long` draws much more, and anew.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from tests.server.api.shop import Caller, make_shop, served, with_roles
from tests.stores.profiles import LONG

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 200 if LONG else 3
THERE = {"task": "add", "schedule": "mail_orders"}


class Running:
    """A shop in a thread of its own, for callers that block."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._ready, self._over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    async def _live(self) -> None:
        async with served(make_shop(self._store)) as caller:
            await with_roles(caller)
            self.caller: Caller = caller
            self.document = (await caller.call("GET", "/openapi.json")).body
            self._ready.set()
            await asyncio.to_thread(self._over.wait)

    def start(self) -> None:
        self.thread.start()
        assert self._ready.wait(60), "the shop did not open"

    def stop(self) -> None:
        self._over.set()
        self.thread.join()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("shop")
    one = Running(f"sqlite:///{folder}/shop.db")
    one.start()
    yield one
    one.stop()


def checks() -> list[Any]:
    """What an answer is held to."""
    from schemathesis import checks as general
    from schemathesis.specs.openapi import checks as of_document

    return [
        general.not_a_server_error,
        of_document.status_code_conformance,
        of_document.content_type_conformance,
        of_document.response_headers_conformance,
        of_document.response_schema_conformance,
        of_document.negative_data_rejection,
        of_document.unsupported_method,
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_every_answer_is_one_that_the_document_tells_of(running: Running, mode: str) -> None:
    schema = schemathesis.openapi.from_dict(running.document)
    called = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        parts = {name: THERE[name] for name in THERE if f"{{{name}}}" in operation.path}
        for known in [{}, parts] if parts else [{}]:
            called += _hold(running, operation, mode, known)
    assert called >= len(running.document["paths"]) * min(EXAMPLES, 2)


def _hold(running: Running, operation: Any, mode: str, known: dict[str, str]) -> int:
    """Call one route many times; return how often."""
    called = 0
    drawn = operation.as_strategy(
        schemathesis.GenerationMode[mode], **({"path_parameters": known} if known else {})
    )

    @settings(
        max_examples=EXAMPLES,
        derandomize=not LONG,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=drawn)
    def call(case: Any) -> None:
        nonlocal called
        called += 1
        if operation.path.endswith("/events"):
            case.query = {**(case.query or {}), "follow": "false"}
        headers = {"Authorization": f"Bearer {running.caller.keys['admin']}"}
        answer = case.call(base_url=running.caller.url, headers=headers)
        case.validate_response(answer, checks=checks(), headers=headers)

    with suppress(Unsatisfiable):  # a route that takes nothing can be sent nothing wrong
        call()
    return called

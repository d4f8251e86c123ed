"""What hostile input found once stays mended: each case by name, so that it is never drawn anew.

Every one of these ended in an exception that nobody had documented, told a secret, or said a
hundred thousand characters, before it was mended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from duly import Duly
from duly.app import DeclaredTask
from duly.cli.asking import read_arguments
from duly.cli.faults import Fault
from duly.config import load_settings, parse_store_url
from duly.core.durations import parse_duration
from duly.core.states import RunState
from duly.core.tasks import task_from
from duly.core.triggers import trigger_from_spec
from duly.errors import ConfigError, DulyError, InvalidValue, UnknownName
from duly.outbound.base import Unsendable
from duly.outbound.http import Http, _body
from duly.stores.postgres.border import translated
from duly.testing import turned
from tests.fuzz.hostile import Deep, well_said

HUGE, LONE = 10**5_000, "\ud800"


def add(a: Any, b: int = 0) -> None: ...


TASK = task_from(add)
CASES: list[tuple[str, Callable[[], object], type[Exception]]] = [
    ("a number of seconds with no text", lambda: parse_duration(HUGE, what="x"), InvalidValue),
    ("a kind of trigger with no text", lambda: trigger_from_spec({"kind": HUGE}), UnknownName),
    ("an argument of no JSON", lambda: TASK.encode((object(),), {}), InvalidValue),
    ("an argument of half a character", lambda: TASK.encode((LONE,), {}), InvalidValue),
    ("an argument too deep", lambda: TASK.encode((Deep(),), {}), InvalidValue),
    ("an argument with no text", lambda: TASK.encode((HUGE,), {}), InvalidValue),
    ("bytes too deep", lambda: TASK.decode(b'{"a":' + b"[" * 100_000), InvalidValue),
    ("a long unknown argument", lambda: TASK.encode((), {"z\n" * 50_000: 1}), InvalidValue),
    ("a body of half a character", lambda: _body(LONE, None), Unsendable),
    ("a body too deep", lambda: _body(Deep(), None), Unsendable),
    ("a host that is none", lambda: Http()._address("http://xn--/"), Unsendable),
    ("typed JSON of half a character", lambda: read_arguments((), '{"a":"\udc80"}'), Fault),
    ("a long typed argument", lambda: read_arguments(("x" * 100_000,), None), Fault),
    ("a long name", lambda: misnamed("y" * 100_000), UnknownName),
    ("a long store URL", lambda: parse_store_url("sqlite:///" + "x " * 50_000), ConfigError),
]


def misnamed(name: str) -> None:
    raise UnknownName.of("thing", name, ["other"])


@pytest.mark.parametrize(("call", "kind"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_mistake_is_refused_by_its_own_error(
    call: Callable[[], object], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as refusal:
        call()
    well_said(str(refusal.value))


def test_typed_text_that_is_too_deep_to_be_json_is_text() -> None:
    assert read_arguments(("a=" + "[" * 100_000,), None) == {"a": "[" * 100_000}


@pytest.mark.parametrize(
    "url", ["sqlite://me:Geheim@h", "sqlite://me:Ge/heim@h", "sqlite://me:pw?Geheim@h/x"]
)
def test_a_file_url_with_a_password_is_refused_without_it(url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_store_url(url)
    assert "eheim" not in str(refusal.value)
    assert "heim" not in str(refusal.value)


@pytest.mark.parametrize("text", ["slots = " + "9" * 5_000, "slots = 0x" + "f" * 5_000])
def test_a_number_without_end_in_a_file_is_a_fault_of_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "duly.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"duly\.toml") as refusal:
        load_settings(flags={}, env={}, cwd=tmp_path)
    well_said(str(refusal.value))


async def test_text_that_no_store_can_hold_is_the_callers_mistake(tmp_path: Path) -> None:
    app = Duly(f"sqlite:///{tmp_path / 'duly.db'}")
    declared = DeclaredTask(app, TASK)
    async with app:
        with pytest.raises(InvalidValue, match="cannot hold a value"):
            await declared.options(queue=LONE).enqueue(a=1)
        await declared.enqueue(a=1)
        with pytest.raises(InvalidValue):
            await app.client.emit("happened", LONE)


def test_a_key_too_long_for_an_index_is_no_bug_of_ours() -> None:
    error = asyncpg.ProgramLimitExceededError("index row size 2800 exceeds btree maximum 2704")
    refused: DulyError = translated(error, "postgresql://h/d")
    assert isinstance(refused, InvalidValue)


@pytest.mark.parametrize("key", ["", "k" * 501, "a\0b", "two\nlines", LONE])
async def test_a_key_that_no_store_could_find_again_is_refused_where_it_is_given(key: str) -> None:
    app = Duly()
    task = app.task(round_and_round)
    async with app:
        with pytest.raises(InvalidValue, match="the key to be 1 to 500 printable characters"):
            await task.options(key=key).enqueue()
        await task.options(key="k" * 500).enqueue()


async def test_a_result_that_holds_itself_fails_its_run() -> None:
    app = Duly()
    task = app.task(retries=0)(round_and_round)
    async with turned(app) as hand:
        handle = await task.enqueue()
        assert await hand.run_due() == 1
        view = await handle.view()
    assert view.state is RunState.FAILED
    assert "cannot be kept as JSON" in (view.error or "")


async def round_and_round() -> list[object]:
    """Return a list that is in itself."""
    ring: list[object] = []
    ring.append(ring)
    return ring

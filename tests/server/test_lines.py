"""Log lines: hostile text leaves escaped and capped, and every line can be read back."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.events import Event, IncidentOpened, RunFailed, RunParked
from duly.server.lines import TRACE_CHARACTERS, VALUE_CHARACTERS, JsonLines, TextLines

RUN = UUID(int=7)
AT = 1_800_000_000.25
TIME = "2027-01-15T08:00:00.250Z"


def record_of(event: Event | None = None, message: str = "") -> logging.LogRecord:
    record = logging.LogRecord("duly", logging.WARNING, __file__, 1, message, None, None)
    record.created = AT
    if event is not None:
        record.event = event
    return record


def failed(error: str) -> Event:
    return RunFailed(run=RUN, task="mail", epoch=2, took_s=0.25, failures=3, error=error)


def as_json(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(record)
    assert "\n" not in line
    read: dict[str, Any] = json.loads(line)
    return read


def test_an_event_is_one_json_object() -> None:
    assert as_json(record_of(failed("ValueError: no"))) == {
        "time": TIME,
        "level": "warning",
        "logger": "duly",
        "event": "run.failed",
        "run": str(RUN),
        "task": "mail",
        "epoch": 2,
        "took_s": 0.25,
        "failures": 3,
        "error": "ValueError: no",
    }


def test_an_event_is_one_line_of_text() -> None:
    assert TextLines().format(record_of(failed('ValueError: "no"'))) == (
        f"{TIME} WARNING run.failed run={RUN} task=mail epoch=2 took_s=0.25 failures=3 "
        'error="ValueError: \\"no\\""'
    )


def test_fields_that_are_null_are_left_out() -> None:
    parked = record_of(RunParked(run=RUN, reason="approval"))
    assert "task" not in as_json(parked)
    assert "task" not in TextLines().format(parked)


def test_other_records_are_told_by_their_message() -> None:
    assert as_json(record_of(message="hello"))["message"] == "hello"
    assert TextLines().format(record_of(message="hello")) == f"{TIME} WARNING hello"


def test_the_context_is_in_every_line_and_a_field_wins_over_it() -> None:
    lines = JsonLines({"instance": "a:1", "kind": "context"})
    opened = IncidentOpened(kind="poison", subject="s", severity="warning", summary="x")
    assert json.loads(lines.format(record_of(message="x")))["instance"] == "a:1"
    assert json.loads(lines.format(record_of(opened)))["kind"] == "poison"


HOSTILE = [
    ("a\nb", "a\\nb"),
    ("a\r\nb", "a\\r\\nb"),
    ("a\tb", "a\\tb"),
    ("\x1b[31mred", "\\x1b[31mred"),
    ("\x9b31m", "\\x9b31m"),
    ("a\x00b\x7f", "a\\x00b\\x7f"),
    ("line\u2028break\u2029", "line\\u2028break\\u2029"),
    ("\u202egnp.exe", "\\u202egnp.exe"),
    ("\u2066x", "\\u2066x"),
    ("half \ud800 pair", "half \\ud800 pair"),
    ("back\\slash", "back\\\\slash"),
    ("caf\u00e9 \u65e5\u672c \U0001f600", "caf\u00e9 \u65e5\u672c \U0001f600"),
]


@pytest.mark.parametrize(("error", "shown"), HOSTILE)
def test_hostile_text_is_escaped_in_text(error: str, shown: str) -> None:
    assert TextLines().format(record_of(failed(error))).endswith(f'error="{shown}"')


@pytest.mark.parametrize("error", [error for error, _ in HOSTILE])
def test_hostile_text_is_escaped_and_kept_in_json(error: str) -> None:
    assert as_json(record_of(failed(error)))["error"] == error


@given(st.text(st.characters(codec=None), max_size=50))
def test_no_text_breaks_a_line_or_steers_a_terminal(text: str) -> None:
    for record in (record_of(failed(text)), record_of(message=text.replace("%", ""))):
        for line in (TextLines().format(record), JsonLines().format(record)):
            line.encode("utf-8")
            assert len(line.splitlines()) == 1
            assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)
    assert as_json(record_of(failed(text)))["error"] == text


def test_a_value_is_capped() -> None:
    long = "x" * (VALUE_CHARACTERS + 5)
    assert as_json(record_of(failed(long)))["error"] == "x" * VALUE_CHARACTERS + "… (5 more)"
    assert len(TextLines().format(record_of(failed("x" * 10**6)))) < 2 * VALUE_CHARACTERS
    assert len(JsonLines().format(record_of(failed("\x00" * 10**6)))) < 10 * VALUE_CHARACTERS


def raised(message: str) -> logging.LogRecord:
    record = record_of(message="a loop failed")
    try:
        raise ValueError(message)
    except ValueError:
        record.exc_info = sys.exc_info()
    return record


def test_a_traceback_cannot_pass_for_a_record() -> None:
    lines = TextLines().format(raised(f"x\n{TIME} ERROR forged\x1b[0m")).split("\n")
    assert lines[0] == f"{TIME} WARNING a loop failed"
    assert len(lines) > 3
    assert [line for line in lines[1:] if not line.startswith("  | ")] == []
    assert lines[-1] == f"  | {TIME} ERROR forged\\x1b[0m"


def test_a_traceback_is_capped_at_its_beginning() -> None:
    told = as_json(raised("x" * 50_000 + "the end"))["exception"]
    assert told.startswith("… ") and told.endswith("the end")
    assert len(told) <= TRACE_CHARACTERS + 2

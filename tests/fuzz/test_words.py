"""Words from outside: names, keys, arguments, addresses of effects, and what is logged of them.

A name is kept as it is or refused; arguments arrive as they were sent; a stranger's words become
one printable line; and no event, whatever its texts hold, is more or less than one line of a log.
"""

from __future__ import annotations

import json
import logging
import typing
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.app.declaring import check_name
from duly.core.effects import Address, check_effect
from duly.core.outbox import check_topic
from duly.core.rules import MAX_PAYLOAD
from duly.core.spoken import last_line
from duly.core.steps import check_name as check_step
from duly.core.tasks import task_from
from duly.errors import InvalidValue, UnknownName, brief, nearest, one_line
from duly.events.base import EVENTS, Event
from duly.outbound.base import SHOWN, plain
from duly.server.lines import VALUE_CHARACTERS, JsonLines, TextLines
from tests.fuzz.hostile import ANY_TEXT, ANYTHING, JSON, TEXT, Deep, answered, well_said
from tests.stores.profiles import cases

NAMES = TEXT | st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,140}", fullmatch=True) | ANYTHING
CHECKS = {
    "task": lambda name: check_name("task", name),
    "effect": check_effect,
    "topic": check_topic,
    "step": lambda name: check_step("a step", name),
}


@pytest.mark.parametrize("what", sorted(CHECKS))
@given(name=NAMES)
@cases(60)
def test_a_name_is_kept_as_it_is_or_refused(what: str, name: Any) -> None:
    kept = answered(CHECKS[what], name, kinds=(InvalidValue,))
    if kept is not None:
        assert kept == name
        assert 0 < len(kept) <= 200
        assert kept.isprintable()


PARTS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,20}", fullmatch=True)


@given(PARTS, PARTS, ANY_TEXT)
@cases(80)
def test_an_address_is_read_back_from_its_text(task: str, name: str, key: str) -> None:
    address = Address(task, name, key)
    assert Address.of(str(address)) == address


@given(TEXT)
@cases(80)
def test_any_text_is_an_address_or_refused(text: str) -> None:
    address = answered(Address.of, text, kinds=(InvalidValue,))
    if address is not None:
        assert str(address) == text


# --- arguments --------------------------------------------------------------------------------


def mail(to: str, copies: int = 1, *, tags: list[str] | None = None, extra: Any = None) -> None: ...


TASK = task_from(mail)


@given(
    st.lists(ANYTHING, max_size=4), st.dictionaries(ANY_TEXT | st.just("to"), ANYTHING, max_size=3)
)
@cases(120)
def test_arguments_travel_or_are_refused(args: list[Any], kwargs: dict[str, Any]) -> None:
    data = answered(TASK.encode, tuple(args), kwargs, kinds=(InvalidValue,))
    if data is not None:
        assert len(data) <= MAX_PAYLOAD
        again = TASK.decode(data)
        assert TASK.decode(TASK.encode((), again)) == again or "NaN" in repr(again)


@given(st.text(), st.integers(-(2**31), 2**31), st.none() | st.lists(st.text()), JSON)
@cases(80)
def test_what_was_sent_is_what_arrives(to: str, copies: int, tags: Any, extra: Any) -> None:
    data = answered(
        TASK.encode, (to, copies), {"tags": tags, "extra": extra}, kinds=(InvalidValue,)
    )
    if data is not None:
        arrived = TASK.decode(data)
        assert (arrived["to"], arrived["copies"], arrived["tags"]) == (to, copies, tags)


DOCUMENTS = st.sampled_from(
    [b"", b"{", b"[]", b"{}", b'{"to":1}', b'{"to":"x","to":"y"}', b'{"to":"\\ud800"}', b"\xff{}",
     b'{"to":"x","extra":' + b"[" * 50_000, b'{"to":"x","copies":' + b"9" * 5_000 + b"}",
     b'{"' + b"k" * 100_000 + b'":1}', b'{"a\\nb":1}', b'\xef\xbb\xbf{"to":"x"}', b"null"]
)  # fmt: skip


@given(DOCUMENTS | st.binary(max_size=80) | JSON.map(lambda v: json.dumps(v).encode()))
@cases(80)
def test_any_bytes_are_arguments_or_refused(data: bytes) -> None:
    read = answered(TASK.check, data, kinds=(InvalidValue,))
    assert read in (None, data)


def test_arguments_too_big_for_a_store_are_refused() -> None:
    with pytest.raises(InvalidValue, match="at most 1,048,576 bytes as JSON"):
        TASK.encode(("x" * (MAX_PAYLOAD + 1),), {})


# --- what is said -----------------------------------------------------------------------------


@given(ANYTHING)
@cases(80)
def test_whatever_was_got_is_told_in_brief(got: Any) -> None:
    assert len(brief(got)) <= 80
    well_said(str(InvalidValue.expected("a thing", "right", got)))


def test_what_has_no_text_is_told_by_its_type() -> None:
    assert brief(10**5_000) == "a value of type int"
    assert brief(list(Deep())) == "a value of type list"


@given(TEXT, st.lists(ANY_TEXT, max_size=12))
@cases(60)
def test_a_misnomer_is_told_in_brief_with_the_nearest_name(name: str, known: list[str]) -> None:
    text = str(UnknownName.of("thing", name, ["mail_orders", "mail_invoices"]))
    well_said(text)
    assert nearest(name, []) == ""
    assert nearest("mail_order", ["mail_orders", *known]).startswith(("; did", "; known", ""))


@given(TEXT)
@cases(80)
def test_a_strangers_words_become_one_printable_line(text: str) -> None:
    for said, most in ((plain(text), SHOWN), (one_line(text), 200)):
        assert len(said) <= most
        assert said == "" or said.isprintable()
    assert plain(plain(text)) == plain(text)
    assert one_line(one_line(text)) == one_line(text)
    assert len(last_line(text)) <= 200
    assert len(last_line(text).splitlines()) == 1


# --- log lines --------------------------------------------------------------------------------

Texts = st.SearchStrategy[str]


def _value_of(hint: Any, text: Texts) -> st.SearchStrategy[Any]:
    known: dict[Any, st.SearchStrategy[Any]] = {
        str: text,
        UUID: st.uuids(),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
    }
    options = [one for one in typing.get_args(hint) if one is not type(None)]
    if options and hint not in known:
        return st.none() | _value_of(options[0], text)
    return known[hint] if hint in known else st.from_type(hint)


def _event_of(kind: type[Event], text: Texts) -> st.SearchStrategy[Event]:
    hints = typing.get_type_hints(kind)
    fields = {one: _value_of(hints[one], text) for one in kind.__struct_fields__}
    return st.builds(kind, **fields)


def events_with(text: Texts) -> st.SearchStrategy[Event]:
    """Draw events of every kind, whose texts are drawn from `text`."""
    return st.sampled_from(sorted(EVENTS)).flatmap(lambda name: _event_of(EVENTS[name], text))


@given(events_with(TEXT), st.dictionaries(st.sampled_from(["instance", "run"]), TEXT, max_size=2))
@cases(120)
def test_every_event_is_one_line_that_can_be_read_back(event: Event, about: dict[str, str]) -> None:
    record = logging.LogRecord("duly", logging.INFO, __file__, 1, "", None, None)
    record.event = event
    fields = [one for one in msgspec.structs.asdict(event).values() if one is not None]
    bound = 500 + sum(
        min(len(str(one)), VALUE_CHARACTERS) + 40 for one in [*fields, *about.values()]
    )
    for lines in (JsonLines(about), TextLines()):
        line = lines.format(record)
        line.encode()
        assert len(line.splitlines()) == 1
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
        assert len(line) <= 10 * bound
    assert json.loads(JsonLines(about).format(record))["event"] == event.name


@given(events_with(st.text(max_size=40)))
@cases(60)
def test_every_event_of_whole_text_is_json_for_the_strictest_reader(event: Event) -> None:
    record = logging.LogRecord("duly", logging.INFO, __file__, 1, "", None, None)
    record.event = event
    read = msgspec.json.decode(JsonLines().format(record).encode())
    assert read["event"] == event.name

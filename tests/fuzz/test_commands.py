"""Whatever is typed: a command answers, or says in a sentence what was wrong, by its exit code.

Commands run in this process, on a small real store. None of them may end as a bug of Duly's own
(exit code 70), with a traceback, or by an exception of its own. Commands that go on for ever are
left out; so is whatever would read a file that a name of nowhere could be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from duly.cli.asking import read_arguments
from duly.cli.command import cli
from duly.cli.faults import BUG, USAGE, Fault, fault_of
from tests.cli.prepared import Prepared
from tests.fuzz.hostile import ANY_TEXT, JSON, TEXT, well_said
from tests.stores.profiles import cases

RUN = "01a3e8d2-7c11-7000-8000-000000000001"
TYPED = st.sampled_from(
    [
        "hourly", "nightly", "hourly@2026-03-01", "hourly@", "@", RUN, RUN[:8], "add mail k",
        "a b c", "-1", "--help", "--by", "2026-13-45", "hourly@0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59Z", "x=1", "{}",
    ]
)  # fmt: skip
WORD = TYPED | ANY_TEXT.filter(lambda text: "\0" not in text)
HOLE = "{}"
COMMANDS = st.sampled_from(
    [
        "why {}", "why {} --explain-next 3", "why {} {} {}", "run {}", "run {} --arg {}",
        "run {} --args {} --delay {}", "runs list --task {}", "runs list --before {}",
        "runs list --schedule {} --state failed", "runs show {}", "runs cancel {} --reason {}",
        "runs retry {} --by {}", "runs fork {} --from {}", "runs approve {} {}", "schedules list",
        "schedules show {}", "schedules pause {} --reason {} --by {}", "schedules resume {}",
        "schedules retire {} --reason {}", "schedules trigger {}", "effects list --run {}",
        "effects list --task {}", "effects show {} {} {}", "effects show {}",
        "effects resolve {} {} {} --performed --reason {}", "events emit {} --value {}",
        "outbox", "keys create {} --role viewer --scope {}", "keys create k --role {} --expires {}",
        "keys revoke {} --reason {} --by {}", "incidents", "instances -o json", "cron explain {}",
        "cron explain 5 --tz {}",
        "cron explain {} --seconds last --count 2", "config check --store {}", "config {}", "{} {}",
    ]
)  # fmt: skip


@st.composite
def typed_lines(draw: st.DrawFn) -> list[str]:
    """Draw a command with anything in its holes, and now and then something too much."""
    words = [draw(WORD) if one == HOLE else one for one in draw(COMMANDS).split()]
    return words if draw(st.integers(0, 9)) else [*words, draw(WORD)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Prepared(folder)


@given(line=typed_lines())
@cases(50)
def test_no_line_that_is_typed_is_a_bug_of_ours(prepared: Prepared, line: list[str]) -> None:
    done = CliRunner().invoke(cli, line, env={"DULY_STORE": prepared.url, "DULY_DEBUG": ""})
    if done.exception is None or isinstance(done.exception, SystemExit):
        assert done.exit_code in (0, 1, USAGE), done.output
        return
    fault = fault_of(done.exception)
    assert fault.code != BUG, (line, repr(done.exception))
    if not isinstance(done.exception, click.ClickException):  # click quotes what was typed
        well_said(fault.sentence, lines=8)


PAIRS = st.lists(
    st.builds("{}={}".format, ANY_TEXT, TEXT | JSON.map(json.dumps)) | TEXT, max_size=4
).map(tuple)
DOCUMENTS = (
    st.none() | TEXT | JSON.map(json.dumps) | st.sampled_from(["{}", "[" * 50_000, '{"a":1}'])
)


@given(PAIRS, DOCUMENTS)
@cases(80)
def test_arguments_that_are_typed_are_read_or_refused(
    pairs: tuple[str, ...], document: str | None
) -> None:
    try:
        given_ = read_arguments(pairs, document)
    except Fault as fault:
        assert fault.code == USAGE
        well_said(fault.sentence)
    else:
        assert {pair.partition("=")[0] for pair in pairs} <= given_.keys()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1), PLAIN, max_size=4))
@cases(50)
def test_arguments_given_as_json_are_what_was_meant(meant: dict[str, object]) -> None:
    pairs = tuple(f"{name}={json.dumps(value)}" for name, value in meant.items())
    assert read_arguments(pairs, None) == meant

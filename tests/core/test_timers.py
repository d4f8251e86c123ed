"""What a person writes is a timer, or every fault of it at once, each with its key and line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.breakers import LONGEST, Breaker, check_breaker, fitted
from duly.core.calls import (
    READERS,
    HttpCall,
    Occasion,
    breaker_of,
    check_call,
    read_call,
    render,
    with_secrets,
)
from duly.core.secretive import is_secretive
from duly.core.targets import Rules
from duly.core.timers import KEYS, call_of, read_timer, read_timers
from duly.core.zones import zone
from duly.errors import InvalidValue, UnknownName
from tests.stores.profiles import cases

URL = "https://example.com/reports"
RUN = UUID(int=7)
DUE = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


# --- calls ----------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "url", "expected url, or base and path"),
    ({"url": URL, "base": URL}, "url", "expected url, or base and path"),
    ({"path": "/x"}, "url", "expected url, or base and path"),
    ({"base": URL, "path": "x"}, "path", "begins with /"),
    ({"url": 7}, "url", "a text of"),
    ({"url": "https://10.0.0.1/"}, "url", "a private network"),
    ({"url": URL + "/{dew}"}, "url", "did you mean 'due'?"),
    ({"base": "https://127.0.0.1", "path": "/"}, "path", "loopback"),
    ({"url": URL, "metod": "GET"}, "metod", "did you mean 'method'?"),
    ({"url": URL, "method": "TRACE"}, "method", "no method is called 'TRACE'"),
    ({"url": URL, "method": 7}, "method", "no method is called"),
    ({"url": URL, "headers": ["a"]}, "headers", "names with their values"),
    ({"url": URL, "headers": {"X\r\n": "a"}}, "headers", "a header's name"),
    ({"url": URL, "headers": {"X": "a\r\nY: b"}}, "headers", "one line"),
    ({"url": URL, "headers": {"X": "a\0"}}, "headers", "one line"),
    ({"url": URL, "headers": {"X": 7}}, "headers", "one line"),
    ({"url": URL, "headers": {"Host": "a"}}, "headers", "one that you may set"),
    ({"url": URL, "headers": {"webhook-id": "a"}}, "headers", "one that you may set"),
    ({"url": URL, "headers": {"Duly-Run": "a"}}, "headers", "one that you may set"),
    ({"url": URL, "headers": {"X": "a", "x": "b"}}, "headers", "each header once"),
    ({"url": URL, "headers": {"Authorization": "Bearer abc"}}, "headers", "secret:NAME"),
    ({"url": URL, "headers": {"X": "secret:lower"}}, "headers", "a secret's name"),
    ({"url": URL, "headers": {"X": "secret:"}}, "headers", "a secret's name"),
    ({"url": f"{URL}?key=secret:SHOP"}, "url", "in headers and in sign, and would be sent"),
    ({"base": URL, "path": "/secret:SHOP"}, "path", "name no secret, got secret:SHOP"),
    ({"base": f"{URL}/secret:SHOP"}, "base", "to name no secret"),
    ({"url": URL, "method": "POST", "text": "key=secret:SHOP"}, "text", "to name no secret"),
    ({"url": URL, "method": "POST", "template": "{due} secret:SHOP"}, "template", "no secret"),
    ({"url": URL, "method": "POST", "json": {"a": [{"b": "\nsecret:SHOP"}]}}, "json", "no secret"),
    ({"url": URL, "method": "POST", "json": {"secret:SHOP": 1}}, "json", "to name no secret"),
    ({"url": URL, "headers": {"X-Auth-Token": "abc"}}, "headers", "secret:NAME"),
    ({"url": URL, "headers": {f"X-{n}": "a" for n in range(51)}}, "headers", "at most 50"),
    ({"url": URL, "text": "a"}, "text", "a GET to have no body"),
    ({"url": URL, "method": "POST", "text": "a", "json": 1}, "text", "expected one body"),
    ({"url": URL, "method": "POST", "json": {1j}}, "json", "plain values"),
    ({"url": URL, "method": "POST", "json": "x" * 600_000}, "json", "at most"),
    ({"url": URL, "method": "POST", "text": ""}, "text", "a text of 1"),
    ({"url": URL, "method": "POST", "template": "{now}"}, "template", "no value for a template"),
    ({"url": URL, "expect": []}, "expect", "at least one"),
    ({"url": URL, "expect": "2x"}, "expect", "statuses such as"),
    ({"url": URL, "expect": [200, "700"]}, "expect", "statuses such as"),
    ({"url": URL, "expect": True}, "expect", "statuses such as"),
    ({"url": URL, "deadline": "2h"}, "deadline", "from 100ms to 1:00:00"),
    ({"url": URL, "deadline": 0}, "deadline", "from 100ms"),
    ({"url": URL, "deadline": "soon"}, "deadline", "a duration such as"),
    ({"url": URL, "kept_bytes": -1}, "kept_bytes", "from 0 to"),
    ({"url": URL, "kept_bytes": "many"}, "kept_bytes", "from 0 to"),
    ({"url": URL, "heartbeat": "1m"}, "heartbeat", "expected completion too"),
    ({"url": URL, "heartbeat": "1h", "completion": "1m"}, "heartbeat", "shorter than"),
    ({"url": URL, "sign": "whsec_abc"}, "sign", "secret:NAME"),
    ({"url": URL, "sign": []}, "sign", "1 to 4 secrets"),
    ({"url": URL, "idempotent": "yes"}, "idempotent", "true or false"),
    ({"url": URL, "tenant": "a b"}, "tenant", "letters, digits"),
    ({"url": URL, "kind": "robot"}, "kind", "user or system"),
    ({"url": URL, "breaker": "a b"}, "breaker", "the name of a breaker"),
    ({"url": URL, "breaker": "schedule:x"}, "breaker", "without :"),
    ({"url": URL, "breaker": "tenant"}, "breaker", "expected a tenant too"),
    ({"url": URL, "threshold": 0}, "threshold", "from 1 to 1000"),
]

NAMED = (
    "Authorization Proxy-Authorization Cookie X-API-Key X-Auth-Token X-AuthToken X_SHOP_KEY Key"
    " Client-Secret X-Password Shop-Passwd X-ApiKey X-Access-Token X-Credentials Key-Secret"
)
HARMLESS = (
    "Accept X-Idempotency-Key Partition-Key Cache-Key X-Key-Id X-Token-Type X-Monkey X-Max-Tokens"
    " Keyword X-Tokenizer Surrogate-Key X-Secret-Name Keep-Alive"
)


def test_a_header_that_carries_a_secret_is_known_by_its_name() -> None:
    names = [*NAMED.split(), *HARMLESS.split()]
    assert " ".join(one for one in names if is_secretive(one)) == NAMED
    for name in NAMED.split():
        assert check_call({"url": URL, "headers": {name: "Bearer secret:SHOP"}}).secrets == (
            "SHOP",
        )


SHARED: list[tuple[dict[str, Any], str, int]] = [
    ({}, "", 5),
    ({"breaker": "timer", "threshold": 1}, "", 1),
    ({"breaker": "host"}, "host:shop.example", 5),
    ({"breaker": "host", "url": "https://Shop.example:8443/x"}, "host:shop.example:8443", 5),
    ({"breaker": "erp", "threshold": 3}, "erp", 3),
    ({"breaker": "tenant", "tenant": "acme"}, "tenant:acme", 5),
    ({"breaker": "erp", "tenant": "acme"}, "tenant:acme/erp", 5),
    ({"breaker": "host", "tenant": "acme"}, "tenant:acme/host:shop.example", 5),
]


@pytest.mark.parametrize(("fields", "name", "threshold"), SHARED)
def test_a_timer_says_whose_breaker_it_has_and_a_tenants_is_no_others(
    fields: dict[str, Any], name: str, threshold: int
) -> None:
    call = check_call({"url": "https://shop.example/x"} | fields)
    found = breaker_of(call, Breaker(fixed=True))
    assert (found.name, found.threshold, found.fixed) == (name, threshold, True)


@pytest.mark.parametrize(("deadline", "lease_s"), [("5s", 30), ("30s", 40), ("1h", 3610)])
def test_the_probe_of_a_timer_may_take_as_long_as_its_call(deadline: str, lease_s: int) -> None:
    found = breaker_of(check_call({"url": URL, "deadline": deadline}), Breaker(fixed=True))
    assert found.policy.probe_deadline.total_seconds() == lease_s


def test_breakers_of_long_names_stay_apart_and_are_names() -> None:
    tenant, host = "t" * 63, ".".join(["h" * 60] * 4)
    calls = [
        {"url": f"https://{host[:-1]}{end}/", "breaker": "host", "tenant": tenant} for end in "abc"
    ]
    names = [breaker_of(check_call(one), Breaker(fixed=True)).name for one in calls]
    assert len(set(names)) == 3
    assert {len(check_breaker(one)) for one in names} == {LONGEST}
    assert all(one.startswith(f"tenant:{tenant}/host:hhh") for one in names)
    assert [fitted("x" * length) == "x" * length for length in (1, 160, 161)] == [True, True, False]
    assert fitted("x" * 161) == fitted("x" * 161) != fitted("x" * 162)


@pytest.mark.parametrize(("fields", "key", "words"), BAD)
def test_a_call_that_cannot_be_right_is_refused_under_its_key(
    fields: dict[str, Any], key: str, words: str
) -> None:
    call, faults = read_call(fields, Rules())
    assert call is None
    assert [(fault.key, words in fault.message) for fault in faults] == [(key, True)], faults
    with pytest.raises(InvalidValue, match=f"^{key}: "):
        check_call(fields, Rules())


def test_a_call_is_what_was_written_and_no_more() -> None:
    call = check_call(
        {
            "base": "https://example.com/", "path": "/a/{due}", "method": "post",
            "headers": {"Authorization": "Bearer secret:REPORTS", "X": "1"},
            "template": '{"day": "{due}", "a": {}}', "expect": [204, "200-201"],
            "deadline": "5s", "completion": "10m", "heartbeat": 30, "sign": ["secret:HOOK"],
            "kind": "system", "tenant": "acme",
        },
        Rules(),
    )  # fmt: skip
    assert (call.url, call.method) == ("https://example.com/a/{due}", "POST")
    assert call.expected == {200, 201, 204} and call.secrets == ("REPORTS", "HOOK")
    assert (call.deadline_s, call.completion_s, call.heartbeat_s) == (5.0, 600.0, 30.0)
    assert call.system and call.tenant == "acme" and not call.repeatable
    assert msgspec.json.decode(msgspec.json.encode(call), type=HttpCall) == call


@pytest.mark.parametrize(
    ("method", "said", "may"),
    [("GET", None, True), ("HEAD", None, True), ("PUT", None, True), ("DELETE", None, True),
     ("OPTIONS", None, True), ("POST", None, False), ("PATCH", None, False),
     ("POST", True, True), ("PUT", False, False)],
)  # fmt: skip
def test_what_may_be_repeated_follows_the_method_unless_it_is_said(
    method: str, said: bool | None, may: bool
) -> None:
    more = {} if said is None else {"idempotent": said}
    assert check_call({"url": URL, "method": method, **more}).repeatable is may


def test_202_means_success_only_where_it_is_expected() -> None:
    assert 202 not in check_call({"url": URL}).expected
    assert 202 in check_call({"url": URL, "expect": "2xx"}).expected


def test_a_template_knows_the_occurrence_and_nothing_else() -> None:
    occasion = Occasion(run=RUN, schedule="a/b", due=DUE, window_start=DUE, window_end=DUE).told_in(
        zone("Europe/Amsterdam").info
    )
    text = '{"d": "{due}", "s": "{schedule}", "r": "{run}", "x": {}, "y": { due }}'
    rendered = render(text, occasion)
    assert '"d": "2026-03-29T03:30:00+02:00", "s": "a/b"' in rendered
    assert str(RUN) in rendered and "{}, " in rendered and "{ due }" in rendered
    assert render("/{due}?s={schedule}", occasion, quoted=True) == (
        "/2026-03-29T03%3A30%3A00%2B02%3A00?s=a%2Fb"
    )
    assert render("{{due}}", occasion) == "{2026-03-29T03:30:00+02:00}"
    with pytest.raises(UnknownName, match="'due'"):
        render("{duee}", occasion)
    with pytest.raises(InvalidValue, match="expected the run to have an occurrence"):
        render("{due}", Occasion(run=RUN))


def test_a_secret_is_looked_up_by_name_alone() -> None:
    assert with_secrets("Bearer secret:A_1 x", {"A_1": "s"}.__getitem__) == "Bearer s x"


# --- timers ---------------------------------------------------------------------------------


def test_a_timer_is_a_schedule_whose_arguments_are_its_call() -> None:
    timer, faults = read_timer(
        "nightly",
        {"url": URL, "cron": "0 1 * * *", "tz": "Europe/Amsterdam", "jitter": "1m",
         "catch_up": "all", "max_age": "2d", "overlap": "queue_one"},
    )  # fmt: skip
    assert faults == [] and timer is not None
    definition = timer.definition
    assert (definition.task, definition.name) == ("http", "nightly")
    assert call_of(definition) == timer.call and timer.call.tz == "Europe/Amsterdam"
    assert definition.trigger["tz"] == "Europe/Amsterdam"
    assert (definition.catch_up.mode, definition.overlap) == ("all", "queue_one")
    assert call_of(msgspec.structs.replace(definition, task="mail")) is None
    assert call_of(msgspec.structs.replace(definition, args=b"{")) is None


BAD_TIMERS: list[tuple[Any, dict[str, Any], str, str]] = [
    ("a", {}, "cron", "exactly one of cron, every, at; got none"),
    ("a", {"cron": "* * * * *", "every": "1m"}, "every", "got cron and every"),
    ("a", {"cron": "0 25 * * *"}, "cron", "hour"),
    ("a", {"cron": 7}, "cron", "a text"),
    ("a", {"cron": "* * * * *", "tz": "Mars"}, "tz", "Mars"),
    ("a", {"every": "1m", "tz": "Mars"}, "tz", "Mars"),
    ("a", {"every": "1m", "tz": 7}, "tz", "a text"),
    ("a", {"every": "-1m"}, "every", "a duration"),
    ("a", {"every": "5"}, "every", "a duration"),
    ("a", {"at": "2026-01-01T00:00"}, "at", "with an offset"),
    ("a", {"at": "tomorrow"}, "at", "with an offset"),
    ("a", {"every": "1m", "jitter": "1h"}, "jitter", "smaller than the smallest gap"),
    ("a", {"every": "1m", "catch_up": "al"}, "catch_up", "did you mean 'all'?"),
    ("a", {"every": "1m", "overlap": 7}, "overlap", "no value of overlap"),
    ("a", {"every": "1m", "max_age": "x"}, "max_age", "a duration"),
    ("a", {"every": "1m", "timout": 1}, "timout", "no key of a timer"),
    ("a b", {"every": "1m"}, "", "a timer's name"),
    (7, {"every": "1m"}, "", "a timer's name"),
]


@pytest.mark.parametrize(("name", "fields", "key", "words"), BAD_TIMERS)
def test_a_timer_that_cannot_be_right_is_refused_under_its_key(
    name: Any, fields: dict[str, Any], key: str, words: str
) -> None:
    timer, faults = read_timer(name, {"url": URL, **fields})
    assert timer is None
    assert [(fault.key, words in fault.message) for fault in faults] == [(key, True)], faults


FILE = """\
owner = "shop"
base = "https://example.com"
tz = "Europe/Amsterdam"
headers = { X-Shop = "7", X-Both = "file" }

[timers.nightly]
cron = "0 1 * * *"
path = "/nightly"
headers = { X-Both = "own" }

[timers.pulse]
every = "5m"
url = "https://other.example/health"
tz = "UTC"
"""


def test_a_file_shares_what_stands_at_its_top() -> None:
    file, faults = read_timers(FILE, Rules())
    assert faults == [] and file is not None and file.owner == "shop"
    nightly, pulse = (one.call for one in file.timers)
    assert nightly.url == "https://example.com/nightly"
    assert nightly.headers == {"X-Shop": "7", "X-Both": "own"} and nightly.tz == "Europe/Amsterdam"
    assert pulse.url == "https://other.example/health" and pulse.tz == "UTC"


def test_the_file_of_the_handbook_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/timers.md").read_text()
    file, faults = read_timers(page.split("```toml\n")[1].split("```")[0], Rules())
    assert faults == [] and file is not None and len(file.timers) == 2
    told = set(page.replace("`", " ").replace(",", " ").split())
    assert set(KEYS) <= told, "every key is explained"


BAD_FILE = """\
ownr = "x"

[timers.a]
cron = "0 25 * * *"
metod = "POST"
url = "https://10.0.0.1/"

[timers."b c"]
every = "1m"
url = "https://example.com/"
deadline = "9h"

[timers.c.headers]
Cookie = "a=b"
[timers.c]
every = "1h"
url = "https://example.com/"

[timers.d]
url = "https://example.com/"
tz = "Mars"
every = "5"
"""


def test_a_bad_file_tells_every_fault_with_its_line() -> None:
    file, faults = read_timers(BAD_FILE, Rules())
    assert file is None
    told = [(line, said.partition(":")[0]) for line, said in faults]
    assert told == [
        (1, "no key of a file of timers is called 'ownr'; did you mean 'owner'?"),
        (4, "a.cron"),
        (5, "a.metod"),
        (6, "a.url"),
        (8, "expected a timer's name to be 1 to 128 letters, digits and _ . "),
        (11, "b c.deadline"),
        (13, "c.headers"),
        (21, "d.tz"),
        (22, "d.every"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [("a =", 0, "expected TOML"), ("x = 1\ny = = 2\n", 2, "expected TOML"),
     ("timers = 7", 1, "at most"), ("[timers]\na = 7", 2, "a: expected a table"),
     ("owner = 7", 1, "expected owner")],
)  # fmt: skip
def test_a_file_that_is_none_is_told_by_its_line(text: str, line: int, words: str) -> None:
    file, faults = read_timers(text)
    assert file is None and len(faults) == 1
    assert faults[0].line == line and words in faults[0].message


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=9),
                       st.none() | st.integers() | st.text(max_size=20) | st.booleans()
                       | st.lists(st.text(max_size=5), max_size=3)
                       | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
                       max_size=6))  # fmt: skip
@cases(60)
def test_whatever_is_written_is_a_timer_or_told(fields: dict[str, Any]) -> None:
    timer, faults = read_timer("a", fields, Rules())
    assert (timer is None) == bool(faults)
    assert all(fault.key in ("", *fields, "url", "cron", *READERS) for fault in faults)

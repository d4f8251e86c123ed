"""`[notify]` in a file: what it comes to, and what each mistake is told as.

A mistake names its key and what was expected; what stands where a secret's name should is never
shown.
"""

from __future__ import annotations

import re
import tomllib
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from duly.config import NotifySettings, load_settings
from duly.config.notify import EmailSettings, WebhookSettings, read_notify
from duly.core.hearing import planned
from duly.core.notices import REMINDERS, ChannelPlan, Rule
from duly.errors import ConfigError
from tests.fuzz.hostile import ANYTHING, well_said
from tests.stores.profiles import cases

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "notifications.md"
WHOLE = """
[notify.channels.ops]
kind = "email"
host = "smtp.example.com"
port = 2525
tls = "implicit"
user = "duly"
password = "secret:SMTP"
from = "Duly <duly@example.com>"
to = ["ann@example.com", "bob@example.com"]
zone = "Europe/Amsterdam"
quiet = "22:00-07:00"
digest_at = "08:00"
remind = ["4h", "1d"]
gather = "90s"

[notify.channels.hook]
kind = "webhook"
url = "https://example.com/hooks"
sign = "secret:HOOK"
remind = []
digest_at = 09:30:00

[[notify.rules]]
channels = ["ops"]
kinds = ["breaker.*"]
severity = "warning"
"""


def load(folder: Path, **files: str) -> NotifySettings:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, "utf-8")
    return load_settings(flags={}, env={}, cwd=folder).settings.notify


def test_a_whole_table_comes_to_channels_and_rules(tmp_path: Path) -> None:
    told = load(tmp_path, duly=WHOLE)
    ops, hook = told.channels
    assert ops.plan == ChannelPlan(
        name="ops",
        zone="Europe/Amsterdam",
        quiet_from=time(22),
        quiet_until=time(7),
        digest_at=time(8),
        remind=(timedelta(hours=4), timedelta(days=1)),
        gather=timedelta(seconds=90),
    )
    assert ops.way == EmailSettings(
        host="smtp.example.com",
        port=2525,
        tls="implicit",
        user="duly",
        password="secret:SMTP",
        sender="duly@example.com",
        sender_name="Duly",
        to=("ann@example.com", "bob@example.com"),
    )
    assert hook.plan == ChannelPlan(name="hook", remind=(), digest_at=time(9, 30))
    assert hook.way == WebhookSettings(url="https://example.com/hooks", sign=("secret:HOOK",))
    assert told.rules == (Rule(channels=("ops",), kinds=("breaker.*",), severity="warning"),)
    plan = planned([one.plan for one in told.channels], told.rules)
    assert plan.channels == (ops.plan, hook.plan)
    assert plan.rules == (*told.rules, Rule(channels=("hook",))), "no rule names it"


def test_no_table_is_no_channel_and_of_two_files_the_first_counts(tmp_path: Path) -> None:
    assert load(tmp_path) == NotifySettings()
    slack = '.channels.{}]\nkind = "slack"\nurl = "secret:S"'
    told = load(
        tmp_path,
        duly="[notify" + slack.format("one"),
        pyproject="[tool.duly.notify" + slack.format("two"),
    )
    ((only),) = told.channels
    assert only.plan == ChannelPlan(name="one", remind=REMINDERS)


MAIL = {"kind": "email", "host": "h", "from": "a@b", "to": ["c@d"]}
HOOK = {"kind": "webhook", "url": "https://example.com/", "sign": ["secret:A"]}
SLACK = {"kind": "slack", "url": "secret:A"}

MISTAKES: list[tuple[dict[str, Any], str]] = [
    (MAIL | {"kind": "emial"}, ".kind: no kind of channel is called 'emial'; did you mean 'email'"),
    ({}, "expected f notify.channels.ops to have kind"),
    ({"kind": "email"}, "expected f notify.channels.ops to have host"),
    (MAIL | {"hots": "x"}, "no key is called 'hots'; did you mean 'host'?"),
    (SLACK | {"host": "x"}, "no key is called 'host'"),
    (MAIL | {"port": 0}, ".port: expected port to be a whole number from 1 to 65535, got 0"),
    (MAIL | {"port": True}, "got True"),
    (MAIL | {"tls": "yes"}, "expected tls to be 'starttls' or 'implicit' or 'none', got 'yes'"),
    (MAIL | {"to": []}, "expected to to be a list of 1 to 50 texts, got []"),
    (MAIL | {"to": ["a@b\r\nBcc: c@d"]}, ".to: expected"),
    (MAIL | {"to": ["Ann <a@b>"]}, "expected to to be an ASCII address"),
    (MAIL | {"to": ["a@b", "a@b"]}, "a list without repetitions"),
    (MAIL | {"from": "Duly <d@x>\n"}, "expected from to be an ASCII address"),
    (MAIL | {"from": "a, b <d@x>"}, "expected from to be an ASCII address"),
    (MAIL | {"host": "a b"}, "expected host to be a host such as smtp.example.com"),
    (MAIL | {"user": "me"}, ".user: expected user and password together"),
    (
        MAIL | {"user": "me", "password": "secret:P", "tls": "none"},
        ".tls: expected 'starttls' or 'implicit' where there is a user",
    ),
    (MAIL | {"zone": "Europe/Amsterdm"}, "did you mean 'Europe/Amsterdam'?"),
    (MAIL | {"zone": 7}, "expected time zone to be a name such as"),
    (MAIL | {"quiet": "22:00"}, 'two times of day such as "22:00-07:00"'),
    (MAIL | {"quiet": "22:00-22:00"}, "two different times of day"),
    (MAIL | {"quiet": "24:00-07:00"}, "a time of day such as \"08:00\", got '24:00'"),
    (MAIL | {"digest_at": "8"}, "a time of day such as \"08:00\", got '8'"),
    (MAIL | {"remind": ["1d", "4h"]}, "gaps that do not shrink"),
    (MAIL | {"remind": ["1s"]}, "a minute or more each"),
    (MAIL | {"remind": "often"}, "expected remind to be a duration"),
    (MAIL | {"gather": "2h"}, "expected gather to be an hour at most"),
    (HOOK | {"url": "https://u:p@example.com/"}, ".url: expected"),
    (HOOK | {"url": 3}, ".url: expected"),
    ({"kind": "webhook", "url": "https://example.com/"}, "to have sign"),
    (HOOK | {"sign": []}, "expected sign to be a list of secret:NAME"),
    ({"kind": "apprise", "urls": ["slack://hunter2"]}, "expected urls to name a secret"),
]


@pytest.mark.parametrize(("table", "said"), MISTAKES, ids=[one for _, one in MISTAKES])
def test_a_mistake_is_told_under_its_key(table: dict[str, Any], said: str) -> None:
    told, faults = read_notify({"channels": {"ops": table}}, "f")
    assert told == NotifySettings()
    assert any(said in fault for fault in faults), faults
    for fault in faults:
        well_said(fault)


def test_the_pages_files_are_right() -> None:
    found = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(found) == 3
    for text in found:
        told, faults = read_notify(tomllib.loads(text)["notify"], "f")
        assert faults == [] and told.channels


SECRETS = [
    MAIL | {"user": "me", "password": "hunter2"},
    SLACK | {"url": "https://hooks.example.com/hunter2"},
    HOOK | {"sign": ["whsec_hunter2"]},
    {"kind": "apprise", "urls": ["tgram://hunter2"]},
    SLACK | {"url": "secret:hunter2"},
]


@pytest.mark.parametrize("table", SECRETS, ids=lambda table: table["kind"])
def test_a_secret_that_is_written_out_is_refused_and_not_repeated(table: dict[str, Any]) -> None:
    _, faults = read_notify({"channels": {"ops": table}}, "f")
    assert faults and "secret:NAME" in faults[0] and "hunter2" not in "".join(faults)


RULES: list[tuple[Any, str]] = [
    ([{}], "expected f notify.rules[1] to have channels"),
    ([{"channels": ["osp"]}], "no channel is called 'osp'; did you mean 'ops'?"),
    ([{"channels": ["ops"]}, {"channels": ["ops"], "kind": ["x"]}], "did you mean 'kinds'?"),
    ([{"channels": ["ops"], "severity": "bad"}], "no severity is called 'bad'"),
    ([{"channels": ["ops"], "kinds": [""]}], "a text of 1 to 300 characters"),
    ("ops", "expected f notify.rules to be at most 200 tables"),
    ([7], "expected f notify.rules[1] to be a table, got 7"),
]


@pytest.mark.parametrize(("rules", "said"), RULES, ids=[one for _, one in RULES])
def test_a_rule_that_cannot_hold_is_told(rules: Any, said: str) -> None:
    _, faults = read_notify({"channels": {"ops": SLACK}, "rules": rules}, "f")
    assert any(said in fault for fault in faults), faults


def test_mistakes_stop_the_settings_with_all_others(tmp_path: Path) -> None:
    text = 'lease = "soon"\n[notfy.channels]\n[notify]\nchanels = 1\n[notify.channels."a b"]'
    with pytest.raises(ConfigError) as told:
        load(tmp_path, duly=text)
    lines = str(told.value).split("\n")
    assert len(lines) == 4
    assert "did you mean 'notify'?" in lines[0] + lines[1]
    assert "did you mean 'notify.channels'?" in str(told.value)


@given(ANYTHING)
@cases(40)
def test_any_table_is_read_or_refused_well(table: Any) -> None:
    mail = MAIL | dict.fromkeys(("quiet", "to", "remind", "from"), table)
    hook = HOOK | dict.fromkeys(("url", "sign", "digest_at", "gather"), table)
    channels = [table, {"a": table}, {"a": mail, "b": hook}]
    for given_table in [table, {"rules": table}, *({"channels": one} for one in channels)]:
        told, faults = read_notify(given_table, "f")
        assert not faults or told == NotifySettings()
        for fault in faults:
            well_said(fault)

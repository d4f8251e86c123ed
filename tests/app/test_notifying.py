"""Declaring channels: what cannot be right is refused at once, and every instance tells by them."""

from __future__ import annotations

import asyncio
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from duly import Duly
from duly.app.notifying import all_told, make_notifiers, notify_plan
from duly.core.fleet import Incident
from duly.core.notices import ChannelPlan, Notice, Rule
from duly.errors import UsageError


class Post:
    def __init__(self, name: Any = "mail") -> None:
        self.name = name

    async def send(self, notice: Notice) -> None: ...


WRONG = [
    ({"quite": ("22:00", "07:00")}, "did you mean 'quiet'?"),
    ({"zone": "Europe/Amsterdm"}, "Europe/Amsterdam"),
    ({"quiet": "22:00"}, 'expected quiet to be two times of day, ("22:00", "07:00")'),
    ({"quiet": ("22:00", "25:00")}, "expected quiet to be a time of day, such as 07:30"),
    ({"digest_at": "8 am"}, "expected digest_at to be a time of day"),
    ({"gather": "soon"}, "gather"),
    ({"remind": ("4h", "soon")}, "remind"),
    ({"remind": ("0s",)}, "expected remind to be gaps of a minute or more, got"),
    ({"severity": "crit"}, "critical"),
    ({"kinds": "breaker.*"}, 'expected kinds to be patterns, such as ["breaker.*"]'),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_cannot_be_right_is_refused_with_what_helps(
    options: dict[str, Any], words: str
) -> None:
    app = Duly("memory://")
    with pytest.raises(UsageError) as refused:
        app.notify(Post(), **options)
    assert words in str(refused.value)
    assert app.channels == {}


@pytest.mark.parametrize("channel", [object(), Post(""), Post(7), "mail"])
def test_what_is_no_channel_is_refused(channel: Any) -> None:
    with pytest.raises(UsageError, match="expected a channel to be something with a name"):
        Duly("memory://").notify(channel)


def test_two_channels_of_a_name_are_refused() -> None:
    app = Duly("memory://")
    app.notify(Post())
    with pytest.raises(UsageError, match="two channels are called 'mail'"):
        app.notify(Post())


def test_what_was_agreed_is_kept_and_every_channel_gets_a_notifier() -> None:
    app = Duly("memory://")
    app.notify(
        Post("mail"), zone="Europe/Berlin", quiet=("22:00", "07:00"), digest_at="08:00",
        remind=("4h", 86_400), gather="2m", kinds=["breaker.*"], severity="warning",
    )  # fmt: skip
    app.notify(Post("chat"))
    plan = notify_plan(list(app.channels.values()))
    assert plan.channels[0] == ChannelPlan(
        name="mail",
        zone="Europe/Berlin",
        quiet_from=time(22),
        quiet_until=time(7),
        digest_at=time(8),
        remind=(timedelta(hours=4), timedelta(days=1)),
        gather=timedelta(minutes=2),
    )
    assert plan.rules == (
        Rule(channels=("mail",), kinds=("breaker.*",), severity="warning"),
        Rule(channels=("chat",)),
    )
    names = [one.name for one in make_notifiers(app, app.clock.new_id)]
    assert names == ["notifier mail", "notifier chat"]
    assert make_notifiers(Duly("memory://"), app.clock.new_id) == []
    assert notify_plan([]).rules == ()


def test_channels_of_the_settings_are_told_beside_declared_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "duly.toml").write_text(
        '[notify.channels.ops]\nkind = "slack"\nurl = "secret:SLACK"\n'
        '[[notify.rules]]\nchannels = ["ops"]\nseverity = "critical"\n'
    )
    monkeypatch.chdir(tmp_path)
    app = Duly("memory://")
    app.notify(Post("mail"))
    assert [one.name for one in make_notifiers(app, app.clock.new_id)] == [
        "notifier ops",
        "notifier mail",
    ]
    plan = notify_plan(all_told(app), app.settings.notify.rules)
    assert [(one.channels, one.severity) for one in plan.rules] == [
        (("ops",), "critical"),
        (("mail",), "info"),
    ]
    app.notify(Post("ops"))
    with pytest.raises(UsageError, match="two channels are called 'ops'"):
        make_notifiers(app, app.clock.new_id)


async def test_an_instance_at_work_tells_people(tmp_path: Path) -> None:
    app, told = Duly(f"sqlite:///{tmp_path / 'duly.db'}"), asyncio.Event()

    class Telling(Post):
        async def send(self, notice: Notice) -> None:
            took.extend(one.incident.subject for one in notice.items)
            told.set()

    took: list[str] = []
    app.notify(Telling())
    async with app:
        one = Incident(kind="run.failed", subject="mail", severity="critical", summary="it failed")
        await app.store.open_incident(one)
        working = asyncio.create_task(app.work())
        async with asyncio.timeout(30):
            await told.wait()
        working.cancel()
        assert await working == 0
        [standing] = await app.client.channels()
    assert took == ["mail"]
    assert (standing.name, standing.untold) == ("mail", 0)

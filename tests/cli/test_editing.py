"""`duly schedules edit`: what is given changes, the rest stays, and a mistake changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.prepared import Prepared

# What is asked of which schedule, and what it then is.
EDITS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("nightly", ["--cron", "30 2 * * *"], {"expression": "30 2 * * *", "tz": "Europe/Amsterdam"}),
    ("nightly", ["--tz", "Europe/Athens"], {"expression": "0 1 * * *", "tz": "Europe/Athens"}),
    ("nightly", ["--every", "2h"], {"kind": "every", "interval": "2h"}),
    ("hourly", ["--every", "3h"], {"kind": "every", "interval": "3h"}),
    ("hourly", ["--cron", "5 * * * *"], {"expression": "5 * * * *", "tz": "UTC"}),
    ("hourly", ["--at", "2099-03-01T01:00Z"], {"kind": "once", "at": "2099-03-01T01:00:00Z"}),
    (
        "hourly",
        ["--at", "2099-07-01T01:00", "--tz", "Europe/Athens"],
        {"kind": "once", "at": "2099-06-30T22:00:00Z"},
    ),
    ("hourly", ["--overlap", "queue_all", "--jitter", "5m"], {"kind": "every", "interval": "1h"}),
]


@pytest.mark.parametrize(("name", "asked", "spec"), EDITS)
def test_a_schedule_is_edited_and_what_is_not_given_stays(
    store: Prepared, name: str, asked: list[str], spec: dict[str, Any]
) -> None:
    before = store.json("schedules", "show", name)
    edit = ("schedules", "edit", name, *asked, "--reason", "moved", "--by", "anna")
    dry = store.json(*edit, "--dry-run")
    assert store.json("schedules", "show", name) == before
    store.out(*edit)
    after = store.json("schedules", "show", name)
    assert {key: after["trigger"][key] for key in spec} == spec
    assert (after["trigger"], after["overlap"]) == (dry["trigger"], dry["overlap"])
    assert (after["source"], after["by"], after["reason"]) == ("person", "anna", "moved")
    assert after["revision"] == before["revision"] + 1
    same = ("args", "task", "queue", "catch_up", "owner")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert "already" in store.out(*edit)
    assert "belongs to code again" in store.out("schedules", "give-back", name)


def test_an_instant_is_read_in_the_zone_that_there_is_and_by_no_guess(store: Prepared) -> None:
    edit = ("schedules", "edit", "nightly", "--at", "2099-03-01T01:00", "--reason", "so")
    store.out(*edit)
    assert store.json("schedules", "show", "nightly")["trigger"]["at"] == "2099-03-01T00:00:00Z"
    again = store.result(*edit)
    assert "expected --at to be an instant with an offset" in str(again.exception)


def test_arguments_and_policies_are_edited_too(store: Prepared) -> None:
    asked = ("--args", '{"a": 7}', "--catch-up", "all", "--max-age", "2d")
    store.out("schedules", "edit", "hourly", *asked, "--reason", "so")
    row = store.json("schedules", "show", "hourly")
    assert (row["args"], row["catch_up"]["mode"]) == ({"a": 7}, "all")


MISTAKEN_EDITS = [
    ([], "expected something to change"),
    (["--cron", "0 1 * * *", "--every", "1h"], "expected one of --cron, --every, --at"),
    (["--tz", "Europe/Athens"], "expected --tz with --cron or --at"),
    (["--tz", "Europe/Athens", "--every", "2h"], "expected --tz with --cron or --at"),
    (["--cron", "0 25 * * *"], "25"),
    (["--jitter", "2h"], "jitter"),
    (["--args", "[1]"], "a JSON object"),
    (["--revision", "9", "--every", "2h"], "was changed meanwhile"),
]


@pytest.mark.parametrize(("asked", "words"), MISTAKEN_EDITS)
def test_an_edit_that_cannot_be_is_refused_and_changes_nothing(
    store: Prepared, asked: list[str], words: str
) -> None:
    before = store.json("schedules", "show", "hourly")
    done = store.result("schedules", "edit", "hourly", *asked, "--reason", "so")
    assert done.exception is not None and words in str(done.exception)
    assert store.json("schedules", "show", "hourly") == before

"""An application that works inside somebody's process can tell what happens there."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from duly import Duly
from duly.core.ids import uuid7
from duly.events import RunFailed


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The root logger's level as it was."""
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)


@pytest.fixture
def failed() -> RunFailed:
    return RunFailed(run=uuid7(1, 1), task="t", epoch=1, took_s=0.5, failures=1, error="so")


def test_lines_go_to_the_stream_until_it_is_ended(failed: RunFailed) -> None:
    app, stream = Duly("memory://", name="shop"), io.StringIO()
    stop = app.log(stream)
    app.bus.emit(failed)
    stop()
    app.bus.emit(failed)
    [line] = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["event"], told["app"], told["task"]) == ("run.failed", "shop", "t")


def test_without_a_stream_the_records_are_yours(
    failed: RunFailed, caplog: pytest.LogCaptureFixture
) -> None:
    app = Duly("memory://")
    stop = app.log()
    with caplog.at_level(logging.INFO, logger="duly"):
        app.bus.emit(failed)
    stop()
    assert [record.message for record in caplog.records] == ["run.failed"]

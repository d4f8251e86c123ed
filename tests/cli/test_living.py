"""`duly dev` and `duly worker` live, do work, and end for certain with the right code."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.typed import duly, living

pytestmark = pytest.mark.slow

APP = """
import asyncio, threading
from duly import Context, Duly

app = Duly(name="shop")

@app.task(cron="0 1 * * *", tz="Europe/Amsterdam")
async def mail_orders(ctx: Context) -> None: ...

@app.task
async def add(a: int, b: int = 2) -> int:
    return a + b

@app.task(retries=1, backoff="1ms")
def boom() -> None:
    raise ValueError("no such luck")

@app.task
async def sleeps() -> None:
    await asyncio.Event().wait()

@app.task
def hangs() -> None:
    threading.Event().wait()

@app.task
async def blocks() -> None:
    threading.Event().wait(30)
"""


FAILS = """
from contextlib import asynccontextmanager
from duly import Duly

@asynccontextmanager
async def resources():
    raise KeyError("no such setting")
    yield

app = Duly(lifespan=resources)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP, "utf-8")
    return tmp_path


def test_dev_does_everything_in_one_process(folder: Path) -> None:
    with living("dev", "shop.py", cwd=folder) as dev:
        dev.until("tasks: add, blocks, boom")
        assert "Europe/Amsterdam" in dev.until("schedule mail_orders:")
        assert "+0" in dev.until("01:00:00")
        dev.until("works")
        done = duly("run", "add", "-A", "shop.py", "--arg", "a=40", "--wait", cwd=folder)
        assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
        dev.until("done      add")
        healthy = duly("doctor", cwd=folder)
        assert healthy.returncode == 0, healthy.stdout
        failed = duly("run", "boom", "-A", "shop.py", "--wait", cwd=folder)
        assert failed.returncode == 1
        assert "failed: ValueError: no such luck; duly runs show" in failed.stderr
        assert "again in" in dev.until("failed    boom")
        dev.until("for good after 2 failures: ValueError: no such luck")
        dev.until("incident  run.failed boom")
        assert "boom failed for good: ValueError" in duly("doctor", cwd=folder).stdout
        why = duly("why", "mail_orders", "-o", "json", cwd=folder)
        assert json.loads(why.stdout)["headline"].startswith("active: fires next at")
        dev.process.send_signal(signal.SIGINT)
        assert dev.end() == 0
    assert "stopped" in dev.text


STOPS = [("sleeps", "handed back at a stop"), ("hangs", "its instance stopped")]


@pytest.mark.parametrize(("task", "reason"), STOPS)
def test_a_stop_ends_the_process_and_hands_back_what_it_held(
    folder: Path, task: str, reason: str
) -> None:
    with living("worker", "shop.py", cwd=folder, env=short_grace("debug")) as worker:
        worker.until("instance.started")
        run = duly("run", task, "-A", "shop.py", cwd=folder).stdout.strip()
        worker.until("attempt.started")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.end() == 0, worker.text
    told = duly("why", run, cwd=folder).stdout
    assert "ready since" in told and "no live worker" in told
    assert reason in told


def test_a_second_signal_ends_it_now_and_hands_back(folder: Path) -> None:
    env = {"DULY_STOP_GRACE": "1h", "DULY_LOG_LEVEL": "debug"}
    with living("worker", "-A", "shop:app", cwd=folder, env=env) as worker:
        worker.until("instance.started")
        run = duly("run", "hangs", "-A", "shop", cwd=folder).stdout.strip()
        worker.until("attempt.started")
        worker.process.send_signal(signal.SIGTERM)
        worker.until("instance.stopping")
        assert worker.pressed_until_it_ends(signal.SIGTERM) == 143
    assert "its instance stopped" in duly("why", run, cwd=folder).stdout


def test_a_task_that_blocks_the_loop_cannot_keep_the_process(folder: Path) -> None:
    env = {"DULY_STOP_GRACE": "1h", "DULY_LOG_LEVEL": "debug"}
    with living("worker", "shop.py", cwd=folder, env=env) as worker:
        worker.until("instance.started")
        duly("run", "blocks", "-A", "shop.py", cwd=folder)
        worker.until("attempt.started")
        assert worker.pressed_until_it_ends(signal.SIGINT) == 130


def test_a_worker_waits_for_a_store_that_is_away(folder: Path) -> None:
    url = "postgresql://x@127.0.0.1:1/y"
    with living("worker", "shop.py", "--store", url, cwd=folder) as worker:
        assert "cannot be reached" in worker.until("store.away")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.end() == 0


def test_a_worker_does_not_wait_for_what_cannot_mend_itself(folder: Path) -> None:
    (folder / "text.db").write_text("no database, and no small one at that\n" * 100)
    done = duly("worker", "shop.py", "--store", "sqlite:///text.db", cwd=folder)
    assert done.returncode == 78
    assert "is not a SQLite database" in done.stderr and "Traceback" not in done.stderr


def test_a_lifespan_that_fails_is_told_in_the_frames_of_its_author(folder: Path) -> None:
    (folder / "fails.py").write_text(FAILS, "utf-8")
    done = duly("worker", "fails.py", cwd=folder)
    assert done.returncode == 1
    assert "working for app failed: KeyError: 'no such setting'" in done.stderr
    assert "fails.py" in done.stderr and "in resources" in done.stderr
    assert "working.py" not in done.stderr and "bug of Duly" not in done.stderr


def short_grace(level: str) -> dict[str, str]:
    return {"DULY_STOP_GRACE": "100ms", "DULY_LOG_LEVEL": level}

"""What a run's code logs is kept beside it: the last lines, of the attempts one asks about."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any
from unittest.mock import ANY

import pytest

from duly import Duly
from duly.core.logs import LINES_KEPT, LoggedAttempt, account
from duly.engine.pages import PAGE
from tests.engine.bench import Bench, in_time, lasts

log = logging.getLogger("shop")


@pytest.fixture(autouse=True)
def _told_from_info_on() -> Any:
    before = log.level
    log.setLevel(logging.DEBUG)
    yield
    log.setLevel(before)


async def says(
    bench: Bench, fn: Any, lost: dict[str, dict[str, int]] | None = None, **options: Any
) -> tuple[list[LoggedAttempt], list[str]]:
    """Run a task to its end; return what is kept of its attempts, and the verbs that were sent."""
    app = Duly()
    app.task(name="work", **options)(fn)
    engine, store = await bench.start(app)
    vars(store).update(lost or {})
    run = await bench.ask("work")
    await bench.ended(run)
    sent = [one for one in store.sent if one in ("log", "end")]
    await engine.stop()
    return await kept(bench, run), sent


async def kept(bench: Bench, run: Any) -> list[LoggedAttempt]:
    return account(await bench.view(run), await bench.client.logged(run))


def texts(attempts: list[LoggedAttempt]) -> list[list[str]]:
    return [[line.text for line in one.lines] for one in attempts]


async def works() -> None:
    log.info("began with %s", {"a": 1})


async def fails() -> None:
    await works()
    raise OSError("disk")


async def waits_long() -> None:
    await works()
    await lasts(500)


@pytest.mark.parametrize(
    ("fn", "options", "attempts"),
    [
        (works, {}, [[]]),
        (works, {"logs": "all"}, [["began with {'a': 1}"]]),
        (works, {"logs": "none"}, [[]]),
        (fails, {"retries": 0}, [["began with {'a': 1}"]]),
        (fails, {"retries": 0, "logs": "none"}, [[]]),
        (fails, {"retries": 1}, [["began with {'a': 1}"]] * 2),
        (waits_long, {"timeout": "1s", "retries": 0}, [["began with {'a': 1}"]]),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_attempts_keep_their_lines_as_their_task_says(
    fn: Any, options: dict[str, Any], attempts: list[list[str]]
) -> None:
    async def test(bench: Bench) -> None:
        told, _ = await says(bench, fn, **options)
        assert texts(told) == attempts

    in_time(test)()


def test_an_attempt_that_logs_nothing_costs_no_statement() -> None:
    async def quiet() -> None:
        raise OSError("disk")

    async def test(bench: Bench) -> None:
        assert await says(bench, quiet, retries=0, logs="all") == ([ANY], ["end"])

    in_time(test)()


def test_lines_are_there_before_the_end_is_known() -> None:
    async def test(bench: Bench) -> None:
        assert await says(bench, fails, retries=0) == ([ANY], ["log", "end"])

    in_time(test)()


@pytest.mark.parametrize("lost", ["before", "after"])
def test_lines_outlast_a_store_that_is_away(lost: str) -> None:
    async def test(bench: Bench) -> None:
        told, sent = await says(bench, fails, {lost: {"log": 2}}, retries=0)
        assert (texts(told), sent) == ([["began with {'a': 1}"]], ["log", "log", "log", "end"])

    in_time(test)()


def test_whoever_wants_all_sees_lines_while_it_runs() -> None:
    async def test(bench: Bench) -> None:
        seen: list[list[list[str]]] = []

        async def slow() -> None:
            for number in range(3):
                log.info("%d", number)
                await lasts(2)
                [run] = bench.tables.held
                seen.append(texts(await kept(bench, run)))

        _, sent = await says(bench, slow, logs="all")
        assert seen == [[["0"]], [["0", "1"]], [["0", "1", "2"]]]
        assert sent == ["log"] * 4 + ["end"], "one for each second with news, and the last"

    in_time(test)()


def test_lines_of_everything_that_an_attempt_begins_are_its_own() -> None:
    async def many() -> None:
        async def beside(name: str) -> None:
            await lasts(1)
            log.warning(name)

        await asyncio.gather(beside("a"), beside("b"))
        await asyncio.to_thread(log.error, "on a thread")
        stranger = threading.Thread(target=log.error, args=("of nobody",))
        stranger.start()
        stranger.join()
        raise OSError

    async def test(bench: Bench) -> None:
        told, _ = await says(bench, many, retries=0)
        assert texts(told) == [["a", "b", "on a thread"]]
        assert PAGE.get() is None

    in_time(test)()


def test_a_synchronous_task_keeps_its_lines_too() -> None:
    def blocking() -> None:
        log.info("on the attempt's thread")
        raise OSError

    async def test(bench: Bench) -> None:
        told, _ = await says(bench, blocking, retries=0)
        assert texts(told) == [["on the attempt's thread"]]

    in_time(test)()


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_lines_are_those_of_user_code_from_info_on_whatever_they_hold() -> None:
    async def talks() -> None:
        log.debug("too fine")
        logging.getLogger("duly.engine").warning("an event")
        logging.getLogger("dulyish").warning("a neighbour")
        for text, *words in (("%d", "no number"), ("%s", Unspeakable()), ("lone \ud800",)):
            # Made and never handled: the handlers of the tests raise at such records.
            log.makeRecord("shop", logging.INFO, "here", 1, text, tuple(words), None)
        try:
            raise KeyError("x")
        except KeyError:
            log.exception("went wrong")
        raise OSError

    async def test(bench: Bench) -> None:
        told, _ = await says(bench, talks, retries=0)
        [[neighbour, misfit, unspeakable, lone, wrong]] = texts(told)
        assert neighbour == "a neighbour"
        assert misfit.startswith("'%d' (its arguments do not fit: TypeError")
        assert "no words" in unspeakable
        assert lone == "lone \\ud800"
        assert wrong.startswith("went wrong\nTraceback")
        assert wrong.endswith("KeyError: 'x'")

    in_time(test)()


def test_a_flood_keeps_its_last_lines_and_says_how_many_there_were() -> None:
    async def flood() -> None:
        for number in range(10_000):
            log.info("%d", number)
        raise OSError

    async def test(bench: Bench) -> None:
        [attempt], _ = await says(bench, flood, retries=0)
        assert attempt.told == 10_000
        assert 0 < len(attempt.lines) <= LINES_KEPT
        assert attempt.lines[-1].text == "9999"
        assert attempt.unkept == f"{10_000 - len(attempt.lines)} earlier lines are not kept"

    in_time(test)()


def test_a_factory_of_the_users_own_stays_and_ours_is_never_put_around_itself() -> None:
    original = logging.getLogRecordFactory()
    asked: list[str] = []

    def around(inner: Any) -> Any:
        def theirs(*args: Any, **how: Any) -> logging.LogRecord:
            asked.append("theirs")
            return inner(*args, **how)

        return theirs

    async def wrapped() -> None:
        logging.setLogRecordFactory(around(logging.getLogRecordFactory()))
        await fails()

    async def test(bench: Bench) -> None:
        for fn in (wrapped, fails, fails):
            asked.clear()
            told, _ = await says(bench, fn, retries=0)
            assert (texts(told), asked) == ([["began with {'a': 1}"]], ANY)
            assert len(asked) <= 2, "a record, and the look whether records pass here"

    try:
        in_time(test)()
        log.info("after")
        assert asked[-1] == "theirs"
    finally:
        logging.setLogRecordFactory(original)


def test_what_the_root_logger_does_by_itself_is_left_alone() -> None:
    async def test(bench: Bench) -> None:
        before = list(logging.getLogger().handlers)
        await says(bench, fails, retries=0)
        assert logging.getLogger().handlers == before

    in_time(test)()

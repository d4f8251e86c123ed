"""Binding topics: where messages go is said once, and checked before anything starts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from duly import Context, Duly, InvalidValue, UsageError
from duly.app.binding import checks, make_relays
from duly.core.runs import RunFilter
from duly.outbound.tasks import TaskDestination
from duly.testing import VirtualClock
from tests.engine.bench import Bench, in_time


def an_app() -> tuple[Duly, Any]:
    app = Duly("memory://", clock=VirtualClock())

    @app.task
    async def take(n: int) -> int:
        return n * 2

    return app, take


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a topic that is bound": ({"topic": "bound"}, UsageError, "is bound already"),
    "no topic": ({"topic": ""}, InvalidValue, "a topic"),
    "a topic with a space": ({"topic": "a b"}, InvalidValue, "a topic"),
    "no pace": ({"topic": "t", "per_second": 0}, InvalidValue, "at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_binding_that_cannot_be_right_is_refused_at_once(case: str) -> None:
    how, kind, told = REFUSED[case]
    app, take = an_app()
    app.bind("bound", to=take)
    topic = how.pop("topic") if "topic" in how else "t"
    with pytest.raises(kind, match=told):
        app.bind(topic, to=take, **how)
    assert list(app.bindings) == ["bound"]


FITS = {
    "what fits": (b'{"n":1}', True),
    "another field": (b'{"m":1}', False),
    "another type": (b'{"n":"x"}', False),
    "no object": (b"[1]", False),
    "nothing": (b"null", False),
}


@pytest.mark.parametrize("case", FITS)
def test_a_message_to_a_bound_task_is_checked_as_its_arguments(case: str) -> None:
    body, fits = FITS[case]
    app, take = an_app()
    app.bind("t", to=take)
    if fits:
        assert checks(app)["t"](body) == body
    else:
        with pytest.raises(InvalidValue, match="take"):
            checks(app)["t"](body)


class Elsewhere:
    """A destination of the user's own: it takes anything."""

    name = "elsewhere"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, messages: Any) -> list[Any]:
        return [one.id for one in messages]


def test_a_destination_of_ones_own_takes_what_json_carries() -> None:
    app, _ = an_app()
    app.bind("t", to=Elsewhere())
    assert checks(app)["t"](b"anything") is None


async def test_each_bound_topic_has_a_relay_of_its_own() -> None:
    app, take = an_app()
    app.bind("a", to=take, per_second=3)
    app.bind("b", to=Elsewhere())
    first, second = make_relays(app, app.clock.new_id)
    assert [first.name, second.name] == ["relay a", "relay b"]
    assert isinstance(first._destination, TaskDestination)
    assert isinstance(second._destination, Elsewhere)
    assert first._per_second == 3


@in_time
async def test_what_a_run_publishes_becomes_runs_of_the_task_that_is_bound(bench: Bench) -> None:
    app, take = an_app()

    @app.task
    async def give(ctx: Context) -> list[str]:
        return [str(await ctx.publish("t", {"n": n}, key="k")) for n in range(3)]

    app.bind("t", to=take)
    engine, store = bench.make(app, topics=checks(app))
    app.clock = bench.clock
    app.use(store)
    engine.beside += make_relays(app, lambda: engine.boot)
    await engine.start()
    given = await bench.ended(await bench.ask("give"))
    await bench.until(lambda: len(bench.tables.ended) == 4)
    runs = await bench.client.runs(RunFilter(task="take"))
    assert {str(one.id) for one in runs} == set(_ids(given.result))
    assert sorted(one.result or b"" for one in runs) == [b"0", b"2", b"4"]
    await asyncio.wait_for(engine.stop(), 60)
    bench.assert_sound()


def _ids(result: bytes | None) -> list[str]:
    return (result or b"").decode().strip("[]").replace('"', "").split(",")

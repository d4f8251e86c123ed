"""Who was called says how it ended with the token of its call, for its own run and no other."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from duly.core.fleet import Instance
from duly.core.runs import Ending, NewRun
from duly.core.states import RunVerb
from duly.core.steps import Note, Step, of_call, token_step
from duly.server.api.targets import HEADER, MOST_SAID
from tests.server.api.shop import Caller

TOKEN, OTHER = "ab" * 32, "cd" * 32


class Started:
    """A run whose call was answered with 202, and that waits for its target's word."""

    def __init__(self, api: Caller) -> None:
        self.api, self.boot = api, api.app.clock.new_id()

    async def begin(self, token: str) -> Started:
        """Let an attempt give out a token, as the task `http` does; its hash is kept."""
        store, new_id = self.api.app.store, self.api.app.clock.new_id
        about: dict[str, Any] = dict.fromkeys(("name", "host", "pid_space", "owner", "version"), "")
        await store.register(Instance(boot=self.boot, pid=1, tasks=("http",), **about), {})
        run = NewRun(id=new_id(), task="http")
        await store.enqueue([run])
        took = await store.claim(self.boot, new_id(), queues=["default"], tasks=["http"], limit=1)
        [self.held] = took.runs
        digest = b'"%s"' % sha256(token.encode()).hexdigest().encode()
        step = Step(name=token_step(1), number=0, value=digest)
        await store.keep(self.boot, [Note(run=run.id, epoch=self.held.epoch, steps=(step,))])
        return self

    async def say(
        self, verb: str, token: str | None = TOKEN, run: UUID | str | None = None, **body: Any
    ) -> Any:
        """Say something of the call, without any key."""
        path = f"/api/v1/calls/{run or self.held.id}/{verb}"
        headers = {} if token is None else {HEADER: token}
        return await self.api.call("POST", path, key=None, body=body, headers=headers)


@pytest.fixture
async def started(api: Caller) -> Started:
    return await Started(api).begin(TOKEN)


async def test_a_target_shows_life_and_says_once_how_it_ended(started: Started) -> None:
    beats = [(await started.say("beat")).body["outcome"] for _ in range(2)]
    assert beats == ["done", "already"], "one that was not heard yet is enough"
    name = of_call(started.held.id, 1)
    assert (await started.say("complete", message="42 rows")).body == {"outcome": "done"}
    assert (await started.say("complete", outcome="failed")).body == {"outcome": "already"}
    [said] = await started.api.app.store.happened([name])
    assert b'"ok":true' in said.body and b"42 rows" in said.body


async def test_the_token_of_one_run_opens_no_other_and_no_key_opens_these(
    started: Started,
) -> None:
    other = await Started(started.api).begin(OTHER)
    unknown = started.api.app.clock.new_id()
    cases: list[tuple[str | None, Any]] = [
        (None, None), ("", None), ("ab", None), (TOKEN[:-1] + "c", None), (OTHER, None),
        (TOKEN, other.held.id), (TOKEN, unknown), (TOKEN, "nonsense"), (TOKEN.upper(), None),
    ]  # fmt: skip
    bodies = []
    for token, run in cases:
        said = await started.say("complete", token, run)
        assert said.status == 401, (token, run)
        bodies.append(said.body)
    assert all(one == bodies[0] for one in bodies), "all that fail look the same"
    path = f"/api/v1/calls/{started.held.id}/complete"
    assert (await started.api.call("POST", path, key="admin", body={})).status == 401
    assert (await started.say("complete")).body == {"outcome": "done"}


async def test_what_a_target_says_is_bounded_and_read_strictly(started: Started) -> None:
    cases = [
        ("complete", {"message": "x" * MOST_SAID}, 413),
        ("complete", {"message": "x" * 1001}, 422),
        ("complete", {"outcome": "done"}, 422),
        ("complete", {"ok": True}, 422),
        ("beat", {"done": True}, 422),
        ("kill", {}, 404),
    ]
    for verb, body, status in cases:
        assert (await started.say(verb, **body)).status == status, (verb, status)
    assert await started.api.app.store.happened([of_call(started.held.id)]) == []


async def test_who_guesses_waits_and_others_of_the_same_address_do_not(started: Started) -> None:
    other = await Started(started.api).begin(OTHER)
    guessed = [(await started.say("complete", OTHER)).status for _ in range(25)]
    assert guessed[:20] == [401] * 20 and 429 in guessed
    assert int((await started.say("complete", OTHER)).headers["Retry-After"]) >= 1
    assert (await other.say("complete", OTHER)).body == {"outcome": "done"}
    seen = await started.api.call("GET", "/api/v1/runs", key="viewer")
    assert seen.status == 200, "keys are counted for themselves"


async def test_a_word_that_comes_after_the_end_is_refused_with_the_reason(
    started: Started,
) -> None:
    held, store = started.held, started.api.app.store
    ended = Ending(run=held.id, epoch=held.epoch, verb=RunVerb.FAIL, error="vanished")
    await store.end(started.boot, [ended])
    said = await started.say("complete")
    assert (said.status, said.body["type"]) == (409, "urn:duly:problem:refused")

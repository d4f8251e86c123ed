"""The task `http` says truly what came of a call, whoever answers, and lets no secret out.

Turned by hand, on a virtual clock, against a real server on loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import pytest

from duly import Duly, Refused, events
from duly.app.explaining import Explaining
from duly.core.breakers import BreakerFilter
from duly.core.effects import EffectFilter
from duly.core.health import Health
from duly.core.runs import Answer, RunView
from duly.core.states import BreakerState, BreakerVerb, EffectState, RunState
from duly.core.timers import read_timer
from duly.outbound.signing import Secret, verify
from duly.testing import turned
from duly.testing.hand import Hand
from tests.outbound.peers import HOST, Http1, Request, served
from tests.outbound.test_http import answering, silent

CANARY = "c4nary-kept-nowhere"
HOOK = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Scene:
    """An application that carries calls, its hand, and the server that it calls."""

    def __init__(self, hand: Hand, peer: Http1) -> None:
        self.hand, self.peer = hand, peer

    async def timer(self, name: str = "t", **fields: Any) -> UUID:
        """Make a timer, and have its call made once; return the run."""
        fields = {"at": "2099-01-01T00:00:00Z", "url": f"http://{HOST}:{self.peer.port}/x"} | fields
        fields = {key: value for key, value in fields.items() if value is not None}
        timer, faults = read_timer(name, fields, self.hand.app.settings.calls.rules)
        assert timer is not None, faults
        await self.hand.client.save_timer(timer.definition, by="ann")
        run = await self.hand.client.test_timer(name, by="ann")
        await self.hand.run_due()
        return run

    async def view(self, run: UUID) -> RunView:
        return await self.hand.client.run(run)

    async def health(self, name: str) -> Health:
        row = await self.hand.client.timer(name)
        return (await self.hand.client.health([row]))[name]

    def token(self) -> str:
        return self.peer.requests[-1].headers["duly-completion-token"]


def script(*answers: Any) -> Callable[[Request, asyncio.StreamWriter], Any]:
    """Answer each request by the next of `answers`: a status, or a handler; the last for ever."""
    left: list[Any] = list(answers)

    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        one = left.pop(0) if len(left) > 1 else left[0]
        await (answering(one, b"said") if isinstance(one, int) else one)(request, writer)

    return handle


@asynccontextmanager
async def scene(*answers: Any, **settings: object) -> AsyncIterator[Scene]:
    peer = Http1(script(*answers))
    async with served(peer):
        given = {"calls_allow": (f"{HOST}:{peer.port}",), "calls_plain_http": True} | settings
        app = Duly("memory://", settings=given)
        app.carry_calls(retries=2, backoff="1s")
        async with turned(app) as hand:
            yield Scene(hand, peer)


# --- what came of it ------------------------------------------------------------------------

LATER = answering(503, fields="Retry-After: 600\r\n")
OUTCOMES: list[tuple[str, Sequence[Any], str, int, str]] = [
    # method, answers, how the run stands, how often it was called, the last word
    ("GET", [200], "succeeded", 1, "answered 200: success"),
    ("POST", [201], "succeeded", 1, "answered 201: success"),
    ("GET", [404], "failed", 1, "answered 404: route not found"),
    ("POST", [410], "failed", 1, "answered 410: route not found"),
    ("GET", [422], "failed", 1, "answered 422: contract changed"),
    ("POST", [405], "failed", 1, "answered 405: contract changed"),
    ("GET", [403], "failed", 1, "answered 403: access denied"),
    ("GET", [302], "failed", 1, "answered 302: redirected"),
    ("GET", [500], "failed", 3, "answered 500: server error"),
    ("GET", [500, 200], "succeeded", 2, "answered 200: success"),
    ("PUT", [silent, 200], "succeeded", 2, "answered 200: success"),
    ("GET", [LATER, 200], "succeeded", 2, "answered 200: success"),
    ("POST", [LATER, 200], "succeeded", 2, "answered 200: success"),
    ("POST", [429, 200], "succeeded", 2, "answered 200: success"),
    ("POST", [500], "parked", 1, "answered 500: server error"),
    ("POST", [silent], "parked", 1, "connection failed"),
    ("PATCH", [502], "parked", 1, "answered 502: server error"),
    ("GET", [202], "failed", 1, "answered 202: only started"),
    ("POST", [202], "failed", 1, "answered 202: only started"),
]


@pytest.mark.parametrize(("method", "answers", "stands", "calls", "word"), OUTCOMES)
async def test_a_call_ends_as_its_answers_say(
    method: str, answers: Sequence[Any], stands: str, calls: int, word: str
) -> None:
    async with scene(*answers) as it:
        run = await it.timer(method=method)
        await it.hand.tick("1h")
        view = await it.view(run)
        assert (view.state.value, len(it.peer.requests)) == (stands, calls)
        keys = {(one.headers["webhook-id"], one.headers["idempotency-key"])
                for one in it.peer.requests}  # fmt: skip
        assert len(keys) == 1, "every retry has the same id"
        told = it.hand.events.of(events.CallAnswered)
        assert len(told) == calls and told[-1].schedule == "t"
        why = await Explaining(it.hand.store).run(view)
        assert any(word in line for line in why.causes), why
        uncertain = EffectFilter(state=EffectState.UNCERTAIN)
        assert bool(await it.hand.store.effects(uncertain)) is (stands == "parked")


async def test_it_comes_back_no_sooner_than_it_was_asked_to() -> None:
    async with scene(LATER, 200) as it:
        run = await it.timer()
        await it.hand.tick("9m")
        assert (await it.view(run)).state is RunState.RETRYING and len(it.peer.requests) == 1
        await it.hand.tick("1m")
        assert (await it.view(run)).state is RunState.SUCCEEDED


async def test_what_is_expected_is_success_whatever_it_is() -> None:
    async with scene(202, 404) as it:
        assert (await it.view(await it.timer("a", expect="2xx"))).state is RunState.SUCCEEDED
        assert (await it.view(await it.timer("b", expect=[404]))).state is RunState.SUCCEEDED


async def test_an_occurrence_is_called_for_once_and_a_test_is_an_occurrence_of_its_own() -> None:
    async with scene(200) as it:
        fields = {"cron": "0 * * * *", "tz": "Europe/Amsterdam", "template": "{due} {window_start}"}
        await it.timer(method="POST", at=None, **fields)
        assert len(it.peer.requests) == 1
        await it.hand.tick("1h")
        again = await it.hand.client.trigger("t", by="ann")  # the occurrence that was called for
        await it.hand.run_due()
        assert [one.body.decode() for one in it.peer.requests[1:]] == [
            "2026-01-01T02:00:00+01:00 2026-01-01T01:00:00+01:00"
        ]
        assert (await again.result())["status"] == 200
        told = await Explaining(it.hand.store).schedule(await it.hand.client.timer("t"))
        assert any(one.endswith("succeeded; its call: answered 200: success")
                   for one in told.causes)  # fmt: skip


@pytest.mark.parametrize("status", [404, 405, 422, 500])
async def test_a_target_that_is_gone_or_changed_is_called_no_more_until_it_is_probed(
    status: int,
) -> None:
    async with scene(*[status] * 5, 200) as it:
        await it.timer(method="GET")
        while len(it.peer.requests) < 5:
            await it.hand.client.test_timer("t", by="ann")
            await it.hand.run_due()
            await it.hand.tick("2s")
        held_back = await it.hand.client.test_timer("t", by="ann")
        await it.hand.run_due()
        view = await it.view(held_back)
        assert (view.state, view.reason) == (RunState.WAITING, "breaker:schedule:t")
        assert len(it.peer.requests) == 5, "the fifth failure opened it"
        [broken] = await it.hand.store.breakers(BreakerFilter(broken=True))
        assert (broken.name, broken.failures) == ("schedule:t", 5)
        ill = await it.health("t")
        assert (ill.failure_count, ill.last_failed_at) == (5, broken.failed_at)
        assert ill.fault in {"route not found", "contract changed", "server error"}
        assert (ill.failing_since, ill.next_probe_at) == (broken.opened_at, broken.probe_at)
        await it.hand.tick("5m")
        assert (await it.view(held_back)).state is RunState.SUCCEEDED
        assert await it.hand.store.breakers(BreakerFilter(broken=True)) == []
        well = await it.health("t")
        assert (well.state, well.failure_count) == (BreakerState.CLOSED, 0)
        assert well.last_failed_at == ill.last_failed_at
        assert well.failing_since is well.next_probe_at is None


async def test_timers_that_share_a_breaker_learn_from_each_other() -> None:
    async with scene(404) as it:
        await it.timer(breaker="erp", threshold=2)
        await it.timer("u", breaker="erp", threshold=2)
        [broken] = await it.hand.store.breakers(BreakerFilter(broken=True))
        assert (broken.name, broken.failures) == ("erp", 2)
        held_back = await it.hand.client.test_timer("t", by="ann")
        await it.hand.run_due()
        assert (await it.view(held_back)).reason == "breaker:erp"
        for name in ("t", "u"):
            stands = await it.health(name)
            assert (stands.breaker, stands.failure_count) == ("erp", 2)
            told = await Explaining(it.hand.store).schedule(await it.hand.client.timer(name))
            assert any("the breaker erp, which its runs ask, is open" in one
                       for one in told.causes)  # fmt: skip
        assert len(it.peer.requests) == 2


async def test_a_target_that_vanishes_again_and_again_is_called_no_more() -> None:
    async with scene(202) as it:
        await it.timer(method="GET", completion="1m")
        for _ in range(4):
            await it.hand.tick("2m")
            await it.hand.client.test_timer("t", by="ann")
            await it.hand.run_due()
        await it.hand.tick("61s")
        told = it.hand.events.of(events.CallAnswered)
        assert [one.counts for one in told if one.fault == "vanished"] == [True] * 5
        [broken] = await it.hand.store.breakers(BreakerFilter(broken=True))
        assert (broken.name, broken.fault) == ("schedule:t", "vanished")


async def test_an_address_that_is_not_allowed_is_never_called() -> None:
    async with scene(200) as it:
        timer, _ = read_timer("t", {"every": "1h", "url": f"http://{HOST}:{it.peer.port}/"})
        assert timer is not None, "its form is right"
        outside = Duly("memory://", settings={"calls_plain_http": True})
        outside.carry_calls()
        async with turned(outside) as hand:
            await hand.client.save_timer(timer.definition, by="ann")
            run = await hand.client.test_timer("t", by="ann")
            await hand.run_due()
            view = await hand.client.run(run)
            [told] = hand.events.of(events.CallAnswered)
        assert view.state is RunState.FAILED and "calls may go" in (view.error or "")
        assert told.fault == "not_allowed" and not told.counts
        assert it.peer.connections == 0


# --- completion -----------------------------------------------------------------------------


async def waiting(it: Scene, **fields: Any) -> UUID:
    run = await it.timer(method="POST", completion="10m", **fields)
    assert (await it.view(run)).state is RunState.WAITING
    return run


async def test_what_was_started_is_done_when_the_target_says_so() -> None:
    async with scene(202) as it:
        run = await waiting(it)
        why = await Explaining(it.hand.store).run(await it.view(run))
        assert "its call was started (202)" in why.headline
        await it.hand.tick("9m")
        client, token = it.hand.client, it.token()
        assert await client.complete_call(run, token, message="42 rows") is Answer.DONE
        assert await client.complete_call(run, token, "failed") is Answer.ALREADY
        await it.hand.tick("1m")
        view = await it.view(run)
        assert view.state is RunState.SUCCEEDED and view.result is not None
        told = msgspec.json.decode(view.result)
        assert told["completion"] == {"ok": True, "message": "42 rows"}
        assert len(it.peer.requests) == 1
        assert await client.complete_call(run, token) is Answer.ALREADY


async def test_what_is_never_said_to_be_done_has_vanished() -> None:
    async with scene(202) as it:
        run = await waiting(it)
        await it.hand.tick("11m")
        view = await it.view(run)
        assert view.state is RunState.FAILED and "(vanished)" in (view.error or "")
        assert it.hand.events.of(events.CallAnswered)[-1].fault == "vanished"
        with pytest.raises(Refused, match="no word any more"):
            await it.hand.client.complete_call(run, it.token())
        assert len(it.peer.requests) == 1


async def test_heartbeats_keep_it_waiting_until_the_whole_time_is_over() -> None:
    async with scene(202) as it:
        run = await waiting(it, heartbeat="2m")
        client, token = it.hand.client, it.token()
        for _ in range(5):
            assert await client.beat_call(run, token) is Answer.DONE
            assert await client.beat_call(run, token) is Answer.ALREADY
            await it.hand.tick("1m50s")
            assert (await it.view(run)).state is RunState.WAITING
        await client.beat_call(run, token)
        await it.hand.tick("1m")
        view = await it.view(run)
        assert view.state is RunState.FAILED and "within 0:10:00" in (view.error or "")


async def test_a_heartbeat_that_stays_out_is_a_target_that_vanished() -> None:
    async with scene(202) as it:
        run = await waiting(it, heartbeat="2m")
        await it.hand.client.beat_call(run, it.token())
        await it.hand.tick("3m")
        view = await it.view(run)
        assert view.state is RunState.FAILED and "no life for 0:02:00" in (view.error or "")


async def test_a_target_may_say_that_it_failed() -> None:
    async with scene(202) as it:
        run = await waiting(it, heartbeat="2m")
        client, token = it.hand.client, it.token()
        await client.beat_call(run, token)
        await client.complete_call(run, token, "failed", message="disk\nfull")
        await it.hand.run_due()
        view = await it.view(run)
        assert view.state is RunState.FAILED and "failed: disk full" in (view.error or "")


STAYS, SAID = "silent", {"succeeded": RunState.SUCCEEDED, "failed": RunState.FAILED}


@pytest.mark.parametrize("beat", [None, "2m"])
@pytest.mark.parametrize("said", ["succeeded", "failed", STAYS])
async def test_a_probe_that_has_started_is_one_until_its_target_says_more(
    said: str, beat: str | None
) -> None:
    async with scene(500, 202) as it:
        probe = await it.timer(completion="20m", threshold=1, heartbeat=beat)
        await it.hand.tick("2m")
        assert (await it.view(probe)).reason is not None and len(it.peer.requests) == 2
        other = await it.hand.client.test_timer("t", by="ann")
        for _ in range(9):
            if beat is not None:
                await it.hand.client.beat_call(probe, it.token())
            await it.hand.tick("1m50s")
        assert (await it.view(other)).reason == "breaker:schedule:t"
        assert len(it.peer.requests) == 2, "no other piece of work was started meanwhile"
        [row] = await it.hand.store.breakers(BreakerFilter(broken=True))
        assert (row.state, row.openings, row.probes) == (BreakerState.HALF_OPEN, 1, 0)
        if said is STAYS:
            await it.hand.tick("3m")
        else:
            await it.hand.client.complete_call(probe, it.token(), said)
            await it.hand.run_due()
        assert (await it.view(probe)).state is SAID.get(said, RunState.FAILED)
        [row] = await it.hand.store.breakers(BreakerFilter())
        if said == "succeeded":
            assert (row.state, row.why) == (BreakerState.CLOSED, "its probe succeeded")
            result = (await it.view(probe)).result
            assert result is not None and "probe" not in msgspec.json.decode(result)
        else:
            assert row.state is not BreakerState.CLOSED and row.openings == 2
        await it.hand.tick("5m")
        assert len(it.peer.requests) == 3, "whoever waited calls, as the probe if it has to"


@pytest.mark.parametrize("said", sorted(SAID))
async def test_a_run_whose_call_was_answered_passes_a_breaker_that_opened_since(said: str) -> None:
    async with scene(202) as it:
        run = await waiting(it)
        name, words = "schedule:t", {"by": "ann", "why": "they migrate"}
        await it.hand.client.move_breaker(name, BreakerVerb.FORCE_OPEN, **words)
        await it.hand.tick("1m")
        await it.hand.client.complete_call(run, it.token(), said)
        await it.hand.run_due()
        assert (await it.view(run)).state is SAID[said]
        [row] = await it.hand.store.breakers(BreakerFilter(broken=True))
        assert row.forced and len(it.peer.requests) == 1


async def test_only_the_token_that_went_along_completes_a_call() -> None:
    async with scene(202) as it:
        run = await waiting(it)
        other = await it.timer("other", method="POST", completion="10m")
        client = it.hand.client
        answers = set()
        for which, token in ((run, it.token()), (run, "x"), (run, ""), (run, "ü" * 9000),
                             (UUID(int=1), it.token())):  # fmt: skip
            with pytest.raises(Refused) as told:
                await client.complete_call(which, token)
            answers.add(str(told.value).replace(str(which), "RUN"))
        assert len(answers) == 1 and (await it.view(run)).state is RunState.WAITING
        assert await client.complete_call(other, it.token()) is Answer.DONE


async def test_a_call_that_answers_at_once_needs_no_completion() -> None:
    async with scene(200) as it:
        run = await it.timer(completion="10m")
        assert (await it.view(run)).state is RunState.SUCCEEDED


# --- secrets --------------------------------------------------------------------------------


async def test_a_secret_is_sent_and_kept_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    monkeypatch.setenv("DULY_SECRET_REPORTS", CANARY)
    (tmp_path / "HOOK").write_text(HOOK + "\n")

    async def echoing(request: Request, writer: asyncio.StreamWriter) -> None:
        body = f"you sent {request.headers['authorization']}".encode()
        await answering(200 if b"ok" in request.body else 400, body)(request, writer)

    async with scene(echoing, calls_secrets=str(tmp_path)) as it:
        headers = {"Authorization": "Bearer secret:REPORTS"}
        for name, body in (("a", "ok"), ("b", "no")):
            await it.timer(name, method="POST", headers=headers, text=body, sign=["secret:HOOK"])
        runs = await it.hand.runs()
        assert [one.state.value for one in runs] == ["succeeded", "failed"]
        full = [await it.view(one.id) for one in runs]
        told = [repr(one) for one in full] + [repr(one) for one in it.hand.events.all]
        told += [repr(await Explaining(it.hand.store).run(one)) for one in full]
        # The tables as they are: in a snapshot, bytes are written in base64.
        stored = repr(vars(it.hand.store.t))  # type: ignore[attr-defined]
        for text in (*told, stored, caplog.text):
            assert CANARY not in text and HOOK[6:] not in text
        assert "[secret]" in (full[1].error or "") and "secret:REPORTS" in stored
        for request in it.peer.requests:
            assert request.headers["authorization"] == f"Bearer {CANARY}"
            now = it.hand.now
            assert verify(request.headers, request.body, [Secret.of(HOOK)], now=now)


@pytest.mark.parametrize(
    ("more", "value", "words"),
    [({"headers": {"X": "secret:GONE"}}, None, "the secret GONE to be set: DULY_SECRET_GONE"),
     ({"headers": {"X": "secret:GONE"}}, "a\r\nHost: evil", "one line"),
     ({"sign": ["secret:GONE"]}, "short", "a webhook's secret")],
)  # fmt: skip
async def test_a_secret_that_cannot_be_used_is_told_without_it(
    more: dict[str, Any], value: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("DULY_SECRET_GONE", value)
    async with scene(200) as it:
        view = await it.view(await it.timer(method="POST", **more))
        [told] = it.hand.events.of(events.CallAnswered)
    assert view.state is RunState.FAILED and words in (view.error or "")
    assert "evil" not in (view.error or "") and it.peer.requests == []
    assert (told.fault, told.counts) == ("ours", False)

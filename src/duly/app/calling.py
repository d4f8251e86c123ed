"""The built-in task `http`: makes the call that a timer asks for, and says truly what came of it.

A call that may be repeated is made again by the run's retries. Any other is an effect: it is
entered in the ledger first, and where nobody knows what came of it, its run is parked. One that
is answered with 202 has only started: where `completion` is asked for, the run waits without a
slot until the target says that it is done, with a token that went along in a header; else 202 is
a success only if it is expected.

The breaker is asked by the call, not before the run: one whose call was answered already passes,
whatever its breaker says, because it only waits. Where that call was a probe, it stays one until
the target says what came of it, or is silent for too long.

Guarantees: secrets are looked up right before the first byte, and are kept nowhere; every answer
is told as an event and as the run's progress. The driver is imported by the first call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec

from duly import events
from duly.app.tasks import DeclaredTask
from duly.core.answers import shown_answer
from duly.core.breakers import Breaker, breaker_for
from duly.core.calls import (
    COMPLETION_HEADERS,
    STARTED,
    TASK,
    HttpCall,
    Occasion,
    breaker_of,
    render,
    with_secrets,
)
from duly.core.effects import Address, Sending
from duly.core.faults import FAULTS, Fault, counts, said_of
from duly.core.steps import MOST_WORDS, of_call, token_step
from duly.core.zones import zone
from duly.engine import Context
from duly.engine.breaking import Passage
from duly.engine.clock import draw_secret
from duly.errors import InvalidValue, NotPerformed
from duly.outbound.base import CallFailed, OutcomeUnknown, Unsendable
from duly.outbound.secrets import Secrets

if TYPE_CHECKING:
    from duly.app.duly import Duly
    from duly.outbound.http import Http
    from duly.outbound.signing import Signer

EFFECT = "http"
ANSWERED, PROBE = "answered", "probe"
"""The step that keeps an answer, and the key in it of the lease under which its call was made."""

MOMENT_S = 0.01
"""Less time than this left is none: two reckonings of one instant may differ by so much."""

SHORTEST_HIDDEN = 4
"""Secrets shorter than this are not struck out of answers: too much else would be."""


def carry_calls(app: Duly, **options: Any) -> DeclaredTask:
    """Let an application carry the task `http`, and with it any timer of its store.

    Each timer has a breaker of its own, unless it says what it shares: its request is fixed, so any
    status that is not expected says that the target changed.
    """
    caller = _Caller(app)

    async def http(ctx: Context, call: HttpCall) -> dict[str, Any]:
        """Make an HTTP call."""
        return await _Made(caller, ctx, call).outcome()

    own = Breaker(fixed=True)

    def breaker(arguments: Mapping[str, Any]) -> Breaker:
        return breaker_of(arguments["call"], own)

    options.setdefault("breaker", msgspec.structs.replace(own, of=breaker))
    declared = app.task(name=TASK, **options)(http)
    app.tasks[TASK] = declared.spec = msgspec.structs.replace(declared.spec, asks_itself=True)
    return declared


class _Request(NamedTuple):
    """What goes out, secrets included: it never leaves this module but to the sender."""

    url: str
    headers: dict[str, str]
    body: bytes | None
    sign: Signer | None
    hide: tuple[str, ...]


class _Caller:
    """What all calls of an application share."""

    def __init__(self, app: Duly) -> None:
        self.app = app
        self._http: Http | None = None

    def breaker(self, call: HttpCall, schedule: str | None) -> Breaker | None:
        """Return the breaker before a call, with a probe that lasts as long as it may take."""
        declared = self.app.tasks[TASK].breaker
        found = breaker_for(declared, TASK, schedule, {"call": call})
        return None if found is None else found.lasting(timedelta(seconds=call.deadline_s))

    @property
    def http(self) -> Http:
        """The sender, bound to the rules of the settings."""
        if self._http is None:
            from duly.outbound.guarded import Guard
            from duly.outbound.http import Http

            self._http = Http(guard=Guard(self.app.settings.calls.rules))
        return self._http

    @property
    def secrets(self) -> Secrets:
        """Where secrets are looked up."""
        folder = self.app.settings.calls.secrets
        return Secrets(os.environ, Path(folder) if folder else None)

    def prepare(self, call: HttpCall, occasion: Occasion, token: str | None) -> _Request:
        """Return the request of a call; raises `Unsendable` where it cannot be made."""
        found: dict[str, str] = {}

        def look_up(name: str) -> str:
            found[name] = self.secrets.look_up(name)
            return found[name]

        try:
            url = render(call.url, occasion, quoted=True)
            body, kind = _body(call, occasion)
            headers = {name: with_secrets(text, look_up) for name, text in call.headers.items()}
            signing = self._signer([with_secrets(one, look_up) for one in call.sign])
        except Unsendable:
            raise
        except InvalidValue as error:
            raise Unsendable(str(error)) from None
        if kind and "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = kind
        if token is not None:
            headers |= dict(zip(COMPLETION_HEADERS, (str(occasion.run), token), strict=True))
        hide = [one for one in (*found.values(), token or "") if len(one) >= SHORTEST_HIDDEN]
        return _Request(url, headers, body, signing, tuple(hide))

    def _signer(self, texts: list[str]) -> Signer | None:
        if not texts:
            return None
        from duly.outbound.signing import Secret, signer

        return signer([Secret.of(one) for one in texts], now=self.app.clock.now)


def _body(call: HttpCall, occasion: Occasion) -> tuple[bytes | None, str]:
    """Return the bytes of a body, and its type where the call does not say one."""
    if call.json is not msgspec.UNSET:
        return msgspec.json.encode(call.json), "application/json"
    text = call.text
    if call.template is not None:
        text = render(call.template, occasion)
    return (None, "") if text is None else (text.encode(), "text/plain; charset=utf-8")


class _Direct:
    """A sending that is no effect: one that may be repeated. Its key is the same every time."""

    def __init__(self, ctx: Context) -> None:
        due = None if ctx.due is None else ctx.due.astimezone(zone("UTC").info)
        of = str(ctx.run_id) if due is None else f"{ctx.schedule} {due.isoformat()}"
        self.id: UUID = ctx.run_id
        self.key = str(Address(ctx.task, EFFECT, of))
        self.last_call: Callable[[], None] = ctx.check


class _Made:
    """One call, as one attempt makes it."""

    def __init__(self, caller: _Caller, ctx: Context, call: HttpCall) -> None:
        self._caller, self._ctx, self._call = caller, ctx, call
        self._breaker = caller.breaker(call, ctx.schedule)
        self._passage: Passage | None = None

    async def outcome(self) -> dict[str, Any]:
        """Return what the target answered, once it is done; raise what went wrong.

        Raises `BreakerOpen` before anything is sent, where its target is broken.
        """
        if self._call.completion_s is None:
            await self._enter()
            answer = await self._answer(None)
        else:
            answer = await self._answer_once()
        if answer["status"] != STARTED:
            return answer
        if self._call.completion_s is not None:
            return answer | {"completion": await self._completion(self._call.completion_s)}
        if STARTED in self._call.expected:
            return answer
        raise self._failed(
            Fault.ONLY_STARTED,
            f"was answered with {STARTED}: it has started, and is not known to be done;"
            " ask for its completion, or expect 202",
        )

    async def _answer_once(self) -> dict[str, Any]:
        """Return the answer that is remembered, or get it: waiting must not call again."""
        ctx = self._ctx
        known, answer = await ctx.work.recall_step(ANSWERED, _remembered)
        if known:
            return await self._go_on(dict(answer))
        await self._enter()
        token = draw_secret().hex()
        # Its hash is kept before it goes out: whoever is called may answer at once.
        digest = sha256(token.encode()).hexdigest()
        await ctx.step(token_step(ctx.attempt), lambda: digest)
        answer = await self._answer(token)
        lease = None if self._passage is None else self._passage.lease
        kept = answer if lease is None else answer | {PROBE: str(lease)}
        answer = dict(await ctx.step(ANSWERED, lambda: kept))
        answer.pop(PROBE, None)
        return answer

    async def _enter(self) -> None:
        """Ask the breaker; raises `BreakerOpen`."""
        if self._breaker is not None:
            passage = await self._caller.app.gate.enter(self._breaker)
            self._passage = msgspec.structs.replace(passage, endpoint=self._call.endpoint)
            self._ctx.work.passes(self._passage)

    async def _go_on(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return what was answered to an earlier attempt, and take over its passage."""
        lease = answer.pop(PROBE, None)
        if self._breaker is not None:
            age_s, known = await self._age(), None if lease is None else UUID(lease)
            passage = self._caller.app.gate.again(self._breaker, known, age_s)
            self._passage = msgspec.structs.replace(passage, endpoint=self._call.endpoint)
            self._ctx.work.passes(self._passage)
        return answer

    async def _answer(self, token: str | None) -> dict[str, Any]:
        ctx, call = self._ctx, self._call
        if not call.repeatable:

            async def send(effect: Sending) -> dict[str, Any]:
                return await self._send(effect, token)

            receipt = await ctx.effect(EFFECT, send, deadline=call.deadline_s)
            return dict(receipt.value)
        try:
            return await self._send(_Direct(ctx), token)
        except (NotPerformed, OutcomeUnknown) as error:
            found = said_of(error) or Fault.OURS
            raise CallFailed(
                str(error),
                fault=found,
                permanent=not FAULTS[found].again,
                retry_after_s=getattr(error, "retry_after_s", None),
                answer=getattr(error, "answer", None),
            ) from None

    async def _send(self, effect: Sending, token: str | None) -> dict[str, Any]:
        """Send it, and tell what came of it, whoever asked."""
        call = self._call
        try:
            request = self._caller.prepare(call, self._occasion, token)
            answer = await self._caller.http.send(
                effect,
                call.method,
                request.url,
                headers=request.headers,
                body=request.body,
                expect=call.expected | {STARTED},
                deadline_s=call.deadline_s,
                kept_bytes=call.kept_bytes,
                sign=request.sign,
                hide=request.hide,
            )
        except Exception as error:
            status, failed = getattr(error, "answer", None), said_of(error)
            if failed is not None:  # else this instance had to stop: the call says nothing
                self._tell(None if status is None else int(status), failed)
            raise
        if answer["status"] != STARTED or STARTED in call.expected or call.completion_s:
            self._tell(answer["status"], None, started=answer["status"] == STARTED)
        return answer

    @property
    def _occasion(self) -> Occasion:
        ctx = self._ctx
        return Occasion(
            run=ctx.run_id,
            schedule=ctx.schedule,
            due=ctx.due,
            window_start=None if ctx.window is None else ctx.window.start,
            window_end=None if ctx.window is None else ctx.window.end,
        ).told_in(zone(self._call.tz).info)

    # --- completion ---------------------------------------------------------------------------

    async def _completion(self, within_s: float) -> dict[str, Any]:
        """Wait, without a slot, until the target says that it is done; raise when it does not."""
        said = await self._said(within_s)
        if isinstance(said, str):
            raise self._failed(Fault.VANISHED, f"was started, {said}")
        if not said.get("ok"):
            told = said.get("message") or "no reason given"
            raise self._failed(Fault.REPORTED, f"was started, and failed: {told}")
        self._tell(STARTED, None)
        return {"ok": True, "message": said.get("message", "")}

    async def _said(self, within_s: float) -> dict[str, Any] | str:
        """Follow the target's words one by one, up to the last; return it, or tell of silence."""
        beat_s = self._call.heartbeat_s
        for count in range(MOST_WORDS):
            left_s = await self._left(within_s)
            limit_s = left_s if beat_s is None else min(beat_s, left_s)
            try:
                said = await self._word(count, limit_s)
            except TimeoutError:
                if beat_s is None or left_s < MOMENT_S:  # this attempt began when time was up
                    break
                return f"and showed no life for {_told(beat_s)}"
            if isinstance(said, dict) and said.get("done"):
                return said
        return f"and was not said to be done within {_told(within_s)}"

    async def _word(self, count: int, limit_s: float) -> Any:
        """Wait for the target's next word. A suspension meanwhile says nothing of the target."""
        if self._passage is not None:
            await self._caller.app.gate.started(self._passage, limit_s)
        self._ctx.work.passes(None)
        try:
            said = await self._ctx.wait_for(of_call(self._ctx.run_id, count), timeout=limit_s)
        except Exception:
            self._ctx.work.passes(self._passage)
            raise
        self._ctx.work.passes(self._passage)
        return said

    async def _left(self, within_s: float) -> float:
        """Return how much of the time is left."""
        return max(0.0, within_s - await self._age())

    async def _age(self) -> float:
        """Return how long ago the answer was kept, by the store's clock."""
        work = self._ctx.work
        step = await work.journal.recall(ANSWERED)
        if step is None or step.at is None:
            return 0.0  # it was kept a moment ago
        now = await work.services.asked(work.services.store.clock)
        return max(0.0, (now - step.at).total_seconds())

    # --- telling ------------------------------------------------------------------------------

    def _tell(self, status: int | None, failed: Fault | None, *, started: bool = False) -> None:
        ctx = self._ctx
        ctx.progress(note=shown_answer(status, failed, started=started))
        self._caller.app.bus.emit(
            events.CallAnswered(
                run=ctx.run_id,
                schedule=ctx.schedule,
                target=self._target,
                status=status,
                fault=None if failed is None else failed.value,
                counts=failed is not None and counts(failed, fixed=True),
            )
        )

    def _failed(self, failed: Fault, said: str) -> CallFailed:
        self._tell(STARTED, failed)
        told = f"{self._call.method} {self._target} {said} ({failed.words})"
        return CallFailed(told, fault=failed, answer=str(STARTED))

    @property
    def _target(self) -> str:
        return self._call.url.partition("://")[2].partition("/")[0].partition("?")[0]


def _remembered() -> dict[str, Any]:
    """Stands for the step of an answer, and says of what kind it is."""
    raise AssertionError("a remembered answer is read, never made")


def _told(seconds: float) -> str:
    return str(timedelta(seconds=seconds))

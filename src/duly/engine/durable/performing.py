"""Performing effects: acts on the outside world that cannot be taken back, each entered first.

    intend   a row in the ledger, in the commit that checks this attempt's fence
    call     the sender checks its deadline once more, right before the first byte
    confirm  what it returned is the receipt, by the intent's id, however late

`NotPerformed` withdraws the intent, and the attempt fails with it: the run is tried again. Any
other end of the call leaves the outcome unknown: the effect becomes uncertain, an incident opens
in that commit, and the run is parked until evidence or a person settles it. `verify` is asked
first, where there is one. Nothing here ever sends a second time by guess.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, get_type_hints
from uuid import UUID

import msgspec

from duly import events
from duly.core.clock import Clock
from duly.core.effects import (
    DEADLINE,
    Address,
    Author,
    Confirm,
    Doubt,
    Entry,
    Intend,
    Outcome,
    Posted,
    Resolve,
    Withdraw,
)
from duly.core.effects import Effect as Entered
from duly.core.rules import MAX_PAYLOAD
from duly.core.steps import UNCERTAIN, Await, StepKind, of_effect
from duly.engine.durable.calling import call, encoded
from duly.engine.durable.journal import STALE, Journal, sending
from duly.engine.durable.services import Services
from duly.engine.durable.waiting import Wait, Waits
from duly.engine.hands import Holding
from duly.errors import InvalidValue, NotPerformed, Refused, TooLate, UsageError, WorkCancelled

BEFORE_SLOWEST_S = 600.0
BEFORE_LONGEST_S = 86_400.0
"""How long a run waits for `before` at a time, and in all, before that counts as a failure."""

ROOT = "run"
"""Stands, in an effect's key, for the run: or for the one that it was forked from."""

VERIFY = timedelta(seconds=30)
"""How long `verify` may take, unless said otherwise."""

SHOWN = 1000
"""Characters that are kept of a receipt that is no JSON, or too much."""

Verify = Callable[..., Awaitable[bool | None] | bool | None]


class Receipt(msgspec.Struct, frozen=True):
    """What became of an effect: what its sender returned, and whether this run performed it."""

    id: UUID  # of the intent
    value: Any
    first: bool  # whether this very call performed it; False: it was done before
    note: str = ""  # whose word it is, where it is not the sender's own


class Effect:
    """What a sender is told of the effect it performs."""

    __slots__ = ("_called", "_clock", "_until", "_usable", "address", "id", "key")

    def __init__(
        self, intent: UUID, address: Address, until: float, clock: Clock, usable: Callable[[], bool]
    ) -> None:
        self.id, self.address, self.key = intent, address, str(address)
        self._until, self._clock, self._usable = until, clock, usable
        self._called = threading.Event()

    def __repr__(self) -> str:
        return f"<Effect {self.key}>"

    def last_call(self) -> None:
        """Raise `TooLate` if it must not be sent any more. Call it right before the first byte.

        The deadline is counted on the monotonic clock from before the intent was written; a
        lease that could not be renewed in time counts as too late as well.
        """
        if self._clock.monotonic() > self._until:
            raise TooLate(f"{self.key} was not sent: its send deadline had passed")
        if not self._usable():
            raise TooLate(f"{self.key} was not sent: this instance could not renew its lease")
        self._called.set()


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """One effect that is asked for."""

    address: Address
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    deadline: timedelta = DEADLINE
    keep: timedelta
    verify: Verify | None = None
    verify_deadline: timedelta = VERIFY
    before: Callable[[], Any] | None = None


class Performing:
    """The effects of one attempt."""

    def __init__(
        self, holding: Holding, services: Services, journal: Journal, waits: Waits
    ) -> None:
        self._holding, self._services = holding, services
        self._journal, self._waits = journal, waits
        claimed = holding.claimed
        self._author = Author(claimed.id, services.boot(), claimed.epoch)

    async def perform(self, asked: Performance) -> Receipt:
        """Perform an effect unless it is done; returns its receipt.

        Raises `NotPerformed` when it certainly was not. Where nobody can know, the attempt ends
        here, as parked; where another performs it now, as waiting.
        """
        arguments(asked.fn, asked.args, None)
        if asked.address.key.partition(" ")[0] == ROOT:
            asked = await self._rooted(asked)
        if asked.before is not None:
            known = await self._known(asked.address)
            if known is None:
                await self._check_before(asked)
        while True:
            with self._waits.working():
                receipt = await self._try(asked)
            if isinstance(receipt, Receipt):
                if receipt.first:
                    self._journal.count_effect()
                return receipt
            if receipt is not None:
                await self._waits.wait(receipt)

    async def _rooted(self, asked: Performance) -> Performance:
        key = asked.address.key.replace(ROOT, str(await self._journal.root()), 1)
        address = msgspec.structs.replace(asked.address, key=key)
        return msgspec.structs.replace(asked, address=address)

    async def _check_before(self, asked: Performance) -> None:
        """Ask whether it can be performed at all; nothing is intended until then.

        While it cannot, the run waits, ever longer, and spends no retry; after a day it fails.
        """
        assert asked.before is not None, "the caller looked"
        with self._waits.working():
            why = await _not_fit(asked.before)
        if why is None:
            return
        name = f"~before {asked.address}"
        step = await self._journal.recall(name)
        tries, waited_s = (0, 0.0) if step is None else msgspec.json.decode(step.value)
        if waited_s > BEFORE_LONGEST_S:
            raise NotPerformed(f"{asked.address}: not begun for a day: {why}")
        pause_s = min(BEFORE_SLOWEST_S, 2.0**tries) * (0.5 + self._services.clock.draw() / 2)
        kept = self._journal.step(name, StepKind.SLEEP, (min(tries + 1, 60), waited_s + pause_s))
        await self._journal.keep([kept])
        reason = f"before {asked.address}: {why}"
        await self._waits.wait(Wait(reason=reason[:500], rest=timedelta(seconds=pause_s)))

    async def _try(self, asked: Performance) -> Receipt | Wait | None:
        """Intend once; return the receipt, what to wait for, or None to try again."""
        intent, clock = self._services.clock.new_id(), self._services.clock
        until = clock.monotonic() + asked.deadline.total_seconds()
        posted = await self._intend(intent, asked)
        match posted.outcome:
            case Outcome.GO:
                self._tell(events.EffectIntended, asked.address, intent)
                effect = Effect(intent, asked.address, until, clock, self._usable)
                return await self._send(effect, asked)
            case Outcome.DONE:
                value = None if posted.receipt is None else msgspec.json.decode(posted.receipt)
                return Receipt(posted.intent or intent, value, False, posted.why)
            case Outcome.WAIT:
                return self._wait_for(asked.address)
            case Outcome.UNCERTAIN if posted.intent == intent:  # swept while the answer was away
                await self._withdraw(asked.address, intent, "it was never sent")
                return None
            case Outcome.UNCERTAIN:
                return await self._in_doubt(asked, own=None)
            case Outcome.STALE:
                self._services.lost(self._holding, STALE)
                raise WorkCancelled(STALE)
            case _:
                raise Refused(f"{asked.address}: {posted.why or posted.outcome}")

    async def _intend(self, intent: UUID, asked: Performance) -> Posted:
        """Enter an intent. An attempt that is stopped before the answer takes it back unsent."""
        entry = Intend(
            address=asked.address,
            author=self._author,
            intent=intent,
            deadline=asked.deadline,
            keep=asked.keep,
        )
        answer = asyncio.ensure_future(self._services.posting.put(entry))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            await asyncio.shield(self._withdraw(asked.address, intent, "stopped before sending"))
            raise

    def _usable(self) -> bool:
        return self._services.trusted() and self._holding.cancel is None

    async def _send(self, effect: Effect, asked: Performance) -> Receipt | Wait | None:
        """Let the sender work to its end, whatever becomes of the attempt meanwhile.

        Cut off, it would leave behind what nobody can know; left alone it says what it did, or is
        told by its last call that it must not begin any more.
        """
        task = asyncio.create_task(self._carry_out(effect, asked))
        _GOING_ON.add(task)
        task.add_done_callback(_gone_on)
        receipt = await asyncio.shield(task)
        return receipt or await self._in_doubt(asked, own=effect.id)

    async def _carry_out(self, effect: Effect, asked: Performance) -> Receipt | None:
        """Call the sender, and enter what came of it; None when nobody can know."""
        sending.set(True)  # in this task alone
        try:
            args, named = arguments(asked.fn, asked.args, effect)
            value = await call(asked.fn, *args, **named)
        except NotPerformed as error:
            await self._withdraw(effect.address, effect.id, str(error))
            raise
        except BaseException as error:
            self._holding.blame = error  # the attempt ends as parked; a breaker wants to know why
            why = f"its sender ended with {type(error).__name__}: {error}".rstrip(": ")
            await self._doubt(effect, why)
            if not isinstance(error, Exception):
                raise  # the next attempt finds it in doubt
            return None
        receipt = _receipt(value)
        await self._confirm(effect, receipt, asked.keep)
        return Receipt(effect.id, msgspec.json.decode(receipt), True)

    async def _in_doubt(self, asked: Performance, *, own: UUID | None) -> Wait | None:
        """Ask `verify`, where there is one; else the run is parked."""
        if asked.verify is not None:
            said = await self._verified(asked)
            if said is not None:
                posted = await self._post(
                    Resolve(
                        address=asked.address,
                        performed=said,
                        by="verify",
                        reason=f"verify said {'performed' if said else 'not performed'}",
                        own=own,
                    )
                )
                if posted.outcome is not Outcome.REFUSED:
                    self._services.emit(
                        events.EffectResolved(
                            effect=str(asked.address),
                            by="verify",
                            reason="its provider was asked",
                            performed=said,
                        )
                    )
                    if own is not None and not said:  # its pauses and its budget are the run's
                        raise NotPerformed(f"{asked.address}: verify said it was not performed")
                    return None
        return self._wait_for(asked.address, park=True)

    async def _verified(self, asked: Performance) -> bool | None:
        """Return what `verify` says, or None when it fails, or knows nothing, in time."""
        assert asked.verify is not None, "the caller looked"
        known = await self._known(asked.address)
        if known is None:
            return None
        effect = Effect(known.intent, asked.address, 0.0, self._services.clock, lambda: False)
        try:
            async with asyncio.timeout(asked.verify_deadline.total_seconds()):
                said = await call(asked.verify, *_only(asked.verify, effect))
        except Exception:
            return None
        return said if isinstance(said, bool) else None

    def _wait_for(self, address: Address, *, park: bool = False) -> Wait:
        event = of_effect(str(address))
        reason = UNCERTAIN if park else event
        return Wait(reason=reason, awaits=(Await(event, event),), park=park)

    async def _known(self, address: Address) -> Entered | None:
        return await self._services.asked(lambda: self._services.store.effect(address))

    # --- words to the ledger ------------------------------------------------------------------

    async def _post(self, entry: Entry) -> Posted:
        return await self._services.posting.put(entry)

    async def _withdraw(self, address: Address, intent: UUID, why: str) -> None:
        await self._post(Withdraw(address=address, intent=intent, why=why[:1000]))
        self._tell(events.EffectWithdrawn, address, intent, reason=why)

    async def _doubt(self, effect: Effect, why: str) -> None:
        await self._post(Doubt(address=effect.address, intent=effect.id, why=why[:1000]))
        self._tell(events.EffectDoubted, effect.address, effect.id, reason=why)

    async def _confirm(self, effect: Effect, receipt: bytes, keep: timedelta) -> None:
        entry = Confirm(
            address=effect.address,
            author=self._author,
            intent=effect.id,
            receipt=receipt,
            keep=keep,
        )
        posted = await self._post(entry)
        contradicted = posted.outcome is Outcome.CONTRADICTED
        told = events.EffectContradicted if contradicted else events.EffectConfirmed
        self._tell(told, effect.address, effect.id)

    def _tell(
        self, kind: Callable[..., events.Event], address: Address, intent: UUID, **more: str
    ) -> None:
        run = self._author.run
        self._services.emit(kind(effect=str(address), intent=intent, run=run, **more))


_GOING_ON: set[asyncio.Task[Receipt | None]] = set()
"""Senders at work; kept here, because an attempt may end before its sender does."""


def _gone_on(sending: asyncio.Task[Receipt | None]) -> None:
    _GOING_ON.discard(sending)
    if not sending.cancelled():
        sending.exception()  # whoever still waits hears of it; nobody else needs to


def _receipt(value: Any) -> bytes:
    """Encode what a sender returned; it was performed, even where that cannot be kept as it is."""
    try:
        data = encoded("a receipt", value)
    except InvalidValue:
        data = b""
    return data if 0 < len(data) <= MAX_PAYLOAD else encoded("a receipt", repr(value)[:SHOWN])


async def _not_fit(before: Callable[[], Any]) -> str | None:
    """Return why an effect cannot be begun now, or None when it can."""
    try:
        fit = await call(before)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "before= said no" if fit is False else None


def arguments(
    fn: Callable[..., Any], args: tuple[Any, ...], effect: object
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the effect among a sender's arguments, where it has a parameter for it.

    Raises `UsageError` when they do not fit: before anything is intended.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return args, {}
    name, named = _wants(fn, signature), {}
    if name is not None:
        place = list(signature.parameters).index(name)
        if signature.parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY and place <= len(
            args
        ):
            args = (*args[:place], effect, *args[place:])
        else:
            named = {name: effect}
    try:
        signature.bind(*args, **named)
    except TypeError as error:
        called = getattr(fn, "__qualname__", fn)
        raise UsageError(f"the arguments of {called} do not fit: {error}") from None
    return args, named


def _only(fn: Callable[..., Any], effect: Effect) -> tuple[Any, ...]:
    """Return the effect for a function that takes anything at all."""
    try:
        return (effect,) if inspect.signature(fn).parameters else ()
    except (TypeError, ValueError):
        return (effect,)


def _wants(fn: Callable[..., Any], signature: inspect.Signature) -> str | None:
    hints = _hints(fn)
    for name in signature.parameters:
        hint = hints.get(name)
        if name == "effect" or getattr(hint, "__name__", hint) in ("Effect", "Sending"):
            return name
    return None


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(getattr(fn, "__func__", fn)))
    except (NameError, TypeError):
        return dict(getattr(fn, "__annotations__", {}))

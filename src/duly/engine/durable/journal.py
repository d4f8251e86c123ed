"""The journal of one attempt: what earlier attempts left, and what this one adds.

What is remembered is read once, when it is first asked for, and only if there can be anything.
What is added is written in notes, fenced by the attempt; a note that comes too late stops the
attempt, for its run is in other hands.

Messages belong to a *scope*: a step, an item of an iteration, or the attempt itself. They leave
in the very commit that makes their scope true: the step's result, the cursor behind the item,
the completion of the run. A scope that fails leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from uuid import UUID

import msgspec

from duly.core.outbox import Message, check_body, check_topic
from duly.core.runs import Answer, NewRun, Origin
from duly.core.states import RunVerb
from duly.core.steps import FORKED, Note, Progress, Step, StepKind, check_name
from duly.engine.durable.services import Services
from duly.engine.hands import Holding
from duly.errors import InvalidValue, UnknownName, UsageError, WorkCancelled

MOST_MESSAGES = 10_000
MOST_BYTES = 16 * 1024 * 1024
"""What one scope may publish. An iteration has a scope per item, and no bound as a whole."""

PROGRESS_S = 1.0
"""How often progress is written by itself at most."""

STALE = "the store says that another attempt has it"


class Scope:
    """Messages that leave together, or not at all."""

    __slots__ = ("bytes", "kind", "messages")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.messages: list[Message] = []
        self.bytes = 0

    def add(self, message: Message) -> None:
        """Add a message; raises `InvalidValue` beyond the bounds of a scope."""
        if len(self.messages) >= MOST_MESSAGES or self.bytes + len(message.body) > MOST_BYTES:
            raise InvalidValue(
                f"expected {self.kind} to publish at most {MOST_MESSAGES:,} messages of"
                f" {MOST_BYTES:,} bytes in all; iterate with ctx.each, which commits in chunks"
            )
        self.messages.append(message)
        self.bytes += len(message.body)


class Confirmable(Protocol):
    """What has finished work that waits for its commit: an iteration."""

    @property
    def name(self) -> str:
        """The iteration's name within its run."""
        ...

    def finished(self, *, ended: bool) -> tuple[Sequence[Step], Sequence[Message]]:
        """Return steps and messages of finished items; of the open one too if it `ended` well."""
        ...


current: ContextVar[Scope | None] = ContextVar("duly_scope", default=None)
"""The scope that code runs in; a task or thread that it starts inherits it."""

sending: ContextVar[bool] = ContextVar("duly_sending", default=False)
"""Whether code runs on behalf of a sender; what it publishes belongs to whoever asked for it."""


def must_be_flat(what: str, name: str) -> None:
    """Raise `UsageError` inside a step or a sender: nothing that is remembered may begin there."""
    if sending.get():
        raise UsageError(
            f"expected {what} outside of any effect, got {name!r} inside one: an effect that is"
            " on its way cannot wait, nor be done again"
        )
    scope = current.get()
    if scope is not None and scope.kind == "a step":
        raise UsageError(
            f"expected {what} outside of any other step, got {name!r} inside one:"
            " a step is done again as a whole"
        )


@contextmanager
def scoped(scope: Scope) -> Iterator[Scope]:
    """Run the code inside in a scope."""
    token = current.set(scope)
    try:
        yield scope
    finally:
        current.reset(token)


class Journal:
    """What one attempt remembers and publishes."""

    def __init__(self, holding: Holding, services: Services) -> None:
        self._holding, self._services = holding, services
        self._boot = services.boot()
        self._steps: dict[str, Step] | None = None
        self._named: set[str] = set()
        self._next = 0
        self._turns: dict[str, int] = {}  # by name, of what this attempt wrote
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._base = Scope("a run")
        self._progress = Progress()
        self._shown = float("-inf")
        self._later: asyncio.TimerHandle | None = None
        self.iterations: list[Confirmable] = []

    @property
    def run(self) -> UUID:
        """The run's id."""
        return self._holding.claimed.id

    # --- reading --------------------------------------------------------------------------

    async def load(self) -> None:
        """Read what earlier attempts left, once."""
        if self._steps is not None:
            return
        claimed = self._holding.claimed
        if claimed.epoch <= 1 and claimed.origin is not Origin.FORK:
            self._steps = {}
            return
        services = self._services
        memory = await services.asked(lambda: services.store.remembered(claimed.id))
        if self._steps is None:
            self._steps = {one.name: one for one in memory.steps}
            self._next = max((one.number for one in memory.steps), default=-1) + 1
            self._progress = _added(memory.progress or Progress(), self._progress)

    async def recall(self, name: str) -> Step | None:
        """Return what an earlier attempt left under a name, or this one a moment ago."""
        await self.load()
        assert self._steps is not None, "just loaded"
        return self._steps.get(name)

    async def root(self) -> UUID:
        """The run whose effects this one goes on with: itself, or what it was forked from."""
        forked = await self.recall(FORKED)
        return self.run if forked is None else UUID(msgspec.json.decode(forked.value))

    @property
    def progress(self) -> Progress:
        """What is known of the run's progress."""
        return self._progress

    @contextmanager
    def naming(self, what: str, name: str) -> Iterator[None]:
        """Use a name, which nothing else in this attempt may have; one that failed is free again.

        Raises `InvalidValue` for a name that cannot be one, and `UsageError` inside a step, or for
        a name that was used: its second use would be handed what the first one returned.
        """
        must_be_flat(what, check_name(what, name))
        if name in self._named:
            raise UsageError(
                f"expected {what} to have a name of its own, got {name!r} a second time;"
                " a loop names its turns, say by a number"
            )
        self._named.add(name)
        try:
            yield
        except BaseException:
            self._named.discard(name)
            raise

    # --- writing --------------------------------------------------------------------------

    def step(self, name: str, kind: StepKind, value: Any) -> Step:
        """Make the next step; a name that is there already keeps its number, and counts on."""
        known = (self._steps or {}).get(name)
        number = self._next if known is None else known.number
        self._next += known is None
        turn = self._turns[name] = 1 + max(
            self._turns.get(name, 0), 0 if known is None else known.turn
        )
        return Step(
            name=name, number=number, kind=kind, value=msgspec.json.encode(value), turn=turn
        )

    async def keep(
        self,
        steps: Sequence[Step] = (),
        messages: Sequence[Message] = (),
        runs: Sequence[NewRun] = (),
    ) -> None:
        """Write a note, and return once it is durable.

        Raises `WorkCancelled` when the run is in other hands: nothing of it was written then.
        """
        await self.answered(self.begin(steps, messages, runs))

    def begin(
        self,
        steps: Sequence[Step] = (),
        messages: Sequence[Message] = (),
        runs: Sequence[NewRun] = (),
    ) -> asyncio.Future[Answer]:
        """Begin to write a note; `answered` waits for it."""
        note = self._note(steps, messages, runs)
        answer = asyncio.ensure_future(self._services.keeping.put((self._boot, note)))
        self._go_on(answer)
        return answer

    def _go_on(self, writing: Awaitable[Any]) -> None:
        """Let something be written that the end of the attempt waits for."""
        future = asyncio.ensure_future(writing)
        self._unanswered.add(future)
        future.add_done_callback(self._unanswered.discard)

    async def answered(self, answer: asyncio.Future[Answer]) -> None:
        """Wait until a note is durable. Cancelling the wait does not take the note back."""
        if await asyncio.shield(answer) is Answer.STALE:
            self._services.lost(self._holding, STALE)
            raise WorkCancelled(STALE)

    def _note(
        self, steps: Iterable[Step], messages: Sequence[Message], runs: Iterable[NewRun]
    ) -> Note:
        if self._steps is not None:
            self._steps |= {one.name: one for one in steps}
        counted = self._progress
        if messages:
            published = counted.published + len(messages)
            counted = msgspec.structs.replace(counted, published=published)
            self._progress = counted
        claimed = self._holding.claimed
        return Note(
            run=claimed.id,
            epoch=claimed.epoch,
            steps=tuple(steps),
            messages=tuple(messages),
            runs=tuple(runs),
            progress=self._to_tell(counted),
        )

    def _to_tell(self, counted: Progress) -> Progress | None:
        return None if counted == Progress() else counted

    # --- publishing and progress ------------------------------------------------------------

    def publish(self, topic: str, body: bytes, key: str | None) -> UUID:
        """Add a message to the scope this code runs in; returns its id, which stays the same."""
        topics = self._services.topics
        if topics is not None:
            if check_topic(topic) not in topics:
                raise UnknownName.of("bound topic", topic, topics)
            topics[topic](body)
        message = Message(
            id=self._services.clock.new_id(),
            topic=check_topic(topic),
            body=check_body(topic, body),
            key=key,
            run=self.run,
        )
        (current.get() or self._base).add(message)
        return message.id

    def count_effect(self) -> None:
        """Count one effect that was performed."""
        effects = self._progress.effects + 1
        self._progress = msgspec.structs.replace(self._progress, effects=effects)

    def show_progress(self, done: int | None, total: int | None, note: str | None) -> None:
        """Take progress down; it is written within a second, or with whatever is written next."""
        changed = {"done": done, "total": total, "note": note}
        given = {name: value for name, value in changed.items() if value is not None}
        self._progress = msgspec.structs.replace(self._progress, **given)
        rest_s = self._shown + PROGRESS_S - self._services.clock.monotonic()
        if rest_s <= 0:
            self._write_progress()
        elif self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(rest_s, self._write_progress)

    def _write_progress(self) -> None:
        self._later = None
        self._shown = self._services.clock.monotonic()
        self._go_on(self._show())

    async def _show(self) -> None:
        await self.load()  # what is written are totals, those of earlier attempts included
        self.begin()

    # --- the end ----------------------------------------------------------------------------

    async def quiet(self) -> None:
        """Wait until every note was answered: an ending must not overtake one of them."""
        if self._later is not None:
            self._later.cancel()
        if self._progress != Progress() or self._base.messages:
            await self.load()
        while open_ones := [one for one in self._unanswered if not one.done()]:
            await asyncio.wait(open_ones)

    def last_note(self, verb: RunVerb, steps: Sequence[Step] = ()) -> Note | None:
        """Return what goes into the commit that ends the attempt.

        What finished items published goes out however the attempt ends; what was published
        outside of steps and items only when the run completes, because that code runs again
        otherwise.
        """
        ended = verb is RunVerb.COMPLETE
        messages = list(self._base.messages) if ended else []
        kept = list(steps)
        for one in self.iterations:
            more_steps, more_messages = one.finished(ended=ended)
            kept += more_steps
            messages += more_messages
        note = self._note(kept, messages, ())
        empty = not (note.steps or note.messages or note.progress)
        return None if empty else note


def _added(before: Progress, now: Progress) -> Progress:
    """Return the totals: what was counted before, and by this attempt."""
    return Progress(
        done=before.done if now.done is None else now.done,
        total=before.total if now.total is None else now.total,
        note=before.note if now.note is None else now.note,
        published=before.published + now.published,
        effects=before.effects + now.effects,
    )

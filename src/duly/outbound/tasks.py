"""A topic that is bound to a task of this application: each message becomes a run.

The run's id is the message's, so that a message handed on again joins the run it made. Runs of
one key go one at a time, by a limit of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from duly.core.outbox import Message
from duly.core.runs import NewRun
from duly.core.tasks import Task
from duly.errors import InvalidValue
from duly.outbound.base import Unroutable
from duly.stores.base import Store


def arguments_of(task: Task, body: bytes) -> bytes:
    """Return a message as a task's arguments; raises `InvalidValue` when it does not fit.

    A task with a parameter `message` gets it whole; else the message is an object of arguments.
    """
    if "message" in task.params.__struct_fields__:
        return task.check(msgspec.json.encode({"message": msgspec.Raw(body)}))
    if not body.lstrip().startswith(b"{"):
        raise InvalidValue(
            f"expected a message for {task.name} to be an object of its arguments, or that task"
            f" to have a parameter called message; got {body[:60].decode('utf-8', 'replace')}"
        )
    return task.check(body)


class TaskDestination:
    """A task as a `Destination`."""

    def __init__(self, task: Task, store: Store) -> None:
        self._task, self._store = task, store
        self.name = f"task {task.name}"

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """Nothing is held."""

    async def send(self, messages: Sequence[Message]) -> list[UUID]:
        """Enqueue a run for each message.

        Raises `StoreUnavailable` when none was, and `Unroutable` when the code has changed since
        a message was checked, and it fits no more: it waits, and so do those of its key behind it.
        """
        runs: list[NewRun] = []
        unfit: dict[UUID, InvalidValue] = {}
        waiting: set[str] = set()  # keys of messages that do not fit
        for one in messages:
            if one.key is not None and one.key in waiting:
                continue
            try:
                runs.append(self._run(one))
            except InvalidValue as error:
                unfit[one.id] = error
                waiting |= set() if one.key is None else {one.key}
        if runs:
            await self._store.enqueue(runs)
        if unfit:
            why = f"{len(unfit)} messages fit {self.name} no more: {next(iter(unfit.values()))}"
            raise Unroutable(why, ids=unfit, confirmed=[one.id for one in runs])
        return [one.id for one in runs]

    def _run(self, message: Message) -> NewRun:
        task = self._task
        ordered = message.key is not None and task.limit_key is None
        return NewRun(
            id=message.id,
            task=task.name,
            args=arguments_of(task, message.body),
            queue=task.queue,
            priority=task.priority,
            limit_key=f"topic:{message.topic}:{message.key}" if ordered else task.limit_key,
            limit=1 if ordered else task.limit,
        )

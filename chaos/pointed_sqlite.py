"""Points inside the transactions of SQLite: around the writer thread, its link, and each statement.

A group commit carries the verbs of many callers; each keeps its name through the queue, so that a
point is that of the verb which was being written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chaos.failpoints import VERB, Points
from duly.stores.sqlite.link import WRITE, Link
from duly.stores.sqlite.tx import Tx
from duly.stores.sqlite.worker import Worker

submit, transact = Worker.submit, Link.transact


class Marked(Tx):
    """A transaction that counts the statements of one verb."""

    __slots__ = ("_count", "_points", "_verb")

    def __init__(self, inner: Tx, verb: str, points: Points) -> None:
        super().__init__(inner.conn, inner._clock)
        self.told, self._verb, self._points, self._count = inner.told, verb, points, 0

    def _next(self) -> None:
        if self._count:
            self._points.between(self._verb, self._count)
        self._count += 1

    def do(self, sql: str, *values: Any) -> int:
        self._next()
        return super().do(sql, *values)

    def many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._next()
        super().many(sql, rows)

    def one(self, sql: str, *values: Any) -> Any:
        self._next()
        return super().one(sql, *values)

    def value(self, sql: str, *values: Any) -> Any:
        self._next()
        return super().value(sql, *values)

    def all(self, sql: str, *values: Any) -> Any:
        self._next()
        return super().all(sql, *values)


class Work:
    """A verb's work that remembers whose it is, on whatever thread it is done."""

    points: Points

    def __init__(self, work: Callable[[Tx], Any], verb: str) -> None:
        self.work, self.verb = work, verb

    def __call__(self, tx: Tx) -> Any:
        if not self.verb:
            return self.work(tx)
        answer = self.work(Marked(tx, self.verb, self.points))
        self.points.hit(f"{self.verb}.uncommitted")
        return answer


def marked_submit(worker: Worker, work: Callable[[Tx], Any]) -> Any:
    """`Worker.submit`, with the name of the verb that asks."""
    return submit(worker, Work(work, VERB.get()))


def marked_transact(link: Link, begin: str, works: Sequence[Callable[[Tx], Any]]) -> Any:
    """`Link.transact`, with a point after the commit of whatever writes."""
    if begin != WRITE:
        return transact(link, begin, works)
    mine = [one if isinstance(one, Work) else Work(one, VERB.get()) for one in works]
    answer = transact(link, begin, mine)
    for one in mine:
        if one.verb:
            Work.points.hit(f"{one.verb}.committed")
    return answer


def lay(points: Points) -> None:
    """Let every writer of this process pass its points from now on."""
    Work.points = points
    Worker.submit = marked_submit  # type: ignore[method-assign]
    Link.transact = marked_transact  # type: ignore[method-assign]

"""What a measurement is given: the servers, the products, where results go, and how much to do.

The same lines run in full and in quick: quick takes a hundredth of the work, once, and no peers,
so that it shows whether the benchmarks still run and never what anything costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.broker import Broker
from bench.fleet import Fleet
from bench.products import Product
from bench.results import Results
from bench.server import Server


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The stage of a run. `scale` is the part of line J's ten million that is kept."""

    server: Server
    broker: Broker | None
    results: Results
    products: tuple[Product, ...]
    rounds: int
    quick: bool
    scale: float = 1.0

    def some(self, full: int, quick: int) -> int:
        """How much of something to do."""
        return quick if self.quick else full

    def part(self, product: Product, full: int, quick: int) -> int:
        """How much of something to do with one product: its share, in whole thousands."""
        if self.quick:
            return quick
        return max(1, round(full * product.share / 1000)) * 1000

    def of_line(self, line: str) -> tuple[Product, ...]:
        """The products that stand in a line."""
        return tuple(one for one in self.products if line in one.lines)

    def database(self, product: Product) -> str:
        """The database of a product's own."""
        return f"bench_{product.name}"

    def store_cpu_s(self, product: Product) -> float:
        """Processor time of the server that keeps a product's jobs."""
        if product.needs_redis:
            assert self.broker is not None, "a product without its broker is not measured"
            return self.broker.cpu_s()
        return self.server.cpu_s()

    def settle(self, product: Product) -> None:
        """Let the store tidy up now, so that it does not while it is measured."""
        if not product.needs_redis:
            self.server.ask("vacuum analyze", database=self.database(product))
            self.server.ask("checkpoint")

    def ended(self, product: Product) -> int | None:
        """How many jobs ended well by the product's own record, or None when it keeps none."""
        if not product.ended:
            return None
        return int(self.server.ask(product.ended, database=self.database(product))[0][0])

    @contextmanager
    def sparing(self, product: Product, line: str) -> Iterator[None]:
        """Let a peer fail without stopping the others: it is told and has no figure.

        What Duly fails with goes on.
        """
        try:
            yield
        except Exception as failed:
            if not product.is_peer:
                raise
            said = str(failed).strip().splitlines()
            reason = f"{type(failed).__name__}: {said[-1] if said else ''}"
            self.results.add_failure(line, product.name, reason)

    @contextmanager
    def fleet(self, product: Product, *, slots: int = 0) -> Iterator[Fleet]:
        """A product on an empty database with its schema."""
        if product.needs_redis:
            assert self.broker is not None, "a product without its broker is not measured"
            url = self.broker.empty()
        else:
            url = self.server.fresh(self.database(product))
        with Fleet(product, url, slots=slots) as fleet:
            yield fleet

"""What a measurement is given: the server, the products, where results go, and how much to do.

The same lines run in full and in quick: quick takes a hundredth of the work, once, and no peers,
so that it shows whether the benchmarks still run and never what anything costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.fleet import Fleet
from bench.products import Product
from bench.results import Results
from bench.server import Server


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The stage of a run."""

    server: Server
    results: Results
    products: tuple[Product, ...]
    rounds: int
    quick: bool

    def some(self, full: int, quick: int) -> int:
        """How much of something to do."""
        return quick if self.quick else full

    def database(self, product: Product) -> str:
        """The database of a product's own."""
        return f"bench_{product.name}"

    @contextmanager
    def fleet(self, product: Product, *, slots: int = 0) -> Iterator[Fleet]:
        """A product on an empty database with its schema."""
        url = self.server.fresh(self.database(product))
        with Fleet(product, url, slots=slots) as fleet:
            yield fleet

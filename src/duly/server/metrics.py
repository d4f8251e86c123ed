"""Events as metrics, in the text that Prometheus reads.

`METRICS` in `metric_table.py` says what there is, `tally.py` counts it. prometheus-client (the
extra `metrics`) is imported when a `Metrics` is made, and only writes what was counted. Gauges
are asked for when they are read. Nothing here reads a clock, and no global registry is touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duly.errors import ConfigError
from duly.events import Bus, Event
from duly.server.metric_table import METRICS, Labels, MetricDoc
from duly.server.tally import COUNTED, Spread, Tally

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@dataclass(frozen=True)
class Vitals:
    """What the gauges show; asked for whenever they are read."""

    held: int
    slots: int
    store_up: bool
    lease_left_s: float | None = None


class Metrics:
    """Counts events and writes them down. Its methods may be called from any thread."""

    def __init__(
        self, *, vitals: Callable[[], Vitals] | None = None, label_values: int = 200
    ) -> None:
        """Raises `ConfigError` when the extra `metrics` is not installed."""
        try:
            import prometheus_client
        except ImportError:
            raise ConfigError(
                "expected prometheus-client to be installed for metrics; install duly[metrics]"
            ) from None
        self.content_type: str = prometheus_client.CONTENT_TYPE_LATEST
        self._registry = prometheus_client.CollectorRegistry(auto_describe=False)
        self._write = prometheus_client.generate_latest
        self._vitals = vitals
        self._bus: Bus | None = None
        self._lock = threading.Lock()
        self._tally = Tally(label_values=label_values)
        self._registry.register(_Collector(self._collect))

    def attach(self, bus: Bus) -> Callable[[], None]:
        """Subscribe to the kinds that are counted; return what ends that."""
        self._bus = bus
        return bus.subscribe(self.heard, COUNTED)

    def heard(self, event: Event) -> None:
        """Count one event; a kind that is not counted is passed over."""
        count = COUNTED.get(type(event))
        if count is not None:
            with self._lock:
                count(self._tally, event)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format, to be sent as `content_type`."""
        return self._write(self._registry)

    def _collect(self) -> Iterator[Metric]:
        gauges = self._gauges()
        with self._lock:
            counts, spreads = self._tally.copy_counts(), self._tally.copy_spreads()
        for doc in METRICS:
            if doc.kind == "counter":
                yield _counter(doc, counts[doc.name])
            elif doc.kind == "histogram":
                yield _histogram(doc, spreads[doc.name])
            elif (value := gauges.get(doc.name)) is not None:
                yield _gauge(doc, value)

    def _gauges(self) -> Mapping[str, float | None]:
        shown: dict[str, float | None] = {}
        if self._bus is not None:
            shown["duly_subscriber_failures"] = self._bus.failures
        if self._vitals is not None:
            now = self._vitals()
            shown["duly_held"] = now.held
            shown["duly_slots"] = now.slots
            shown["duly_store_up"] = float(now.store_up)
            shown["duly_lease_remaining_seconds"] = now.lease_left_s
        return shown


class _Collector:
    """What the registry asks for metrics."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect


def _counter(doc: MetricDoc, series: Mapping[Labels, int]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(doc.name, doc.meaning, labels=doc.labels)
    # A counter without labels is there from the start, so that its first rise can be seen.
    zero: dict[Labels, int] = {} if doc.labels else {(): 0}
    for labels, count in {**zero, **series}.items():
        family.add_metric(labels, count)
    return family


def _histogram(doc: MetricDoc, series: Mapping[Labels, Spread]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(doc.name, doc.meaning, labels=doc.labels)
    for labels, spread in series.items():
        family.add_metric(labels, spread.cumulative(), spread.total)
    return family


def _gauge(doc: MetricDoc, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(doc.name, doc.meaning, value=value)

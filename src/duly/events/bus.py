"""The bus: how what happens reaches whoever wants to know.

A subscriber is called at once, on the thread that emits, in the order of subscribing. One that
raises is counted and logged once, and troubles neither the emitter nor its neighbours.
Subscribing copies the table, so that emitting takes no lock: `wants` is one look-up in a
dictionary, and whoever emits often asks it before building an event. The bus keeps no event.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from duly.events.base import EVENTS, Event

Subscriber = Callable[[Event], None]

_log = logging.getLogger("duly.events")


class Bus:
    """Hands events to subscribers. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._heard_by: dict[type[Event], tuple[_Subscription, ...]] = {}
        self._lock = threading.Lock()
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often a subscriber raised."""
        return self._failures

    def wants(self, kind: type[Event]) -> bool:
        """Whether anyone subscribes to this kind; if not, the event need not be built."""
        return kind in self._heard_by

    def emit(self, event: Event) -> None:
        """Call whoever subscribes to this kind. Never raises what a subscriber raises."""
        for subscription in self._heard_by.get(type(event), ()):
            try:
                subscription.heard(event)
            except Exception:
                self._blame(subscription, event)

    def subscribe(
        self, heard: Subscriber, kinds: Iterable[type[Event]] | None = None
    ) -> Callable[[], None]:
        """Call `heard` with each event of `kinds` (None: of all); return what ends that.

        Ending twice is as good as once. A subscriber must be quick, must not block, and may be
        called from several threads at once.
        """
        chosen = tuple(dict.fromkeys(EVENTS.values() if kinds is None else kinds))
        subscription = _Subscription(heard)
        with self._lock:
            table = dict(self._heard_by)
            for kind in chosen:
                table[kind] = (*table.get(kind, ()), subscription)
            self._heard_by = table

        def end() -> None:
            self._end(subscription)

        return end

    def _end(self, subscription: _Subscription) -> None:
        with self._lock:
            left = {
                kind: tuple(one for one in heard if one is not subscription)
                for kind, heard in self._heard_by.items()
            }
            self._heard_by = {kind: heard for kind, heard in left.items() if heard}

    def _blame(self, subscription: _Subscription, event: Event) -> None:
        with self._lock:
            self._failures += 1
            first, subscription.failed = not subscription.failed, True
        if first:
            _log.exception("a subscriber raised at %s; further failures are counted", event.name)


class _Subscription:
    """One subscriber, and whether its failing was told."""

    __slots__ = ("failed", "heard")

    def __init__(self, heard: Subscriber) -> None:
        self.heard = heard
        self.failed = False

"""How many failures a caller may make: a few at once, then so many a minute.

Counted per caller (an address, or a key), in bounded memory: the least recently seen are forgotten
first. Time is an argument. Success costs nothing, so a caller that does right never waits.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass
class _Bucket:
    left: float
    at_s: float


class Allowance:
    """Buckets of failures, one per caller, at most `remembered` of them."""

    def __init__(
        self, *, at_once: int = 20, per_minute: int = 20, remembered: int = 10_000
    ) -> None:
        self._most, self._per_s = at_once, per_minute / 60
        self._remembered = remembered
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def failed(self, who: str, now_s: float) -> int:
        """Count a failure; return 0, or after how many seconds the next is listened to."""
        bucket = self._bucket(who, now_s)
        if bucket.left < 1:
            return self._wait_s(bucket)
        bucket.left -= 1
        return 0

    def spent(self, who: str, now_s: float) -> int:
        """Return 0, or for how many seconds nothing of this caller is listened to."""
        if who not in self._buckets:
            return 0
        bucket = self._bucket(who, now_s)
        return self._wait_s(bucket) if bucket.left < 1 else 0

    def _wait_s(self, bucket: _Bucket) -> int:
        return int((1 - bucket.left) / self._per_s) + 1

    def _bucket(self, who: str, now_s: float) -> _Bucket:
        bucket = self._buckets.pop(who, None) or _Bucket(self._most, now_s)
        since_s = max(0.0, now_s - bucket.at_s)
        bucket.left = min(self._most, bucket.left + since_s * self._per_s)
        bucket.at_s = now_s
        self._buckets[who] = bucket
        while len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        return bucket

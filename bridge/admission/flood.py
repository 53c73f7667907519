"""Keeps strangers from filling the log: refusals of peers that nobody knows are recorded up to a rate per address.

Beyond it they are refused all the same and counted; the next one that is recorded says how many were not. Without this,
anybody who can reach the port could fill the disk, and a log that cannot be written stops the bridge for everybody.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

BURST = 50.0
RATE = 2.0
"""Records a second and address once the burst is used: a misconfigured pool is seen at once, a flood costs 3 KB/s."""

MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    suppressed: int = 0


class FloodGuard:
    """A token bucket per address. Pure: the caller gives the time in seconds."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def suppresses(self, address: str, now: float) -> bool:
        """True when this refusal is only counted."""
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = _Bucket(BURST, now)
            if len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(address)
        bucket.left = min(BURST, bucket.left + max(0.0, now - bucket.at) * RATE)
        bucket.at = now
        if bucket.left < 1.0:
            bucket.suppressed += 1
            return True
        bucket.left -= 1.0
        return False

    def suppressed(self, address: str) -> int:
        """How many were only counted since the last time this was asked."""
        bucket = self._buckets.get(address)
        if bucket is None:
            return 0
        count, bucket.suppressed = bucket.suppressed, 0
        return count

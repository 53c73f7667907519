"""Which of the events that were appended together differ in nothing that the overview counts: of those it reads one.

Found where they are appended, and kept in memory until the overview has them, never on a disk: there somebody could say
that events are alike which are not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from bridge.translation.composing import Plain

BLOCK = 1024
"""Events of a block of the overview: few enough to read one in a millisecond, enough that its sum is much smaller than
they are. No group reaches over its end."""

FEW = 4
"""So many times fewer groups than events, or reading each event costs about the same."""

MAX_GROUPS = 50_000
"""Kept of all blocks: some ten megabytes. An overview that lags farther behind reads each event."""

Group = tuple[int, int, int, int, int]
"""How many; sequence number of the first and of the last; earliest and latest Unix millisecond."""


def alike(first: int, plains: Sequence[Plain], block: int = BLOCK) -> list[Group]:
    """Groups of the events that were appended from ``first`` on."""
    found: list[Group] = []
    start, size = 0, len(plains)
    while start < size:
        end = min(start + block - (first + start - 1) % block, size)
        found += _of_one_block(first + start, plains[start:end])
        start = end
    return found


def _of_one_block(first: int, plains: Sequence[Plain]) -> list[Group]:
    groups: dict[object, list[int]] = {}
    for seq, plain in enumerate(plains, first):
        pieces, at = plain[0], plain[4]
        # All but id, request, times and result; an event that is no operation is like no other.
        key: object = seq if pieces is None else (id(pieces), plain[1], *plain[6:11])
        group = groups.get(key)
        if group is None:
            groups[key] = [1, seq, seq, at, at]
        else:
            group[0] += 1
            group[2] = seq
            if at > group[4]:
                group[4] = at
            elif at < group[3]:
                group[3] = at
    return [(count, begin, last, earliest, latest) for count, begin, last, earliest, latest in groups.values()]


class _Block:
    __slots__ = ("events", "groups")

    def __init__(self) -> None:
        self.events = 0
        self.groups: list[Group] = []


class Alike:
    """What the thread that writes hands to the one that sums up."""

    def __init__(self, block: int = BLOCK) -> None:
        self._block = block
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self._kept = 0

    def add(self, groups: Sequence[Group]) -> None:
        with self._lock:
            for group in groups:
                block = self._blocks.setdefault((group[1] - 1) // self._block, _Block())
                if block.events < 0:
                    continue  # too many differ
                block.events += group[0]
                block.groups.append(group)
                self._kept += 1
                if len(block.groups) * FEW > self._block:
                    self._forget(block)
            while self._kept > MAX_GROUPS:
                self._forget(self._blocks.popitem(last=False)[1])

    def take(self, number: int) -> list[Group]:
        """Of the block of this number, from 0; empty unless each of its events is in a group, and the groups are few.

        Blocks before it are forgotten.
        """
        with self._lock:
            for passed in [one for one in self._blocks if one < number]:
                self._forget(self._blocks.pop(passed))
            block = self._blocks.pop(number, _Block())
            groups = block.groups if block.events == self._block else []
            self._forget(block)
        return groups

    def _forget(self, block: _Block) -> None:
        self._kept -= len(block.groups)
        block.groups, block.events = [], -self._block  # never whole again

"""The tree as it is kept: every leaf hash, and the roots of its perfect subtrees of 256, 256² … leaves.

A commit adds the leaves of its events, and an inner hash whenever 256 below it are complete; nothing is read or
rewritten otherwise, so the tree costs little and several processes may append in turn. Any other hash is computed from
at most 255 stored ones a level.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from bridge.storage import StorageCorrupt, driver_cursor, insert_rows
from bridge.translation.tree import EMPTY, Growing, below, consistency, inclusion, leaf_hash, node_hash, root

STEP = 8
"""Levels between those that are kept: one inner hash for 256 below."""


def extend(connection: Connection, first: int, bodies: Sequence[str]) -> None:
    """Adds the events with sequence numbers from ``first`` on, in the transaction that inserts them."""
    leaves = [leaf_hash(body.encode()) for body in bodies]
    insert_rows(driver_cursor(connection), "leaf", "seq, hash", list(enumerate(leaves, first)))
    _complete(connection, STEP, first - 1, leaves)


def _complete(connection: Connection, level: int, before: int, new: list[bytes]) -> None:
    """Keeps the hashes of ``level`` that become complete by the ``new`` ones below, which follow ``before`` others."""
    start, end = before >> STEP, (before + len(new)) >> STEP
    if start == end:
        return
    children = StoredTree(connection).stored(level - STEP, start << STEP, before) + new
    hashes = [root(children[place << STEP : (place + 1) << STEP]) for place in range(end - start)]
    nodes = [(level, position, hash) for position, hash in enumerate(hashes, start)]
    insert_rows(driver_cursor(connection), "node", "level, position, hash", nodes)
    _complete(connection, level + STEP, start, hashes)


class TreeDamaged(StorageCorrupt):
    """Hashes of the tree are missing: somebody took them out, or the disk lost them."""


class StoredTree:
    """Reads the tree within a transaction. Raises TreeDamaged where hashes are missing."""

    def __init__(self, connection: Connection) -> None:
        self._cursor = driver_cursor(connection)

    def size(self) -> int:
        (size,) = self._cursor.execute("SELECT max(seq) FROM leaf").fetchone()
        return int(size or 0)

    def root(self, size: int) -> bytes:
        return self.subtree(0, size) if size else EMPTY

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        return inclusion(seq - 1, size, self.subtree)

    def consistency(self, old: int, new: int) -> list[bytes]:
        return consistency(old, new, self.subtree)

    def growing(self, size: int) -> Growing:
        """The tree of the first ``size`` leaves, to go on from."""
        growing, start = Growing(), 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                growing.add(self.perfect(level, start >> level), level)
                start += 1 << level
        return growing

    def subtree(self, start: int, end: int) -> bytes:
        """The root of leaves ``start`` to ``end`` (excluded, from 0), a subtree as proofs ask for it."""
        width = end - start
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self.perfect(level, start >> level)
        middle = start + below(width)
        return node_hash(self.subtree(start, middle), self.subtree(middle, end))

    def perfect(self, level: int, position: int, *, kept: bool = True) -> bytes:
        """The root of the ``position``-th perfect subtree of ``2 ** level`` leaves; ``kept``: it may be stored."""
        step = level % STEP or (0 if kept else STEP)
        hashes = self.stored(level - step, position << step, (position + 1) << step)
        return root(hashes)

    def stored(self, level: int, start: int, end: int) -> list[bytes]:
        if level:
            sql = "SELECT hash FROM node WHERE level = ? AND position >= ? AND position < ? ORDER BY position"
            found = self._cursor.execute(sql, (level, start, end))
        else:
            sql = "SELECT hash FROM leaf WHERE seq > ? AND seq <= ? ORDER BY seq"
            found = self._cursor.execute(sql, (start, end))
        hashes = [hash for (hash,) in found.fetchall()]
        if len(hashes) != end - start:
            events = f"events {(start << level) + 1} to {end << level}"
            raise TreeDamaged(f"the tree of the log has lost hashes over {events}; run `idbridge log verify`")
        return hashes


class ManyProofs(StoredTree):
    """For proofs of many events, one after the other, in the tree of ``size`` leaves: what neighbours share is read and
    computed once."""

    REMEMBERED = 10_000
    """Hashes of subtrees; a path has one a level, and neighbours differ in the lowest."""

    def __init__(self, connection: Connection, size: int) -> None:
        super().__init__(connection)
        self._size = size
        self._known: dict[tuple[int, int], bytes] = {}
        self._block = -1
        self._leaves: list[bytes] = []

    def subtree(self, start: int, end: int) -> bytes:
        hash = self._known.get((start, end))
        if hash is None:
            if len(self._known) >= self.REMEMBERED:
                self._known.clear()
            hash = self._known[start, end] = super().subtree(start, end)
        return hash

    def stored(self, level: int, start: int, end: int) -> list[bytes]:
        block, begin = start >> STEP, start >> STEP << STEP
        if level or end > begin + (1 << STEP) or end > self._size:
            return super().stored(level, start, end)
        if block != self._block:
            self._leaves = super().stored(0, begin, min(begin + (1 << STEP), self._size))
            self._block = block
        return self._leaves[start - begin : end - begin]

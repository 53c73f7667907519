"""The Merkle tree of RFC 6962, section 2.1: hashes, proofs and their verification. Pure.

A leaf is the exact text of an event, at index ``seq - 1``. Proofs ask for the hashes of subtrees they need
(``Subtree``), wherever these are kept. The tree pairs neighbours level by level; a last one without a neighbour rises
as it is, which is the same tree as the RFC's recursive definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()
"""The root of a log without events."""

Subtree = Callable[[int, int], bytes]
"""The root of the leaves ``start`` to ``end`` (excluded)."""


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def parents(hashes: Sequence[bytes]) -> list[bytes]:
    """The level above."""
    above = [sha256(b"\x01" + left + right).digest() for left, right in zip(hashes[::2], hashes[1::2], strict=False)]
    if len(hashes) % 2:
        above.append(hashes[-1])
    return above


def root(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, or over the roots of equal perfect subtrees."""
    if not hashes:
        return EMPTY
    while len(hashes) > 1:
        hashes = parents(hashes)
    return hashes[0]


def below(width: int) -> int:
    """The largest power of two smaller than ``width`` (at least 2): where the RFC splits."""
    half: int = 1 << ((width - 1).bit_length() - 1)
    return half


class Growing:
    """A tree that leaves, or perfect subtrees of ascending or equal place, are added to from the left."""

    def __init__(self, peaks: Sequence[tuple[int, bytes]] = ()) -> None:
        self._peaks = list(peaks)

    @property
    def peaks(self) -> list[tuple[int, bytes]]:
        """Its perfect subtrees from the left: (level, root)."""
        return list(self._peaks)

    def copy(self) -> Growing:
        return Growing(self._peaks)

    def add(self, hash: bytes, level: int = 0) -> None:
        """``level``: the subtree has ``2 ** level`` leaves; it must not be higher than the lowest one before it."""
        peaks = self._peaks
        while peaks and peaks[-1][0] == level:
            hash = node_hash(peaks.pop()[1], hash)
            level += 1
        peaks.append((level, hash))

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY
        hash = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            hash = node_hash(left, hash)
        return hash


def inclusion(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The audit path of leaf ``index`` (from 0) in the tree of ``size`` leaves: RFC 6962, 2.1.1."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + below(end - start)
        if index < middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(start, middle))
            start = middle
    return path[::-1]


def consistency(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """The proof that the tree of ``new`` leaves continues the one of ``old``: RFC 6962, 2.1.2."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not continue one of {old}")
    if old in (0, new):
        return []
    path, start, end, known = [], 0, new, True
    while old != end:
        middle = start + below(end - start)
        if old <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(start, middle))
            start, known = middle, False
    return ([] if known else [subtree(start, end)]) + path[::-1]


def included(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves the leaf hash: RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    first, last, hash = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if first & 1 or first == last:
            hash = node_hash(step, hash)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            hash = node_hash(hash, step)
        first, last = first >> 1, last >> 1
    return last == 0 and hash == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that the new tree continues the old one: RFC 9162, 2.1.4.2."""
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY
    if not 0 < old < new or not path:
        return False
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            after = node_hash(after, step)
        first, last = first >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root

"""Operations kept for the next text of the same shape, for protocols that have statements."""

from __future__ import annotations

from collections import OrderedDict

from bridge.adapter.operation import Operation

KEPT_OPERATIONS = 1024
"""An operation and its text are a few hundred bytes."""


class KeptOperations:
    """Operations by scope and shape, for texts whose statements have no names and no flags. Shared by sessions.

    The scope is what else an operation depends on: the database and how much of the text the log keeps.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bytes], tuple[Operation, ...]] = OrderedDict()

    def get(self, scope: str, key: bytes) -> tuple[Operation, ...] | None:
        return self._kept.get((scope, key))

    def put(self, scope: str, key: bytes, operations: tuple[Operation, ...]) -> None:
        self._kept[scope, key] = operations
        if len(self._kept) > KEPT_OPERATIONS:
            self._kept.popitem(last=False)

"""The process that parses, and may die of it: libpg_query overflows its stack on deep expressions (research D1).

Run by path, without the bridge's environment or arguments; it holds nothing worth stealing. Standard input: frames of a
4-byte length and UTF-8 text. Standard output: frames of a 4-byte length and a JSON list of statements, or ``null`` when
the text is no SQL.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import threading
from typing import BinaryIO

LENGTH = struct.Struct(">I")

MEMORY = 1 << 30
"""Address space: a parse tree is some hundred times its text (256 KiB), and a stack is reserved beside it."""

STACK = 256 << 20
"""Bytes of stack: reading the tree back recurses as deep as the expression goes."""

RECURSION = 100_000


def answer(text: str) -> bytes:
    """The JSON for one text."""
    import pgparse

    from adapters.postgres.statements import classify

    try:
        tree = pgparse.parse(text)
    except (pgparse.PGQueryError, RecursionError, ValueError):
        return b"null"
    return json.dumps([as_plain(statement) for statement in classify(tree)]).encode()


def as_plain(statement: object) -> list[object]:
    fields = [getattr(statement, name) for name in statement.__slots__]  # type: ignore[attr-defined]
    return [sorted(field) if isinstance(field, frozenset) else field for field in fields]


def loop(source: BinaryIO, sink: BinaryIO) -> None:
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        (size,) = LENGTH.unpack(head)
        reply = answer(source.read(size).decode("utf-8"))
        sink.write(LENGTH.pack(len(reply)) + reply)
        sink.flush()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    sys.setrecursionlimit(RECURSION)
    threading.stack_size(STACK)
    reading = threading.Thread(target=loop, args=(sys.stdin.buffer, sys.stdout.buffer))
    reading.start()
    reading.join()


if __name__ == "__main__":
    main()

"""The usual exchange: one statement in one piece, and its whole answer in another. Most of a session is nothing else.

Ideas:

* Each side is looked at as a whole, in plain calls. What is otherwise in any way goes the long way, and nothing was
  changed by looking.
* What was asked is one ``Asked`` until its answer is there. When that is not the usual one, or when more is asked
  before it, it is *unfolded* into what the long way would have kept (``Requests.unfolded``).
"""

from __future__ import annotations

from typing import NamedTuple

from adapters.postgres import codec
from adapters.postgres.codec import Back, Front
from adapters.postgres.framing import HEADER, HEADER_SIZE
from adapters.postgres.operations import Prepared
from bridge.adapter import Outcome, Permit, Result

_SUCCESS = Result.SUCCESS
_READY = b"Z\0\0\0\5"
_READY_SIZE = len(_READY) + 1
_BOUND = codec.message(Back.BIND_COMPLETE)
_PARSED = codec.message(Back.PARSE_COMPLETE)
_DESCRIBE = codec.message(Front.DESCRIBE, b"P\0")
_RUN = codec.message(Front.EXECUTE, b"\0" + bytes(4)) + codec.message(Front.SYNC)
_AFTER_BIND = {_RUN: False, _DESCRIBE + _RUN: True}
"""What follows a Bind of the unnamed portal, and whether the portal is described."""


class Execution(NamedTuple):
    """Of a statement by its name, or of ``text``, which becomes the unnamed statement."""

    name: bytes
    text: bytes | None
    described: bool


class Asked:
    """A usual request that was permitted. ``prepared``: what was bound and executed, None for a Query; ``parsed``: it
    was made the unnamed statement right before; ``described``: the portal was."""

    __slots__ = ("described", "parsed", "permit", "prepared")

    def __init__(self, permit: Permit, prepared: Prepared | None = None, execution: Execution | None = None) -> None:
        self.permit = permit
        self.prepared = prepared
        self.parsed = execution is not None and execution.text is not None
        self.described = execution is not None and execution.described


def query(data: bytes) -> bytes | None:
    """The text of ``data``, when that is one Query and nothing else."""
    if len(data) <= HEADER_SIZE:
        return None
    kind, length = HEADER.unpack_from(data)
    last = len(data) - 1
    if kind != Front.QUERY or length != last or data.find(b"\0", HEADER_SIZE) != last:
        return None
    return data[HEADER_SIZE:last]


def execution(data: bytes) -> Execution | None:
    """When ``data`` is, perhaps behind a Parse, a Bind, perhaps Describe, Execute and Sync: of the unnamed portal."""
    if len(data) <= HEADER_SIZE:
        return None
    kind, length = HEADER.unpack_from(data)
    begin, text = 0, None
    if kind == Front.PARSE:
        begin = length + 1
        nul = data.find(b"\0", HEADER_SIZE + 1, begin)
        types = data[nul + 1 : begin]
        if len(data) - begin <= HEADER_SIZE or data[HEADER_SIZE] or nul < 0 or not _are_types(types):
            return None
        text = data[HEADER_SIZE + 1 : nul]
        kind, length = HEADER.unpack_from(data, begin)
    end = begin + length + 1
    described = _AFTER_BIND.get(data[end:])
    if kind != Front.BIND or described is None or data[begin + HEADER_SIZE]:
        return None
    nul = data.find(b"\0", begin + HEADER_SIZE + 1, end)
    return None if nul < 0 else Execution(data[begin + HEADER_SIZE + 1 : nul], text, described)


def _are_types(body: bytes) -> bool:
    """The end of a Parse: how many, and a number of 4 bytes for each."""
    return body == b"\0\0" or (len(body) >= 2 and len(body) == 2 + 4 * int.from_bytes(body[:2], "big"))


def answer(data: bytes, asked: Asked) -> Outcome | None:
    """What ``data`` says when it is the whole answer to ``asked``, of a statement that succeeded, and nothing else."""
    last = len(data) - _READY_SIZE
    if last < HEADER_SIZE or not data.startswith(_READY, last):
        return None
    unpack = HEADER.unpack_from
    position = 0
    if asked.prepared is not None:
        begins = _PARSED + _BOUND if asked.parsed else _BOUND
        if not data.startswith(begins):
            return None
        position = len(begins)
    kind, length = unpack(data, position)
    if kind == Back.ROW_DESCRIPTION or kind == Back.NO_DATA:
        if length < 4 or not (asked.described or asked.prepared is None):
            return None
        position += length + 1
        if position >= last:
            return None
        kind, length = unpack(data, position)
    elif asked.described:
        return None
    begin, rows = position, 0
    while kind == Back.DATA_ROW and length >= 4:
        rows += 1
        position += length + 1
        if position >= last:
            return None
        kind, length = unpack(data, position)
    if kind != Back.COMMAND_COMPLETE or position + length + 1 != last or length < 4:
        return None
    told = codec.tag_rows(data[position + HEADER_SIZE : last - 1])
    return Outcome(_SUCCESS, "", rows if rows > told else told, position - begin)

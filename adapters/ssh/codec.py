"""Messages of the connection protocol (RFC 4254), as far as the relay looks into them. No I/O.

Channel numbers are never changed: the agent's own number is told to the host as it is, and the host's to the agent.
Each side's numbers name a channel by themselves, and between two legs there is nobody else who would give any. So the
bulk of a session, CHANNEL_DATA, is passed on as the very bytes that came.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from adapters.ssh.fields import Fields, flag, number, string
from bridge.adapter import PeerFault

GLOBAL_REQUEST, REQUEST_SUCCESS, REQUEST_FAILURE = 80, 81, 82
OPEN, OPEN_CONFIRMATION, OPEN_FAILURE = 90, 91, 92
WINDOW_ADJUST, DATA, EXTENDED_DATA, EOF, CLOSE = 93, 94, 95, 96, 97
CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_FAILURE = 98, 99, 100

PROHIBITED, CONNECT_FAILED, UNKNOWN_TYPE, SHORTAGE = 1, 2, 3, 4
STDERR = 1

RECIPIENT = struct.Struct("!xI")


def recipient(payload: bytes) -> int:
    """The channel number of messages 91 to 100. Raises struct.error when there is none."""
    found: int = RECIPIENT.unpack_from(payload)[0]
    return found


def size(payload: bytes) -> int:
    """How many bytes of data a DATA or EXTENDED_DATA brings; they are its end.

    A length that says something else is a fault: what the bridge reads has to be what the other side will read.
    """
    at = 5 if payload[0] == DATA else 9
    length = int.from_bytes(payload[at : at + 4], "big")
    if len(payload) != at + 4 + length:
        raise PeerFault("the length of a message's data is not its own")
    return length


@dataclass(frozen=True, slots=True)
class Opening:
    kind: str
    sender: int
    window: int
    largest: int
    rest: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Opening:
        fields = Fields(payload, 1)
        return cls(fields.name(), fields.number(), fields.number(), fields.number(), fields.rest())

    def compose(self) -> bytes:
        head = bytes((OPEN,)) + string(self.kind)
        return head + struct.pack("!III", self.sender, self.window, self.largest) + self.rest


@dataclass(frozen=True, slots=True)
class Confirmation:
    recipient: int
    sender: int
    window: int
    largest: int

    @classmethod
    def parse(cls, payload: bytes) -> Confirmation:
        fields = Fields(payload, 1)
        return cls(fields.number(), fields.number(), fields.number(), fields.number())


@dataclass(frozen=True, slots=True)
class Asked:
    """A channel request (section 5.4): ``rest`` is what is specific to ``kind``."""

    recipient: int
    kind: str
    want_reply: bool
    rest: bytes

    @classmethod
    def parse(cls, payload: bytes) -> Asked:
        fields = Fields(payload, 1)
        return cls(fields.number(), fields.name(), fields.flag(), fields.rest())

    def compose(self) -> bytes:
        return request(self.recipient, self.kind, self.rest, want_reply=self.want_reply)


@dataclass(frozen=True, slots=True)
class Terminal:
    """pty-req (section 6.2); the modes are passed on as they are."""

    term: str
    columns: int
    rows: int

    @classmethod
    def parse(cls, rest: bytes) -> Terminal:
        fields = Fields(rest)
        return cls(fields.text(), fields.number(), fields.number())


def request(channel: int, kind: str, rest: bytes = b"", *, want_reply: bool = False) -> bytes:
    return bytes((CHANNEL_REQUEST,)) + number(channel) + string(kind) + flag(want_reply) + rest


def environment(channel: int, name: str, value: str) -> bytes:
    return request(channel, "env", string(name) + string(value))


def answer(channel: int, *, success: bool) -> bytes:
    return bytes((CHANNEL_SUCCESS if success else CHANNEL_FAILURE,)) + number(channel)


def open_failure(channel: int, reason: int, text: str) -> bytes:
    return bytes((OPEN_FAILURE,)) + struct.pack("!II", channel, reason) + string(text) + string("")


def data(channel: int, text: bytes) -> bytes:
    return bytes((DATA,)) + number(channel) + string(text)


def stderr(channel: int, text: bytes) -> bytes:
    return bytes((EXTENDED_DATA,)) + number(channel) + number(STDERR) + string(text)


def eof(channel: int) -> bytes:
    return bytes((EOF,)) + number(channel)


def close(channel: int) -> bytes:
    return bytes((CLOSE,)) + number(channel)


def adjust(channel: int, count: int) -> bytes:
    return bytes((WINDOW_ADJUST,)) + number(channel) + number(count)


def exit_status(channel: int, status: int) -> bytes:
    return request(channel, "exit-status", number(status))

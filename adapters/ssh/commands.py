"""Commands of the bridge's own on a host, as the static account: one after the other, each in a channel of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from adapters.ssh import codec
from adapters.ssh.codec import Asked, Confirmation
from adapters.ssh.environment import stamps
from adapters.ssh.fields import Fields, number, string
from adapters.ssh.upstream import HostLeg
from bridge.adapter import BridgeError

ANSWER_TIME = 15.0
"""Seconds for one command; ``sudo -l`` may ask a directory service."""

LONGEST_ANSWER = WINDOW = 1024 * 1024
"""The host may say so much, and gets no more room."""

LARGEST = 32 * 1024
NONE = -1  # the host told no exit status

_ECHO, _END_OF_MODES = 53, 0
UNSEEN = string("dumb") + number(1000) + number(24) + number(0) * 2 + string(bytes((_ECHO,)) + number(0) + b"\0")
"""A terminal that does not show what is typed (RFC 4254 sections 6.2 and 8)."""


class Unanswered(BridgeError):
    """The host does not run the command; the message says how it refused."""


class Answer(NamedTuple):
    status: int
    text: str


class Commands:
    """On a leg that nobody relays. Raises Unanswered, PeerFault, TimedOut, StreamClosed."""

    def __init__(self, leg: HostLeg) -> None:
        self._leg = leg
        self._next = 0

    async def ask(self, command: str, stamp: str = "") -> Answer:
        theirs = await self._opened()
        for name, value in stamps(stamp) if stamp else ():
            self._leg.write(codec.environment(theirs, name, value))
        self._leg.write(codec.request(theirs, "exec", string(command), want_reply=True))
        self._leg.write(codec.eof(theirs))
        answer = await self._until_closed(lambda data: b"", theirs)
        self._leg.write(codec.close(theirs))
        await self._leg.flush()
        return answer

    async def converse(self, command: str, reply: Callable[[bytes], bytes]) -> int:
        """The exit status. At a terminal, if the host gives one; ``reply`` takes what comes and gives what to type."""
        theirs = await self._opened()
        self._leg.write(codec.request(theirs, "pty-req", UNSEEN))
        self._leg.write(codec.request(theirs, "exec", string(command), want_reply=True))
        return (await self._until_closed(reply, theirs)).status

    async def _opened(self) -> int:
        own, self._next = self._next, self._next + 1
        self._leg.write(bytes((codec.OPEN,)) + string("session") + number(own) + number(WINDOW) + number(LARGEST))
        while True:
            payload = await self._message()
            if payload[0] == codec.OPEN_CONFIRMATION:
                return Confirmation.parse(payload).sender
            if payload[0] == codec.OPEN_FAILURE:
                raise Unanswered("the host opens no session")

    async def _until_closed(self, reply: Callable[[bytes], bytes], theirs: int) -> Answer:
        status, text = NONE, b""
        while True:
            payload = await self._message()
            if payload[0] == codec.DATA and len(text) < LONGEST_ANSWER:
                text += self._taken(Fields(payload, 5).string(), reply, theirs)
            elif payload[0] == codec.EXTENDED_DATA:
                self._taken(Fields(payload, 9).string(), reply, theirs)
            elif payload[0] == codec.CHANNEL_REQUEST and (asked := Asked.parse(payload)).kind == "exit-status":
                status = Fields(asked.rest).number()
            elif payload[0] == codec.CHANNEL_FAILURE:
                raise Unanswered("the host runs no command")
            elif payload[0] == codec.CLOSE:
                return Answer(status, text.decode("utf-8", "replace").strip())

    def _taken(self, data: bytes, reply: Callable[[bytes], bytes], theirs: int) -> bytes:
        if typed := reply(data):
            self._leg.write(codec.data(theirs, typed))
        return data

    async def _message(self) -> bytes:
        """The next one of the connection protocol; what the host asks meanwhile is refused."""
        await self._leg.flush()
        payload = await self._leg.message(ANSWER_TIME)
        if payload[0] == codec.GLOBAL_REQUEST:
            fields = Fields(payload, 1)
            fields.name()
            if fields.flag():
                self._leg.write(bytes((codec.REQUEST_FAILURE,)))
        return payload

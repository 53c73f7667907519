"""What the relay remembers of a channel, and the order of answers. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adapters.ssh.codec import Terminal
from adapters.ssh.scp import Files
from bridge.adapter import Admission, Outcome, PeerFault, Permit, Result

LARGEST_WINDOW = 2**32 - 1
LARGEST_STEP = 256 * 1024

MOST_UNANSWERED = 256
"""Requests in one channel: clients send about ten before they wait."""


BRIDGE_ASKS = b""  # in the place of an answer: what the host answers is for nobody else


class Answers:
    """Requests are answered in the order in which they were asked (RFC 4254 sections 4 and 5.4), those that the bridge
    answers as well as those that the host does."""

    def __init__(self) -> None:
        self._waiting: list[bytes | None] = []

    def asked_host(self) -> int:
        """Returns how many answers of the host there are until this one. Raises PeerFault."""
        self._waits(None)
        return self._waiting.count(None)

    def bridge_asked_host(self) -> None:
        """Raises PeerFault."""
        self._waits(BRIDGE_ASKS)

    def _waits(self, own: bytes | None) -> None:
        if len(self._waiting) >= MOST_UNANSWERED:
            raise PeerFault("too many requests without an answer")
        self._waiting.append(own)

    def ours(self, payload: bytes) -> list[bytes]:
        """The bridge's own answer: at once, or when the host has given those before it."""
        if not self._waiting:
            return [payload]
        self._waits(payload)
        return []

    def from_host(self, payload: bytes) -> list[bytes]:
        """The host's answer and ours that waited behind it; nothing for an answer that nobody waits for."""
        if not self._waiting or self._waiting[0]:
            return []
        ours = self._waiting[1:]
        until = next((at for at, own in enumerate(ours) if not own), len(ours))
        given = [payload] if self._waiting[0] is None else []
        self._waiting = ours[until:]
        return [*given, *(own for own in ours[:until] if own)]

    def all(self, own: bytes) -> list[bytes]:
        """Everything that is owed, with ``own`` where the host has not answered."""
        owed = [one or own for one in self._waiting]
        self._waiting.clear()
        return owed

    def __len__(self) -> int:
        return len(self._waiting)


class Window:
    """What one side of a channel still takes (``left``, RFC 4254 section 5.2), and what of it the other side knows.

    Takers allow more in steps of 96 KiB and less. The other side is told in larger ones, an eighth of the window, for
    each telling costs as much as a packet of data; but at once when it knows of little room: it never has to wait for
    what was allowed. ``reserve`` is not told to it: it is for what the bridge itself says.
    """

    __slots__ = ("_reserve", "_step", "_told", "left")

    def __init__(self, left: int = 0, reserve: int = 0) -> None:
        self.left = left
        self._reserve = reserve
        self._told = left - reserve
        self._step = min(left // 8, LARGEST_STEP)

    def used(self, size: int) -> int:
        """``size`` bytes were sent. Returns how much more to allow the sender now. Raises PeerFault for too many."""
        self.left -= size
        self._told -= size
        if self.left < 0:
            raise PeerFault("more came than the window of a channel allows")
        return self._due() if self._told < 2 * self._step else 0

    def widened(self, count: int) -> int:
        """The taker allows ``count`` more. Returns how much more to allow the sender now. Raises PeerFault."""
        self.left += count
        if self.left > LARGEST_WINDOW:
            raise PeerFault("the window of a channel is too large")
        return self._due()

    def lent(self, size: int) -> None:
        """The bridge has sent that much, of which the sender does not know: it is told of less from now on."""
        self.left -= size

    def _due(self) -> int:
        more = self.left - self._reserve - self._told
        if more <= 0 or (more < self._step and self._told >= 2 * self._step):
            return 0
        self._told += more
        return more


@dataclass(slots=True, eq=False)
class Channel:
    """``agent`` and ``host`` are the numbers that each side gave it; None until it is told.

    ``window`` is what the agent still takes, ``room`` what the host does: neither sends more, or what waits would have
    no bound. ``permits`` are told an outcome when the channel ends.
    """

    kind: str
    agent: int | None = None
    host: int | None = None
    window: Window = field(default_factory=Window)
    room: Window = field(default_factory=Window)
    answers: Answers = field(default_factory=Answers)
    permits: list[Permit] = field(default_factory=list)
    started: bool = False  # a command, shell or subsystem was asked for, and the host has not declined
    starting: int = 0  # answers of the host until the one to that
    refused: bool = False  # the bridge has ended it towards the agent
    environment: int = 0
    terminal: Terminal | None = None
    recorder: Any = None
    tap: Any = None
    sends: Files | None = None  # the agent, or the host, is the sender of an scp
    gives: Files | None = None
    sent: int = 0  # bytes from the agent
    received: int = 0  # bytes from the host
    status: str = ""  # exit status or signal
    closed_by_agent: bool = False
    closed_by_host: bool = False

    @property
    def over(self) -> bool:
        return self.closed_by_agent and self.closed_by_host

    def finish(self, admission: Admission) -> None:
        """Ends what was recorded and permitted in it."""
        if self.recorder is not None:
            self.recorder.close()
        if self.tap is not None:
            self.tap.close()
        permits, self.permits = self.permits, []
        for permit in permits:
            admission.outcome(permit, self._outcome())

    def _outcome(self) -> Outcome:
        if self.kind != "session":
            result = Result.FAILURE if self.status else Result.SUCCESS
        elif not self.status:
            result = Result.UNKNOWN
        else:
            result = Result.SUCCESS if self.status == "0" else Result.FAILURE
        files = self.sends or self.gives
        told = files.told if files is not None else ""
        return Outcome(result, code=self.status, bytes=self.sent + self.received, detail=told)

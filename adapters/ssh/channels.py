"""What the relay remembers of a channel, and the order of answers. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adapters.ssh.codec import Terminal
from adapters.ssh.scp import Files
from bridge.adapter import Admission, Outcome, PeerFault, Permit, Result

MOST_UNANSWERED = 256
"""Requests in one channel: clients send about ten before they wait."""


class Answers:
    """Requests are answered in the order in which they were asked (RFC 4254 sections 4 and 5.4), those that the bridge
    answers as well as those that the host does."""

    def __init__(self) -> None:
        self._waiting: list[bytes | None] = []

    def asked_host(self) -> int:
        """Returns how many answers of the host there are until this one. Raises PeerFault."""
        self._waits(None)
        return self._waiting.count(None)

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
        if not self._waiting or self._waiting[0] is not None:
            return []
        ours = self._waiting[1:]
        until = ours.index(None) if None in ours else len(ours)
        self._waiting = ours[until:]
        return [payload, *(own for own in ours[:until] if own is not None)]

    def all(self, own: bytes) -> list[bytes]:
        """Everything that is owed, with ``own`` where the host has not answered."""
        owed = [one or own for one in self._waiting]
        self._waiting.clear()
        return owed

    def __len__(self) -> int:
        return len(self._waiting)


@dataclass(slots=True, eq=False)
class Channel:
    """``agent`` and ``host`` are the numbers that each side gave it; None until it is told.

    ``window`` is what the agent still takes, ``room`` what the host does: neither sends more (RFC 4254 section 5.2), or
    what waits would have no bound. ``debt`` what the bridge has said in the host's place, of which the host
    does not know. ``permits`` are told an outcome when the channel ends.
    """

    kind: str
    agent: int | None = None
    host: int | None = None
    window: int = 0
    room: int = 0
    debt: int = 0
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

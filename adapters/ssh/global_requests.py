"""Requests that belong to no channel (RFC 4254 section 4): answered by the bridge, but for ports to be forwarded."""

from __future__ import annotations

from adapters.ssh import codec
from adapters.ssh.channels import Answers
from adapters.ssh.fields import Fields
from adapters.ssh.gate import Gate, survived
from adapters.ssh.leg import Leg
from bridge.adapter import Admission, Outcome, Refused, Result

NO_MORE_SESSIONS = "no-more-sessions@openssh.com"
FORWARD, CANCEL = "tcpip-forward", "cancel-tcpip-forward"


class GlobalRequests:
    """``no_more_sessions``: the agent wants none; ``listening``: the host was asked for a port, with a permit."""

    def __init__(self, agent: Leg, host: Leg, admission: Admission, gate: Gate) -> None:
        self._agent = agent
        self._host = host
        self._admission = admission
        self._gate = gate
        self._answers = Answers()
        self.no_more_sessions = False
        self.listening = False

    async def asked(self, payload: bytes) -> None:
        """By the agent."""
        fields = Fields(payload, 1)
        kind, want_reply = fields.name(), fields.flag()
        if kind == NO_MORE_SESSIONS:
            self.no_more_sessions = True
        elif kind in (FORWARD, CANCEL) and await self._may(kind, fields.rest()):
            if want_reply:
                self._answers.asked_host()
            self._host.write(payload)
            return
        if want_reply:
            for own in self._answers.ours(bytes((codec.REQUEST_FAILURE,))):
                self._agent.write(own)

    async def _may(self, kind: str, rest: bytes) -> bool:
        """To end what it asked for an agent needs no permit."""
        if kind == FORWARD:
            try:
                permit = await self._gate.listen(rest)
            except Refused as refused:
                survived(refused)
                return False
            self._admission.outcome(permit, Outcome(Result.SUCCESS))
            self.listening = True
        return self.listening

    def ask_host(self, payload: bytes) -> None:
        """The bridge's own request; the agent hears no answer."""
        self._answers.bridge_asked_host()
        self._host.write(payload)

    def from_host(self, payload: bytes) -> None:
        """The host's own requests are keepalives and its keys (hostkeys-00), which are never the bridge's."""
        if payload[0] != codec.GLOBAL_REQUEST:
            for answer in self._answers.from_host(payload):
                self._agent.write(answer)
            return
        fields = Fields(payload, 1)
        fields.name()
        if fields.flag():
            self._host.write(bytes((codec.REQUEST_FAILURE,)))

"""Where agents and approvers ask: ``POST /v1/COMMAND`` with ``Authorization: Bearer TOKEN``, one request a connection.

Who has not proven itself learns nothing but that: whatever it asks for, the answer is the same. The token is verified
as at every door of the bridge, for any of its systems; who fails stands in the log, at most at ``FloodGuard``'s rate.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from twisted.logger import Logger

from bridge.adapter import BearerToken, BridgeError, Deadline, PeerFault, Reason, Refused, Secret, Stream, TLSSettings
from bridge.admission import records
from bridge.admission.flood import FloodGuard
from bridge.admission.identifiers import new_id
from bridge.admission.proof import Known, TurnedAway, check_replay, prove, record_refusal
from bridge.admission.system import Core
from bridge.admission.texts import TEXTS
from bridge.api.commands import OPEN_TO_AGENTS
from bridge.api.server import RunInThread, answer, parameters_of
from bridge.api.services import Actor, Services
from bridge.identity.agents import Agent
from bridge.identity.issuer import emergency_of
from bridge.identity.verifier import VerifiedCredential
from bridge.translation import facts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import ACCESS_REQUEST, DENIED

LONGEST = 30.0
"""Seconds for all of a connection but the command itself: a request is a few hundred bytes."""

MAX_HEAD = 16 * 1024
MAX_BODY = 16 * 1024

_REQUEST = re.compile(rb"POST /v1/([a-z_.]{1,40}) HTTP/1\.[01]\r\n")
_BEARER = re.compile(r"[Bb]earer +([\x21-\x7e]+)")


class BadRequest(BridgeError):
    """Not a request of this API. ``status`` is that of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    command: str
    token: Secret
    body: bytes


class AskingDoor:
    """``run`` calls a function in a thread; ``tls`` gives the settings of the present configuration, None: plaintext,
    which is taken from this machine alone. ``audiences`` are those for which a token may be made out."""

    log = Logger()

    def __init__(
        self,
        core: Core,
        services: Services,
        run: RunInThread,
        tls: Callable[[], TLSSettings | None],
        audiences: Callable[[], frozenset[str]],
    ) -> None:
        self._core = core
        self._services = services
        self._run = run
        self._tls = tls
        self._audiences = audiences
        self._often = FloodGuard()

    async def serve(self, client: Stream, admitted: Callable[[], None]) -> None:
        """The whole life of one connection; the caller closes ``client`` after it."""
        deadline = Deadline(LONGEST, self._core.clock.seconds, "no whole request came in time")
        settings = self._tls()
        if settings is not None:
            await client.start_tls(settings, timeout=deadline.left)
        elif not client.peer.loopback:
            raise PeerFault("a token is taken on an encrypted connection only")
        try:
            asked = await read_request(client, deadline)
            status, value = await self._answer(client, asked, admitted)
        except BadRequest as bad:
            status, value = bad.status, {"error": str(bad)}
        except Refused as refused:
            status, value = _told(refused)
        await client.send(response(status, value))

    async def _answer(self, client: Stream, asked: Asked, admitted: Callable[[], None]) -> tuple[int, Any]:
        if self._often.suppresses(client.peer.host, self._core.clock.seconds()):
            raise BadRequest(429, "too many requests from this address; try again in a second")
        actor = await self._prove(client, asked.token)
        admitted()
        if asked.command not in OPEN_TO_AGENTS:
            raise BadRequest(404, f"no command {asked.command}; one of {', '.join(sorted(OPEN_TO_AGENTS))}")
        if why := self._core.withheld():
            raise BadRequest(503, why)
        return await answer(self._run, self._services, actor, asked.command, lambda: parameters_of(asked.body))

    async def _prove(self, client: Stream, token: Secret) -> Actor:
        known, source = Known(), client.peer.host
        try:
            agent, verified = await prove(self._core, BearerToken(token), self._audiences(), source, known)
            check_replay(self._core, agent, verified, source)
            if emergency_of(verified):
                detail = "a token of a break-glass opens nothing else"
                raise TurnedAway(Reason.CREDENTIAL_INVALID, "break-glass", detail)
        except TurnedAway as why:
            raise await self._refuse(client, known, why) from None
        delegation = verified.delegation
        behalf = f"{delegation.subject_issuer} {delegation.subject}" if delegation.mode == "delegated" else ""
        return Actor(agent.id, "api", "agent", str(client.peer), f"{verified.iss} {verified.subject}", behalf)

    async def _refuse(self, client: Stream, known: Known, why: TurnedAway) -> Refused:
        text, hint = TEXTS[why.reason]
        refused = Refused(
            why.reason, why.text or text, reference=new_id("ref_"), code=why.code, detail=why.detail,
            hint=why.hint or hint,
        )  # fmt: skip

        def event(unrecorded: int) -> Event:
            return _refusal(client, known.agent, known.credential, refused, unrecorded)

        return await record_refusal(self._core, refused, known.agent, client.peer.host, event, proving=True)


def _refusal(
    client: Stream, agent: Agent | None, credential: VerifiedCredential | None, refused: Refused, unrecorded: int
) -> Event:
    sections = {
        "corr": facts.section(session=refused.reference),
        "detail": facts.detail_section(code=refused.code, text=refused.detail, unrecorded=unrecorded or None),
        "transport": facts.transport_section(
            protocol="https", source=str(client.peer), local=str(client.local),
            tls=client.tls.version if client.tls else "",
        ),
    }  # fmt: skip
    if credential is not None:
        sections["credential"] = records.credential_section(credential)
    if agent is not None:
        sections["agent"] = records.agent_section(agent, credential)
    owner = agent.owner.id if agent is not None else ""
    index = IndexKeys(session=refused.reference, agent=agent.id if agent is not None else "", owner=owner)
    return Event(ACCESS_REQUEST, outcome=DENIED, reason=refused.reason.value, sections=sections, index=index)


def _told(refused: Refused) -> tuple[int, dict[str, str]]:
    status = 403 if refused.reason is Reason.AGENT_INACTIVE else 401
    told = {"error": refused.text, "reason": refused.reason.value, "hint": refused.hint, "reference": refused.reference}
    return status, told


async def read_request(client: Stream, deadline: Deadline) -> Asked:
    """Raises BadRequest, PeerFault, StreamClosed, TimedOut."""
    head, rest = await _head(client, deadline)
    found = _REQUEST.match(head)
    if found is None:
        raise BadRequest(404, "expected POST /v1/COMMAND")
    try:
        headers = http.client.parse_headers(BytesIO(head[found.end() :]))
    except http.client.HTTPException:
        raise BadRequest(431, "too many headers") from None
    bearer = _BEARER.fullmatch((headers.get("Authorization") or "").strip())
    length = headers.get("Content-Length") or "0"
    if "Transfer-Encoding" in headers or not re.fullmatch("[0-9]{1,9}", length):
        raise BadRequest(411, "expected Content-Length")
    if int(length) > MAX_BODY:
        raise BadRequest(413, f"parameters of more than {MAX_BODY} bytes")
    if (headers.get("Expect") or "").lower() == "100-continue":
        await client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(rest) < int(length):
        rest += await _more(client, deadline)
    return Asked(found[1].decode(), Secret(bearer[1] if bearer else ""), bytes(rest[: int(length)]))


async def _head(client: Stream, deadline: Deadline) -> tuple[bytes, bytes]:
    """The request line and headers with the blank line, and what came behind them."""
    got = bytearray()
    while (end := got.find(b"\r\n\r\n")) < 0:
        if len(got) > MAX_HEAD:
            raise BadRequest(431, f"headers of more than {MAX_HEAD} bytes")
        got += await _more(client, deadline)
    return bytes(got[: end + 4]), bytes(got[end + 4 :])


async def _more(client: Stream, deadline: Deadline) -> bytes:
    data = await client.receive(deadline.left)
    if not data:
        raise PeerFault("the request ended early")
    return data


def response(status: int, value: Mapping[str, Any] | Any) -> bytes:
    body = json.dumps(value).encode() + b"\n"
    lines = [
        f"HTTP/1.1 {status} {http.client.responses.get(status, 'Other')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(["WWW-Authenticate: Bearer"] if status == 401 else []),
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body

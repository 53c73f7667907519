"""A bound session: both directions between the agent's good Bind and whatever ends or replaces it.

``Deciding`` says what goes to the directory, ``Results`` what comes back; here they meet the streams. The agent's next
Bind, or StartTLS, is raised as ``Interrupted``: the connection goes on without this session, or with the same again.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NoReturn

from adapters.ldap import answers, codec
from adapters.ldap.codes import ANSWER, READS, Code, Oid, Op
from adapters.ldap.deciding import Deciding
from adapters.ldap.framing import Framer, Message
from adapters.ldap.login import EXPIRED
from adapters.ldap.refusals import Spoken, answer, goodbye, refusal
from adapters.ldap.results import Results
from adapters.ldap.stalls import Stalls
from adapters.ldap.upstream import OWN_IDS
from bridge.adapter import Admission, PeerFault, Reason, Refused, Result, Stream, StreamClosed, TimedOut
from bridge.adapter.relay import Side
from bridge.adapter.relay import relay as pump

MAX_PENDING_OUT = 64 * 1024
"""Bytes of requests gathered before they are sent."""


class Interrupted(Exception):
    """The agent's Bind or StartTLS: what comes next is no part of this session."""

    def __init__(self, message: Message) -> None:
        super().__init__()
        self.message = message


class Expired(Exception):
    """The session's time is up; the agent may bind anew on the same connection (research A3)."""


class Left(Exception):
    """The agent unbound or hung up."""


class Session:
    """One admitted agent on one connection to the directory. ``framer`` is the connection's, shared by its sessions."""

    def __init__(
        self,
        client: Stream,
        upstream: Stream,
        admission: Admission,
        framer: Framer,
        deciding: Deciding,
        results: Results,
        *,
        who: str,
        outlives_expiry: bool,
        stalls: Stalls,
        max_stalled: int,
        answer_timeout: int,
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._admission = admission
        self._framer = framer
        self._deciding = deciding
        self._results = results
        self._who = who
        self._outgoing: list[bytes] = []
        self._outlives = outlives_expiry
        self._stalls = stalls
        self._max_stalled = max_stalled
        self._answer_timeout = answer_timeout
        self._asking: Message | None = None  # what is being decided on
        self._expired = False
        self.ended = False  # and the agent was told
        admission.on_cut(self._cut, outlives_expiry=outlives_expiry)
        admission.each_second(self._look)

    async def run(self) -> None:
        """Raises Interrupted, Expired or Left; Refused or PeerFault when the bridge or the directory ended it, told by
        then."""
        rest = self._framer.rest
        self._framer.clear()
        self._client.unread(rest)
        try:
            end = await pump(
                self._client,
                self._upstream,
                to_upstream=self._to_upstream,
                to_client=self._to_client,
                on_client_eof=self._client_left,
            )
        except PeerFault as fault:
            await self._end(Spoken(Reason.PROTOCOL, Code.PROTOCOL_ERROR, str(fault)))
            raise
        except Refused as refused:
            await self._end(refused)
            raise
        if end.side is Side.UPSTREAM and self._expired:
            if self._asking is not None:
                await self._say(answers.answer_to(self._asking.tag, self._asking.id, EXPIRED.code, EXPIRED.text))
            raise Expired
        if self.ended:
            return
        if end.side is Side.UPSTREAM:
            await self._upstream_left(end.cause)
        raise StreamClosed(end.cause)

    async def alive(self) -> bool:
        """Whether the directory still holds its side of a connection that nobody used for a while."""
        if self.ended:
            return False
        try:
            data = await self._upstream.receive(0)
        except TimedOut:
            return True
        except StreamClosed:
            return False
        self._upstream.unread(data)
        return bool(data)

    async def part(self) -> None:
        """Takes leave of the directory."""
        try:
            await self._upstream.send(b"".join([*self._results.abandons(), codec.request(OWN_IDS, codec.unbind())]))
        except StreamClosed:
            return

    async def close(self, detail: str) -> None:
        """Gives up what is under way and ends the session, while the client's connection goes on."""
        await self.part()
        self._results.settle(detail, Result.ABORTED)
        await self._admission.end(detail)

    @property
    def busy(self) -> bool:
        return bool(self._results.outstanding)

    def settle(self) -> None:
        self._results.settle("the session ended before the answer")

    # -- towards the directory ----------------------------------------------------------------------------------------

    def _to_upstream(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        framer = self._framer
        framer.add(data)
        message = framer.next()
        if message is None:
            return None
        if message.tag in READS and framer.empty and self._new(message.id):
            self._stalls.relieve(self._max_stalled)
            sent = self._deciding.at_once(message)
            if sent is not None:
                return self._upstream.send_or_wait(sent)
        return self._messages(message)

    async def _messages(self, message: Message | None) -> None:
        """This one and all that follow it."""
        while message is not None:
            await self._message(message)
            message = self._framer.next()
        await self._flush()

    def _new(self, number: int) -> bool:
        """Whether a request may have this id."""
        return 1 <= number < OWN_IDS and number not in self._results.outstanding

    async def _message(self, message: Message) -> None:
        tag = message.tag
        if not 1 <= message.id < OWN_IDS:
            raise PeerFault("a message id is 0 or one of the bridge's own")
        if message.id in self._results.outstanding and tag not in (Op.UNBIND, Op.ABANDON, Op.BIND):
            raise PeerFault("a message id is used twice at once")
        if tag == Op.UNBIND:
            await self._unbind()
        elif tag == Op.ABANDON:
            await self._abandon(message)
        elif tag == Op.BIND:
            await self._flush()
            raise Interrupted(message)
        elif tag not in ANSWER:
            raise PeerFault("a message is no request of LDAP version 3")
        elif tag != Op.EXTENDED or not await self._own(message):
            await self._ask(message)

    async def _ask(self, message: Message) -> None:
        self._stalls.relieve(self._max_stalled)
        self._asking = message
        try:
            self._outgoing.append(await self._deciding.decide(message))
        except Refused as refused:
            if answer(refused).fatal and not self._expired:
                raise
            await self._say(refusal(refused, message.tag, message.id))
        self._asking = None
        if sum(map(len, self._outgoing)) > MAX_PENDING_OUT:
            await self._flush()

    async def _own(self, message: Message) -> bool:
        """Extended requests that the bridge answers itself."""
        request = codec.decode(message)
        assert isinstance(request, codec.Extended)
        if request.oid == Oid.WHO_AM_I:
            who = self._who.encode()
            await self._say(answers.result(message.id, Op.EXTENDED_RESPONSE, Code.SUCCESS, value=who))
            return True
        if request.oid == Oid.START_TLS:
            if not self.busy:
                raise Interrupted(message)
            text = "cannot start TLS while operations are under way"
            await self._say(answers.answer_to(message.tag, message.id, Code.OPERATIONS_ERROR, text))
            return True
        return False

    async def _abandon(self, message: Message) -> None:
        """No answer, also not for an id that is not under way (RFC 4511 section 4.11)."""
        request = codec.decode(message)
        assert isinstance(request, codec.Abandon)
        if self._results.forget(request.target, "abandoned by the agent"):
            self._outgoing.append(self._deciding.stamped(message))

    async def _unbind(self) -> NoReturn:
        await self._flush()
        raise Left

    async def _client_left(self) -> None:
        if self._framer.rest:
            raise PeerFault("the client went away amid a message")
        raise Left

    async def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing:
            await self._upstream.send(b"".join(outgoing))

    # -- towards the agent --------------------------------------------------------------------------------------------

    def _to_client(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        results = self._results
        sending = None
        try:
            out = results.receive(data)
            if out:
                sending = self._client.send_or_wait(out[0] if len(out) == 1 else b"".join(out))
        except PeerFault as fault:
            raise self._lost(str(fault)) from None
        finally:
            if sending is None:
                results.tell()
        if sending is not None:
            return self._sent(sending)
        return self._send_upward() if results.upward else None

    async def _sent(self, sending: Coroutine[Any, Any, None]) -> None:
        """The agent takes its time."""
        try:
            await self._stalls.wait(self._client, sending)
        finally:
            self._results.tell()
        if self._results.upward:
            await self._send_upward()

    async def _send_upward(self) -> None:
        upward, self._results.upward = self._results.upward, []
        await self._upstream.send(b"".join(upward))

    async def _look(self) -> None:
        """Answers what the directory leaves unanswered (every second)."""
        if self.ended or not self.busy:
            return
        if self._stalls.waits(self._client):
            self._results.excuse()
            return
        said = self._results.overdue(self._answer_timeout)
        if said:
            try:
                await self._send_upward()
                await self._say(said)
            except StreamClosed:
                return  # the relay hears it too

    async def _say(self, data: bytes) -> None:
        await self._client.send(data)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _cut(self, refused: Refused) -> None:
        """The session is ended from outside; after an expiry the agent may bind anew."""
        if refused.reason is not Reason.SESSION_EXPIRED or not self._outlives:
            await self._end(refused)
            return
        self._expired = self.ended = True
        said = self._results.refuse_all(refused)
        if said:
            await self._say(said)
        await self._admission.end()

    async def _upstream_left(self, cause: str) -> NoReturn:
        lost = self._lost(self._results.goodbye or cause)
        await self._end(lost)
        raise lost

    def _lost(self, detail: str) -> Refused:
        text = "the connection to the legacy system was lost"
        return Refused(Reason.UPSTREAM_LOST, text, reference=self._admission.session, detail=detail)

    async def _end(self, refused: Refused) -> None:
        """What is under way is answered, then the goodbye; the peer may be gone, which changes nothing."""
        if self.ended:
            return
        self.ended = True
        said = self._results.refuse_all(refused)
        try:
            await self._client.send(said + goodbye(refused))
        except StreamClosed:
            return

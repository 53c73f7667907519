"""The connection while nobody is bound: what a stranger may ask, StartTLS, and the Bind itself (RFC 4513 section 5).

Served without a Bind are the rootDSE, WhoAmI and StartTLS, by the bridge alone: the directory hears nothing of
strangers, and is not even dialled.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from adapters.ldap import answers, codec, rootdse
from adapters.ldap.codes import ANSWER, Code, Oid, Op
from adapters.ldap.framing import LIMIT_BEFORE_BIND, Framer, Message
from adapters.ldap.login import ACKNOWLEDGE_TIMEOUT, IN_PROGRESS, UNBOUND, AgentBind, Prove, Say
from adapters.ldap.refusals import Spoken
from bridge.adapter import Deadline, Door, PeerFault, Stream

MAX_FAILED = 20
"""Binds that fail one after the other on one connection; programs that reconnect with an old token never stop."""

TLS_RECORD = 0x16
"""A ClientHello begins so (RFC 8446 section 5.1), an LDAP message with 0x30."""


class Gate:
    """One connection's. ``served``: what the rootDSE tells strangers.

    ``forget`` ends the session that was bound before, as a Bind that fails and StartTLS do.
    """

    def __init__(
        self,
        client: Stream,
        door: Door,
        framer: Framer,
        served: Callable[[], rootdse.Served],
        forget: Callable[[str], Awaitable[None]],
        *,
        certificate_alone: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._door = door
        self._framer = framer
        self._served = served
        self._forget = forget
        self._alone = certificate_alone
        self._clock = clock
        self._failed = 0
        self.unbound = UNBOUND
        self.login = AgentBind(certificate_alone)

    async def open(self) -> None:
        """TLS from the first byte, if that is what the client begins with."""
        first = await self._client.receive(self._door.system.hello_timeout)
        if first[:1] == bytes((TLS_RECORD,)) and self._door.system.tls is not None:
            await self._client.start_tls(self._door.system.tls, replay=first, timeout=self._door.system.hello_timeout)
        else:
            self._framer.add(first)

    async def proof(self, first: Message | None, seconds: float) -> tuple[Message, Prove] | None:
        """The next Bind that is to be admitted, with its message; None when the client leaves.

        ``first`` was received already. Raises PeerFault, TimedOut after ``seconds`` without one.
        """
        self._framer.limit = LIMIT_BEFORE_BIND
        deadline = Deadline(seconds, self._clock, "no Bind came in time")
        while True:
            message = first or await self._hear(deadline)
            first = None
            if message is None or message.tag == Op.UNBIND:
                return None
            found = await self._answer(message)
            if found is not None:
                return message, found

    async def _hear(self, deadline: Deadline) -> Message | None:
        while (message := self._framer.next()) is None:
            data = await self._client.receive(self._patience(deadline))
            if not data:
                if self._framer.rest:
                    raise PeerFault("the client went away amid a message")
                return None
            self._framer.add(data)
        if not message.id:
            raise PeerFault("a message id is 0")
        return message

    def _patience(self, deadline: Deadline) -> float:
        return min(deadline.left, ACKNOWLEDGE_TIMEOUT) if self.login.pending else deadline.left

    async def _answer(self, message: Message) -> Prove | None:
        """Answers everything but a Bind with a credential."""
        if message.tag == Op.ABANDON:
            return None
        if message.tag not in ANSWER:
            raise PeerFault("a message is no request of LDAP version 3")
        if message.tag == Op.BIND:
            return await self._bind(message)
        if self.login.pending:
            await self._say(message, IN_PROGRESS)
            return None
        try:
            request = codec.decode(message)
        except Spoken as spoken:
            await self._client.send(answers.answer_to(message.tag, message.id, spoken.result, spoken.text))
            return None
        if isinstance(request, codec.Search) and not request.base and request.scope == 0:
            await self._root(message, request)
        elif isinstance(request, codec.Extended) and request.oid == Oid.WHO_AM_I:
            await self._client.send(answers.result(message.id, Op.EXTENDED_RESPONSE, Code.SUCCESS, value=b""))
        elif isinstance(request, codec.Extended) and request.oid == Oid.START_TLS:
            await self._start_tls(message)
        else:
            await self._say(message, self.unbound)
        return None

    async def _root(self, message: Message, search: codec.Search) -> None:
        entry = codec.request(message.id, rootdse.own_entry(search, self._served()))
        await self._client.send(entry + answers.answer_to(message.tag, message.id, Code.SUCCESS))

    async def _bind(self, message: Message) -> Prove | None:
        bind = codec.decode(message)
        assert isinstance(bind, codec.Bind)
        chain = self._client.tls.peer_chain if self._client.tls is not None else ()
        said = self.login.receive(bind, private=self._door.plaintext_allowed(self._client), chain=chain)
        if isinstance(said, Prove):
            return said
        await self.refuse(message, said)
        return None

    async def refuse(self, message: Message, said: Say) -> None:
        """Answers a Bind; a refusal that nobody has recorded yet is recorded. Raises PeerFault for the last of many."""
        text = said.text
        if said.reason is not None:
            recorded = await self._door.turn_away(said.reason, detail=text)
            text = f"{text} (reference {recorded.reference})" if recorded.reference else text
        await self._client.send(answers.result(message.id, Op.BIND_RESPONSE, said.code, text, sasl=said.sasl))
        if said.code not in (Code.SUCCESS, Code.SASL_IN_PROGRESS):
            await self._forget("a Bind failed")
            self._failed += 1
            if self._failed >= MAX_FAILED:
                raise PeerFault("too many Binds failed one after the other")

    async def accept(self, message: Message) -> None:
        self._failed = 0
        self.unbound = UNBOUND
        await self._client.send(answers.answer_to(message.tag, message.id, Code.SUCCESS))

    async def _say(self, message: Message, said: Say) -> None:
        await self._client.send(answers.answer_to(message.tag, message.id, said.code, said.text))

    async def _start_tls(self, message: Message) -> None:
        """What was sent in plaintext behind the request is never run inside TLS (RFC 4511 section 4.14.1)."""
        settings, name = self._door.system.tls, Oid.START_TLS
        refusal = self._no_tls()
        if refusal is not None or settings is None:
            said = refusal or Say(Code.PROTOCOL_ERROR, "TLS is not configured here")
            tag = Op.EXTENDED_RESPONSE
            await self._client.send(answers.result(message.id, tag, said.code, said.text, name=name))
            return
        await self._forget("the agent started TLS")
        await self._client.send(answers.result(message.id, Op.EXTENDED_RESPONSE, Code.SUCCESS, name=name))
        await self._client.start_tls(settings, timeout=self._door.system.hello_timeout)
        self.login = AgentBind(self._alone)

    def _no_tls(self) -> Say | None:
        if self._client.tls is not None:
            return Say(Code.OPERATIONS_ERROR, "TLS is on already")
        if self._framer.rest:
            return Say(Code.OPERATIONS_ERROR, "cannot start TLS with requests behind this one")
        return None

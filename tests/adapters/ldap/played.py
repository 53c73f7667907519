"""One LDAP connection as a play: a client, the adapter between door and streams, a directory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from adapters.ldap import answers, codec
from adapters.ldap.adapter import LDAPAdapter
from adapters.ldap.codes import Op
from adapters.ldap.framing import LIMIT_UPSTREAM, Framer, Message
from adapters.ldap.knowledge import Knowledge, Learning
from adapters.ldap.options import Options
from adapters.ldap.rootdse import entry_of
from bridge.adapter import Address, Refused, SystemFacts
from bridge.testing import FakeAdmission, FakeDoor, FakeTLS, MemoryStream, Voice, memory_pair, now

PEOPLE = b"ou=people,dc=example,dc=org"
ANNA = b"uid=anna," + PEOPLE


def all_messages(data: bytes) -> list[Message]:
    framer = Framer(LIMIT_UPSTREAM)
    found = framer.feed(data)
    assert not framer.rest, "half a message"
    return found


class End:
    """One end that speaks LDAP."""

    def __init__(self, name: str, stream: MemoryStream) -> None:
        self.voice = Voice(name, stream)
        self.stream = stream

    def says(self, number: int, operation: bytes, controls: bytes = b"") -> None:
        self.voice.says(codec.request(number, operation, controls))

    def sends(self, data: bytes) -> None:
        self.voice.says(data)

    def heard(self) -> list[Message]:
        return all_messages(self.voice.heard())

    def told(self) -> tuple[int, int, int]:
        """Id, tag and result code of the one message that has come."""
        (message,) = self.heard()
        return message.id, message.tag, answers.read_result(message).code

    def code(self) -> int:
        return self.told()[2]


class Play:
    """``script`` and ``actions`` are the door's; ``chain`` is the client's certificate. ``beside``: another connection
    to the same system."""

    def __init__(
        self,
        options: Options | None = None,
        *,
        chain: tuple[bytes, ...] = (),
        tls: bool = True,
        beside: Play | None = None,
        **door: Any,
    ) -> None:
        self.clock = beside.clock if beside is not None else Clock()
        self.options = options or Options()
        client, self.near = memory_pair(self.clock, client=Address("127.0.0.1", 40007))
        self.client = End("client", client)
        settings = FakeTLS(server_side=True) if tls else None
        system = SystemFacts("directory", self.options, tls=settings, host="ldap.corp.example")
        door = {"plaintext": True, **door}
        self.door = FakeDoor(self.options, clock=self.clock, system=system, **door)
        learning = Learning(self.clock.seconds)
        learning.known = Knowledge(until=float("inf"))
        self.failure: Failure | None = None
        self.adapter = beside.adapter if beside is not None else LDAPAdapter(self.clock.seconds, learning)
        self.running = Deferred.fromCoroutine(self.adapter.serve(self.near, self.door))
        self.running.addErrback(self._failed)
        self._chain = chain
        self.seen = 0

    def _failed(self, failure: Failure) -> None:
        self.failure = failure

    # -- scenes

    def encrypted(self) -> None:
        """TLS from the first byte."""
        now_or_later = Deferred.fromCoroutine(
            self.client.stream.start_tls(FakeTLS(server_side=False, chain=self._chain))
        )
        assert now_or_later.called

    def bind(self, token: bytes = b"token", name: bytes = b"", number: int = 1) -> End:
        """A good Bind to its end; the directory's end."""
        self.client.says(number, codec.simple_bind(name, token))
        legacy = self.accepted()
        assert self.client.told() == (number, Op.BIND_RESPONSE, 0)
        return legacy

    def accepted(self, code: int = 0, text: str = "") -> End:
        """The directory answers the static account's Bind."""
        legacy = End("directory", self.admission.legacy[-1])
        (message,) = legacy.heard()
        assert message.tag == Op.BIND
        legacy.sends(answers.answer_to(message.tag, message.id, code, text))
        return legacy

    @property
    def admission(self) -> FakeAdmission:
        return self.door.admissions[-1]

    def outcomes(self) -> list[tuple[str, str, str]]:
        """Verb, result and code of all that was permitted and is over."""
        return [
            (one.operation.verb, one.outcomes[0].result.value, one.outcomes[0].code)
            for admission in self.door.admissions
            for one in admission.permits
            if one.outcomes
        ]

    def cut(self, refused: Refused) -> None:
        now(self.admission.cut(refused))

    @property
    def over(self) -> bool:
        return self.running.called


def search(base: bytes = PEOPLE, *attributes: bytes, scope: int = 2) -> bytes:
    return codec.search(base, scope, codec.present(b"objectClass"), attributes)


def entry(name: bytes = ANNA, attributes: Iterable[tuple[bytes, Iterable[bytes]]] = ((b"cn", (b"Anna",)),)) -> bytes:
    return entry_of(name, attributes)

"""The story of a connection as conversations between client, bridge and legacy server; the relay is played."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from adapters.mysql import codec
from adapters.mysql.adapter import MySQLAdapter
from adapters.mysql.codec import Cap, ErrorFields, Greeting, HandshakeResponse, packets
from adapters.mysql.login import LoginFacts
from adapters.mysql.options import Options
from adapters.mysql.probe import EVERYWHERE, OWN
from adapters.mysql.upstream import UpstreamLogins
from bridge.adapter import (
    Action,
    Admission,
    AdmissionRequest,
    BearerToken,
    Check,
    ClientCertificate,
    Reason,
    Refused,
    Stream,
    SystemFacts,
    TLSSettings,
)
from bridge.testing import FakeAdmission, FakeDoor, FakeTLS, MemoryStream, Voice, memory_pair, now

TOKEN = b"eyJhbGciOiJFZERTQSJ9.e30.c2ln"
SERVER = Greeting(b"5.5.5-10.11.6-MariaDB", 4711, b"abcdefghijklmnopqrst", 0x81BFF7FE | Cap.SSL, 45)
FLAGS = OWN | EVERYWHERE


class PlayedPhases:
    """Writes down what it was given, and ends at once."""

    def __init__(self) -> None:
        self.facts: LoginFacts | None = None
        self.later: tuple[str, ...] = ()

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None: ...

    def stop(self) -> None: ...

    def next_id(self) -> int:
        return 728001

    def after_login(self, actions: frozenset[Action]) -> tuple[str, ...]:
        return self.later if Action.WRITE not in actions else ()

    async def relay(
        self, client: Stream, upstream: Stream, admission: Admission, *, system: SystemFacts, login: LoginFacts
    ) -> None:
        self.facts = login

    async def examine(
        self, admission: Admission, logins: UpstreamLogins, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]:
        return []


class Scene:
    """From the greeting on. ``dialled`` is the legacy side, once the bridge has called there."""

    def __init__(self, *, tls: bool = True, chain: tuple[bytes, ...] = (), plaintext: bool = True, **options: Any):
        self.clock = Clock()
        self.phases = PlayedPhases()
        settings: TLSSettings | None = FakeTLS(server_side=True) if tls else None
        self.system = SystemFacts("orders", Options.model_validate(options), tls=settings)
        self.door = FakeDoor(system=self.system, clock=self.clock, plaintext=plaintext)
        self.adapter = MySQLAdapter(self.clock.seconds, self.phases)
        self.chain = chain
        self.ended: list[Any] = []
        self.connect()

    def connect(self) -> None:
        near, self.far = memory_pair(self.clock)
        self.client = Voice("client", self.far)
        Deferred.fromCoroutine(self.adapter.serve(near, self.door)).addBoth(self.ended.append)
        self.greeting = codec.parse_greeting(self.client.heard()[4:])

    def encrypt(self) -> Scene:
        self.client.says(packets(codec.ssl_request(codec.SSLRequest(FLAGS | Cap.SSL, 1 << 24, 45)), 1))
        assert Deferred.fromCoroutine(self.far.start_tls(FakeTLS(server_side=False, chain=self.chain))).called
        return self

    def introduces(self, user: bytes = b"agent", token: bytes = TOKEN, **more: Any) -> Scene:
        """Inside TLS: the answer to the greeting and the token."""
        fields = {"database": b"app", "plugin": b"caching_sha2_password", **more}
        scramble = b"s" * 32 if token else b""
        response = HandshakeResponse(FLAGS | Cap.SSL, user, scramble, **fields)
        self.client.says(packets(codec.handshake_response(response), 2))
        if token and not self.ended:
            self.client.hears(packets(b"\x01\x04", 3)).says(packets(token + b"\0", 4))
        return self

    @property
    def admission(self) -> FakeAdmission:
        return self.door.admissions[-1]

    @property
    def legacy(self) -> Voice:
        return Voice("legacy", self.admission.legacy[-1])

    @property
    def stream(self) -> MemoryStream:
        return self.admission.legacy[-1]

    def legacy_greets(self, greeting: Greeting = SERVER) -> HandshakeResponse:
        self.legacy.says(packets(codec.greeting(greeting), 0))
        return codec.parse_handshake_response(self.legacy.heard()[4:], greeting.capabilities)

    def error(self) -> ErrorFields:
        return codec.parse_error(self.client.heard()[4:])

    @property
    def raised(self) -> Any:
        (end,) = self.ended
        assert isinstance(end, Failure)
        return end.value


def test_a_login_from_greeting_to_relay() -> None:
    scene = Scene().encrypt().introduces()
    response = scene.legacy_greets()
    assert (response.user, response.database) == (b"legacy", b"app")
    assert dict(response.attributes)[b"_idbridge_session"] == b"ib:ses_0000000000000000"
    scene.client.hears_nothing()
    scene.legacy.says(packets(codec.ok(), 2))
    scene.client.hears(packets(codec.ok(), 5))
    assert scene.door.story == ["admit", "connect", "established"]
    assert scene.admission.facts == {"backend": 4711, "server_version": "10.11.6-MariaDB"}
    assert scene.phases.facts is not None
    assert (scene.phases.facts.thread_id, scene.phases.facts.connection_id) == (4711, 728001)
    assert scene.ended == [None]


def test_the_door_is_asked_for_what_the_client_wishes() -> None:
    attributes = ((b"program_name", b"report.py"),)
    Scene().encrypt().introduces(b"agent")
    scene = Scene().encrypt().introduces(b"svc_writer", attributes=attributes)
    credential, request = scene.door.asked[0]
    assert isinstance(credential, BearerToken)
    assert credential.token.reveal() == TOKEN
    assert request == AdmissionRequest("svc_writer", {"database": "app", "statements": "one"}, "report.py")
    assert Scene().encrypt().introduces(b"agent").door.asked[0][1].account is None


def test_a_client_without_database_gets_the_default_or_none() -> None:
    assert Scene().encrypt().introduces(database=b"").door.asked[0][1].target["database"] == ""
    scene = Scene(default_database="app").encrypt().introduces(database=b"")
    assert scene.door.asked[0][1].target["database"] == "app"
    assert scene.legacy_greets().database == b"app"


def test_the_next_client_is_greeted_with_what_the_server_is() -> None:
    scene = Scene().encrypt().introduces()
    assert scene.greeting.version == b"8.0.36"
    scene.legacy_greets()
    scene.legacy.says(packets(codec.ok(), 2))
    scene.connect()
    assert scene.greeting.version == b"5.5.5-10.11.6-MariaDB"
    assert scene.greeting.capabilities & Cap.DEPRECATE_EOF


def test_plaintext_is_refused_before_a_token_is_asked_for() -> None:
    scene = Scene(plaintext=False)
    scene.client.says(packets(codec.handshake_response(HandshakeResponse(FLAGS, b"agent", b"s" * 20)), 1))
    assert scene.error()[:2] == (3159, "HY000")
    assert scene.door.story == ["turn away plaintext"]


def test_a_client_certificate_stands_for_a_token() -> None:
    scene = Scene(chain=(b"leaf",)).encrypt().introduces(token=b"")
    assert isinstance(scene.door.asked[0][0], ClientCertificate)


@pytest.mark.parametrize(
    ("user", "token", "code"),
    [(b"agent", b"", 1045), (b"", TOKEN, 1045), (b"\xff\xfe", TOKEN, 1043), (b"u" * 200, TOKEN, 1043)],
)
def test_who_says_too_little_or_nonsense_is_turned_away(user: bytes, token: bytes, code: int) -> None:
    scene = Scene().encrypt()
    response = HandshakeResponse(FLAGS | Cap.SSL, user, b"s" * 32 if token else b"", plugin=b"caching_sha2_password")
    scene.client.says(packets(codec.handshake_response(response), 2))
    heard = scene.error()
    assert heard.code == code
    assert "ref_0000000000000000" in heard.message
    assert not scene.door.asked


def test_a_refusal_of_the_door_is_told_with_its_reference() -> None:
    scene = Scene()
    scene.door._script = [Refused(Reason.NOT_GRANTED, "not granted", reference="ses_1")]
    scene.encrypt().introduces()
    heard = scene.error()
    assert heard[:2] == (1044, "42000")
    assert "ses_1" in heard.message
    assert scene.raised.reason is Reason.NOT_GRANTED


def test_a_peer_that_breaks_the_protocol_hears_it() -> None:
    scene = Scene().encrypt()
    response = HandshakeResponse(FLAGS | Cap.SSL, b"agent", b"s" * 32, plugin=b"caching_sha2_password")
    scene.client.says(packets(codec.handshake_response(response), 2)).hears(packets(b"\x01\x04", 3))
    scene.client.says(packets(TOKEN, 9))
    assert scene.error().code == 1043
    assert scene.door.story == ["turn away protocol"]


def test_a_client_that_never_says_its_token() -> None:
    scene = Scene().encrypt()
    response = HandshakeResponse(FLAGS | Cap.SSL, b"agent", b"s" * 32, plugin=b"caching_sha2_password")
    scene.client.says(packets(codec.handshake_response(response), 2)).heard()
    scene.clock.advance(scene.system.auth_timeout + 1)
    assert scene.error().code == 1159


# -- the legacy side ---------------------------------------------------------------------------------------------------


def test_a_refused_static_login_is_told_to_ops_only() -> None:
    scene = Scene().encrypt().introduces()
    scene.legacy_greets()
    scene.legacy.says(packets(codec.error(1045, "28000", "Access denied for user 'legacy'@'192.0.2.1'"), 2))
    heard = scene.error()
    assert heard.code == 2003
    assert "legacy'" not in heard.message
    assert "Access denied for user 'legacy'" in scene.raised.detail
    assert scene.door.story[-1] == "login refused"


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (1049, "Unknown database 'nope'", "Unknown database 'nope'"),
        (1044, "Access denied for user 'legacy'@'%' to database 'nope'", "no such database"),
        (1040, "Too many connections", "Too many connections"),
        (1290, "secret configuration", "legacy system unavailable"),
    ],
)
def test_what_the_client_may_know_of_a_no(code: int, words: str, told: str) -> None:
    """teleport#35339: told before any yes, with an SQLSTATE."""
    scene = Scene().encrypt().introduces()
    scene.legacy_greets()
    scene.legacy.says(packets(codec.error(code, "42000", words), 2))
    heard = scene.error()
    assert told in heard.message
    assert scene.admission.session in heard.message
    assert heard.code == (code if code != 1290 else 2003)
    assert "login refused" not in scene.door.story


def test_a_server_that_is_full_before_its_greeting() -> None:
    scene = Scene().encrypt().introduces()
    scene.legacy.says(packets(b"\xff\x10\x04Too many connections", 0))
    assert scene.error().code == 1040


@pytest.mark.parametrize("said", [b"", b"\x05\x00\x00\x00\x09old\x00", packets(b"\x0anonsense", 0), packets(b"", 7)])
def test_a_server_that_is_none(said: bytes) -> None:
    scene = Scene().encrypt().introduces()
    scene.legacy.says(said).hangs_up()
    assert scene.error().code == 2003
    assert scene.raised.reason is Reason.UPSTREAM_UNAVAILABLE


def test_a_server_that_says_nothing_is_waited_for_only_so_long() -> None:
    scene = Scene().encrypt().introduces()
    scene.clock.advance(scene.system.upstream_timeout + 1)
    assert scene.error().code == 2003


def _tls_upstream(scene: Scene, *, optional: bool = False) -> None:
    class Encrypted(FakeAdmission):
        upstream_tls = FakeTLS(server_side=False)
        upstream_tls_optional = optional

    admit = scene.door.admit

    async def admitting(credential: Any, request: Any) -> FakeAdmission:
        admission = await admit(credential, request)
        admission.__class__ = Encrypted
        return admission

    scene.door.admit = admitting  # type: ignore[method-assign]


def test_tls_upstream_comes_before_the_account_name() -> None:
    scene = Scene()
    _tls_upstream(scene)
    scene.encrypt().introduces()
    scene.legacy.says(packets(codec.greeting(SERVER), 0))
    request = now(scene.stream.receive())
    assert (request[3], len(request)) == (1, 36)
    assert Deferred.fromCoroutine(scene.stream.start_tls(FakeTLS(server_side=True))).called
    heard = scene.legacy.heard()
    response = codec.parse_handshake_response(heard[4:], SERVER.capabilities)
    assert (heard[3], response.user) == (2, b"legacy")
    scene.legacy.says(packets(codec.ok(), 3))
    assert scene.ended == [None]


def test_a_server_without_tls_where_it_is_demanded() -> None:
    without = SERVER._replace(capabilities=SERVER.capabilities & ~Cap.SSL)
    scene = Scene()
    _tls_upstream(scene)
    scene.encrypt().introduces()
    scene.legacy.says(packets(codec.greeting(without), 0))
    assert scene.error().code == 2003
    assert "no TLS" in scene.raised.detail
    optional = Scene()
    _tls_upstream(optional, optional=True)
    optional.encrypt().introduces()
    assert optional.legacy_greets(without).user == b"legacy"


def test_plaintext_behind_the_greeting_is_an_injection() -> None:
    scene = Scene()
    _tls_upstream(scene)
    scene.encrypt().introduces()
    scene.legacy.says(packets(codec.greeting(SERVER), 0) + packets(codec.ok(), 2))
    assert scene.error().code == 2003
    assert "behind its greeting" in scene.raised.detail


def test_the_seat_belt_is_put_on_before_the_yes() -> None:
    scene = Scene()
    scene.phases.later = ("SET SESSION TRANSACTION READ ONLY",)
    scene.door._actions = frozenset({Action.READ})
    scene.encrypt().introduces()
    scene.legacy_greets()
    scene.legacy.says(packets(codec.ok(), 2)).hears(packets(b"\x03SET SESSION TRANSACTION READ ONLY", 0))
    scene.client.hears_nothing()
    scene.legacy.says(packets(codec.ok(), 1))
    scene.client.hears(packets(codec.ok(), 5))


def test_a_server_too_old_for_the_seat_belt_is_an_alarm() -> None:
    scene = Scene()
    scene.phases.later = ("SET SESSION TRANSACTION READ ONLY",)
    scene.door._actions = frozenset({Action.READ})
    scene.encrypt().introduces()
    scene.legacy_greets()
    scene.legacy.says(packets(codec.ok(), 2)).heard()
    scene.legacy.says(packets(codec.error(1064, "42000", "syntax"), 1))
    assert "alarm read-only-seat-belt" in scene.door.story
    assert scene.ended == [None]

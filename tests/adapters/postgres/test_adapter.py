"""One connection from its first byte to ReadyForQuery, as a conversation. Case numbers: research notes, part C."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.postgres import codec
from adapters.postgres.adapter import ADAPTER, PostgresAdapter
from adapters.postgres.codec import ErrorFields
from adapters.postgres.login import LoginFacts
from adapters.postgres.options import Options
from adapters.postgres.startup import (
    CANCEL_REQUEST,
    GSSENC_REQUEST,
    PROTOCOL_3_0,
    PROTOCOL_3_2,
    SSL_REQUEST,
    parse_opening,
)
from bridge.adapter import (
    Action,
    AdmissionRequest,
    AgentFacts,
    BearerToken,
    BridgeError,
    ClientCertificate,
    Credential,
    Login,
    Operation,
    Outcome,
    PeerFault,
    Reason,
    Refused,
    Result,
    Secret,
    StreamClosed,
    SystemFacts,
    TimedOut,
)
from bridge.testing import FakeTLS, MemoryStream, memory_pair

CERTIFICATE = FakeTLS(server_side=True)
READY = (
    codec.authentication_ok()
    + codec.parameter_status("server_version", "15.18")
    + codec.backend_key_data(4711, b"KEY!")
    + codec.ready_for_query()
)


class Permit:
    warning = ""


class Admission:
    """What the core would hand out, with a memory stream for each connection it dials."""

    session = "SESSION1"
    agent = AgentFacts("deploy-7", "Deploy", "team-a")
    account = "app"
    stamp = "ib:deploy-7:SESSION1"
    login = Login("legacy", Secret("static-password"))
    upstream_tls: FakeTLS | None = None
    upstream_tls_optional = False

    def __init__(self, door: Door) -> None:
        self.door = door
        self.actions = frozenset(Action)
        self.legacy: list[MemoryStream] = []
        self.outcomes: list[Outcome] = []
        self.on_connect: Callable[[], None] = lambda: None

    async def connect(self) -> MemoryStream:
        near, far = memory_pair(self.door.clock)
        self.legacy.append(far)
        self.door.story.append("connect")
        self.on_connect()
        return near

    async def login_refused(self, cause: str) -> Refused:
        self.door.story.append(f"login refused: {cause}")
        return Refused(Reason.UPSTREAM_UNAVAILABLE, "legacy system unavailable", reference=self.session, detail=cause)

    async def established(self, facts: Mapping[str, str | int]) -> None:
        self.door.story.append(f"established {facts['backend']} {facts['server_version']}")
        self.door.heard_before_established = bytes(self.door.server_end.sent)

    async def permit(self, operation: Operation) -> Permit:
        self.door.story.append(operation.verb)
        return Permit()

    def outcome(self, permit: Any, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def alarm(self, code: str, detail: str) -> None:
        self.door.story.append(f"alarm {code}")

    def on_cut(self, hear: Any) -> None:
        pass


class Door:
    """Writes down what the adapter asked of the core."""

    def __init__(self, clock: Clock, server_end: MemoryStream, options: Options, tls: FakeTLS | None) -> None:
        self.clock = clock
        self.server_end = server_end
        self.system = SystemFacts("orders", options, tls=tls)
        self.story: list[str] = []
        self.refusal: Refused | None = None
        self.credential: Credential | None = None
        self.request: AdmissionRequest | None = None
        self.admission = Admission(self)
        self.heard_before_established = b""
        self.plaintext = False

    async def admit(self, credential: Credential, request: AdmissionRequest) -> Admission:
        self.credential, self.request = credential, request
        if self.refusal is not None:
            raise self.refusal
        self.story.append("admit")
        return self.admission

    async def turn_away(self, reason: Reason, *, detail: str = "") -> Refused:
        self.story.append(f"turn away: {reason.value}")
        return Refused(reason, f"no: {reason.value}", reference="REF1", detail=detail)

    def plaintext_allowed(self, client: Any) -> bool:
        return self.plaintext


class Phases:
    """A relay that only remembers what it was given, and ends when told to."""

    def __init__(self) -> None:
        self.login: LoginFacts | None = None
        self.slot: Any = None
        self.end: Deferred[None] = Deferred()
        self.pinned: Mapping[str, str] = {}

    def start(self, deferring: Any) -> None: ...

    def stop(self) -> None: ...

    def startup_parameters(self, actions: frozenset[Action]) -> Mapping[str, str]:
        return self.pinned

    async def relay(self, client: Any, upstream: Any, admission: Any, **rest: Any) -> None:
        self.login, self.slot = rest["login"], rest["cancel_slot"]
        await self.end


class Conversation:
    """A client's end, the adapter behind it, and the legacy server's ends."""

    def __init__(
        self,
        *,
        tls: FakeTLS | None = CERTIFICATE,
        split: int = 10**6,
        adapter: PostgresAdapter | None = None,
        start: bool = True,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.client, server_end = memory_pair(self.clock, split=split)
        self.phases = Phases()
        self.adapter = adapter or PostgresAdapter(self.clock.seconds, self.phases)
        self.door = Door(self.clock, server_end, Options(**options), tls)
        self.raised: BaseException | None = None
        self.done = False
        if start:
            self.start()

    def start(self) -> None:
        serving = Deferred.fromCoroutine(self.adapter.serve(self.door.server_end, self.door))
        serving.addCallbacks(self._ended, self._failed)

    def _ended(self, _: Any) -> None:
        self.done = True

    def _failed(self, failure: Any) -> None:
        self.done, self.raised = True, failure.value

    @property
    def legacy(self) -> MemoryStream:
        return self.door.admission.legacy[-1]

    def say(self, data: bytes) -> None:
        now(self.client.send(data))

    def hear(self) -> bytes:
        heard = b""
        while self.client.waiting:
            heard += now(self.client.receive())
        return heard

    def encrypt(self) -> None:
        self.say(codec.request_code(SSL_REQUEST))
        assert self.hear() == b"S"
        now(self.client.start_tls(FakeTLS(server_side=False)))

    def introduce(self, *pairs: tuple[str, str], version: int = PROTOCOL_3_0, user: str = "agent") -> bytes:
        parameters = [("user", user), ("database", "app"), *pairs]
        self.say(codec.startup_message(version, [(n.encode(), v.encode()) for n, v in parameters]))
        return self.hear()

    def until_legacy(self, *pairs: tuple[str, str], version: int = PROTOCOL_3_0) -> dict[bytes, bytes]:
        """The startup parameters that the legacy server sees, unencrypted."""
        self.encrypt()
        assert self.introduce(*pairs, version=version).endswith(codec.authentication_cleartext())
        self.say(codec.password_message(b"token"))
        return self.legacy_startup()

    def legacy_startup(self) -> dict[bytes, bytes]:
        message: Any = parse_opening(now(self.legacy.receive()))
        self.legacy_version = message.version
        return dict(message.parameters)

    def legacy_says(self, data: bytes) -> None:
        now(self.legacy.send(data))

    def error(self) -> ErrorFields:
        return error_in(self.hear())


def now(coroutine: Any) -> Any:
    """The result of a coroutine that need not wait."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    assert results, "it waits"
    return results[0]


def messages(data: bytes) -> Iterator[tuple[str, bytes]]:
    framer = codec.Framer(limits=codec.BACK_LARGE)
    for frame in framer.feed(data):
        yield chr(frame.kind), framer.buffer[frame.start + 5 : frame.end]
    assert framer.rest == b""


def kinds(data: bytes) -> str:
    return "".join(kind for kind, _ in messages(data))


def error_in(data: bytes) -> ErrorFields:
    found = [codec.parse_error(body) for kind, body in messages(data) if kind == "E"]
    assert len(found) == 1
    return found[0]


# -- the way in -------------------------------------------------------------------------------------------------------


def test_it_is_found_under_its_name() -> None:
    assert (ADAPTER.name, ADAPTER.default_port, ADAPTER.targets) == ("postgres", 5432, {"database"})


def test_a_whole_login_in_its_order() -> None:
    talk = Conversation()
    seen = talk.until_legacy(("application_name", "psql"), ("client_encoding", "UTF8"))
    assert seen == {
        b"user": b"legacy",
        b"database": b"app",
        b"client_encoding": b"UTF8",
        b"application_name": b"ib:deploy-7:SESSION1 psql",
    }
    assert talk.hear() == b""
    talk.legacy_says(READY)
    heard = talk.hear()
    assert kinds(heard) == "RSKZ"
    assert talk.door.story == ["admit", "connect", "established 4711 15.18"]
    assert codec.authentication_ok() not in talk.door.heard_before_established
    assert talk.door.request == AdmissionRequest(None, {"database": "app"}, "psql")
    assert talk.door.credential == BearerToken(Secret("token"))
    assert talk.phases.login is not None
    assert talk.phases.login.parameters == {"server_version": "15.18"}
    assert talk.phases.login.pinned["application_name"] == "ib:deploy-7:SESSION1 psql"


def test_case_1_gssenc_is_answered_N_and_the_connection_goes_on() -> None:
    talk = Conversation()
    talk.say(codec.request_code(GSSENC_REQUEST))
    assert talk.hear() == b"N"
    talk.until_legacy()


def test_gssenc_may_come_after_a_refused_sslrequest() -> None:
    talk = Conversation(tls=None)
    talk.door.plaintext = True
    talk.say(codec.request_code(SSL_REQUEST))
    assert talk.hear() == b"N"  # case 22: never an error here
    talk.say(codec.request_code(GSSENC_REQUEST))
    assert talk.hear() == b"N"
    assert talk.introduce() == codec.authentication_cleartext()


def test_a_second_gssenc_request_is_0A000() -> None:
    talk = Conversation()
    talk.door.plaintext = True
    talk.say(codec.request_code(GSSENC_REQUEST) * 2)
    heard = talk.hear()
    assert heard[:1] == b"N"
    assert error_in(heard[1:]).code == "0A000"


def test_a_second_sslrequest_inside_tls_is_0A000() -> None:
    talk = Conversation()
    talk.encrypt()
    talk.say(codec.request_code(SSL_REQUEST))
    error = talk.error()
    assert (error.code, "1234.5679" in error.message) == ("0A000", True)


def test_plaintext_behind_the_sslrequest_is_dropped() -> None:
    """CVE-2021-23214."""
    talk = Conversation()
    talk.say(codec.request_code(SSL_REQUEST) + b"injected")
    assert isinstance(talk.raised, PeerFault)
    assert talk.hear() == b"S"


def test_case_39_a_plaintext_startup_is_refused_before_any_password_request() -> None:
    talk = Conversation()
    heard = talk.introduce()
    assert kinds(heard) == "E"
    error = error_in(heard)
    assert (error.severity, error.code) == ("FATAL", "28000")
    assert "REF1" in error.message
    assert talk.door.story == ["turn away: plaintext"]
    assert isinstance(talk.raised, Refused)


@pytest.mark.parametrize("split", [1, 10**6])
def test_direct_tls_with_alpn(split: int) -> None:
    talk = Conversation(split=split, start=False)
    handshake = Deferred.fromCoroutine(talk.client.start_tls(FakeTLS(server_side=False, alpn=("postgresql",))))
    talk.start()
    assert handshake.called
    assert talk.introduce() == codec.authentication_cleartext()


def test_direct_tls_without_our_alpn_is_refused() -> None:
    for names in ((), ("h2",)):
        talk = Conversation(start=False)
        handshake = Deferred.fromCoroutine(talk.client.start_tls(FakeTLS(server_side=False, alpn=names)))
        talk.start()
        assert isinstance(talk.raised, PeerFault)
        handshake.addErrback(lambda failure: failure.trap(PeerFault))


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x04", b"\x40\0\0\0", b"\xff" * 100])
def test_garbage_is_not_answered(garbage: bytes) -> None:
    talk = Conversation()
    talk.say(garbage)
    assert isinstance(talk.raised, PeerFault)
    assert talk.hear() == b""


def test_half_a_startup_packet_ends_at_the_time_limit() -> None:
    talk = Conversation()
    talk.encrypt()
    talk.say(b"\0\0\0\x50\0\3")
    talk.clock.advance(9)
    assert not talk.done
    talk.say(b"\0")
    talk.clock.advance(2)
    assert isinstance(talk.raised, TimedOut)


def test_a_client_that_leaves_is_no_refusal() -> None:
    talk = Conversation()
    talk.encrypt()
    talk.introduce()
    now(talk.client.close())
    assert isinstance(talk.raised, StreamClosed)
    assert talk.door.story == []


# -- version ----------------------------------------------------------------------------------------------------------


def test_case_4_an_unknown_pq_option_is_listed_and_the_version_lowered() -> None:
    talk = Conversation()
    talk.encrypt()
    heard = talk.introduce(("_pq_.test_protocol_negotiation", ""), version=3 << 16 | 9999)
    assert kinds(heard) == "vR"
    body = next(body for kind, body in messages(heard) if kind == "v")
    assert codec.parse_negotiate_version(body) == (PROTOCOL_3_2, (b"_pq_.test_protocol_negotiation",))


def test_case_3_a_slow_legacy_server_causes_no_second_negotiation() -> None:
    talk = Conversation()
    talk.until_legacy(version=3 << 16 | 9999)
    talk.clock.advance(5)
    talk.legacy_says(READY)
    assert kinds(talk.hear()) == "RSKZ"


def test_protocol_3_2_gives_the_client_a_32_byte_key_and_stays_3_0_upstream() -> None:
    talk = Conversation()
    talk.until_legacy(version=PROTOCOL_3_2)
    assert talk.legacy_version == PROTOCOL_3_0
    talk.legacy_says(READY)
    key = next(body for kind, body in messages(talk.hear()) if kind == "K")
    assert codec.parse_backend_key(key)[0] == 4711
    assert len(key) == 36
    assert b"KEY!" not in key


def test_case_2_a_legacy_server_that_rejects_3_2_is_asked_again_with_3_0() -> None:
    talk = Conversation(protocol="3.2")
    talk.until_legacy()
    assert talk.legacy_version == PROTOCOL_3_2
    talk.legacy_says(codec.error_response("FATAL", "08P01", "bad packet header: '00030002'"))
    assert len(talk.door.admission.legacy) == 2
    talk.legacy_startup()
    assert talk.legacy_version == PROTOCOL_3_0
    talk.legacy_says(READY)
    assert kinds(talk.hear()) == "RSKZ"


def test_another_major_version_is_0A000() -> None:
    talk = Conversation()
    talk.encrypt()
    assert error_in(talk.introduce(version=4 << 16)).code == "0A000"


# -- token ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [500, 2000, 4000, 8000, 16_384])
def test_case_5_tokens_of_any_size_arrive_whole(size: int) -> None:
    talk = Conversation()
    talk.encrypt()
    talk.introduce()
    talk.say(codec.password_message(b"t" * size))
    assert talk.door.credential == BearerToken(Secret(b"t" * size))


def test_case_5_a_token_split_at_every_byte_arrives_whole() -> None:
    talk = Conversation(split=1)
    talk.encrypt()
    talk.introduce()
    talk.say(codec.password_message(b" token\n"))
    assert talk.door.credential == BearerToken(Secret("token"))


@pytest.mark.parametrize("size", [16_385, 60_000, 200_000])
def test_a_longer_token_is_28P01_and_says_so(size: int) -> None:
    talk = Conversation()
    talk.encrypt()
    talk.introduce()
    talk.say(codec.password_message(b"t" * size))
    error = talk.error()
    assert error.code == "28P01"
    assert "longer than 16 KiB" in error.message
    assert talk.door.credential is None


def test_no_password_is_28P01() -> None:
    talk = Conversation()
    talk.encrypt()
    talk.introduce()
    talk.say(codec.password_message(b""))
    assert talk.error().code == "28P01"
    assert talk.door.story == ["turn away: credential-missing"]


def test_a_client_certificate_counts_when_the_password_is_empty() -> None:
    talk = Conversation()
    talk.say(codec.request_code(SSL_REQUEST))
    talk.hear()
    now(talk.client.start_tls(FakeTLS(server_side=False, chain=(b"leaf",))))
    talk.introduce()
    talk.say(codec.password_message(b""))
    assert talk.door.credential == ClientCertificate((b"leaf",))


def test_another_message_instead_of_the_password_is_08P01() -> None:
    talk = Conversation()
    talk.encrypt()
    talk.introduce()
    talk.say(codec.query(b"select 1"))
    assert talk.error().code == "08P01"


def test_no_password_in_time_ends_it() -> None:
    talk = Conversation()
    talk.encrypt()
    talk.introduce()
    talk.clock.advance(31)
    assert isinstance(talk.raised, Refused)


def test_what_is_pipelined_behind_the_password_waits_for_the_relay() -> None:
    talk = Conversation()
    talk.encrypt()
    startup = codec.startup_message(PROTOCOL_3_0, [(b"user", b"agent"), (b"database", b"app")])
    talk.say(startup + codec.password_message(b"token") + codec.query(b"select 1"))
    talk.legacy_says(READY)
    assert kinds(talk.hear()) == "RRSKZ"
    assert talk.phases.login is not None
    assert talk.phases.login.leftover_client == codec.query(b"select 1")


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "sqlstate"),
    [
        (Reason.CREDENTIAL_INVALID, "28P01"),
        (Reason.CREDENTIAL_EXPIRED, "28P01"),
        (Reason.AGENT_INACTIVE, "28000"),
        (Reason.NOT_GRANTED, "42501"),
        (Reason.LOG_UNAVAILABLE, "57P03"),
        (Reason.TOO_MANY, "53300"),
    ],
)
def test_the_doors_no_is_fatal_with_its_sqlstate_and_dials_nothing(reason: Reason, sqlstate: str) -> None:
    talk = Conversation()
    talk.door.refusal = Refused(reason, "no", reference="R2")
    talk.encrypt()
    talk.introduce()
    talk.say(codec.password_message(b"token"))
    error = talk.error()
    assert (error.severity, error.code, error.message) == ("FATAL", sqlstate, "no (reference R2)")
    assert talk.raised is talk.door.refusal
    assert talk.door.admission.legacy == []


def test_a_forbidden_setting_is_refused_before_the_password() -> None:
    talk = Conversation()
    talk.encrypt()
    heard = talk.introduce(("options", "-c role=postgres"))
    assert kinds(heard) == "E"
    assert error_in(heard).code == "42501"
    assert talk.door.story == ["turn away: unsupported"]


def test_replication_is_28000_unless_the_system_and_the_grant_allow_it() -> None:
    talk = Conversation()
    talk.encrypt()
    assert error_in(talk.introduce(("replication", "database"))).code == "28000"

    talk = Conversation(replication=True)
    talk.door.admission.actions = frozenset({Action.READ})
    talk.encrypt()
    talk.introduce(("replication", "true"))
    talk.say(codec.password_message(b"token"))
    assert talk.error().code == "28000"
    assert talk.door.admission.legacy == []

    assert Conversation(replication=True).until_legacy(("replication", "ON"))[b"replication"] == b"true"


# -- the legacy server ------------------------------------------------------------------------------------------------


def test_case_21_upstreams_refusal_comes_before_any_ok_and_hides_its_cause() -> None:
    talk = Conversation()
    talk.until_legacy()
    talk.legacy_says(codec.error_response("FATAL", "28P01", 'password authentication failed for user "legacy"'))
    heard = talk.hear()
    assert kinds(heard) == "E"
    error = error_in(heard)
    assert (error.code, error.message) == ("08001", "legacy system unavailable (reference SESSION1)")
    assert '"legacy"' not in str(error.all)
    assert talk.door.story[-1].startswith("login refused: FATAL 28P01")


@pytest.mark.parametrize(
    ("code", "said", "heard_code", "heard"),
    [
        ("57P03", "the database system is starting up", "57P03", "the database system is starting up"),
        ("53300", 'too many connections for role "legacy"', "53300", "the legacy system has too many connections"),
        ("3D000", 'database "app" does not exist', "3D000", 'database "app" does not exist'),
        ("42704", 'unrecognized configuration parameter "x"', "42704", 'unrecognized configuration parameter "x"'),
        ("42501", "permission denied for legacy", "08001", "legacy system unavailable"),
        ("XX000", "a bug", "08001", "legacy system unavailable"),
    ],
)
def test_other_words_of_upstream(code: str, said: str, heard_code: str, heard: str) -> None:
    talk = Conversation()
    talk.until_legacy()
    talk.legacy_says(codec.error_response("FATAL", code, said))
    error = talk.error()
    assert (error.code, error.message) == (heard_code, f"{heard} (reference SESSION1)")
    assert not any("login refused" in line for line in talk.door.story)


def test_upstreams_words_can_be_kept_back() -> None:
    talk = Conversation(pass_upstream_errors=False)
    talk.until_legacy()
    talk.legacy_says(codec.error_response("FATAL", "3D000", 'database "app" does not exist'))
    assert talk.error().code == "08001"


def test_an_unsupported_authentication_is_told_to_ops_only() -> None:
    talk = Conversation()
    talk.until_legacy()
    talk.legacy_says(codec.authentication(7))
    assert talk.error().code == "08001"
    assert talk.door.story[-1] == "login refused: unsupported authentication: GSSAPI"


def test_upstream_gone_or_silent_or_nonsense_is_08001() -> None:
    for trouble in (
        lambda talk: now(talk.legacy.close()),
        lambda talk: talk.clock.advance(11),
        lambda talk: talk.legacy_says(b"HTTP/1.1 400 Bad Request\r\n"),
    ):
        talk = Conversation()
        talk.until_legacy()
        trouble(talk)
        assert talk.error().code == "08001"
        assert talk.legacy.ended or isinstance(talk.raised, BridgeError)


def encrypted_upstream(*, optional: bool = False) -> Conversation:
    talk = Conversation()
    talk.door.admission.upstream_tls = FakeTLS(server_side=False)
    talk.door.admission.upstream_tls_optional = optional
    talk.encrypt()
    talk.introduce()
    talk.say(codec.password_message(b"token"))
    assert now(talk.legacy.receive()) == codec.request_code(SSL_REQUEST)
    return talk


def test_upstream_tls() -> None:
    talk = encrypted_upstream()
    talk.legacy_says(b"S")
    now(talk.legacy.start_tls(CERTIFICATE))
    assert talk.legacy_startup()[b"user"] == b"legacy"


def test_plaintext_behind_upstreams_S_is_an_injection() -> None:
    """CVE-2021-23222."""
    talk = encrypted_upstream()
    talk.legacy_says(b"S" + READY)
    assert talk.error().code == "08001"


def test_upstream_without_tls_is_refused_unless_optional() -> None:
    talk = encrypted_upstream()
    talk.legacy_says(b"N")
    assert talk.error().code == "08001"
    talk = encrypted_upstream(optional=True)
    talk.legacy_says(b"N")
    assert talk.legacy_startup()[b"user"] == b"legacy"


def test_scram_keys_are_remembered_after_success_only() -> None:
    talk = Conversation()
    talk.until_legacy()
    talk.legacy_says(codec.authentication(10, b"SCRAM-SHA-256\0\0"))
    nonce = now(talk.legacy.receive()).partition(b"r=")[2]
    talk.legacy_says(codec.authentication(11, b"r=" + nonce + b"x,s=c2FsdA==,i=10"))
    assert b"c=biws,r=" in now(talk.legacy.receive())
    talk.legacy_says(codec.error_response("FATAL", "28P01", "no"))
    assert len(talk.adapter._logins.keys) == 0
    assert talk.error().code == "08001"


def test_case_8_no_key_upstream_means_no_key_message() -> None:
    talk = Conversation()
    talk.until_legacy()
    talk.legacy_says(codec.authentication_ok() + codec.ready_for_query())
    assert kinds(talk.hear()) == "RZ"


def test_what_upstream_sends_behind_ready_is_left_for_the_relay() -> None:
    talk = Conversation()
    talk.until_legacy()
    late = codec.notice_response("NOTICE", "00000", "late")
    talk.legacy_says(READY + late)
    assert kinds(talk.hear()) == "RSKZ"


def test_pinned_settings_beat_the_clients() -> None:
    talk = Conversation()
    talk.phases.pinned = {"default_transaction_read_only": "on"}
    seen = talk.until_legacy(("Default_Transaction_Read_Only", "off"), ("options", "-c APPLICATION_NAME=evil"))
    assert seen[b"default_transaction_read_only"] == b"on"
    assert seen[b"application_name"] == b"ib:deploy-7:SESSION1 evil"
    assert len(seen) == 4


def test_the_agent_id_can_stand_in_application_name() -> None:
    seen = Conversation(stamp_agent=True).until_legacy()
    assert seen[b"application_name"] == b"ib:deploy-7:SESSION1 deploy-7"


def test_a_named_account_is_asked_for() -> None:
    talk = Conversation(default_database="main")
    talk.encrypt()
    talk.introduce(user="app_rw")
    talk.say(codec.password_message(b"token"))
    assert talk.door.request == AdmissionRequest("app_rw", {"database": "app"}, "")


# -- cancel -----------------------------------------------------------------------------------------------------------


def live() -> tuple[Conversation, bytes]:
    """A session, and the CancelRequest for it."""
    talk = Conversation()
    talk.until_legacy()
    talk.legacy_says(READY)
    body = next(body for kind, body in messages(talk.hear()) if kind == "K")
    return talk, codec.request_code(CANCEL_REQUEST, body)


def cancelling(talk: Conversation, request: bytes) -> Conversation:
    side = Conversation(adapter=talk.adapter)
    side.say(request)
    return side


def test_a_cancel_in_plaintext_reaches_upstream_with_upstreams_own_key() -> None:
    talk, request = live()
    talk.phases.slot.busy = True
    side = cancelling(talk, request + codec.terminate())
    assert len(talk.door.admission.legacy) == 2
    expected = codec.request_code(CANCEL_REQUEST, (4711).to_bytes(4, "big") + b"KEY!")
    assert now(talk.legacy.receive()) == expected
    assert not side.done
    now(talk.legacy.close())
    assert side.done
    assert side.raised is None
    assert side.hear() == b""
    assert [outcome.result for outcome in talk.door.admission.outcomes] == [Result.SUCCESS]
    assert talk.door.story[-2:] == ["sql.cancel", "connect"]


def test_a_cancel_inside_tls_is_taken_too() -> None:
    talk, request = live()
    talk.phases.slot.busy = True
    side = Conversation(adapter=talk.adapter)
    side.encrypt()
    side.say(request)
    assert len(talk.door.admission.legacy) == 2


def test_case_9_a_cancel_of_an_idle_session_goes_nowhere() -> None:
    talk, request = live()
    side = cancelling(talk, request)
    assert side.done
    assert len(talk.door.admission.legacy) == 1


def test_case_9_a_cancel_whose_query_ends_meanwhile_goes_nowhere() -> None:
    talk, request = live()
    talk.phases.slot.busy = True

    def next_query() -> None:
        talk.phases.slot.busy = False
        talk.phases.slot.busy = True

    talk.door.admission.on_connect = next_query
    side = cancelling(talk, request)
    assert side.done
    assert talk.legacy.waiting == b""
    assert [outcome.result for outcome in talk.door.admission.outcomes] == [Result.ABORTED]


def test_only_one_cancel_is_under_way() -> None:
    talk, request = live()
    talk.phases.slot.busy = True
    cancelling(talk, request)
    assert cancelling(talk, request).done
    assert len(talk.door.admission.legacy) == 2


def test_a_wrong_key_is_treated_alike() -> None:
    talk, request = live()
    talk.phases.slot.busy = True
    side = cancelling(talk, request[:-1] + bytes([request[-1] ^ 1]))
    assert side.done
    assert side.raised is None
    assert side.hear() == b""
    assert len(talk.door.admission.legacy) == 1


def test_a_cancel_that_upstream_never_ends_stops_waiting() -> None:
    talk, request = live()
    talk.phases.slot.busy = True
    side = cancelling(talk, request)
    talk.clock.advance(6)
    side.clock.advance(6)
    assert side.done
    assert talk.door.admission.outcomes[0].result is Result.FAILURE


def test_after_the_session_its_key_is_worth_nothing() -> None:
    talk, request = live()
    talk.phases.slot.busy = True
    talk.phases.end.callback(None)
    assert talk.done
    assert cancelling(talk, request).done
    assert len(talk.door.admission.legacy) == 1


def test_no_secret_is_in_any_repr() -> None:
    talk, _ = live()
    text = repr(talk.phases.login) + repr(talk.phases.slot) + repr(talk.door.credential)
    assert "static-password" not in text
    assert "KEY!" not in text
    assert "token" not in text.replace("BearerToken(token=<secret>, confirmed='')", "")

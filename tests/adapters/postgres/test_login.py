"""The login at the legacy server, message by message."""

import base64
import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres import codec
from adapters.postgres.login import LoginFailed, LoginRefused, UpstreamLogin, md5_password
from adapters.postgres.startup import PROTOCOL_3_0, PROTOCOL_3_2, UpstreamStartup
from bridge.adapter import PeerFault, Secret
from bridge.wire import scram

STARTUP = UpstreamStartup(((b"user", b"legacy"), (b"database", b"app")), (), {})
READY = (
    codec.authentication_ok()
    + codec.parameter_status("server_version", "15.18")
    + codec.backend_key_data(4711, b"KEY!")
    + codec.ready_for_query()
)


def login(**options) -> UpstreamLogin:  # type: ignore[no-untyped-def]
    return UpstreamLogin(options.pop("startup", STARTUP), Secret(options.pop("secret", "pässword")), **options)


def test_trust_logs_in_at_once() -> None:
    conversation = login()
    assert conversation.begin() == codec.startup_message(PROTOCOL_3_0, STARTUP.parameters)
    assert conversation.receive(READY + b"rest") == b""
    facts = conversation.facts
    assert facts is not None
    assert (facts.backend_pid, facts.backend_key, facts.server_version) == (4711, b"KEY!", "15.18")
    assert (facts.user, facts.database, facts.transaction_status) == ("legacy", "app", "I")
    assert conversation.rest == b"rest"
    assert "KEY!" not in repr(facts)


def test_byte_by_byte_is_the_same() -> None:
    conversation = login()
    for index in range(len(READY)):
        assert not conversation.done
        conversation.receive(READY[index : index + 1])
    assert conversation.done


def test_cleartext_only_where_nobody_else_sees_it() -> None:
    request = codec.authentication_cleartext()
    with pytest.raises(LoginFailed, match="cleartext on an unencrypted"):
        login().receive(request)
    for private in ({"encrypted": True}, {"local": True}):
        assert login(**private).receive(request) == codec.password_message("pässword".encode())


def test_md5() -> None:
    answer = login(secret="pw").receive(codec.authentication(5, b"\1\2\3\4"))
    inner = hashlib.md5(b"pwlegacy").hexdigest().encode()
    assert answer == codec.password_message(b"md5" + hashlib.md5(inner + b"\1\2\3\4").hexdigest().encode())
    assert len(md5_password(b"a", b"b", b"salt")) == 35


def sasl(*names: str) -> bytes:
    return codec.authentication(10, b"".join(name.encode() + b"\0" for name in names) + b"\0")


class ScramServer:
    """Checks a proof as PostgreSQL does."""

    def __init__(self, password: bytes, salt: bytes, iterations: int) -> None:
        self.salt, self.iterations = salt, iterations
        self.keys = scram.in_thread_derive(password, salt, iterations)

    def first(self, initial: bytes) -> bytes:
        body = initial[5:]
        self.mechanism, _, data = body.partition(b"\0")
        self.header, _, self.bare = data[4:].rpartition(b"n=,")
        self.bare = b"n=," + self.bare
        self.said = self.bare.partition(b"r=")[2]
        self.challenge = b"r=%bXYZ,s=%b,i=%d" % (self.said, base64.b64encode(self.salt), self.iterations)
        return codec.authentication(11, self.challenge)

    def last(self, response: bytes) -> bytes:
        without, _, proof = response[5:].rpartition(b",p=")
        message = b",".join((self.bare, self.challenge, without))
        stored = hashlib.sha256(self.keys.client_key).digest()
        signature = hmac.digest(stored, message, "sha256")
        recovered = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        assert hashlib.sha256(recovered).digest() == stored
        verifier = hmac.digest(self.keys.server_key, message, "sha256")
        return codec.authentication(12, b"v=" + base64.b64encode(verifier))


@pytest.mark.parametrize("size", [4, 16, 32, 64])
def test_case_19_scram_with_any_salt(size: int) -> None:
    server, conversation = ScramServer("pässword".encode(), b"s" * size, 100), login()
    conversation.receive(server.first(conversation.receive(sasl("SCRAM-SHA-256"))))
    challenge = conversation.challenge
    assert challenge is not None
    final = conversation.answer(scram.in_thread_derive("pässword".encode(), challenge.salt, challenge.iterations))
    conversation.receive(server.last(final) + READY)
    assert conversation.done
    assert server.header == b"n,,"


def test_ok_before_the_server_proved_itself_is_refused() -> None:
    conversation = login()
    conversation.receive(sasl("SCRAM-SHA-256"))
    with pytest.raises(LoginFailed, match="did not finish"):
        conversation.receive(codec.authentication_ok())


def test_a_server_without_the_password_is_refused() -> None:
    server, conversation = ScramServer(b"other", b"salt", 1), login()
    conversation.receive(server.first(conversation.receive(sasl("SCRAM-SHA-256"))))
    conversation.answer(scram.in_thread_derive(b"mine", b"salt", 1))
    with pytest.raises(LoginFailed, match="did not prove"):
        conversation.receive(codec.authentication(12, b"v=" + base64.b64encode(bytes(32))))


def test_a_server_that_does_not_wait_for_our_proof_is_at_fault() -> None:
    server, conversation = ScramServer(b"x", b"salt", 1), login()
    with pytest.raises(PeerFault, match="before our answer"):
        conversation.receive(server.first(conversation.receive(sasl("SCRAM-SHA-256"))) + codec.authentication_ok())


def test_plus_alone_in_plaintext_is_unsupported() -> None:
    with pytest.raises(LoginFailed, match="SASL SCRAM-SHA-256-PLUS"):
        login().receive(sasl("SCRAM-SHA-256-PLUS"))


@pytest.mark.parametrize(("code", "name"), [(7, "GSSAPI"), (9, "SSPI"), (2, "Kerberos"), (99, "type 99")])
def test_other_authentication_is_named(code: int, name: str) -> None:
    with pytest.raises(LoginFailed, match=f"unsupported authentication: {name}"):
        login().receive(codec.authentication(code))


def test_a_refusal_keeps_the_servers_words_for_ops() -> None:
    conversation = login(version=PROTOCOL_3_2)
    with pytest.raises(LoginRefused) as early:
        conversation.receive(codec.error_response("FATAL", "08P01", "bad packet header"))
    assert early.value.early
    late = login()
    late.receive(codec.authentication(5, b"salt"))
    with pytest.raises(LoginRefused, match="FATAL 28P01: password authentication failed") as caught:
        late.receive(codec.error_response("FATAL", "28P01", "password authentication failed"))
    assert not caught.value.early


def test_a_server_of_an_older_minor_version_is_taken() -> None:
    conversation = login(version=PROTOCOL_3_2)
    conversation.receive(codec.negotiate_protocol_version(PROTOCOL_3_0, []) + READY)
    assert conversation.done
    with pytest.raises(PeerFault, match="above"):
        login().receive(codec.negotiate_protocol_version(PROTOCOL_3_2, []))


def test_settings_follow_the_login_where_the_packet_may_not_hold_them() -> None:
    startup = STARTUP._replace(later=(("default_transaction_read_only", b"on"),))
    conversation = login(startup=startup)
    sent = conversation.receive(READY)
    assert b"set_config(E'default_transaction_read_only', E'on', false)" in sent
    assert not conversation.done
    row = codec.message(codec.Back.DATA_ROW, b"\0\1\0\0\0\2on")
    changed = codec.parameter_status("default_transaction_read_only", "on")
    conversation.receive(row + codec.message(codec.Back.COMMAND_COMPLETE, b"SELECT 1\0") + changed)
    conversation.receive(codec.ready_for_query())
    assert conversation.facts is not None
    assert conversation.facts.parameters["default_transaction_read_only"] == "on"


def test_a_setting_that_fails_after_login_refuses_the_session() -> None:
    conversation = login(startup=STARTUP._replace(later=(("nope", b"x"),)))
    conversation.receive(READY)
    with pytest.raises(LoginRefused, match="42704"):
        conversation.receive(codec.error_response("ERROR", "42704", "unrecognized configuration parameter"))


def test_a_secret_with_nul_is_not_cut_short() -> None:
    with pytest.raises(LoginFailed, match="NUL"):
        login(secret=b"a\0b", encrypted=True).receive(codec.authentication_cleartext())


@given(st.lists(st.tuples(st.sampled_from(b"RSKZENvTDC"), st.binary(max_size=30))), st.binary(max_size=10))
def test_whatever_the_server_sends_ends_in_a_known_way(messages: list[tuple[int, bytes]], tail: bytes) -> None:
    stream = b"".join(codec.message(kind, body) for kind, body in messages) + tail
    with contextlib.suppress(PeerFault, LoginRefused, LoginFailed):
        login(encrypted=True).receive(stream)

"""What an agent hears at the door: the exact SQLSTATE, before anything reaches the legacy server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import struct
import time
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rig import wire
from rig.bridge import Bridge
from rig.postgres import Server

REFERENCE = re.compile(r"\(reference ((?:ref|ses)_[a-z0-9]+)\)")


def refused(bridge: Bridge, token: str, system: str = "warehouse", **settings: Any) -> tuple[str, str]:
    """SQLSTATE and text of a login that must fail."""
    with wire.Talk(bridge.ports[system]) as talk:
        found = wire.error(talk.log_in(token, bridge.authority.ca, **settings))
        assert talk.until_closed() == b""
    bridge.place.keep("refused", str(found))
    assert found["S"] == found["V"] == "FATAL"
    return found["C"], found["M"]


def logged(bridge: Bridge, text: str) -> dict[str, Any]:
    found = REFERENCE.search(text)
    assert found, text
    return bridge.refusal(found[1])


def code(event: dict[str, Any]) -> str:
    """The fine code, for people who run the bridge."""
    found: str = event["detail"].get("code", event["reason"])
    return found


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


# -- encryption first (C22, C39)


def test_plaintext_is_refused_before_any_password_request(bridge: Bridge, reader: str) -> None:
    """FATAL 28000 answers the startup packet itself; the token stays with the client."""
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.startup()
        kind, body = talk.message()
        assert kind == "E"
        assert wire.fields(body)["C"] == "28000"
        assert talk.until_closed() == b""
    with pytest.raises(psycopg.OperationalError, match="not encrypted") as failed:
        bridge.connect(reader, sslmode="disable")
    assert "28000" not in str(failed.value) or "FATAL" in str(failed.value)
    assert logged(bridge, str(failed.value))["reason"] == "plaintext"


def test_c39_the_plaintext_retry_of_prefer_hears_that_tls_is_required(bridge: Bridge, reader: str) -> None:
    """libpq says both refusals; the second asked for no token."""
    forged = reader[:-8] + "AAAAAAA" + reader[-1]
    with pytest.raises(psycopg.OperationalError) as failed:
        bridge.connect(forged, sslmode="prefer", sslrootcert="")
    assert "the credential was not accepted" in str(failed.value)
    assert "not encrypted" in str(failed.value)


def test_plaintext_is_taken_where_the_system_says_loopback_only(bridge: Bridge, reader: str) -> None:
    with bridge.connect(reader, "loopback", sslmode="disable") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_c1_gss_request_is_answered_n_and_tls_follows(bridge: Bridge, reader: str) -> None:
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.send(wire.GSS_REQUEST)
        assert talk.byte() == b"N"
        assert wire.kinds(talk.log_in(reader, bridge.authority.ca)).endswith("Z")


def test_bytes_behind_the_ssl_request_drop_the_connection(bridge: Bridge) -> None:
    """CVE-2021-23214: what was sent in the clear must never count as encrypted."""
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.send(wire.SSL_REQUEST + struct.pack("!ii", 8, wire.PROTOCOL_3_0))
        assert talk.until_closed() in (b"", b"S")


# -- protocol versions (C3, C4)


def test_c3_c4_one_negotiation_that_lists_each_unknown_option(bridge: Bridge, reader: str) -> None:
    """A 3.9999 client with grease is brought down to what we speak, exactly once, before the password request."""
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.start_tls(bridge.authority.ca)
        talk.startup(wire.PROTOCOL_3_0 + 9999, **{"_pq_.test_protocol_negotiation": "x"})
        kind, body = talk.message()
        assert kind == "v"
        assert struct.unpack("!ii", body[:8]) == (wire.PROTOCOL_3_0 + 2, 1)
        assert body[8:] == b"_pq_.test_protocol_negotiation\0"
        assert talk.message() == ("R", struct.pack("!i", 3))
        talk.say("p", reader.encode() + b"\0")
        messages = talk.until("ZE")
        assert "v" not in wire.kinds(messages)
        assert talk.key is not None
        assert len(talk.key[1]) == 32
        assert wire.kinds(talk.query("select 1")) == "TDCZ"


def test_another_major_version_is_refused(bridge: Bridge, reader: str) -> None:
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.start_tls(bridge.authority.ca)
        talk.startup(4 << 16)
        kind, body = talk.message()
        assert (kind, wire.fields(body)["C"]) == ("E", "0A000")


# -- credentials


def test_no_token(bridge: Bridge) -> None:
    assert refused(bridge, "")[0] == "28P01"


def test_forged_token(bridge: Bridge, reader: str) -> None:
    sqlstate, text = refused(bridge, reader[:-8] + "AAAAAAA" + reader[-1])
    assert (sqlstate, REFERENCE.sub("", text).strip()) == ("28P01", "the credential was not accepted")
    event = logged(bridge, text)
    assert (event["type"], code(event)) == ("session.refused", "signature")


def test_unsigned_token(bridge: Bridge, reader: str) -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    sqlstate, text = refused(bridge, f"{header}.{reader.split('.')[1]}.")
    assert (sqlstate, REFERENCE.sub("", text).strip()) == ("28P01", "the credential was not accepted")


def test_token_for_another_audience(bridge: Bridge) -> None:
    """A token for one system opens no other."""
    token = bridge.token("reader-1", system="md5")
    sqlstate, text = refused(bridge, token)
    assert (sqlstate, code(logged(bridge, text))) == ("28P01", "aud")
    with bridge.connect(token, "md5") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_denied_token(bridge: Bridge) -> None:
    """`idbridge deny` refuses one token, and ends the sessions that it opened; the agent's other tokens live on."""
    token, other = bridge.token("reader-1"), bridge.token("reader-1")
    with bridge.connect(token) as connection, bridge.connect(other) as untouched:
        said = bridge.cli(
            "deny", "--issuer", claims(token)["iss"], "--token-id", claims(token)["jti"], "--reason", "leaked"
        )
        assert said.startswith("denied")
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("select 1")
        sqlstate, text = refused(bridge, token)
        assert (sqlstate, logged(bridge, text)["reason"]) == ("28P01", "credential-revoked")
        assert untouched.execute("select 1").fetchone() == (1,)


def test_token_replayed_from_another_address(bridge: Bridge) -> None:
    """A token belongs to the address that used it first."""
    token = bridge.token("reader-1")
    with bridge.connect(token):
        pass
    with wire.Talk(bridge.ports["warehouse"], source="127.0.0.2") as talk:
        found = wire.error(talk.log_in(token, bridge.authority.ca))
    assert found["C"] == "28P01"
    assert code(logged(bridge, found["M"])) == "replay"


def test_expired_token(make_bridge: Any) -> None:
    """An expired token is refused, and a session ends with its token (57P01) within a second or so."""
    bridge = make_bridge("brief", credentials={"leeway": "0s"})
    token = bridge.token("reader-1", ttl=3)
    with bridge.connect(token) as connection:
        ends = claims(token)["exp"]
        assert connection.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.errors.AdminShutdown) as ended:
            connection.execute("select pg_sleep(20)")
        assert -0.5 < time.time() - ends < 2.5
        assert "the session ended with its token" in str(ended.value)
    sqlstate, text = refused(bridge, token)
    assert (sqlstate, code(logged(bridge, text))) == ("28P01", "exp")
    assert "the token has expired" in text


def own_token(bridge: Bridge, agent: str, key: Ed25519PrivateKey, padding: int = 0, **more: Any) -> str:
    """What an agent with a registered key signs itself."""
    now = int(time.time())
    payload = {
        "iss": f"idbridge:agent:{agent}", "sub": agent, "aud": f"bridge:{bridge.name}/warehouse", "iat": now,
        "exp": now + 120, "jti": f"own-{time.monotonic_ns()}", **more,
    }  # fmt: skip
    if padding:
        payload["note"] = "x" * padding
    return bridge.place.token(jwt.encode(payload, key, "EdDSA", {"typ": "at+jwt"}))


@pytest.fixture(scope="module")
def own_key(bridge: Bridge) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    x = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    bridge.cli("agent", "create", "self-signer", "--owner", "payments", "--purpose", "signs its own tokens",
               "--role", "reader", "--environment", "test", "--public-key", x)  # fmt: skip
    return key


def test_agent_with_its_own_key_signs_its_own_token(bridge: Bridge, own_key: Ed25519PrivateKey) -> None:
    with bridge.connect(own_token(bridge, "self-signer", own_key)) as connection:
        session = bridge.session_of(connection)
    assert bridge.session_events(session, closed=True)[0]["agent"]["id"] == "self-signer"


def test_agent_cannot_sign_for_another(bridge: Bridge, own_key: Ed25519PrivateKey) -> None:
    for claim in ({"sub": "writer-1"}, {"iss": "idbridge:agent:writer-1", "sub": "writer-1"}):
        assert refused(bridge, own_token(bridge, "self-signer", own_key, **claim))[0] == "28P01"


@pytest.mark.parametrize("size", [500, 2000, 4000, 8000])
def test_c5_tokens_of_all_sizes(bridge: Bridge, own_key: Ed25519PrivateKey, size: int) -> None:
    """In one piece, and in single bytes for the first and last part of the password message."""
    base = len(own_token(bridge, "self-signer", own_key))
    token = own_token(bridge, "self-signer", own_key, padding=max(0, (size - base) * 3 // 4 - 20))
    with bridge.connect(token) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        talk.start_tls(bridge.authority.ca)
        talk.startup()
        assert talk.message()[0] == "R"
        message = wire.packed("p", token.encode() + b"\0")
        for at in range(200):
            talk.send(message[at : at + 1])
        talk.send(message[200:-100])
        for at in range(len(message) - 100, len(message)):
            talk.send(message[at : at + 1])
        assert wire.kinds(talk.until("ZE")).endswith("Z")


def test_token_over_the_limit(bridge: Bridge) -> None:
    """Larger than 16 KiB: refused with the limit in the text, without being read into memory without bound."""
    sqlstate, text = refused(bridge, "x" * 60_000)
    assert sqlstate == "28P01"
    assert "longer than 16 KiB" in text


# -- agents and grants


def test_suspended_agent(bridge: Bridge) -> None:
    """Its genuine token hears its state; resumed, it is let in again with the same token."""
    token = bridge.token("held-1")
    bridge.cli("agent", "suspend", "held-1", "--reason", "ticket 4711")
    sqlstate, text = refused(bridge, token)
    assert (sqlstate, REFERENCE.sub("", text).strip()) == ("28000", "the agent held-1 is suspended")
    event = logged(bridge, text)
    assert (event["agent"]["id"], code(event)) == ("held-1", "agent-suspended")
    bridge.cli("agent", "resume", "held-1")
    with bridge.connect(token):
        pass


def test_no_grant(bridge: Bridge) -> None:
    sqlstate, text = refused(bridge, bridge.token("stranger-1"))
    assert sqlstate == "42501"
    assert REFERENCE.sub("", text).strip() == "no grant lets this agent in with that account"
    assert logged(bridge, text)["agent"]["id"] == "stranger-1"


def test_wishing_for_an_account_without_a_grant(bridge: Bridge, reader: str) -> None:
    """An account that exists and one that does not are refused with the same words."""
    one, other = (refused(bridge, reader, user=user) for user in ("svc_writer", "svc_nobody"))
    assert one[0] == other[0] == "42501"
    assert REFERENCE.sub("", one[1]) == REFERENCE.sub("", other[1])


def test_role_in_the_startup_packet(bridge: Bridge, writer: str) -> None:
    for settings in ({"role": "postgres"}, {"options": "-c role=postgres"}, {"SESSION_AUTHORIZATION": "postgres"}):
        assert refused(bridge, writer, **settings)[0] == "42501"


def test_replication(bridge: Bridge, writer: str) -> None:
    for value in ("true", "database", "ON"):
        assert refused(bridge, writer, replication=value)[0] == "28000"


# -- the legacy server


def test_upstream_down(bridge: Bridge, reader: str) -> None:
    """08001 with a reference; the cause stands in the log under it and not in the answer."""
    sqlstate, text = refused(bridge, reader, "dead")
    assert (sqlstate, REFERENCE.sub("", text).strip()) == ("08001", "the legacy system is unavailable")
    found = REFERENCE.search(text)
    assert found
    events = bridge.session_events(found[1], closed=True)
    assert [e["type"] for e in events] == ["session.open", "session.close"]
    assert events[1]["outcome"] == "failure"
    port = str(bridge.document["systems"]["dead"]["upstream"]["port"])
    assert "refused" in events[1]["detail"]["text"].lower()
    assert port not in text
    assert "dead cannot be reached" in bridge.daemon_log.read_text()


def test_wrong_static_password_is_tried_once(bridge: Bridge, postgres: Server, reader: str) -> None:
    """The agent hears nothing of it; the next agents do not reach the legacy server, which might lock the account."""
    for _ in range(3):
        sqlstate, text = refused(bridge, reader, "wrong")
        assert (sqlstate, REFERENCE.sub("", text).strip()) == ("08001", "the legacy system is unavailable")
    assert code(logged(bridge, text)) == "circuit-open"
    assert postgres.failures("svc_wrong") == 1
    assert "wrong/svc_wrong" in bridge.call("status")["open_circuits"]
    assert [e["legacy"]["account"] for e in bridge.events(type="alarm", system="wrong")] == ["svc_wrong"]
    assert "will be tried again" in bridge.cli("breaker", "reset", "wrong", "svc_wrong")
    refused(bridge, reader, "wrong")
    assert postgres.failures("svc_wrong") == 2


def test_c21_a_refusal_of_the_legacy_server_comes_before_authentication_ok(bridge: Bridge, reader: str) -> None:
    with wire.Talk(bridge.ports["warehouse"]) as talk:
        messages = talk.log_in(reader, bridge.authority.ca, database="no_such_database")
    assert wire.kinds(messages) == "E"
    assert wire.error(messages)["C"] == "3D000"


def verifier(password: str, salt: bytes) -> str:
    """As PostgreSQL stores it (RFC 5802, section 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256$4096:{}${}:{}".format(*told)


def test_c19_scram_salts_of_any_length(bridge: Bridge, postgres: Server, reader: str) -> None:
    password = postgres.passwords["svc_reader"]
    with postgres.admin() as admin:
        for length in (4, 32, 64, 16):
            admin.execute(f"alter role svc_reader password '{verifier(password, b'S' * length)}'".encode())
            with bridge.connect(reader) as connection:
                assert connection.execute("select 1").fetchone() == (1,)

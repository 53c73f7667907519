"""The login upstream, as a conversation with each kind of server; and what a no means.

MySQL itself cannot be had for these tests. caching_sha2_password, sha256_password and parsec are checked from the
server's side by what the documentation says a server stores and checks: it recomputes, it does not use our functions.
"""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from adapters.mysql import codec, passwords
from adapters.mysql.codec import Cap, Greeting
from adapters.mysql.login import (
    MAX_ROUNDS,
    LoginFacts,
    LoginFailed,
    LoginRefused,
    UpstreamLogin,
    Wanted,
    collation_for,
    stamped,
)
from bridge.adapter import PeerFault, Secret

PASSWORD = b"the-static-password"
NONCE = b"abcdefghijklmnopqrst"
OTHER = b"tsrqponmlkjihgfedcba"
MODERN = 0xFFFFFFFF & ~(Cap.COMPRESS | Cap.ZSTD)
OLD = Cap.LONG_PASSWORD | Cap.PROTOCOL_41 | Cap.SECURE_CONNECTION | Cap.CONNECT_WITH_DB | Cap.FOUND_ROWS  # MySQL 5.1
WANTED = Wanted("legacy", Cap.FOUND_ROWS | Cap.TRANSACTIONS, b"app", 45, ((b"_idbridge_session", b"ib:ses_1"),))


def server(plugin: bytes = b"caching_sha2_password", flags: int = MODERN, version: bytes = b"8.0.36") -> Greeting:
    return Greeting(version, 4711, NONCE, flags, 255, 2, plugin)


class Play:
    """The server says payloads, ``said`` is what it heard last."""

    def __init__(
        self,
        greeting: Greeting | None = None,
        *,
        wanted: Wanted = WANTED,
        encrypted: bool = True,
        take_key: bool = False,
        password: bytes = PASSWORD,
    ) -> None:
        self.login = UpstreamLogin(wanted, Secret(password), take_key=take_key)
        self.offered = (greeting or server()).capabilities
        self.login.greeted(codec.greeting(greeting or server()))
        sent = self.login.respond(encrypted=encrypted, private=False)
        self.response = codec.parse_handshake_response(sent, self.offered)
        self.said: bytes | None = sent

    def says(self, payload: bytes) -> Play:
        self.said = self.login.receive(payload)
        return self

    def switches(self, plugin: bytes, nonce: bytes = OTHER) -> Play:
        return self.says(codec.auth_switch(plugin, nonce))

    @property
    def facts(self) -> LoginFacts:
        assert self.login.facts is not None
        return self.login.facts


def native_accepts(scramble: bytes, nonce: bytes) -> bool:
    """The server stores SHA1(SHA1(password)), recovers SHA1(password) from the scramble and hashes it."""
    stored = hashlib.sha1(hashlib.sha1(PASSWORD).digest()).digest()
    once = bytes(a ^ b for a, b in zip(scramble, hashlib.sha1(nonce + stored).digest(), strict=True))
    return hashlib.sha1(once).digest() == stored


def sha2_accepts(scramble: bytes, nonce: bytes) -> bool:
    """The server caches SHA256(SHA256(password)); the same turned round."""
    cached = hashlib.sha256(hashlib.sha256(PASSWORD).digest()).digest()
    mask = hashlib.sha256(cached + nonce).digest()
    once = bytes(a ^ b for a, b in zip(scramble, mask, strict=True))
    return hashlib.sha256(once).digest() == cached


def test_caching_sha2_fast() -> None:
    play = Play()
    assert play.response.plugin == b"caching_sha2_password"
    assert sha2_accepts(play.response.auth, NONCE)
    assert play.says(b"\x01\x03").said is None
    assert play.says(codec.ok()).login.done


def test_caching_sha2_full_over_tls() -> None:
    """proxysql#5985: each of fast, full over TLS and RSA works upstream."""
    play = Play().says(b"\x01\x04")
    assert play.said == PASSWORD + b"\0"
    assert play.says(codec.ok()).login.done


@pytest.mark.parametrize(("plugin", "request_key"), [(b"caching_sha2_password", 2), (b"sha256_password", 1)])
def test_rsa_on_an_unencrypted_connection(plugin: bytes, request_key: int) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    play = Play(encrypted=False, take_key=True).switches(plugin)
    if plugin == b"caching_sha2_password":
        play.says(b"\x01\x04")
    assert play.said == bytes((request_key,))
    play.says(b"\x01" + pem)
    assert play.said is not None
    hidden = key.decrypt(play.said, padding.OAEP(padding.MGF1(SHA1()), SHA1(), None))
    assert bytes(a ^ b for a, b in zip(hidden, OTHER, strict=False)) == PASSWORD + b"\0"
    assert play.says(codec.ok()).login.done


def test_a_key_is_not_taken_from_a_distant_server_unless_allowed() -> None:
    with pytest.raises(LoginFailed, match="ask_public_key"):
        Play(encrypted=False).says(b"\x01\x04")


def test_a_key_that_was_not_asked_for_is_a_fault() -> None:
    with pytest.raises(PeerFault):
        Play().says(b"\x01-----BEGIN PUBLIC KEY-----")


def test_sha256_password_over_tls() -> None:
    assert Play().switches(b"sha256_password").said == PASSWORD + b"\0"


@pytest.mark.parametrize("default", [b"mysql_native_password", b"caching_sha2_password"])
def test_the_password_is_proven_for_whichever_plugin_the_switch_names(default: bytes) -> None:
    """warpgate#2278, #951: default native and an account of caching_sha2 logged in "using password: NO"."""
    play = Play(server(default)).switches(b"mysql_native_password")
    assert play.said is not None
    assert native_accepts(play.said, OTHER)
    play = Play(server(default)).switches(b"caching_sha2_password")
    assert play.said is not None
    assert sha2_accepts(play.said, OTHER)


def test_a_switch_with_an_empty_challenge_means_the_first_nonce() -> None:
    play = Play().says(b"\xfemysql_native_password\0")
    assert play.said is not None
    assert native_accepts(play.said, NONCE)


def test_ed25519_is_the_signature_of_rfc_8032_for_a_seed_of_32_bytes() -> None:
    """For that length client_ed25519 and Ed25519 are the same; for others only the server can tell (integration)."""
    seed = b"0123456789abcdef0123456789abcdef"
    key = Ed25519PrivateKey.from_private_bytes(seed)
    play = Play(server(b"mysql_native_password"), password=seed).switches(b"client_ed25519", NONCE * 2)
    assert play.said == key.sign(NONCE * 2)


@pytest.mark.parametrize("work", [0, 3])
def test_parsec_as_the_documentation_describes_it(work: int) -> None:
    """What the server stores is the public key of PBKDF2(password, salt); it verifies a signature of both nonces."""
    challenge, salt = b"c" * 32, b"s" * 18
    play = Play(server(b"mysql_native_password")).switches(b"parsec", challenge)
    assert play.said == b""
    play.says(b"P" + bytes((work,)) + salt)
    assert play.login.pending is not None
    function, arguments = play.login.pending
    reply = play.login.answer(function(*arguments))
    seed = hashlib.pbkdf2_hmac("sha512", PASSWORD, salt, 1024 << work, dklen=32)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    Ed25519PublicKey.from_public_bytes(public).verify(reply[32:], challenge + reply[:32])
    assert play.says(codec.ok()).login.done


@pytest.mark.parametrize("salt", [b"", b"P", b"X\0salt", b"P\x04salt", b"P\0" + b"s" * 65])
def test_parsec_with_a_salt_that_is_none(salt: bytes) -> None:
    with pytest.raises(passwords.Unprovable):
        passwords.in_thread_parsec(PASSWORD, b"c" * 32, salt, b"o" * 32)


def test_cleartext_is_said_on_an_encrypted_connection_only() -> None:
    assert Play().switches(b"mysql_clear_password", b"").said == PASSWORD + b"\0"
    with pytest.raises(LoginFailed, match="cleartext"):
        Play(encrypted=False).switches(b"mysql_clear_password", b"")


def test_nothing_is_said_in_clear_unasked() -> None:
    play = Play(server(b"mysql_clear_password"))
    assert play.response.plugin == b"mysql_native_password"
    assert PASSWORD not in play.response.auth


@pytest.mark.parametrize("payload", [b"\xfe", codec.auth_switch(b"auth_gssapi_client", b"x"), b"\xfe\x1b[31m\0x"])
def test_what_we_do_not_do_fails_with_its_name(payload: bytes) -> None:
    with pytest.raises(LoginFailed, match=r"unsupported authentication: (mysql_old_password|auth_gssapi|unreadable)"):
        Play().says(payload)


def test_an_old_server_gets_only_what_it_offers() -> None:
    """warpgate#2337: flags are those of both sides. MySQL 5.1: no plugins, no attributes, no DEPRECATE_EOF."""
    play = Play(server(b"", OLD, b"5.1.73"))
    assert play.response.capabilities == OLD & ~Cap.SSL
    assert play.response.attributes == ()
    assert native_accepts(play.response.auth, NONCE)
    assert play.says(codec.ok()).facts.capabilities == Cap.FOUND_ROWS


def test_a_server_that_lost_a_flag_the_client_believes_in_is_a_fault() -> None:
    with pytest.raises(PeerFault, match="changed"):
        Play(server(b"", OLD, b"5.1.73"), wanted=Wanted("legacy", Cap.DEPRECATE_EOF))


def test_the_facts_of_a_login() -> None:
    play = Play(server(version=b"5.5.5-10.11.6-MariaDB")).says(codec.ok(status=0x4002))
    assert play.facts.mariadb
    assert play.facts.server_version == "10.11.6-MariaDB"
    assert (play.facts.thread_id, play.facts.user, play.facts.database) == (4711, "legacy", "app")
    assert (play.facts.status, play.facts.capabilities) == (0x4002, Cap.FOUND_ROWS | Cap.TRANSACTIONS)
    assert play.response.attributes == ((b"_idbridge_session", b"ib:ses_1"),)
    assert play.response.database == b"app"


def test_statements_after_the_login_run_before_the_yes() -> None:
    wanted = Wanted("legacy", 0, later=("SET SESSION TRANSACTION READ ONLY", "SET x"))
    play = Play(wanted=wanted).says(codec.ok())
    assert play.said == b"\x03SET SESSION TRANSACTION READ ONLY"
    assert play.login.settling
    assert play.says(codec.ok(status=0x2002)).said == b"\x03SET x"
    assert play.says(codec.error(1064, "42000", "syntax")).facts.unserved == ("SET x",)


def test_mysql_5_5_takes_the_seat_belt_for_a_variable() -> None:
    """As heard from a 5.5.9."""
    wanted = Wanted("legacy", 0, later=("SET SESSION TRANSACTION READ ONLY",))
    play = (
        Play(wanted=wanted).says(codec.ok()).says(codec.error(1193, "HY000", "Unknown system variable 'TRANSACTION'"))
    )
    assert play.facts.unserved == wanted.later


def test_a_statement_after_the_login_that_is_refused_ends_it() -> None:
    play = Play(wanted=Wanted("legacy", 0, later=("SET SESSION TRANSACTION READ ONLY",))).says(codec.ok())
    with pytest.raises(LoginRefused) as refused:
        play.says(codec.error(1227, "42000", "denied"))
    assert refused.value.late


def test_a_server_that_refuses_before_its_greeting() -> None:
    login = UpstreamLogin(WANTED, Secret(PASSWORD))
    with pytest.raises(LoginRefused) as refused:
        login.greeted(b"\xff\x10\x04Too many connections")
    assert refused.value.fields.code == 1040


def test_a_server_that_never_comes_to_an_end() -> None:
    play = Play()
    for _ in range(MAX_ROUNDS):
        play.switches(b"mysql_native_password")
    with pytest.raises(PeerFault, match="end"):
        play.switches(b"mysql_native_password")


@pytest.mark.parametrize(
    ("wished", "version", "used"),
    [
        (33, b"5.5.5-10.11.6-MariaDB", 33),
        (255, b"5.5.5-10.11.6-MariaDB", 45),
        (255, b"11.4.2-MariaDB", 45),
        (255, b"5.7.44", 45),
        (255, b"8.0.36", 255),
        (305, b"8.0.36", 45),
        (28, b"8.0.36", 45),
        (13, b"5.5.5-10.11.6-MariaDB", 45),
        (0, b"8.0.36", 45),
        (8, b"5.1.73", 8),
    ],
)
def test_collations_that_the_server_would_misread_become_utf8mb4(wished: int, version: bytes, used: int) -> None:
    """proxysql#4841, #5807: 305 became 49; MariaDB takes 255 for latin1. gbk and sjis hide backslashes."""
    assert collation_for(wished, server(version=version)) == used


def test_the_stamp_is_first_and_cannot_be_forged() -> None:
    client = (
        (b"_idbridge_session", b"ib:ses_forged"),
        (b"_IDBridge_Agent", b"somebody"),
        (b"program_name", b"psql"),
        (b"program_name", b"twice"),
        (b"long", b"x" * 500),
        (b"_os", b"Linux"),
    )
    pairs = stamped("ib:ses_1", "deploy-7", client)
    assert pairs == (
        (b"_idbridge_session", b"ib:ses_1"),
        (b"_idbridge_agent", b"deploy-7"),
        (b"program_name", b"psql"),
        (b"_os", b"Linux"),
    )
    many = tuple((b"n%d" % number, b"v" * 20) for number in range(100))
    assert len(codec.attributes(stamped("ib:ses_1", "", many))) <= 410


@given(st.lists(st.binary(max_size=80), max_size=6), st.booleans())
def test_nothing_but_our_own_errors_comes_out(said: list[bytes], encrypted: bool) -> None:
    with contextlib.suppress(PeerFault, LoginFailed, LoginRefused):
        play = Play(encrypted=encrypted)
        for payload in said:
            if not play.login.done:
                play.says(payload)
    with contextlib.suppress(PeerFault, LoginFailed, LoginRefused):
        for payload in said:
            Play(encrypted=encrypted).switches(b"sha256_password", payload)

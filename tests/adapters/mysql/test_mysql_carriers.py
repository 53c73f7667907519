"""How each kind of client hands over its token, as a conversation; and that no secret is asked for twice."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mysql import codec
from adapters.mysql.carriers import MAX_TOKEN, Carrier, new_nonce
from adapters.mysql.codec import Cap, HandshakeResponse
from adapters.mysql.refusals import Spoken
from bridge.adapter import PeerFault, Reason

TOKEN = b"eyJhbGciOiJFZERTQSJ9." + b"a" * 4000
SCRAMBLE = b"s" * 32
MODERN = Cap.PROTOCOL_41 | Cap.SECURE_CONNECTION | Cap.PLUGIN_AUTH | Cap.PLUGIN_AUTH_LENENC | Cap.CONNECT_ATTRS
NAMED = ((b"_client_name", b"libmariadb"), (b"_client_version", b"3.3.10"))


def answer(plugin: bytes, auth: bytes = SCRAMBLE, flags: int = MODERN, **more: object) -> HandshakeResponse:
    attributes = more.pop("attributes", NAMED)
    return HandshakeResponse(flags, b"agent", auth, plugin=plugin, attributes=attributes)  # type: ignore[arg-type]


def told(carrier: Carrier) -> bytes:
    assert carrier.token is not None
    return carrier.token.reveal()


@pytest.mark.parametrize("size", [500, 2000, 4000, 8000, MAX_TOKEN])
def test_caching_sha2_asks_for_full_authentication_and_gets_the_token(size: int) -> None:
    carrier = Carrier(answer(b"caching_sha2_password"), encrypted=True)
    assert carrier.begin() == b"\x01\x04"
    assert carrier.token is None
    assert carrier.receive(b"t" * size + b"\0") == b""
    assert told(carrier) == b"t" * size


def test_a_token_that_is_too_long_is_told_so() -> None:
    carrier = Carrier(answer(b"caching_sha2_password"), encrypted=True)
    carrier.begin()
    with pytest.raises(Spoken, match="16 KiB"):
        carrier.receive(b"t" * (MAX_TOKEN + 1))


@pytest.mark.parametrize("plugin", [b"mysql_native_password", b"sha256_password", b"client_ed25519", b""])
def test_other_plugins_are_switched_to_caching_sha2_with_a_fresh_nonce(plugin: bytes) -> None:
    carrier = Carrier(answer(plugin, b"x" * 20), encrypted=True)
    switch = codec.parse_auth_switch(carrier.begin())
    assert switch.plugin == b"caching_sha2_password"
    assert len(switch.data) == 20
    assert carrier.receive(SCRAMBLE) == b"\x01\x04"
    carrier.receive(TOKEN + b"\0")
    assert told(carrier) == TOKEN


@pytest.mark.parametrize("end", [b"", b"\0"])
def test_mysql_clear_password_in_the_handshake(end: bytes) -> None:
    carrier = Carrier(answer(b"mysql_clear_password", TOKEN + end), encrypted=True)
    assert carrier.begin() == b""
    assert told(carrier) == TOKEN


def test_mysql_clear_password_without_long_fields_is_asked_by_a_switch() -> None:
    """One byte of length cuts at 255."""
    flags = MODERN & ~Cap.PLUGIN_AUTH_LENENC
    carrier = Carrier(answer(b"mysql_clear_password", TOKEN[:200], flags), encrypted=True)
    assert codec.parse_auth_switch(carrier.begin()) == (b"mysql_clear_password", b"")
    carrier.receive(TOKEN + b"\0")
    assert told(carrier) == TOKEN


def test_openid_connect_by_clients_that_announce_it() -> None:
    carrier = Carrier(answer(b"authentication_openid_connect_client", b""), encrypted=True)
    assert codec.parse_auth_switch(carrier.begin()).plugin == b"authentication_openid_connect_client"
    carrier.receive(b"\x01" + codec.string_lenenc(TOKEN))
    assert told(carrier) == TOKEN


def test_openid_connect_by_clients_that_have_it_and_gave_no_password() -> None:
    named = ((b"_client_name", b"libmysql"), (b"_client_version", b"9.1.0"))
    carrier = Carrier(answer(b"caching_sha2_password", b"", attributes=named), encrypted=True)
    assert codec.parse_auth_switch(carrier.begin()).plugin == b"authentication_openid_connect_client"
    with_certificate = Carrier(
        answer(b"caching_sha2_password", b"", attributes=named), encrypted=True, certificate=True
    )
    assert with_certificate.begin() == b""
    assert told(with_certificate) == b""


@pytest.mark.parametrize(
    "attributes", [(), ((b"_client_name", b"libmysql"), (b"_client_version", b"5.7.10"))], ids=["5.5", "5.7"]
)
def test_old_libmysqlclient_is_asked_in_its_own_way(attributes: codec.Attributes) -> None:
    carrier = Carrier(answer(b"mysql_native_password", b"x" * 20, attributes=attributes), encrypted=True)
    assert codec.parse_auth_switch(carrier.begin()).plugin == b"mysql_clear_password"


def test_connector_j_is_asked_for_cleartext_though_it_has_caching_sha2() -> None:
    """Seen with 9.7 and the greeting of a MariaDB 10.11: "Unknown server response after fast auth"."""
    named = ((b"_client_name", b"MySQL Connector/J"), (b"_client_version", b"9.7.0"))
    carrier = Carrier(answer(b"caching_sha2_password", attributes=named), encrypted=True)
    assert codec.parse_auth_switch(carrier.begin()).plugin == b"mysql_clear_password"
    carrier.receive(TOKEN + b"\0")
    assert told(carrier) == TOKEN


def test_a_client_without_plugins_hears_that_it_cannot() -> None:
    with pytest.raises(Spoken) as refused:
        Carrier(answer(b"", b"x" * 20, MODERN & ~Cap.PLUGIN_AUTH), encrypted=True).begin()
    assert refused.value.number == 1251


@pytest.mark.parametrize("empty", [b"", b"\0"])
def test_no_password_is_no_token(empty: bytes) -> None:
    carrier = Carrier(answer(b"caching_sha2_password", empty), encrypted=True)
    assert carrier.begin() == b""
    assert told(carrier) == b""


def test_a_request_for_an_rsa_key_is_refused() -> None:
    """proxysql#5985 answered it with silence; no token fits an RSA key."""
    carrier = Carrier(answer(b"caching_sha2_password"), encrypted=True)
    carrier.begin()
    with pytest.raises(Spoken) as refused:
        carrier.receive(b"\x02")
    assert refused.value.reason is Reason.CREDENTIAL_MISSING


def test_where_plaintext_is_allowed_the_cleartext_plugin_is_asked_for() -> None:
    carrier = Carrier(answer(b"caching_sha2_password"), encrypted=False)
    assert codec.parse_auth_switch(carrier.begin()).plugin == b"mysql_clear_password"


def test_nonces_are_20_characters_without_nul_and_never_twice() -> None:
    nonces = {new_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert all(len(nonce) == 20 and b"\0" not in nonce and b"$" not in nonce for nonce in nonces)


@given(
    st.sampled_from((b"caching_sha2_password", b"mysql_clear_password", b"authentication_openid_connect_client", b"x")),
    st.binary(max_size=40),
    st.lists(st.binary(max_size=60), max_size=4),
    st.booleans(),
)
def test_nothing_but_a_refusal_or_a_fault_comes_out(
    plugin: bytes, auth: bytes, said: list[bytes], encrypted: bool
) -> None:
    carrier = Carrier(answer(plugin, auth), encrypted=encrypted)
    with contextlib.suppress(Spoken, PeerFault):
        carrier.begin()
        for payload in said:
            if carrier.token is not None:
                break
            carrier.receive(payload)
    assert carrier.token is None or "secret" in repr(carrier.token)

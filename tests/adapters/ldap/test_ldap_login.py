"""The agent's Bind, step by step; the static account's, and what its refusals mean."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ldap import answers, codec, controls, login
from adapters.ldap.codes import Code, Oid, Op
from adapters.ldap.framing import message
from adapters.ldap.login import ANONYMOUS, AgentBind, Prove, Say, agrees
from adapters.ldap.upstream_login import BindRefused, Kind, UpstreamBind
from bridge.adapter import AgentFacts, BearerToken, ClientCertificate, PeerFault, Reason, Refused, Secret
from bridge.wire import ber
from tests.adapters.ldap.ldap3_messages import whole

TOKEN = b"eyJ.token.sig"
CHAIN = (b"der",)
AGENT = AgentFacts("spiffe://td/agent/7", "billing", "Ann")


def simple(name: bytes, password: bytes, version: int = 3) -> codec.Bind:
    return codec.Bind(version, name, "simple", "", password)


def sasl(mechanism: str, credentials: bytes | None) -> codec.Bind:
    return codec.Bind(3, b"", "sasl", mechanism, credentials)


def said(bind: codec.Bind, *, private: bool = True, chain: tuple[bytes, ...] = ()) -> Say:
    result = AgentBind().receive(bind, private=private, chain=chain)
    assert isinstance(result, Say)
    return result


def proven(bind: codec.Bind, *, chain: tuple[bytes, ...] = (), alone: bool = False) -> Prove:
    result = AgentBind(certificate_alone=alone).receive(bind, private=True, chain=chain)
    assert isinstance(result, Prove)
    return result


# -- simple -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"", b"spiffe://td/agent/7", b"agent@realm", b"cn=svc,dc=x", b"DOMAIN\\svc"])
def test_the_name_of_a_simple_bind_is_any_string(name: bytes) -> None:
    """slapd says 34 to these, 389-ds 49; libldap, ldap3, ldapts, JNDI and go-ldap all send them unchanged."""
    proof = proven(simple(name, TOKEN))
    assert proof.credential == BearerToken(Secret(TOKEN))
    assert proof.name == name.decode()


def test_a_newline_behind_the_token_is_removed() -> None:
    """ldapsearch -y sends the file's last newline."""
    assert proven(simple(b"", TOKEN + b"\r\n")).credential == BearerToken(Secret(TOKEN))


def test_a_name_without_a_password_is_refused_53() -> None:
    """TremoloSecurity/MyVirtualDirectory#65, apache/knox PR#1358: it succeeds through a proxy; JNDI sends it."""
    for password in (b"", b" \n"):
        answer = said(simple(b"cn=svc", password))
        assert (answer.code, answer.reason) == (Code.UNWILLING, Reason.CREDENTIAL_MISSING)


def test_an_anonymous_bind_succeeds_and_needs_no_encryption() -> None:
    assert said(simple(b"", b""), private=False) is ANONYMOUS


def test_a_token_in_plaintext_is_refused_13() -> None:
    answer = said(simple(b"", TOKEN), private=False)
    assert (answer.code, answer.reason) == (Code.CONFIDENTIALITY, Reason.PLAINTEXT)
    for bind in (
        sasl("PLAIN", None),
        sasl("PLAIN", b"\0a\0" + TOKEN),
        sasl("OAUTHBEARER", b"n,,\x01auth=Bearer x\x01\x01"),
    ):
        assert said(bind, private=False).code == Code.CONFIDENTIALITY


def test_version_2_is_refused_2_and_sicily_7() -> None:
    assert said(simple(b"", TOKEN, version=2)).code == Code.PROTOCOL_ERROR
    assert said(codec.Bind(3, b"", "sicily")).code == Code.METHOD_NOT_SUPPORTED


def test_an_unknown_mechanism_is_refused_7() -> None:
    for mechanism in ("GSSAPI", "SCRAM-SHA-256", "", "GSS-SPNEGO"):
        assert said(sasl(mechanism, b"x")).code == Code.METHOD_NOT_SUPPORTED


def test_a_token_longer_than_16_kib_is_refused_49() -> None:
    assert proven(simple(b"", b"x" * login.MAX_TOKEN))
    assert said(simple(b"", b"x" * (login.MAX_TOKEN + 1))).code == Code.INVALID_CREDENTIALS


def test_a_certificate_beside_a_token_must_be_the_same_agents() -> None:
    assert proven(simple(b"", TOKEN), chain=CHAIN).also == ClientCertificate(CHAIN)


def test_a_certificate_alone_is_a_login_where_the_options_say_so() -> None:
    """libldap refuses EXTERNAL for the empty subject of a SPIFFE certificate."""
    assert proven(simple(b"", b""), chain=CHAIN, alone=True).credential == ClientCertificate(CHAIN)
    assert said(simple(b"", b""), chain=CHAIN) is ANONYMOUS
    assert said(simple(b"cn=a", b""), chain=CHAIN).code == Code.UNWILLING


def test_an_account_is_wished_by_name() -> None:
    proof = proven(simple(b"account=reporting", TOKEN))
    assert (proof.account, proof.name) == ("reporting", "")
    assert proven(simple(b"billing", TOKEN)).account is None


def test_a_name_must_be_the_agents_or_an_alias() -> None:
    assert agrees("", AGENT)
    assert agrees("SPIFFE://td/agent/7", AGENT)
    assert agrees("billing", AGENT)
    assert agrees("cn=svc,dc=x", AGENT, ("cn=svc,dc=x",))
    assert not agrees("spiffe://td/agent/8", AGENT)
    assert not agrees(proven(simple(b"x" * 2000, TOKEN)).name, AGENT)


def test_good_bad_good_on_one_connection_a_hundred_times() -> None:
    """goauthentik/authentik#4138: sporadic operationsError on that sequence."""
    agent = AgentBind()
    refused = Refused(Reason.CREDENTIAL_INVALID, "no")
    for _ in range(100):
        assert isinstance(agent.receive(simple(b"", TOKEN), private=True), Prove)
        bad = agent.receive(simple(b"", b"bad"), private=True)
        assert isinstance(bad, Prove)
        assert agent.failed(bad, refused).code == Code.INVALID_CREDENTIALS
        assert agent.pending == ""


def test_unknown_agent_bad_signature_and_unknown_key_sound_the_same() -> None:
    """389ds/389-ds-base#4609: 48 instead of 49 reveals entries."""
    agent, proof = AgentBind(), proven(simple(b"", TOKEN))
    texts = {agent.failed(proof, Refused(Reason.CREDENTIAL_INVALID, "x", detail=why)) for why in ("a", "b", "c")}
    assert len(texts) == 1


def test_a_simple_bind_named_like_a_mechanism_gets_a_hint() -> None:
    """ldapts: bind('OAUTHBEARER', token) silently becomes a simple bind with that name."""
    proof = proven(simple(b"OAUTHBEARER", TOKEN))
    assert "SASL" in AgentBind().failed(proof, Refused(Reason.CREDENTIAL_INVALID, "no")).text


def test_what_is_not_the_agents_fault_is_not_49() -> None:
    """It would fetch a new token in vain."""
    agent, proof = AgentBind(), proven(simple(b"", TOKEN))
    for reason, code in (
        (Reason.UPSTREAM_UNAVAILABLE, Code.UNAVAILABLE),
        (Reason.NOT_GRANTED, Code.INSUFFICIENT_ACCESS),
        (Reason.TOO_MANY, Code.BUSY),
        (Reason.LOG_UNAVAILABLE, Code.UNAVAILABLE),
        (Reason.CREDENTIAL_EXPIRED, Code.INVALID_CREDENTIALS),
    ):
        assert agent.failed(proof, Refused(reason, "no")).code == code


# -- SASL -------------------------------------------------------------------------------------------------------------


def test_plain_takes_the_token_as_password() -> None:
    for credentials in (b"\0me\0" + TOKEN, b"me\0me\0" + TOKEN + b"\n"):
        proof = proven(sasl("PLAIN", credentials))
        assert (proof.credential, proof.name, proof.mechanism) == (BearerToken(Secret(TOKEN)), "me", "PLAIN")


@pytest.mark.parametrize("credentials", [b"other\0me\0t", b"", b"me\0t", b"\0me\0", b"\0a\0b\0c"])
def test_plain_never_acts_as_another(credentials: bytes) -> None:
    assert said(sasl("PLAIN", credentials)).code == Code.INVALID_CREDENTIALS


def test_a_mechanism_without_credentials_is_asked_for_them() -> None:
    agent = AgentBind()
    first = agent.receive(sasl("PLAIN", None), private=True)
    assert isinstance(first, Say)
    assert (first.code, first.sasl, agent.pending) == (Code.SASL_IN_PROGRESS, b"", "PLAIN")
    assert isinstance(agent.receive(sasl("PLAIN", b"\0a\0" + TOKEN), private=True), Prove)
    assert agent.pending == ""


def test_another_or_an_empty_mechanism_aborts_the_exchange() -> None:
    agent = AgentBind()
    agent.receive(sasl("PLAIN", None), private=True)
    aborted = agent.receive(sasl("", None), private=True)
    assert isinstance(aborted, Say)
    assert (aborted.code, agent.pending) == (Code.METHOD_NOT_SUPPORTED, "")


@pytest.mark.parametrize(
    ("message_", "name"),
    [
        (b"n,,\x01auth=Bearer eyJ.token.sig\x01\x01", ""),
        (b"n,a=user@example.org,\x01host=h\x01port=636\x01auth=bearer eyJ.token.sig\x01\x01", "user@example.org"),
        (b"y,a=a=2Cb,\x01auth=Bearer eyJ.token.sig\x01\x01", "a,b"),
    ],
)
def test_oauthbearer_carries_the_token(message_: bytes, name: str) -> None:
    proof = proven(sasl("OAUTHBEARER", message_))
    assert (proof.credential, proof.name) == (BearerToken(Secret(TOKEN)), name)


def test_oauthbearer_tells_the_failure_in_a_challenge_then_refuses() -> None:
    """RFC 7628 section 3.2.3: 14 with JSON, the client's 0x01, then 49."""
    agent = AgentBind()
    proof = agent.receive(sasl("OAUTHBEARER", b"n,,\x01auth=Bearer bad\x01\x01"), private=True)
    assert isinstance(proof, Prove)
    challenge = agent.failed(proof, Refused(Reason.CREDENTIAL_INVALID, "no", reference="r1"))
    assert (challenge.code, challenge.sasl) == (Code.SASL_IN_PROGRESS, b'{"status": "invalid_token"}')
    assert agent.pending == "OAUTHBEARER"
    last = agent.receive(sasl("OAUTHBEARER", b"\x01"), private=True)
    assert isinstance(last, Say)
    assert (last.code, agent.pending) == (Code.INVALID_CREDENTIALS, "")
    assert "r1" in last.text


@pytest.mark.parametrize(
    "broken", [b"", b"\x01", b"n,,\x01auth=Bearer x", b"p=tls,,\x01auth=Bearer x\x01\x01", b"n,,\x01auth=\x01\x01"]
)
def test_a_broken_oauthbearer_message_fails_the_same_way(broken: bytes) -> None:
    agent = AgentBind()
    first = agent.receive(sasl("OAUTHBEARER", broken), private=True)
    assert isinstance(first, Say)
    assert (first.code, first.reason) == (Code.SASL_IN_PROGRESS, Reason.CREDENTIAL_INVALID)
    last = agent.receive(sasl("OAUTHBEARER", b"\x01"), private=True)
    assert isinstance(last, Say)
    assert last.code == Code.INVALID_CREDENTIALS


def test_a_good_bind_may_follow_the_failure_at_once() -> None:
    """Some clients never send the 0x01."""
    agent = AgentBind()
    agent.receive(sasl("OAUTHBEARER", b""), private=True)
    assert isinstance(agent.receive(simple(b"", TOKEN), private=True), Prove)


def test_external_is_the_client_certificate() -> None:
    for credentials in (None, b""):
        assert proven(sasl("EXTERNAL", credentials), chain=CHAIN).credential == ClientCertificate(CHAIN)
    assert proven(sasl("EXTERNAL", b"u:billing"), chain=CHAIN).name == "billing"
    assert said(sasl("EXTERNAL", None)).code == Code.INVALID_CREDENTIALS


def test_mechanisms_are_those_that_can_work_on_this_connection() -> None:
    assert login.mechanisms(private=True, certificate=False) == ("PLAIN", "OAUTHBEARER")
    assert login.mechanisms(private=False, certificate=False) == ()
    assert login.mechanisms(private=True, certificate=True)[-1] == "EXTERNAL"


@given(
    st.sampled_from(["simple", "sasl", "sicily"]),
    st.sampled_from(["PLAIN", "OAUTHBEARER", "EXTERNAL", "X"]),
    st.none() | st.binary(max_size=60),
    st.binary(max_size=20),
)
def test_any_bind_is_a_proof_or_an_answer(method: str, mechanism: str, credentials: bytes | None, name: bytes) -> None:
    result = AgentBind().receive(codec.Bind(3, name, method, mechanism, credentials), private=True, chain=CHAIN)
    assert isinstance(result, (Prove, Say))
    assert result != ANONYMOUS or (method == "simple" and not credentials and not name)


def test_no_repr_shows_the_token() -> None:
    assert TOKEN.decode() not in repr(proven(simple(b"", TOKEN)))


# -- the static account -----------------------------------------------------------------------------------------------


def upstream() -> UpstreamBind:
    return UpstreamBind("cn=svc,dc=x", Secret("pw"), 2**31 - 1)


def refusal(code: int, text: str = "", policy: bytes | None = None) -> BindRefused:
    with_policy = controls.encode(Oid.PPOLICY, policy) if policy is not None else b""
    data = answers.result(2**31 - 1, Op.BIND_RESPONSE, code, text, controls=with_policy)
    with pytest.raises(BindRefused) as refused:
        upstream().read(whole(data))
    return refused.value


def test_the_static_bind_asks_for_the_password_policys_reason() -> None:
    sent = whole(upstream().request())
    assert codec.decode(sent) == codec.Bind(3, b"cn=svc,dc=x", "simple", "", b"pw")
    assert [control.oid for control in controls.read(sent)] == [Oid.PPOLICY]


@pytest.mark.parametrize(("name", "secret"), [("", "pw"), ("cn=svc", "")])
def test_an_empty_name_or_password_is_never_sent(name: str, secret: str) -> None:
    """The Bind would succeed, as nobody."""
    with pytest.raises(BindRefused, match="empty"):
        UpstreamBind(name, Secret(secret), 1).request()


def test_success_with_warnings() -> None:
    policy = ber.encode(0x30, ber.encode(0xA0, ber.encode(0x80, b"\x64")))
    data = answers.result(2**31 - 1, Op.BIND_RESPONSE, 0, controls=controls.encode(Oid.PPOLICY, policy))
    assert upstream().read(whole(data)).seconds_left == 100


@pytest.mark.parametrize(
    ("policy", "kind"), [(b"\x30\x03\x81\x01\x01", Kind.LOCKED), (b"\x30\x03\x81\x01\x00", Kind.EXPIRED)]
)
def test_slapds_password_policy_tells_the_reason(policy: bytes, kind: Kind) -> None:
    refused = refusal(49, "", policy)
    assert refused.kind is kind
    assert refused.breaking


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("52e", Kind.WRONG_PASSWORD),
        ("525", Kind.WRONG_PASSWORD),
        ("530", Kind.NOT_NOW),
        ("532", Kind.EXPIRED),
        ("533", Kind.DISABLED),
        ("701", Kind.EXPIRED),
        ("773", Kind.MUST_CHANGE),
        ("775", Kind.LOCKED),
    ],
)
def test_active_directorys_data_codes(data: str, kind: Kind) -> None:
    text = f"80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, v1db1\0"
    refused = refusal(49, text)
    assert refused.kind is kind
    assert refused.breaking
    assert "DSID" in str(refused)


def test_channel_binding_is_no_wrong_password() -> None:
    """cannatag/ldap3#923, #1049: 49 with data 80090346; neither the breaker nor a rotation may be set off by it."""
    refused = refusal(
        49, "80090346: LdapErr: DSID-0C090569, comment: AcceptSecurityContext error, data 80090346, v4563"
    )
    assert refused.kind is Kind.CHANNEL_BINDING
    assert not refused.breaking


@pytest.mark.parametrize(
    ("code", "kind", "breaking"),
    [
        (49, Kind.WRONG_PASSWORD, True),
        (8, Kind.ENCRYPTION, False),
        (13, Kind.ENCRYPTION, False),
        (51, Kind.BUSY, False),
        (52, Kind.BUSY, False),
        (53, Kind.OTHER, True),
    ],
)
def test_plain_codes(code: int, kind: Kind, breaking: bool) -> None:
    refused = refusal(code, "BindSimple: Transport encryption required.")
    assert (refused.kind, refused.breaking) == (kind, breaking)


def test_a_notice_of_disconnection_refuses_and_a_stranger_is_a_fault() -> None:
    with pytest.raises(BindRefused):
        upstream().read(whole(answers.notice_of_disconnection(52, "bye")))
    with pytest.raises(PeerFault):
        upstream().read(whole(answers.result(5, Op.BIND_RESPONSE, 0)))
    with pytest.raises(BindRefused):
        upstream().read(whole(answers.notice_of_disconnection(0, "")))


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_garbage_from_upstream_is_refused_or_a_fault(body: bytes, policy: bytes) -> None:
    control = controls.encode(Oid.PPOLICY, policy)
    data = codec.request(2**31 - 1, ber.encode(Op.BIND_RESPONSE, body), control)
    with contextlib.suppress(PeerFault, BindRefused):
        upstream().read(message(data, 0, len(data)))

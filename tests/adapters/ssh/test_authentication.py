"""How an agent proves itself: each conversation as it goes over the wire, and who is then admitted as whom."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from conch_client import Meeting
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import SSHCertificateBuilder, SSHCertificateType
from twisted.conch.ssh.keys import Key

from adapters.ssh.authentication import ATTEMPTS, CUT_SECRET, QUESTIONS, Login, Methods
from adapters.ssh.fields import Fields, flag, number, string
from adapters.ssh.public_keys import Limits
from adapters.ssh.server import accept
from bridge.adapter import BearerToken, Deadline, PeerFault, Reason, Refused, SSHCertificate, SSHPublicKey, TimedOut

ED25519 = ed25519.Ed25519PrivateKey.generate()
OTHER = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
AUTHORITY = ed25519.Ed25519PrivateKey.generate()
ECDSA = {name: ec.generate_private_key(curve) for name, curve in (
    ("ecdsa-sha2-nistp256", ec.SECP256R1()), ("ecdsa-sha2-nistp384", ec.SECP384R1()),
    ("ecdsa-sha2-nistp521", ec.SECP521R1()))}  # fmt: skip
ALL = "publickey,keyboard-interactive,password"


class Conversation(Meeting):
    """A client whose service is granted; ``judged`` are the proofs, ``script`` their refusals (None: yes)."""

    def __init__(
        self, folder: Path, methods: Methods | None = None, script: tuple[Refused | None, ...] = (), **more: Any
    ):
        super().__init__(folder)
        self.judged: list[tuple[str, Any, Limits]] = []
        self._script = list(script)
        self.run(lambda: self._serve(methods or Methods(), more))
        self.client.start()
        self.client.ask_service()
        self.client.take(6)

    async def _serve(self, methods: Methods, more: dict[str, Any]) -> str:
        leg = await accept(self.near, self.host_keys, timeout=10, seconds=self.clock.seconds)
        await Login(leg, methods, self._judge, Deadline(60, self.clock.seconds), **more).run()
        return "in"

    async def _judge(self, user: str, credential: Any, limits: Limits) -> None:
        self.judged.append((user, credential, limits))
        refused = self._script.pop(0) if self._script else None
        if refused is not None:
            raise refused

    # -- the client

    def request(self, method: str, rest: bytes = b"", user: str = "svc", service: str = "ssh-connection") -> None:
        self.client.send(b"\x32" + string(user) + string(service) + string(method) + rest)

    def password(self, secret: str = "token", user: str = "svc") -> None:
        self.request("password", flag(False) + string(secret), user)

    def question(self, algorithm: str, blob: bytes) -> None:
        self.request("publickey", flag(False) + string(algorithm) + string(blob))

    def signed(
        self, algorithm: str, blob: bytes, key: Any, *, announced: str = "", user: str = "svc", over: str = ""
    ) -> None:
        """``announced`` and ``over``: another algorithm, another user than what is signed."""
        plain = algorithm.removesuffix("-cert-v01@openssh.com")
        body = (
            string("ssh-connection") + string("publickey") + flag(True) + string(announced or algorithm) + string(blob)
        )
        session = self.client.sessionID
        signature = Key(key).sign(string(session) + b"\x32" + string(over or user) + body, plain.encode())
        self.client.send(b"\x32" + string(user) + body + string(signature))

    def failed(self, methods: str = ALL, *, partial: bool = False) -> None:
        assert self.client.take(51) == string(methods) + flag(partial)

    def banner(self) -> str:
        return Fields(self.client.take(53)).text(4096)


def wire(key: Any) -> bytes:
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return base64.b64decode(public.split()[1])


def certificate(key: Any, **changes: Any) -> bytes:
    builder = (
        SSHCertificateBuilder().public_key(key.public_key()).type(SSHCertificateType.USER).serial(7).key_id(b"deploy-7")
        .valid_principals([b"deploy-7"]).valid_after(int(time.time())).valid_before(int(time.time()) + 60)
    )  # fmt: skip
    for name, value in changes.get("options", {}).items():
        builder = builder.add_critical_option(name, value)
    for name in changes.get("extensions", ()):
        builder = builder.add_extension(name, b"")
    return base64.b64decode(builder.sign(AUTHORITY).public_bytes().split()[1])


def refusal(reason: Reason = Reason.CREDENTIAL_INVALID) -> Refused:
    return Refused(reason, "no", reference="ref_1")


# -- tokens


def test_none_only_tells_the_methods(tmp_path: Path) -> None:
    talk = Conversation(tmp_path)
    talk.request("none")
    talk.failed()
    assert not talk.judged


def test_a_token_as_password(tmp_path: Path) -> None:
    talk = Conversation(tmp_path)
    talk.password(" token \n")
    assert talk.client.take(52) == b""
    user, credential, limits = talk.judged[0]
    assert (user, credential.token.reveal(), credential.confirmed, limits) == ("svc", b"token", "", Limits())
    assert talk.outcome == "in"


def test_a_token_as_the_answer_to_a_question(tmp_path: Path) -> None:
    """One prompt, echo off, with the word that sshpass and Ansible look for."""
    talk = Conversation(tmp_path)
    talk.request("keyboard-interactive", string("") + string(""))
    asked = Fields(talk.client.take(60))
    assert [asked.text(), asked.text(), asked.text(), asked.number()] == ["", "", "", 1]
    assert "assword" in asked.text()
    assert asked.flag() is False
    talk.client.send(b"\x3d" + number(1) + string("token"))
    talk.client.take(52)
    assert isinstance(talk.judged[0][1], BearerToken)


def test_a_question_may_be_given_up_for_another_method(tmp_path: Path) -> None:
    """RFC 4256 section 3.1."""
    talk = Conversation(tmp_path)
    talk.request("keyboard-interactive", string("") + string(""))
    talk.client.take(60)
    talk.password()
    talk.client.take(52)


@pytest.mark.parametrize("answer", [number(0), number(2) + string("a") + string("b"), number(1) + string("a") + b"x"])
def test_one_answer_is_expected(tmp_path: Path, answer: bytes) -> None:
    talk = Conversation(tmp_path)
    talk.request("keyboard-interactive", string("") + string(""))
    talk.client.send(b"\x3d" + answer)
    assert isinstance(talk.outcome, PeerFault)


def test_an_answer_without_a_question_is_a_fault(tmp_path: Path) -> None:
    talk = Conversation(tmp_path)
    talk.client.send(b"\x3d" + number(1) + string("token"))
    assert isinstance(talk.outcome, PeerFault)


def test_a_refusal_is_told_with_its_reference_and_what_to_do(tmp_path: Path) -> None:
    talk = Conversation(tmp_path, script=(refusal(),))
    talk.password()
    text = talk.banner()
    assert "ref_1" in text
    assert "fresh token" in text
    talk.failed()
    talk.password()
    talk.client.take(52)


@pytest.mark.parametrize("reason", [Reason.NOT_GRANTED, Reason.UPSTREAM_UNAVAILABLE, Reason.AGENT_INACTIVE])
def test_what_no_other_proof_would_mend_ends_the_connection(tmp_path: Path, reason: Reason) -> None:
    talk = Conversation(tmp_path, script=(refusal(reason),))
    talk.password()
    assert "ref_1" in talk.banner()
    assert b"ref_1" in talk.client.take(1)
    assert talk.outcome.reason is reason


def test_a_secret_that_openssh_has_cut_is_named(tmp_path: Path) -> None:
    talk = Conversation(tmp_path, script=(refusal(), refusal(), None))
    talk.password("x" * CUT_SECRET)
    assert "1,023" in talk.banner()
    talk.banner()
    talk.failed()
    talk.password("x" * (CUT_SECRET - 1))
    assert "1,023" not in talk.banner()
    talk.failed()
    talk.password("x" * CUT_SECRET)
    talk.client.take(52)  # it was the whole token


def test_there_is_no_password_to_change(tmp_path: Path) -> None:
    talk = Conversation(tmp_path)
    talk.request("password", flag(True) + string("old") + string("new"))
    talk.failed()
    assert not talk.judged


# -- keys


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("ssh-ed25519", ED25519), ("rsa-sha2-256", RSA), ("rsa-sha2-512", RSA), *ECDSA.items()],
)
def test_a_registered_key_alone(tmp_path: Path, algorithm: str, key: Any) -> None:
    talk = Conversation(tmp_path, Methods(key=True))
    talk.question(algorithm, wire(key))
    assert talk.client.take(60) == string(algorithm) + string(wire(key))
    talk.signed(algorithm, wire(key), key)
    talk.client.take(52)
    assert talk.judged[0][1] == SSHPublicKey(wire(key))


def test_a_key_and_then_a_token_that_is_bound_to_it(tmp_path: Path) -> None:
    """RFC 7800, RFC 7638: the token is confirmed by the key whose possession was just proven."""
    talk = Conversation(tmp_path)
    talk.signed("ssh-ed25519", wire(ED25519), ED25519)
    talk.failed(partial=True)
    assert not talk.judged
    talk.password()
    talk.client.take(52)
    x = base64.urlsafe_b64encode(ED25519.public_key().public_bytes_raw()).decode().rstrip("=")
    jwk = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    expected = base64.urlsafe_b64encode(hashlib.sha256(jwk.encode()).digest()).decode().rstrip("=")
    assert talk.judged[0][1].confirmed == expected


def test_after_a_key_no_second_one(tmp_path: Path) -> None:
    """OpenSSH begins with its first key again after a partial success, and would do so for ever."""
    talk = Conversation(tmp_path)
    talk.signed("ssh-ed25519", wire(ED25519), ED25519)
    talk.failed(partial=True)
    for key in (ED25519, OTHER):
        talk.question("ssh-ed25519", wire(key))
        talk.failed()


def test_a_key_of_another_user_confirms_nothing(tmp_path: Path) -> None:
    """RFC 4252 section 5: a change of the user name begins anew."""
    talk = Conversation(tmp_path)
    talk.signed("ssh-ed25519", wire(ED25519), ED25519)
    talk.failed(partial=True)
    talk.password(user="admin")
    talk.client.take(52)
    assert (talk.judged[0][0], talk.judged[0][1].confirmed) == ("admin", "")


def test_the_identity_is_the_key_that_signed(tmp_path: Path) -> None:
    """CVE-2024-45337: asking about another key afterwards changes nothing."""
    talk = Conversation(tmp_path, Methods(key=True))
    talk.question("ssh-ed25519", wire(ED25519))
    talk.client.take(60)
    talk.question("ssh-ed25519", wire(OTHER))
    talk.client.take(60)
    talk.signed("ssh-ed25519", wire(ED25519), ED25519)
    talk.client.take(52)
    assert talk.judged == [("svc", SSHPublicKey(wire(ED25519)), Limits())]


@pytest.mark.parametrize("wrong", ["key", "user", "algorithm"])
def test_a_signature_of_something_else_is_refused(tmp_path: Path, wrong: str) -> None:
    """twisted#12496 among them: announced rsa-sha2-512, signed with another."""
    talk = Conversation(tmp_path, Methods(key=True))
    if wrong == "key":
        talk.signed("ssh-ed25519", wire(ED25519), OTHER)
    elif wrong == "user":
        talk.signed("ssh-ed25519", wire(ED25519), ED25519, over="other")
    else:
        talk.signed("rsa-sha2-256", wire(RSA), RSA, announced="rsa-sha2-512")
    talk.failed()
    assert not talk.judged


@pytest.mark.parametrize(
    ("algorithm", "blob"),
    [
        ("ssh-rsa", wire(RSA)),
        ("ssh-dss", string("ssh-dss") + string(b"\1") * 4),
        ("ssh-ed25519", wire(RSA)),
        ("ssh-ed25519", b"junk"),
        ("ssh-ed25519-cert-v01@openssh.com", wire(ED25519)),
        ("rsa-sha2-512", wire(rsa.generate_private_key(65537, 1024))),
    ],
    ids=["rsa with sha1", "dss", "another kind", "junk", "a certificate that is a key", "too short"],
)
def test_keys_that_are_not_taken(tmp_path: Path, algorithm: str, blob: bytes) -> None:
    talk = Conversation(tmp_path, Methods(key=True))
    talk.question(algorithm, blob)
    talk.failed()


def test_wrong_keys_and_then_a_token(tmp_path: Path) -> None:
    """sshpiper#393: questions cost no attempt, and the last method still works."""
    talk = Conversation(tmp_path, Methods(key_with_token=False))
    for _ in range(ATTEMPTS + 5):
        talk.question("ssh-ed25519", wire(OTHER))
        talk.failed()
    talk.password()
    talk.client.take(52)


# -- certificates


@pytest.mark.parametrize(("algorithm", "key"), [("ssh-ed25519", ED25519), ("rsa-sha2-512", RSA), *ECDSA.items()])
def test_a_certificate(tmp_path: Path, algorithm: str, key: Any) -> None:
    blob = certificate(key)
    named = f"{algorithm}-cert-v01@openssh.com"
    talk = Conversation(tmp_path)
    talk.question(named, blob)
    assert talk.client.take(60) == string(named) + string(blob)
    talk.signed(named, blob, key)
    talk.client.take(52)
    assert talk.judged[0][1] == SSHCertificate(blob)


def test_the_limits_of_a_certificate(tmp_path: Path) -> None:
    named = "ssh-ed25519-cert-v01@openssh.com"
    blob = certificate(ED25519, options={b"force-command": b"uptime"}, extensions=[b"permit-pty"])
    talk = Conversation(tmp_path)
    talk.signed(named, blob, ED25519)
    talk.client.take(52)
    assert talk.judged[0][2] == Limits("uptime", pty=True, forwarding=False)


def test_a_certificate_is_no_proof_without_its_key(tmp_path: Path) -> None:
    talk = Conversation(tmp_path)
    talk.signed("ssh-ed25519-cert-v01@openssh.com", certificate(ED25519), OTHER)
    talk.failed()
    assert not talk.judged


def test_a_certificate_after_its_plain_key(tmp_path: Path) -> None:
    """OpenSSH 10 offers the plain key first."""
    talk = Conversation(tmp_path)
    talk.signed("ssh-ed25519", wire(ED25519), ED25519)
    talk.failed(partial=True)
    talk.signed("ssh-ed25519-cert-v01@openssh.com", certificate(ED25519), ED25519)
    talk.client.take(52)


# -- what is on, and limits


@pytest.mark.parametrize(
    ("methods", "listed"),
    [
        (Methods(certificate=False, key_with_token=False), "keyboard-interactive,password"),
        (Methods(token=False), "publickey"),
        (Methods(token=False, certificate=False, key=True), "publickey"),
    ],
)
def test_failures_name_exactly_what_is_on(tmp_path: Path, methods: Methods, listed: str) -> None:
    """warpgate#972: and what is not on is not taken."""
    talk = Conversation(tmp_path, methods)
    talk.request("none")
    talk.failed(listed)
    if not methods.token:
        talk.password()
        talk.failed(listed)
    if "publickey" not in listed:
        talk.signed("ssh-ed25519", wire(ED25519), ED25519)
        talk.failed(listed)
    assert not talk.judged


def test_an_inherited_proof_needs_no_other(tmp_path: Path) -> None:
    proof = SSHPublicKey(b"outer")
    talk = Conversation(tmp_path, Methods(inherited=True), inherited_credential=proof)
    talk.request("none")
    talk.client.take(52)
    assert talk.judged[0][1] is proof


def test_attempts_are_counted(tmp_path: Path) -> None:
    talk = Conversation(tmp_path, script=(refusal(),) * ATTEMPTS)
    for _ in range(ATTEMPTS):
        talk.password()
        talk.banner()
        talk.failed()
    assert b"too many" in talk.client.take(1)
    assert isinstance(talk.outcome, Refused)


def test_questions_end_as_well(tmp_path: Path) -> None:
    talk = Conversation(tmp_path)
    for _ in range(QUESTIONS):
        talk.request("none")
    assert isinstance(talk.outcome, PeerFault)


def test_the_login_has_a_limit_in_time(tmp_path: Path) -> None:
    talk = Conversation(tmp_path)
    talk.clock.advance(61)
    assert isinstance(talk.outcome, TimedOut)


def test_the_banner_comes_once_and_first(tmp_path: Path) -> None:
    talk = Conversation(tmp_path, Methods(banner="Authorised agents only."))
    for _ in range(2):
        talk.request("none")
    assert talk.banner() == "Authorised agents only.\r\n"
    talk.failed()
    talk.failed()


@pytest.mark.parametrize("service", ["ssh-userauth", "other"])
def test_no_other_service_follows(tmp_path: Path, service: str) -> None:
    talk = Conversation(tmp_path)
    talk.request("password", flag(False) + string("token"), service=service)
    assert isinstance(talk.outcome, PeerFault)


@pytest.mark.parametrize("message", [5, 52, 53, 80, 90, 98])
def test_only_requests_come_during_the_login(tmp_path: Path, message: int) -> None:
    talk = Conversation(tmp_path)
    talk.client.send(bytes((message,)) + string("x"))
    assert isinstance(talk.outcome, PeerFault)


def test_requests_sent_together_are_answered_one_after_the_other_and_none_after_yes(tmp_path: Path) -> None:
    """One in flight: with stock Conch the second one replaced who had logged in."""
    talk = Conversation(tmp_path, script=(refusal(), None, None))
    talk.far.capacity = 10**9
    held, talk.near._receiver = talk.near._receiver, None  # all three come in one chunk
    for user in ("one", "two", "three"):
        talk.password(user=user)
    talk.near._receiver = held
    talk.near._wake_receiver()
    talk.banner()
    talk.failed()
    talk.client.take(52)
    assert [user for user, _, _ in talk.judged] == ["one", "two"]

"""Logging in to a host: what is said, and which answers end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.message import Message
from paramiko.pkey import PKey
from paramiko.rsakey import RSAKey
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.ssh.fields import Fields, flag, number, string
from adapters.ssh.host_exchange import HostKeyRefused
from adapters.ssh.levels import SHA1RSAKey
from adapters.ssh.options import Options
from adapters.ssh.upstream import HostLogin, LoginRefused, in_thread_key, log_in
from bridge.adapter import Login, PeerFault, Secret
from bridge.testing.streams import memory_pair

ACCEPT = b"\x06" + string("ssh-userauth")
SUCCESS = b"\x34"
BANNER = b"\x35" + string("welcome") + string("")
SECRET = Secret("static-password-of-svc")
SESSION = b"session identifier"

RSA_KEY = rsa.generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()


def failure(methods: str = "publickey,password") -> bytes:
    return b"\x33" + string(methods) + flag(False)


def question(*prompts: str) -> bytes:
    asked = b"".join(string(prompt) + flag(False) for prompt in prompts)
    return b"\x3c" + string("") + string("") + string("") + number(len(prompts)) + asked


class Engine:
    """What ``HostLogin`` needs of it."""

    session_id = SESSION

    def __init__(self, algorithms: str | None) -> None:
        self.server_extensions = {} if algorithms is None else {"server-sig-algs": algorithms.encode()}


class Host:
    """Answers one message after another, whatever it is asked."""

    def __init__(self, *answers: bytes) -> None:
        self.said: list[bytes] = []
        self._answers: Iterator[bytes] = iter((ACCEPT, *answers))

    def write(self, payload: bytes) -> None:
        self.said.append(payload)

    async def flush(self) -> None:
        pass

    async def message(self, timeout: float) -> bytes:
        return next(self._answers)


def finished(coroutine: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, lambda failed: results.append(failed))
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def login(
    *answers: bytes, key: PKey | None = None, level: str = "modern", algorithms: str | None = "rsa-sha2-512,ssh-ed25519"
) -> list[bytes]:
    """What was said after the service request."""
    host = Host(*answers)
    running: Any = HostLogin(host, Engine(algorithms), "svc", 5.0, level)  # type: ignore[arg-type]
    finished(running.run(SECRET, key))
    assert host.said[0] == b"\x05" + string("ssh-userauth")
    return host.said[1:]


def requested(payload: bytes) -> tuple[str, bytes]:
    """Method and the fields behind it."""
    fields = Fields(payload, 1)
    assert (fields.name(), fields.name()) == ("svc", "ssh-connection")
    method = fields.name()
    return method, payload[1 + 3 * 4 + 3 + 14 + len(method) :]


# -- password


def test_password() -> None:
    (said,) = login(BANNER, SUCCESS)
    assert requested(said) == ("password", flag(False) + string(SECRET.reveal()))


def test_the_one_question_that_asks_for_it() -> None:
    """A host that takes passwords only so; and the empty question that follows in some."""
    first, second, answer, nothing = login(failure("publickey,keyboard-interactive"), question("Password: "),
                                           question(), SUCCESS)  # fmt: skip
    assert [requested(one)[0] for one in (first, second)] == ["password", "keyboard-interactive"]
    assert answer == b"\x3d" + number(1) + string(SECRET.reveal())
    assert nothing == b"\x3d" + number(0)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([failure()], "the password was refused; the host takes publickey,password"),
        ([b"\x3c" + string("Your password has expired") + string("")], "the password be changed first"),
        ([failure("keyboard-interactive"), question("Password: ", "Code: ")], "more than the password"),
        ([failure("keyboard-interactive"), question("Password: "), question("New one: ")], "more than the password"),
        ([failure("keyboard-interactive"), question("Password: "), failure()], "the password was refused"),
        ([failure("keyboard-interactive"), question(), question(), question()], "again and again"),
        ([failure("keyboard-interactive,password")], "the password was refused"),
        ([failure("none\x1b[31m\n,x")], "the host takes none31m,x"),
    ],
)  # fmt: skip
def test_refusals_are_told_in_words_that_ops_can_use(answers: list[bytes], words: str) -> None:
    """The password is said once; to nothing but its own request or the one question."""
    with pytest.raises(LoginRefused, match=words) as refused:
        login(*answers)
    assert SECRET.reveal().decode() not in str(refused.value)


@pytest.mark.parametrize("answers", [[BANNER] * 30, [failure("keyboard-interactive"), b"\x3c\x00"]])
def test_a_host_that_only_talks_or_talks_nonsense(answers: list[bytes]) -> None:
    with pytest.raises(PeerFault):
        login(*answers)


# -- keys


def private(key: Any, passphrase: str = "", form: Any = serialization.PrivateFormat.OpenSSH) -> Secret:
    hidden: Any = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else None
    return Secret(key.private_bytes(serialization.Encoding.PEM, form, hidden or serialization.NoEncryption()))


def signature(said: bytes, key: PKey) -> str:
    """The algorithm of a signature that is valid for the session."""
    method, rest = requested(said)
    assert method == "publickey"
    fields = Fields(rest, 1)
    algorithm = fields.name()
    assert fields.string(10_000) == key.asbytes()
    signed = said[: len(said) - 4 - len(fields.string(10_000))]
    made = Message(Fields(said, len(signed)).string(10_000))
    assert type(key)(data=key.asbytes()).verify_ssh_sig(string(SESSION) + signed, made)
    return algorithm


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ED25519, "ssh-ed25519"), (ec.generate_private_key(ec.SECP256R1()), "ecdsa-sha2-nistp256"),
        (ec.generate_private_key(ec.SECP521R1()), "ecdsa-sha2-nistp521"), (RSA_KEY, "rsa-sha2-512"),
    ],
    ids=["ed25519", "p256", "p521", "rsa"],
)  # fmt: skip
@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_keys(key: Any, algorithm: str, passphrase: str) -> None:
    loaded = in_thread_key(Login("svc", private(key, passphrase), Secret(passphrase)))
    (said,) = login(SUCCESS, key=loaded)
    assert signature(said, loaded) == algorithm


@pytest.mark.parametrize("key", [ED25519, RSA_KEY], ids=["ed25519", "rsa"])
@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_keys_in_pkcs8(key: Any, passphrase: str) -> None:
    secret = private(key, passphrase, serialization.PrivateFormat.PKCS8)
    assert login(SUCCESS, key=in_thread_key(Login("svc", secret, Secret(passphrase))))
    if passphrase:
        with pytest.raises(LoginRefused, match="wrong or missing"):
            in_thread_key(Login("svc", secret))


@pytest.mark.parametrize("key", [RSA_KEY, ec.generate_private_key(ec.SECP384R1())], ids=["rsa", "p384"])
@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_keys_of_before_openssh_had_its_own_form(key: Any, passphrase: str) -> None:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    loaded = in_thread_key(Login("svc", private(key, passphrase, form), Secret(passphrase)))
    assert login(SUCCESS, key=loaded)


@pytest.mark.parametrize(
    ("level", "told", "algorithms"),
    [
        ("modern", "rsa-sha2-256,rsa-sha2-512", ["rsa-sha2-512"]), ("modern", "rsa-sha2-256", ["rsa-sha2-256"]),
        ("modern", None, ["rsa-sha2-256"]), ("modern", "ssh-ed25519", ["rsa-sha2-256"]),
        ("compat", None, ["ssh-rsa"]), ("compat", "rsa-sha2-512", ["rsa-sha2-512", "ssh-rsa"]),
        ("legacy", "ssh-rsa", ["ssh-rsa"]),
    ],
)  # fmt: skip
def test_rsa_signs_as_the_host_verifies(level: str, told: str | None, algorithms: list[str]) -> None:
    """paramiko#2012: a host that says nothing of it knows SHA-1 alone, which only two levels sign with."""
    key = RSAKey(key=RSA_KEY)
    said = login(*[failure()] * (len(algorithms) - 1), SUCCESS, key=key, level=level, algorithms=told)
    verifiers = {"ssh-rsa": SHA1RSAKey(key=RSA_KEY)}
    assert [signature(one, verifiers.get(name, key)) for one, name in zip(said, algorithms, strict=True)] == algorithms


def test_a_key_that_is_refused() -> None:
    with pytest.raises(LoginRefused, match="the key was refused; the host takes password"):
        login(failure("password"), key=in_thread_key(Login("svc", private(ED25519))))


@pytest.mark.parametrize(
    ("secret", "passphrase", "words"),
    [
        (private(ED25519, "right"), "", "needs a passphrase"), (private(ED25519, "right"), "tr0ub4dor", "is wrong"),
        (private(RSA_KEY, "right", serialization.PrivateFormat.TraditionalOpenSSL), "tr0ub4dor", "is wrong"),
        (Secret("-----BEGIN OPENSSH PRIVATE KEY-----\nAA==\n-----END OPENSSH PRIVATE KEY-----"), "", "cannot be read"),
        (Secret("-----BEGIN nothing"), "", "cannot be read"),
    ],
    ids=["no passphrase", "wrong passphrase", "wrong passphrase, PEM", "cut", "none"],
)  # fmt: skip
def test_keys_that_cannot_be_read(secret: Secret, passphrase: str, words: str) -> None:
    with pytest.raises(LoginRefused, match=words) as refused:
        in_thread_key(Login("svc", secret, Secret(passphrase)))
    for part in (secret, Secret(passphrase)):
        assert not part or part.reveal().decode() not in str(refused.value)


# -- pins


async def direct(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@pytest.mark.parametrize("file", ["", "missing", "damaged"])
def test_a_host_of_which_no_key_is_pinned_hears_nothing(file: str, tmp_path: Any) -> None:
    """Neither does one whose file is missing or cannot be read: trust is never the fallback."""
    (tmp_path / "damaged").write_text("[192.0.2.1]:5432 what\n")
    near, _ = memory_pair(Clock())
    options = Options(known_hosts=str(tmp_path / file) if file else "")
    with pytest.raises(HostKeyRefused):
        finished(
            log_in(near, login=Login("svc", SECRET), options=options, host="192.0.2.1", timeout=5, deferring=direct,
                   clock=lambda: 0.0)
        )  # fmt: skip
    assert not near.sent

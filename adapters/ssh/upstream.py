"""Logging in to the legacy host as the static account: by key, by password, or by the one question that asks for it."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from paramiko.ecdsakey import ECDSAKey
from paramiko.ed25519key import Ed25519Key
from paramiko.pkey import PKey
from paramiko.rsakey import RSAKey
from paramiko.ssh_exception import PasswordRequiredException, SSHException

from adapters.ssh.fields import Fields, flag, number, string
from adapters.ssh.host_exchange import Deferring, Engine, HostKeyRefused
from adapters.ssh.known_hosts import KnownHostsDamaged, Line, Pins, host_name, parse
from adapters.ssh.levels import LEVELS, SHA1RSAKey
from adapters.ssh.options import Options
from adapters.ssh.wire import WireLeg
from bridge.adapter import BridgeError, Deadline, Login, PeerFault, Secret, Stream

SERVICE_REQUEST, SERVICE_ACCEPT = 5, 6
REQUEST, FAILURE, SUCCESS, BANNER, ANSWER = 50, 51, 52, 53, 60
INFO_RESPONSE = 61
MOST_BANNERS = 20
MOST_QUESTIONS = 3
MOST_PROMPTS = 1
SERVICE = "ssh-connection"

KEY_BEGINS = b"-----BEGIN "
PKCS8 = ("-----BEGIN PRIVATE KEY-----", "-----BEGIN ENCRYPTED PRIVATE KEY-----")


class LoginRefused(BridgeError):
    """The host does not take the static account's secret. The words are for ops."""


class HostLeg(WireLeg):
    """``engine`` knows the host's key."""

    def __init__(self, stream: Stream, engine: Engine) -> None:
        super().__init__(stream, engine)
        self.engine = engine


class HostLogin:
    """One login. ``timeout`` is seconds for each answer of the host."""

    def __init__(self, leg: WireLeg, engine: Engine, user: str, timeout: float, level: str) -> None:
        self._leg = leg
        self._engine = engine
        self._user = user
        self._timeout = timeout
        self._level = level
        self._banners = 0

    async def run(self, secret: Secret, key: PKey | None) -> None:
        """By the key, if there is one. Raises LoginRefused, PeerFault, TimedOut, StreamClosed."""
        self._leg.write(bytes((SERVICE_REQUEST,)) + string("ssh-userauth"))
        await self._leg.flush()
        if await self._message() != bytes((SERVICE_ACCEPT,)) + string("ssh-userauth"):
            raise PeerFault("the host does not offer to log in")
        if key is not None:
            await self._by_key(key)
        else:
            await self._by_password(secret)

    async def _by_key(self, key: PKey) -> None:
        for algorithm, signing in self._signatures(key):
            asked = self._request("publickey") + flag(True) + string(algorithm) + string(key.asbytes())
            signature = signing.sign_ssh_data(string(self._engine.session_id) + asked, algorithm).asbytes()
            await self._ask(asked + string(signature))
            answer = await self._message()
            if answer[0] == SUCCESS:
                return
            if answer[0] != FAILURE:
                break
        raise LoginRefused(f"the key was refused; the host takes {_methods(answer)}")

    def _signatures(self, key: PKey) -> list[tuple[str, PKey]]:
        """RSA keys sign as the host said it verifies (RFC 8308); one that says nothing is as old as the level.

        Where the level has SHA-1 it is tried last as well: what hosts say is what they know, not what they accept.
        """
        if not isinstance(key, RSAKey):
            return [(key.get_name(), key)]
        told = self._engine.server_extensions.get("server-sig-algs", b"")
        listed = (told if isinstance(told, str) else told.decode("ascii", "replace")).split(",")
        found = [(name, key) for name in ("rsa-sha2-512", "rsa-sha2-256") if name in listed][:1]
        if LEVELS[self._level].sha1_signatures:
            return [*found, ("ssh-rsa", SHA1RSAKey(key=key.key))]
        return found or [("rsa-sha2-256", key)]

    async def _by_password(self, secret: Secret) -> None:
        await self._ask(self._request("password") + flag(False) + string(secret.reveal()))
        answer = await self._message()
        if answer[0] == SUCCESS:
            return
        if answer[0] == ANSWER:
            raise LoginRefused("the host demands that the password be changed first")
        if answer[0] == FAILURE and "keyboard-interactive" in _methods(answer) and "password" not in _methods(answer):
            await self._by_question(secret)
            return
        raise LoginRefused(f"the password was refused; the host takes {_methods(answer)}")

    async def _by_question(self, secret: Secret) -> None:
        await self._ask(self._request("keyboard-interactive") + string("") + string(""))
        answered = False
        for _ in range(MOST_QUESTIONS):
            answer = await self._message()
            if answer[0] == SUCCESS:
                return
            if answer[0] != ANSWER:
                raise LoginRefused(f"the password was refused; the host takes {_methods(answer)}")
            fields = Fields(answer, 1)
            for _text in ("name", "instruction", "language"):
                fields.string(4096)
            prompts = fields.number()
            if prompts > MOST_PROMPTS or (prompts and answered):
                raise LoginRefused("the host asks for more than the password")
            self._leg.write(bytes((INFO_RESPONSE,)) + number(prompts) + (string(secret.reveal()) if prompts else b""))
            await self._leg.flush()
            answered = answered or bool(prompts)
        raise LoginRefused("the host asks again and again")

    def _request(self, method: str) -> bytes:
        return bytes((REQUEST,)) + string(self._user) + string(SERVICE) + string(method)

    async def _ask(self, payload: bytes) -> None:
        self._leg.write(payload)
        await self._leg.flush()

    async def _message(self) -> bytes:
        """But a banner: it is kept nowhere, a host may repeat in it what it was told."""
        while True:
            message = await self._leg.message(self._timeout)
            if message[0] != BANNER:
                return message
            self._banners += 1
            if self._banners > MOST_BANNERS:
                raise PeerFault("the host only talks")


async def log_in(
    stream: Stream,
    *,
    login: Login,
    options: Options,
    host: str,
    timeout: float,
    deferring: Deferring,
    clock: Callable[[], float],
) -> HostLeg:
    """Negotiates, checks the host's key, exchanges keys, logs in. ``host`` is the name under which its key is pinned.

    Raises HostKeyRefused, NothingInCommon, LoginRefused, PeerFault, TimedOut, StreamClosed.
    """
    pins = await deferring(in_thread_pins, options, host, stream.peer.port)
    if not pins:
        raise HostKeyRefused(f"no key of {host_name(host, stream.peer.port)} is pinned; see idbridge ssh trust")
    key = await deferring(in_thread_key, login) if login.secret.reveal().startswith(KEY_BEGINS) else None
    engine = Engine(options.level, pins.algorithms(), pins.check, deferring=deferring, seconds=clock)
    leg = await exchanged(stream, engine, timeout=timeout, clock=clock)
    await HostLogin(leg, engine, login.user, timeout, options.level).run(login.secret, key)
    return leg


def in_thread_pins(options: Options, host: str, port: int, *, enrolling: bool = False) -> Pins:
    """Reads the files each time, so that a key that was pinned just now counts. Raises HostKeyRefused.

    A file that is missing is an error, it may have revoked keys; but for the first host that is pinned in it.
    """
    lines: list[Line] = []
    if options.known_hosts:
        try:
            lines = parse(Path(options.known_hosts).read_text("utf-8"))
        except FileNotFoundError as error:
            if not enrolling:
                raise HostKeyRefused(f"{options.known_hosts}: {error.strerror}") from None
        except (OSError, KnownHostsDamaged, UnicodeDecodeError) as error:
            raise HostKeyRefused(f"{options.known_hosts}: {error}") from None
    authorities = [line.key for line in parse("\n".join(f"* {one}" for one in options.host_ca))]
    name = host_name(host, port)
    return Pins(name, lines, fingerprints=options.fingerprints, authorities=authorities, now=time.time)


async def scan(
    stream: Stream, options: Options, algorithm: str, *, timeout: float, deferring: Deferring,
    clock: Callable[[], float],
) -> bytes:  # fmt: skip
    """The host's key of one kind, proven and not trusted; nothing of ours is said. Raises as ``log_in``."""
    engine = Engine(options.level, (algorithm,), lambda key: None, deferring=deferring, seconds=clock)
    await exchanged(stream, engine, timeout=timeout, clock=clock)
    return engine.host_key_blob


async def exchanged(stream: Stream, engine: Engine, *, timeout: float, clock: Callable[[], float]) -> HostLeg:
    """As far as the host has proven itself: nothing of ours was said yet."""
    leg, deadline = HostLeg(stream, engine), Deadline(timeout, clock, "the host's key exchange took too long")
    await leg.begin()
    while not engine.secure:
        await leg.step(deadline.left)
    return leg


def in_thread_key(login: Login) -> PKey:
    """A passphrase takes a tenth of a second. Raises LoginRefused; its words tell nothing of the key."""
    password = login.passphrase.reveal().decode("utf-8", "replace") if login.passphrase else None
    text = login.secret.reveal().decode("utf-8", "replace")
    if text.startswith(PKCS8):
        text, password = _as_openssh(login), None
    for kind in (Ed25519Key, ECDSAKey, RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text), password)
        except PasswordRequiredException:
            raise LoginRefused("the account's private key needs a passphrase") from None
        except (SSHException, ValueError, IndexError, struct.error, UnicodeError):
            continue
    raise LoginRefused("the account's private key cannot be read, or its passphrase is wrong")


def _as_openssh(login: Login) -> str:
    """Of a key in PKCS #8 (RFC 5958), which paramiko does not read."""
    try:
        key = serialization.load_pem_private_key(login.secret.reveal(), login.passphrase.reveal() or None)
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ).decode()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise LoginRefused("the account's private key cannot be read, or its passphrase is wrong or missing") from None


def _methods(answer: bytes) -> str:
    if answer[0] != FAILURE:
        return "nothing"
    listed = Fields(answer, 1).string(1024).decode("ascii", "replace")
    return "".join(c for c in listed if c.isalnum() or c in "-,.@")

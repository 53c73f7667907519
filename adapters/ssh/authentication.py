"""How an agent proves itself (RFC 4252, RFC 4256): one request at a time, each answered before the next is read.

* What is proven goes to ``judge``, which admits and logs in upstream; only then is SSH_MSG_USERAUTH_SUCCESS said.
* The identity is the key whose *signature* was verified, never the last one that was asked about (CVE-2024-45337).
* ``none`` and unsigned questions cost no attempt; failures name exactly the methods that are on.
* A refusal is told by a banner: what happened, what to do, and the reference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from adapters.ssh.fields import Fields, flag, number, string
from adapters.ssh.public_keys import NO_LIMITS, Limits, OfferedKey, offered
from adapters.ssh.refusals import NO_MORE_AUTH_METHODS, rule, spoken
from adapters.ssh.server import AgentLeg
from bridge.adapter import (
    BearerToken,
    Credential,
    Deadline,
    PeerFault,
    Refused,
    Secret,
    SSHCertificate,
    SSHPublicKey,
    StreamClosed,
)

REQUEST, FAILURE, SUCCESS, BANNER, PK_OK = 50, 51, 52, 53, 60
INFO_REQUEST, INFO_RESPONSE = 60, 61

ATTEMPTS = 10
"""Signed keys and secrets in one connection: an SSH agent may hold several keys that are not known here."""

QUESTIONS = 100
"""Requests that cost no attempt; a client asks about each key that it has, once."""

CUT_SECRET = 1023
"""Bytes after which OpenSSH's client cuts what it prompts for, without a word (readpassphrase, measured)."""

CUT_TEXT = "the secret that came has 1,023 bytes: OpenSSH cuts longer ones; use a shorter token, a key or a certificate"
PROMPT = "Agent token (password): "  # sshpass and Ansible look for "assword"
SERVICE = "ssh-connection"

Judge = Callable[[str, Credential, Limits], Awaitable[None]]
"""User name, proof, limits of a certificate. Raises Refused."""


@dataclass(frozen=True, slots=True)
class Methods:
    """What is taken. ``key``: a registered key as a proof by itself, or (``key_with_token``) as the first of two.

    ``inherited``: the user has proven itself already (the inner connection of ``ssh -J``).
    """

    token: bool = True
    certificate: bool = True
    key: bool = False
    key_with_token: bool = True
    inherited: bool = False
    banner: str = ""

    def names(self, *, half: bool) -> str:
        """As RFC 4252 section 5.1 lists them. ``half``: a key was proven, and a token is to follow."""
        keys = self.certificate or (not half and (self.key or (self.key_with_token and self.token)))
        listed = (["publickey"] if keys else []) + (["keyboard-interactive", "password"] if self.token else [])
        return ",".join(listed)


@dataclass(slots=True)
class Login:
    """One connection's authentication. ``inherited_credential`` goes with ``Methods.inherited``."""

    leg: AgentLeg
    methods: Methods
    judge: Judge
    deadline: Deadline
    inherited_credential: Credential | None = None
    attempts: int = 0
    questions: int = 0
    bannered: bool = False
    partial: tuple[str, OfferedKey] | None = None
    ahead: list[bytes] = field(default_factory=list)

    async def run(self) -> None:
        """Returns when the agent is in. Raises Refused (the last one), PeerFault, TimedOut, StreamClosed."""
        last: Refused | None = None
        while not self._exhausted():
            payload = await self._message()
            try:
                if await self._answered(payload):
                    return
            except Refused as refused:
                last = refused
                await self._refuse(refused)
        self.leg.disconnect(NO_MORE_AUTH_METHODS, "too many attempts to log in")
        await self.leg.flush()
        raise last or PeerFault("too many attempts to log in, none with a proof")

    def _exhausted(self) -> bool:
        return self.attempts >= ATTEMPTS or self.questions >= QUESTIONS

    async def _message(self) -> bytes:
        if self.ahead:
            return self.ahead.pop(0)
        return await self.leg.message(self.deadline.left)

    async def _answered(self, payload: bytes) -> bool:
        """Whether the agent is in; else the answer was given, or Refused is raised."""
        if payload[0] != REQUEST:
            raise PeerFault("a request to log in was expected")
        fields = Fields(payload, 1)
        user, service, method = fields.text(), fields.name(), fields.name()
        if service != SERVICE:
            raise PeerFault(f"the service after the login is {SERVICE}")
        if self.partial is not None and self.partial[0] != user:
            self.partial = None  # RFC 4252 section 5: what was proven was another user's
        if self.methods.banner and not self.bannered:
            self._banner(self.methods.banner)
        self.bannered = True
        if method == "password" and self.methods.token:
            return await self._password(user, fields)
        if method == "keyboard-interactive" and self.methods.token:
            return await self._interactive(user, fields)
        if method == "publickey":
            return await self._public_key(user, fields, payload)
        if method == "none" and self.methods.inherited and self.inherited_credential is not None:
            return await self._judged(user, self.inherited_credential, NO_LIMITS)
        self.questions += 1
        await self._fail()
        return False

    async def _password(self, user: str, fields: Fields) -> bool:
        if fields.flag():  # a change of password: there is none here
            self.questions += 1
            await self._fail()
            return False
        secret = fields.string(64 * 1024)
        fields.end()
        return await self._token(user, secret)

    async def _interactive(self, user: str, fields: Fields) -> bool:
        fields.string(64)  # language
        fields.string(1024)  # submethods
        fields.end()
        asked = string("") + string("") + string("") + number(1) + string(PROMPT) + flag(False)
        self.leg.write(bytes((INFO_REQUEST,)) + asked)
        await self.leg.flush()
        payload = await self._message()
        if payload[0] == REQUEST:  # RFC 4256 section 3.1: the client gives this one up
            self.questions += 1
            self.ahead.append(payload)
            return False
        answer = Fields(payload, 1)
        if payload[0] != INFO_RESPONSE or answer.number() != 1:
            raise PeerFault("one answer to the question was expected")
        secret = answer.string(64 * 1024)
        answer.end()
        return await self._token(user, secret)

    async def _token(self, user: str, secret: bytes) -> bool:
        confirmed = self.partial[1].thumbprint() if self.partial is not None else ""
        try:
            return await self._judged(user, BearerToken(Secret(secret.strip()), confirmed), NO_LIMITS)
        except Refused:
            if len(secret) == CUT_SECRET:
                self._banner(CUT_TEXT)
            raise

    async def _public_key(self, user: str, fields: Fields, payload: bytes) -> bool:
        signed, algorithm, blob = fields.flag(), fields.name(), fields.string(32 * 1024)
        key = offered(algorithm, blob)
        if key is None or not self._wanted(key):
            self.questions += 1
            await self._fail()
            return False
        if not signed:
            fields.end()
            self.questions += 1
            self.leg.write(bytes((PK_OK,)) + string(algorithm) + string(blob))
            await self.leg.flush()
            return False
        upto = fields.position
        signature = fields.string(8 * 1024)
        fields.end()
        if not key.verifies(signature, string(self.leg.session_id) + payload[:upto]):
            self.attempts += 1
            await self._fail()
            return False
        if key.certificate is not None:
            return await self._judged(user, SSHCertificate(blob), key.limits)
        if self.methods.key:
            return await self._judged(user, SSHPublicKey(blob), NO_LIMITS)
        self.partial = (user, key)
        await self._fail(partial=True)
        return False

    def _wanted(self, key: OfferedKey) -> bool:
        """A second plain key is not: OpenSSH begins with its first key again after a partial success."""
        if key.certificate is not None:
            return self.methods.certificate
        return self.methods.key or (self.methods.key_with_token and self.methods.token and self.partial is None)

    async def _judged(self, user: str, credential: Credential, limits: Limits) -> bool:
        self.attempts += 1
        await self.judge(user, credential, limits)
        self.leg.write(bytes((SUCCESS,)))
        self.leg.exchange.authenticated = True
        await self.leg.flush()
        return True

    async def _refuse(self, refused: Refused) -> None:
        """Raises it on when no other proof would help, or nobody is there to give one."""
        self._banner(spoken(refused))
        try:
            if rule(refused).again:
                await self._fail()
                return
            self.leg.disconnect(rule(refused).code, spoken(refused))
            await self.leg.flush()
        except StreamClosed:
            pass
        raise refused

    def _banner(self, text: str) -> None:
        self.leg.write(bytes((BANNER,)) + string(text.rstrip("\n") + "\r\n") + string(""))

    async def _fail(self, *, partial: bool = False) -> None:
        names = self.methods.names(half=self.partial is not None)
        self.leg.write(bytes((FAILURE,)) + string(names) + flag(partial))
        await self.leg.flush()

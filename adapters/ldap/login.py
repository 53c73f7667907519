"""The agent's Bind as a state machine (RFC 4513, RFC 4616 PLAIN, RFC 7628 OAUTHBEARER, RFC 4422 EXTERNAL).

``AgentBind.receive`` turns each Bind into ``Prove`` (take this to the door) or ``Say`` (answer this). A Bind that fails
leaves the connection anonymous, whatever it was before: clients go on after a failed Bind (ldap3 does). The name in a
Bind is any string; clients send SPIFFE ids, ``user@realm`` or nothing, so it is never read as a DN here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from adapters.ldap.codec import Bind
from adapters.ldap.codes import Code
from adapters.ldap.refusals import answer
from bridge.adapter import AgentFacts, BearerToken, ClientCertificate, Credential, Reason, Refused, Secret

MAX_TOKEN = 16 * 1024
"""Bytes of a token; those with many groups are about 8 KiB."""

MAX_NAME = 1024
"""Bytes of a name that is looked at; a longer one agrees with nobody."""

ACKNOWLEDGE_TIMEOUT = 10.0
"""Seconds to wait for the 0x01 behind an OAUTHBEARER failure (RFC 7628 section 3.2.3); some clients never send it."""

PLAIN, OAUTHBEARER, EXTERNAL = "PLAIN", "OAUTHBEARER", "EXTERNAL"

_WISH = "account="
_INVALID = json.dumps({"status": "invalid_token"}).encode()
_UNPROVEN = frozenset({Reason.CREDENTIAL_MISSING, Reason.CREDENTIAL_INVALID, Reason.CREDENTIAL_EXPIRED})


@dataclass(frozen=True, slots=True)
class Prove:
    """``credential`` is to be admitted; ``also``, if there, must belong to the same agent (``Door.verify``).

    ``name``: what the client calls itself, to be compared by ``agrees`` once the agent is known; "" for nothing.
    ``account``: the account it wishes (``account=NAME`` as the name), None for the default.
    """

    credential: Credential
    name: str = ""
    account: str | None = None
    mechanism: str = "simple"
    also: ClientCertificate | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """An answer to the Bind. ``reason``: record it by ``Door.turn_away``; None for what is no refusal."""

    code: Code
    text: str = ""
    sasl: bytes | None = None
    reason: Reason | None = None


ANONYMOUS = Say(Code.SUCCESS)


@dataclass(slots=True)
class AgentBind:
    """One connection's. ``certificate_alone``: an anonymous Bind with a client certificate is a login by it.

    ``pending`` is the mechanism that waits for the client's next step: any operation but Bind, Unbind and Abandon is
    answered with ``IN_PROGRESS`` meanwhile.
    """

    certificate_alone: bool = False
    pending: str = ""
    _refused: bool = field(default=False, repr=False)
    _said: Say | None = field(default=None, repr=False)

    def receive(self, bind: Bind, *, private: bool, chain: tuple[bytes, ...] = ()) -> Prove | Say:
        """``private``: a credential may be taken on this connection; ``chain``: the client's certificate."""
        pending, refused, said = self.pending, self._refused, self._said
        self.pending, self._refused, self._said = "", False, None
        if bind.version != 3:
            return Say(Code.PROTOCOL_ERROR, "only LDAP version 3 is served", reason=Reason.PROTOCOL)
        if bind.method == "simple":
            return self._simple(bind, private, chain)
        if bind.method != "sasl" or bind.mechanism.upper() not in (PLAIN, OAUTHBEARER, EXTERNAL):
            return Say(
                Code.METHOD_NOT_SUPPORTED,
                "Bind simply with a token as the password, or by SASL PLAIN, OAUTHBEARER or EXTERNAL.",
                reason=Reason.UNSUPPORTED,
            )
        mechanism = bind.mechanism.upper()
        if refused and mechanism == pending:
            return said or _invalid()  # whatever came, 0x01 or not: the exchange has failed
        return self._sasl(mechanism, bind.credentials, private, chain)

    def failed(self, proof: Prove, refused: Refused) -> Say:
        """The answer when the door said no. OAUTHBEARER tells why in a challenge and refuses at the next step."""
        code, text, _ = answer(refused, live=False)
        if proof.name.upper() in (PLAIN, OAUTHBEARER, EXTERNAL) and proof.mechanism == "simple":
            text = f"{text} This was a simple bind with the name of a SASL mechanism."
        said = Say(code, text)
        if proof.mechanism == OAUTHBEARER and refused.reason in _UNPROVEN:
            self.pending, self._refused, self._said = OAUTHBEARER, True, said
            return Say(Code.SASL_IN_PROGRESS, "", _INVALID)
        return said

    def _simple(self, bind: Bind, private: bool, chain: tuple[bytes, ...]) -> Prove | Say:
        password = (bind.credentials or b"").strip()
        name = _name(bind.name)
        if password:
            return self._token(password, name, "simple", private, chain)
        if chain and self.certificate_alone:
            return Prove(ClientCertificate(chain), *_wish(name), "simple")
        if not bind.name and not bind.credentials:
            return ANONYMOUS
        return Say(
            Code.UNWILLING,
            "An unauthenticated bind is not allowed: give a token as the password.",
            reason=Reason.CREDENTIAL_MISSING,
        )

    def _sasl(self, mechanism: str, credentials: bytes | None, private: bool, chain: tuple[bytes, ...]) -> Prove | Say:
        if mechanism == EXTERNAL:
            return self._external(credentials or b"", chain)
        if not private:
            return _plaintext()
        if credentials is None:
            self.pending = mechanism
            return Say(Code.SASL_IN_PROGRESS, "", b"")
        if mechanism == PLAIN:
            return self._plain(credentials, private, chain)
        return self._bearer(credentials, private, chain)

    def _plain(self, credentials: bytes, private: bool, chain: tuple[bytes, ...]) -> Prove | Say:
        parts = credentials.split(b"\0")
        if len(parts) != 3 or parts[0] not in (b"", parts[1]):
            return _invalid()  # acting as another is never granted
        return self._token(parts[2].strip(), _name(parts[1]), PLAIN, private, chain)

    def _bearer(self, credentials: bytes, private: bool, chain: tuple[bytes, ...]) -> Prove | Say:
        parsed = _oauth(credentials)
        if parsed is None:
            self.pending, self._refused = OAUTHBEARER, True
            return Say(Code.SASL_IN_PROGRESS, "", _INVALID, Reason.CREDENTIAL_INVALID)
        return self._token(parsed[1], _name(parsed[0]), OAUTHBEARER, private, chain)

    def _external(self, authorization: bytes, chain: tuple[bytes, ...]) -> Prove | Say:
        if not chain:
            return Say(
                Code.INVALID_CREDENTIALS,
                "EXTERNAL needs a TLS client certificate, and none was presented.",
                reason=Reason.CREDENTIAL_MISSING,
            )
        name = _name(authorization).removeprefix("u:").removeprefix("dn:")
        return Prove(ClientCertificate(chain), *_wish(name), EXTERNAL)

    def _token(self, token: bytes, name: str, mechanism: str, private: bool, chain: tuple[bytes, ...]) -> Prove | Say:
        if not private:
            return _plaintext()
        if not token or len(token) > MAX_TOKEN:
            return _invalid()
        also = ClientCertificate(chain) if chain else None
        return Prove(BearerToken(Secret(token)), *_wish(name), mechanism, also)


IN_PROGRESS = Say(Code.OPERATIONS_ERROR, "SASL bind in progress")
UNBOUND = Say(Code.STRONGER_AUTH, "Bind first, with a token of your own as the password.")
EXPIRED = Say(Code.STRONGER_AUTH, "bridge: token expired. Bind again with a fresh token.")


def agrees(name: str, agent: AgentFacts, others: tuple[str, ...] = ()) -> bool:
    """Whether the Bind's name is the agent's id or name, or one of ``others`` (aliases, the static account's DN)."""
    wanted = name.strip().casefold()
    return not wanted or wanted in {known.strip().casefold() for known in (agent.id, agent.name, *others) if known}


def mechanisms(*, private: bool, certificate: bool) -> tuple[str, ...]:
    """What ``supportedSASLMechanisms`` says on this connection."""
    return (*((PLAIN, OAUTHBEARER) if private else ()), *((EXTERNAL,) if certificate else ()))


def _plaintext() -> Say:
    return Say(
        Code.CONFIDENTIALITY,
        "A token is only taken on an encrypted connection, and this one is exposed now. Use LDAPS or StartTLS.",
        reason=Reason.PLAINTEXT,
    )


def _invalid() -> Say:
    return Say(
        Code.INVALID_CREDENTIALS,
        "The credential is not valid. Bind with a fresh token of your own as the password.",
        reason=Reason.CREDENTIAL_INVALID,
    )


def _name(name: bytes) -> str:
    """Any string; what is too long or no UTF-8 agrees with nobody."""
    return name[: MAX_NAME + 1].decode("utf-8", "replace").strip() if len(name) <= MAX_NAME else "\ufffd"


def _wish(name: str) -> tuple[str, str | None]:
    """Name and wished account: ``account=NAME`` is a DN to clients that insist on one."""
    if name.lower().startswith(_WISH):
        return "", name[len(_WISH) :].strip() or None
    return name, None


def _oauth(credentials: bytes) -> tuple[bytes, bytes] | None:
    """Authorization id and token of a client's first message (RFC 7628 section 3.1); None when it is none."""
    header, separator, rest = credentials.partition(b"\x01")
    flag, _, authorization = header.partition(b",")
    if not separator or not rest.endswith(b"\x01\x01") or flag not in (b"n", b"y"):
        return None
    identity = authorization.removesuffix(b",")
    if identity and not identity.startswith(b"a="):
        return None
    for pair in rest[:-2].split(b"\x01"):
        key, _, value = pair.partition(b"=")
        scheme, _, token = value.partition(b" ")
        if key == b"auth" and scheme.lower() == b"bearer" and token.strip():
            return identity[2:].replace(b"=2C", b",").replace(b"=3D", b"="), token.strip()
    return None

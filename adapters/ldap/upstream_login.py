"""The static account's simple Bind, and what a refusal of it means (research A5).

The directory's own words go to ops, never to the agent: 49 would make it renew a token that is good.
"""

from __future__ import annotations

import re
from enum import StrEnum

from adapters.ldap import codec, controls
from adapters.ldap.answers import LdapResult, read_result
from adapters.ldap.codes import Code, Oid, Op
from adapters.ldap.controls import Ppolicy
from adapters.ldap.framing import Message
from bridge.adapter import BridgeError, PeerFault, Secret


class Kind(StrEnum):
    """Why a directory refused. All of ``BREAKING`` would only be worse the next time: three tries lock an account."""

    WRONG_PASSWORD = "wrong password or no such account"  # noqa: S105
    LOCKED = "account locked"
    EXPIRED = "password or account expired"
    DISABLED = "account disabled"
    MUST_CHANGE = "password must be changed"
    NOT_NOW = "logon not permitted at this time or from this host"
    CHANNEL_BINDING = "channel binding required"
    ENCRYPTION = "encryption required"
    BUSY = "directory busy or unavailable"
    EMPTY = "the static account's name or password is empty"
    OTHER = "refused"


_NOT_BREAKING = frozenset({Kind.CHANNEL_BINDING, Kind.ENCRYPTION, Kind.BUSY, Kind.EMPTY})

_ACTIVE_DIRECTORY = {
    "525": Kind.WRONG_PASSWORD,
    "52e": Kind.WRONG_PASSWORD,
    "530": Kind.NOT_NOW,
    "531": Kind.NOT_NOW,
    "532": Kind.EXPIRED,
    "533": Kind.DISABLED,
    "701": Kind.EXPIRED,
    "773": Kind.MUST_CHANGE,
    "775": Kind.LOCKED,
    "80090346": Kind.CHANNEL_BINDING,
}
"""``data`` codes in the text of a 49 (ERROR_* in hexadecimal; 80090346 is SEC_E_BAD_BINDINGS, ldap3#923, #1049)."""

_PPOLICY = {0: Kind.EXPIRED, 1: Kind.LOCKED, 2: Kind.MUST_CHANGE}
_DATA = re.compile(rb"data ([0-9a-fA-F]{1,8})\b")
_CODES = {
    Code.STRONGER_AUTH: Kind.ENCRYPTION,
    Code.CONFIDENTIALITY: Kind.ENCRYPTION,
    Code.BUSY: Kind.BUSY,
    Code.UNAVAILABLE: Kind.BUSY,
}

MAX_CAUSE = 500
"""Characters of the directory's words that are kept."""


class BindRefused(BridgeError):
    """The directory said no to the static account. The message is for ops; ``breaking``: do not try again."""

    def __init__(self, kind: Kind, words: str = "", code: int = 0) -> None:
        super().__init__(f"{kind.value} (result {code}{': ' + words if words else ''})" if code else kind.value)
        self.kind = kind
        self.code = code
        self.breaking = kind not in _NOT_BREAKING


class UpstreamBind:
    """``request`` is the message to send; ``read`` takes the answer and returns the password policy's warnings."""

    def __init__(self, name: str, secret: Secret, number: int) -> None:
        self._name = name
        self._secret = secret
        self._number = number

    def request(self, more: bytes = b"") -> bytes:
        """``more``: controls to go with it. Raises BindRefused when name or password is empty: that Bind would succeed,
        as nobody (RFC 4513 5.1.2)."""
        if not self._name or not self._secret:
            raise BindRefused(Kind.EMPTY)
        operation = codec.simple_bind(self._name.encode(), self._secret.reveal())
        return codec.request(self._number, operation, controls.ppolicy_request() + more)

    def read(self, message: Message) -> Ppolicy:
        """Raises BindRefused, or PeerFault for what is no answer to the Bind."""
        if message.id not in (0, self._number) or message.tag not in (Op.BIND_RESPONSE, Op.EXTENDED_RESPONSE):
            raise PeerFault("the directory's answer to a Bind is none")
        result = read_result(message)
        policy = policy_of(message)
        if message.id == self._number and message.tag == Op.BIND_RESPONSE and result.code == Code.SUCCESS:
            if policy.error == 2:  # the server lets nothing but a change of the password through
                raise BindRefused(Kind.MUST_CHANGE, "password policy", Code.SUCCESS)
            return policy
        raise BindRefused(classify(result, policy), words(result, policy), result.code)


def classify(result: LdapResult, policy: Ppolicy) -> Kind:
    if policy.error in _PPOLICY:
        return _PPOLICY[policy.error]
    data = _DATA.search(result.text)
    if data is not None:
        return _ACTIVE_DIRECTORY.get(data[1].decode().lower(), Kind.OTHER)
    if result.code == Code.INVALID_CREDENTIALS:
        return Kind.WRONG_PASSWORD
    return next((kind for code, kind in _CODES.items() if code == result.code), Kind.OTHER)


def policy_of(message: Message) -> Ppolicy:
    """What the password policy said with an answer."""
    found = [control for control in controls.read(message) if control.oid == Oid.PPOLICY]
    return controls.read_ppolicy(found[0].value) if found else Ppolicy()


def words(result: LdapResult, policy: Ppolicy) -> str:
    """What the directory said in an answer, for ops."""
    text = result.text.decode("utf-8", "replace").rstrip("\0\n")
    words = "".join(char if char.isprintable() else " " for char in text)[:MAX_CAUSE]
    return f"{policy.cause}; {words}".strip("; ") if policy.cause else words

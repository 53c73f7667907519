"""What no grant can allow: changing the account the bridge itself uses (research A5, findings 8 and 9)."""

from __future__ import annotations

from adapters.ldap import codec
from adapters.ldap.codes import Code, Oid
from adapters.ldap.extended import PasswordModify, read_password_modify
from adapters.ldap.names import Name
from adapters.ldap.operations import Asking
from adapters.ldap.refusals import Spoken
from adapters.ldap.schema import Schema, sensitive
from bridge.adapter import Reason

ALLOWED_EXTENSIONS = frozenset({Oid.WHO_AM_I, Oid.START_TLS, Oid.PASSWORD_MODIFY, Oid.CANCEL})
"""Extended operations that are served; more only where the system's options list them."""

_TRANSACTIONS = "1.3.6.1.1.21."


class Protected:
    """``static``: the static account's entry; None where its name is no DN and none was found: then no secret
    of any entry is changed.

    ``agent_names``: what a Password Modify may call the agent itself, whose password is not in this directory.
    """

    def __init__(self, static: Name | None, schema: Schema, agent_names: tuple[str, ...] = ()) -> None:
        self._static = static
        self._schema = schema
        self._agent = frozenset(name.casefold() for name in agent_names)

    def owns(self, name: Name) -> bool:
        """Whether it is the static account's entry, whose secrets are shown to nobody."""
        return self._static is not None and name == self._static

    def refusal(self, request: codec.Request, asking: Asking) -> Spoken | None:
        """What is said no to, whatever the grants say."""
        if isinstance(request, codec.Extended):
            if request.oid == Oid.PASSWORD_MODIFY:
                return self._password_modify(read_password_modify(request.value), asking.name)
            return None
        static, name = self._static, asking.name
        if static is None and isinstance(request, codec.Modify):
            changed = (self._schema.names(change.attribute) for change in request.changes)
            return _unknown() if any(map(sensitive, changed)) else None  # it could be the bridge's own
        if static is None or name is None:
            return None
        if isinstance(request, codec.Modify) and name == static:
            return _protected()
        if isinstance(request, codec.Delete) and static.within(name):
            return _protected()
        if isinstance(request, codec.ModifyDN) and (static.within(name) or _inside(asking.renamed, static)):
            return _protected()
        if isinstance(request, codec.Add) and name.within(static):
            return _protected()
        if isinstance(request, codec.Compare) and name == static:
            return _protected() if sensitive(self._schema.names(request.attribute)) else None
        return None

    def _password_modify(self, request: PasswordModify, name: Name | None) -> Spoken | None:
        """Without an identity it changes the password of who is bound upstream: the static account's."""
        identity = request.identity.decode("utf-8", "replace")
        own = {identity.casefold(), identity.casefold().removeprefix("dn:").removeprefix("u:")}
        if self._static is None:
            return _unknown()
        if not identity or not own.isdisjoint(self._agent) or name is None or not name.chain or self.owns(name):
            return Spoken(Reason.ACTION_DENIED, Code.UNWILLING, "this password cannot be changed through the bridge")
        return None


def serves(oid: str, more: frozenset[str] = frozenset()) -> bool:
    """Whether an extended operation is served; ``more`` are those the system's options list. Else the answer is 2."""
    return oid in ALLOWED_EXTENSIONS or (oid in more and not oid.startswith(_TRANSACTIONS))


def _inside(name: Name | None, static: Name) -> bool:
    return name is not None and name.within(static)


def _unknown() -> Spoken:
    text = "the entry of the bridge's own account is not known, so no password can be changed"
    return Spoken(Reason.ACTION_DENIED, Code.UNWILLING, text)


def _protected() -> Spoken:
    return Spoken(
        Reason.ACTION_DENIED,
        Code.INSUFFICIENT_ACCESS,
        "this entry belongs to the bridge's own account and is protected",
    )

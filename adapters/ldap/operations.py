"""From a request to an ``Operation``: what it does, on which names, which attributes it touches, the text for the log.

A request can touch several names and attributes, and each must be allowed; an ``Operation`` has one target. So
``Asking`` lists the others: every one of ``also`` must be allowed by ``Admission.may`` before ``operation`` is asked by
``Admission.permit``. A secret's value is in no text, whatever the logging.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from adapters.ldap import codec
from adapters.ldap.attributes import is_list, secret_allowed
from adapters.ldap.codes import Code, Oid
from adapters.ldap.controls import Control, sort_keys
from adapters.ldap.extended import PasswordModify, read_password_modify
from adapters.ldap.filters import PRESENT, escaped, readable
from adapters.ldap.filters import parse as parse_filter
from adapters.ldap.names import Name, Names, parent
from adapters.ldap.refusals import Spoken
from adapters.ldap.schema import Schema, sensitive
from bridge.adapter import Action, Operation, PeerFault, Reason, StatementLogging, Target
from bridge.wire import ber

MAX_TEXT = 4096
"""Characters of a request kept in the log."""

MAX_VALUE = 1024
"""Characters of one value under ``statements: full``."""

SCOPES = ("base", "one", "sub", "subordinate")
_CHANGES = ("add", "delete", "replace", "increment")

ADMIN_ATTRIBUTES = frozenset(
    (
        "aci",
        "ntsecuritydescriptor",
        "useraccountcontrol",
        "serviceprincipalname",
        "msds-allowedtodelegateto",
        "msds-allowedtoactonbehalfofotheridentity",
        "msds-keycredentiallink",
        "sidhistory",
        "admincount",
        "primarygroupid",
        "gplink",
        "authzto",
        "authzfrom",
        "saslauthzto",
        "saslauthzfrom",
        "nsroledn",
        "attributetypes",
        "objectclasses",
        "ditcontentrules",
        "dsheuristics",
        "altsecurityidentities",
    )
)
"""Changing one of these changes rights, schema or who may act as whom; so does a change of a secret of another."""

MAX_LISTS, MAX_LISTED = 16, 512
"""Lists of attributes that one session keeps, and the most characters of one."""

MAX_SHAPE = 1024
"""Characters of a request's shape whose digest is kept."""

MAX_SHARED = 256
"""Characters of the name above an entry whose shape is kept."""

_NO_FACTS: Target = {"base": "", "attribute": ""}

_ADMIN_BRANCH = re.compile(r"(?:^|,)cn=(?:(?:config|schema|subschema|monitor|changelog)$|configuration(?:,dc=|$))")
"""The server's own branches: OpenLDAP's and 389-ds' at the top, Active Directory's below the domain."""


class Asking(NamedTuple):
    """``refusal``: what the bridge itself says no to, to be answered and recorded as denied.

    ``reads``: the attributes a Search asks for, by all their names; None when it asks for a list like ``*``.
    ``name``: the base or the entry, ``renamed``: what ModifyDN makes of it.
    """

    operation: Operation
    also: tuple[Target, ...] = ()
    refusal: Spoken | None = None
    reads: tuple[tuple[str, ...], ...] | None = None
    name: Name | None = None
    renamed: Name | None = None


class _Listed(NamedTuple):
    """The attributes of a Search: ``reads`` of ``Asking``; their names for the log, as they are and for a URL."""

    reads: tuple[tuple[str, ...], ...] | None
    text: str
    quoted: str


class Describing:
    """Makes the operations of one session.

    ``secrets``: sensitive attributes that the options let through. ``open_names``: names that everyone may read with
    scope base, because clients need them: the subschema entry. The rootDSE is always one.
    """

    def __init__(
        self,
        logging: StatementLogging,
        schema: Schema,
        names: Names,
        *,
        secrets: frozenset[str] = frozenset(),
        open_names: frozenset[str] = frozenset(),
        special_names: bool = False,
    ) -> None:
        self._logging = logging
        self._schema = schema
        self._names = names
        self._secrets = secrets
        self._open = open_names
        self._special = special_names
        self._lists: dict[tuple[bytes, ...], _Listed] = {}

    def describe(self, request: codec.Request, controls: Iterable[Control] = ()) -> Asking:
        """Raises Spoken for a name, an attribute or an operation that cannot be judged, PeerFault for a control."""
        controls = tuple(controls)
        match request:
            case codec.Search():
                return self._search(request, controls)
            case codec.Compare():
                return self._compare(request, controls)
            case codec.Add():
                return self._add(request, controls)
            case codec.Modify():
                return self._modify(request, controls)
            case codec.Delete():
                return self._delete(request, controls)
            case codec.ModifyDN():
                return self._modify_dn(request, controls)
            case codec.Extended():
                return self._extended(request, controls)
        raise Spoken(Reason.UNSUPPORTED, Code.PROTOCOL_ERROR, "this is no operation on the directory")

    # -- reading ------------------------------------------------------------------------------------------------------

    def _search(self, request: codec.Search, controls: tuple[Control, ...]) -> Asking:
        name = self._name(request.base)
        public = request.scope == 0 and (not request.base or name.text in self._open)
        listed = self._list(request.attributes)
        asked, refusal = self._asserted(request.filter, public)
        if controls:
            for key in _keys(controls):
                refusal = self._reach(key, asked) or refusal
            for part in _assertions(controls):
                more, no = self._asserted(part, public)
                asked.update(more)
                refusal = no or refusal
        base: Target = {} if public else {"base": name.target}
        scope = SCOPES[request.scope]
        redacted = filter_text = request.filter.text()
        if self._logging is StatementLogging.FULL:
            hidden = {one for one in request.filter.attributes if sensitive(self._schema.names(one))}
            filter_text = request.filter.text(full=True, hidden=hidden)
        text = f"ldap:///{_quoted(_shown(request.base))}?{listed.quoted}?{scope}?{filter_text}"
        shape = f"search {_shape(name.chain)} {scope} {redacted} {listed.quoted}"
        details: dict[str, str | int] = {"scope": scope}
        if listed.text:
            details["attributes"] = listed.text
        operation = self._operation("ldap.search", Action.READ, name, text, shape, base, details, controls)
        return Asking(operation, _each(base, asked), refusal, listed.reads, name)

    def _list(self, attributes: tuple[bytes, ...]) -> _Listed:
        """Programs ask about many entries for the same attributes."""
        known = self._lists.get(attributes)
        if known is None:
            names = ",".join(map(readable, attributes))
            known = _Listed(self._reads(attributes), names[:MAX_TEXT], quote(names, safe=",;*+@"))
            if len(known.text) <= MAX_LISTED:
                if len(self._lists) >= MAX_LISTS:
                    self._lists.clear()
                self._lists[attributes] = known
        return known

    def _reads(self, attributes: tuple[bytes, ...]) -> tuple[tuple[str, ...], ...] | None:
        if not attributes:
            return None
        if any(is_list(attribute) for attribute in attributes):
            known = [attribute for attribute in attributes if not is_list(attribute)]
            for attribute in known:
                self._schema.names(attribute)
            return None
        return tuple(self._schema.names(attribute) for attribute in attributes if attribute != b"1.1")

    def _asserted(self, filter_: codec.Filter, public: bool) -> tuple[dict[tuple[str, ...], None], Spoken | None]:
        """The attributes a filter compares, each once; a sensitive one is a refusal.

        ``(objectClass=*)`` is true of every entry and says nothing.
        """
        asked: dict[tuple[str, ...], None] = {}
        refusal: Spoken | None = None
        if filter_.any_attribute:
            asked.update(dict.fromkeys(self._schema.everything()))
            refusal = _secret() if not self._secrets else None
        for node in filter_.nodes:
            if node.attribute and not (
                node.kind == PRESENT and self._schema.canonical(node.attribute) == "objectclass"
            ):
                refusal = self._reach(node.attribute, asked) or refusal
        return ({}, refusal) if public else (asked, refusal)

    def _reach(self, attribute: bytes, asked: dict[tuple[str, ...], None]) -> Spoken | None:
        reach = self._schema.reach(attribute)
        asked.update(dict.fromkeys(reach))
        return None if all(secret_allowed(names, self._secrets) for names in reach) else _secret()

    def _compare(self, request: codec.Compare, controls: tuple[Control, ...]) -> Asking:
        name = self._name(request.name)
        asked: dict[tuple[str, ...], None] = {}
        refusal = self._reach(request.attribute, asked)
        base: Target = {"base": name.target}
        attribute = readable(request.attribute)
        show = self._logging is StatementLogging.FULL and not sensitive(self._schema.names(request.attribute))
        value = _value(request.value) if show else "?"
        text = f"compare {_shown(request.name)} {attribute}: {value}"
        operation = self._operation(
            "ldap.compare",
            Action.READ,
            name,
            text,
            f"compare {_shape(name.chain)} {attribute}",
            base,
            {"attributes": attribute},
            controls,
        )
        return Asking(operation, _each(base, asked), refusal, None, name)

    # -- writing ------------------------------------------------------------------------------------------------------

    def _add(self, request: codec.Add, controls: tuple[Control, ...]) -> Asking:
        name = self._name(request.name)
        lines = ["changetype: add"]
        for attribute, values in request.attributes:
            lines += self._lines(attribute, values)
        attributes = [attribute for attribute, _ in request.attributes]
        admin = any(not ADMIN_ATTRIBUTES.isdisjoint(self._schema.names(one)) for one in attributes)
        return self._write("ldap.add", request.name, name, attributes, lines, controls, admin=admin)

    def _modify(self, request: codec.Modify, controls: tuple[Control, ...]) -> Asking:
        name = self._name(request.name)
        lines = ["changetype: modify"]
        admin = False
        for change in request.changes:
            lines += [f"{_CHANGES[change.kind]}: {readable(change.attribute)}"]
            lines += [*self._lines(change.attribute, change.values), "-"]
            names = self._schema.names(change.attribute)
            admin = admin or sensitive(names) or not ADMIN_ATTRIBUTES.isdisjoint(names)
        attributes = [change.attribute for change in request.changes]
        return self._write("ldap.modify", request.name, name, attributes, lines, controls, admin=admin)

    def _delete(self, request: codec.Delete, controls: tuple[Control, ...]) -> Asking:
        name = self._name(request.name)
        lines = ["changetype: delete"]
        tree = any(control.oid == Oid.TREE_DELETE for control in controls)
        return self._write("ldap.delete", request.name, name, [], lines, controls, admin=tree)

    def _modify_dn(self, request: codec.ModifyDN, controls: tuple[Control, ...]) -> Asking:
        name = self._name(request.name)
        above = parent(name) if request.new_superior is None else self._name(request.new_superior)
        renamed = self._names.below(request.new_rdn, above)
        lines = [
            "changetype: moddn",
            f"newrdn: {_shown(request.new_rdn)}",
            f"deleteoldrdn: {int(request.delete_old)}",
        ]
        if request.new_superior is not None:
            lines.append(f"newsuperior: {_shown(request.new_superior)}")
        types = [*_types(renamed.chain), *(_types(name.chain) if request.delete_old else [])]
        attributes = [one.encode() for one in types]
        asking = self._write("ldap.modify_dn", request.name, name, attributes, lines, controls, new=renamed)
        more: list[Target] = [{"base": renamed.target}]
        if request.new_superior is not None:
            more.append({"base": above.target})
        return Asking(asking.operation, (*asking.also, *more), None, None, name, renamed)

    def _write(
        self,
        verb: str,
        shown: bytes,
        name: Name,
        attributes: list[bytes],
        lines: list[str],
        controls: tuple[Control, ...],
        *,
        admin: bool = False,
        new: Name | None = None,
    ) -> Asking:
        base: Target = {"base": name.target}
        if not attributes:  # the entry goes as a whole: no grant for some attributes covers that
            base = {**base, "attribute": ""}
        asked = dict.fromkeys(self._schema.names(attribute) for attribute in attributes)
        for part in _assertions(controls):
            compared, refusal = self._asserted(part, False)
            asked.update(compared)
            if refusal is not None:
                raise refusal
        branches = (name, new) if new is not None else (name,)
        admin = admin or any(not one.chain or _ADMIN_BRANCH.search(one.text) for one in branches)
        details: dict[str, str | int] = {}
        if attributes:
            details["attributes"] = ",".join(dict.fromkeys(map(readable, attributes)))[:MAX_TEXT]
        if new is not None:
            details["new_name"] = new.text[:MAX_TEXT]
        text = "\n".join([f"dn: {_shown(shown)}", *lines])
        shape = f"{verb} {_shape(name.chain)} {details.get('attributes', '')}"
        action = Action.ADMIN if admin else Action.WRITE
        operation = self._operation(verb, action, name, text, shape, base, details, controls)
        return Asking(operation, _each(base, asked), None, None, name, new)

    def _lines(self, attribute: bytes, values: tuple[bytes, ...]) -> list[str]:
        """LDIF lines; one ``?`` stands for all values when they are not to be seen."""
        name = readable(attribute)
        if self._logging is StatementLogging.FULL and not sensitive(self._schema.names(attribute)):
            return [f"{name}: {_value(value)}" for value in values[:MAX_TEXT]]
        return [f"{name}: ?" if len(values) == 1 else f"{name}: ? ({len(values)} values)"] if values else []

    # -- extended -----------------------------------------------------------------------------------------------------

    def _extended(self, request: codec.Extended, controls: tuple[Control, ...]) -> Asking:
        if request.oid == Oid.PASSWORD_MODIFY:
            return self._password_modify(read_password_modify(request.value), controls)
        details: dict[str, str | int] = {"oid": request.oid[:MAX_VALUE]}
        text = f"extended {escaped(request.oid.encode()[:MAX_VALUE])}"
        operation = self._operation("ldap.extended", Action.ADMIN, None, text, text, _NO_FACTS, details, controls)
        return Asking(operation)

    def _password_modify(self, request: PasswordModify, controls: tuple[Control, ...]) -> Asking:
        name = self._name(request.identity.removeprefix(b"dn:"))
        base: Target = {"base": name.target}
        text = f"password modify {_shown(request.identity)}"
        shape = f"password modify {_shape(name.chain)}"
        operation = self._operation(
            "ldap.extended.password_modify", Action.ADMIN, name, text, shape, base, {}, controls
        )
        return Asking(operation, _each(base, {self._schema.names(b"userPassword"): None}), None, None, name)

    # -- all ----------------------------------------------------------------------------------------------------------

    def _name(self, dn: bytes) -> Name:
        if self._special and dn.startswith(b"<"):
            return Name(())  # the directory's own way to say it: no branch a grant could name
        return self._names.read(dn)

    def _operation(
        self,
        verb: str,
        action: Action,
        name: Name | None,
        text: str,
        shape: str,
        target: Target,
        details: dict[str, str | int],
        controls: tuple[Control, ...],
    ) -> Operation:
        if controls:
            details = {**details, "controls": ",".join(control.oid for control in controls)[:MAX_VALUE]}
        kept = "" if self._logging is StatementLogging.DIGEST else text[:MAX_TEXT]
        digest = _digest(shape) if len(shape) <= MAX_SHAPE else _digest.__wrapped__(shape)
        objects = (name.text,) if name is not None and name.chain else ()
        return Operation(verb, action, objects, kept, digest, None, target, details)


@lru_cache(maxsize=256)
def _digest(shape: str) -> str:
    return hashlib.sha256(shape.encode("utf-8", "replace")).hexdigest()[:16]


def _each(base: Target, asked: Iterable[tuple[str, ...]]) -> tuple[Target, ...]:
    return tuple({**base, "attribute": names} for names in asked)


def _secret() -> Spoken:
    return Spoken(
        Reason.ACTION_DENIED,
        Code.INSUFFICIENT_ACCESS,
        "an attribute that holds secrets cannot be compared or sorted by",
    )


def _keys(controls: tuple[Control, ...]) -> tuple[bytes, ...]:
    return tuple(key for control in controls if control.oid == Oid.SORT_REQUEST for key in sort_keys(control.value))


def _assertions(controls: tuple[Control, ...]) -> list[codec.Filter]:
    """Filters inside assertion controls (RFC 4528)."""
    found = []
    for control in controls:
        if control.oid == Oid.ASSERTION:
            value = control.value or b""
            try:
                filter_, stop = parse_filter(value, 0, len(value))
                if stop != len(value):
                    raise ber.BerFault("something is left over at its end")
                found.append(filter_)
            except ber.BerFault as fault:
                raise PeerFault(f"the assertion control: {fault}") from None
    return found


def _types(chain: tuple[str, ...]) -> list[str]:
    """Attribute types of the first part of a name's chain."""
    if not chain:
        return []
    own = chain[0][: len(chain[0]) - len(chain[1]) - 1] if len(chain) > 1 else chain[0]
    parts = re.split(r"(?<!\\)(?:\\\\)*\+", own) if "+" in own else (own,)
    return [part.partition("=")[0] for part in parts if part]


def _shape(chain: tuple[str, ...]) -> str:
    """The types of a name without values, so that equal requests on different entries group."""
    if not chain:
        return ""
    own = "+".join(_types(chain))
    if len(chain) == 1:
        return own
    return f"{own},{(_shape_above if len(chain[1]) <= MAX_SHARED else _shape)(chain[1:])}"


@lru_cache(maxsize=256)
def _shape_above(chain: tuple[str, ...]) -> str:
    """Entries share what is above them."""
    return _shape(chain)


def _shown(dn: bytes) -> str:
    return _printable(dn.decode("utf-8", "backslashreplace"))[:MAX_TEXT]


def _value(value: bytes) -> str:
    """Binary values are counted, never decoded."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return f"<{len(value)} bytes>"
    return _printable(text[:MAX_VALUE])


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _quoted(text: str) -> str:
    return text.replace("%", "%25").replace("?", "%3f")

"""Attribute types: which names and OID mean the same (RFC 4512 section 4.1.2, 2.5).

An attribute can be asked for by any of its names in any case, by its OID, with options behind it; 389-ds then answers
under the name that was asked. Policy therefore compares all names of an attribute, never one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from adapters.ldap.codes import Code
from adapters.ldap.refusals import Spoken
from adapters.ldap.standard_types import STANDARD_TYPES
from bridge.adapter import Reason

MAX_TYPES = 20_000
"""Active Directory with Exchange has about 3,500; what comes behind is a directory gone wrong."""

MAX_DESCRIPTION = 256
"""Bytes of an attribute's name with its options."""

MAX_KEPT = 4096
"""Descriptions as clients write them, looked up once."""

# fmt: off
SENSITIVE = frozenset((
    "userpassword", "authpassword", "unixuserpassword", "mssfu30password", "orclpassword", "sambantpassword",
    "sambalmpassword", "sambapasswordhistory", "unicodepwd", "dbcspwd", "ntpwdhistory", "lmpwdhistory",
    "supplementalcredentials", "msds-managedpassword", "msds-managedpasswordid", "ms-mcs-admpwd", "mslaps-password",
    "mslaps-encryptedpassword", "mslaps-encryptedpasswordhistory", "mslaps-encrypteddsrmpassword",
    "mslaps-encrypteddsrmpasswordhistory", "msfve-recoverypassword", "msfve-keypackage", "trustauthincoming",
    "trustauthoutgoing", "initialauthincoming", "initialauthoutgoing", "currentvalue", "priorvalue", "pwdhistory",
    "passwordhistory", "krbprincipalkey", "krbmkey", "krbpwdhistory", "ipanthash", "ipatokenotpkey", "ipavaultsalt",
    "userpkcs12", "olcrootpw", "olcdbaclbind", "nsslapd-rootpw", "nsds5replicacredentials",
    "nsmultiplexorcredentials", "nspassword",
))
# fmt: on
"""Passwords, hashes and keys that stand in directories, by lower-case name: an equality test on one is an oracle."""

SECRET_STEMS = (
    "password", "pwd", "credential", "key", "auth", "nthash", "vaultsalt", "pkcs12", "rootpw", "aclbind", "value",
)  # fmt: skip
"""One of these is in each sensitive name: few to look for in a run of entries (``entries.Mentions``)."""

_OID = re.compile(r"(?:oid\.)?(\d+(?:\.\d+)+)", re.IGNORECASE)
_DESCRIPTION = re.compile(r"((?:oid\.)?\d+(?:\.\d+)+|[A-Za-z][A-Za-z0-9_.-]*)(?:;[A-Za-z0-9;=_*-]*)?", re.IGNORECASE)
_TYPE = re.compile(r"\(\s*(\S+)\s")
_NAME = re.compile(r"\sNAME\s+(?:'([^']+)'|\(([^)]*)\))")
_SUPERIOR = re.compile(r"\sSUP\s+'?([A-Za-z0-9._-]+)'?")


@dataclass(frozen=True, slots=True)
class AttributeType:
    """``names``: lower case, canonical first; ``superior``: as the definition names it, "" for none."""

    oid: str
    names: tuple[str, ...]
    superior: str = ""


class Schema:
    """The types of one directory; what it does not list falls back on the standard ones."""

    def __init__(self, types: Iterable[AttributeType] = ()) -> None:
        self._by_name: dict[str, AttributeType] = {}
        self._spoken: dict[bytes, tuple[str, ...]] = {}
        self._below: dict[str, list[AttributeType]] = {}
        types = tuple(types)
        self._own = types
        standard = _standard()
        leading = {type_.oid: type_.names[0] for type_ in standard}
        for type_ in (*standard, *(_led_by(type_, leading.get(type_.oid, "")) for type_ in types)):
            for name in (type_.oid.lower(), *type_.names):
                self._by_name[name] = type_
        for type_ in self._types():
            superior = self._by_name.get(type_.superior.lower())
            if superior is not None and superior is not type_:
                self._below.setdefault(superior.oid, []).append(type_)

    @classmethod
    def of_definitions(cls, definitions: Iterable[str]) -> Schema:
        """From ``attributeTypes`` values of the subschema (RFC 4512 section 4.1.2); what does not parse is left out."""
        types = []
        for text in definitions:
            type_ = parse_type(text)
            if type_ is not None:
                types.append(type_)
            if len(types) >= MAX_TYPES:
                break
        return cls(types)

    def names(self, description: bytes) -> tuple[str, ...]:
        """All names of the attribute in lower case, canonical first, its OID last; options do not count.

        A name nobody knows stands for itself. Raises Spoken (17) for an OID nobody knows, and for what is no name.
        """
        known = self._spoken.get(description)
        if known is None:
            known = self._names(description)
            if len(self._spoken) >= MAX_KEPT:
                self._spoken.clear()
            self._spoken[description] = known
        return known

    def _names(self, description: bytes) -> tuple[str, ...]:
        match = _DESCRIPTION.fullmatch(description.decode("latin-1")) if len(description) <= MAX_DESCRIPTION else None
        if match is None:
            raise _undefined("an attribute description is not one of RFC 4512")
        name = match[1].lower()
        number = _OID.fullmatch(name)
        type_ = self._by_name.get(number[1] if number else name)
        if type_ is not None:
            return (*type_.names, type_.oid)
        if number is not None:
            raise _undefined("an attribute is named by an OID that the directory's schema does not list")
        return (name,)

    def canonical(self, description: bytes) -> str:
        return self.names(description)[0]

    def reach(self, description: bytes) -> tuple[tuple[str, ...], ...]:
        """The names of the attribute and of every subtype: an assertion on ``name`` compares ``cn`` and ``sn`` too."""
        first = self.names(description)
        found, waiting, seen = [first], [first[-1]], {first[-1]}
        while waiting:
            for type_ in self._below.get(waiting.pop(), ()):
                if type_.oid not in seen:
                    seen.add(type_.oid)
                    waiting.append(type_.oid)
                    found.append((*type_.names, type_.oid))
        return tuple(found)

    def secret_words(self) -> tuple[str, ...]:
        """One of these is in each name of each sensitive attribute that the directory can send of its own accord."""
        names = [name for type_ in self._own if sensitive(type_.names) for name in type_.names]
        if not names:
            return SECRET_STEMS  # it has shown no schema, or a strange one
        shared = {stem for stem in SECRET_STEMS if sum(stem in name for name in names) > 1}
        alone = {name for name in names if not any(stem in name for stem in shared)}
        return (*sorted(shared), *sorted(alone))

    def everything(self) -> tuple[tuple[str, ...], ...]:
        """The names of every type."""
        return tuple((*type_.names, type_.oid) for type_ in self._types())

    def _types(self) -> list[AttributeType]:
        return list({id(type_): type_ for type_ in self._by_name.values()}.values())


@cache
def standard_schema() -> Schema:
    """The standard types alone, shared by all who know no directory's."""
    return Schema()


def sensitive(names: tuple[str, ...]) -> bool:
    """Whether an attribute of these names holds secrets."""
    return not SENSITIVE.isdisjoint(names)


def parse_type(text: str) -> AttributeType | None:
    """One ``attributeTypes`` value; None when it is not one."""
    head = _TYPE.match(text)
    if head is None:
        return None
    bare = _without_descriptions(text)
    named, above = _NAME.search(bare), _SUPERIOR.search(bare)
    listed = re.findall(r"'([^']+)'", named[2]) if named and named[2] else [named[1]] if named else []
    names = tuple(name.lower() for name in listed if name) or (head[1].lower(),)
    return AttributeType(head[1].strip("'").lower(), names, above[1] if above else "")


def _led_by(type_: AttributeType, name: str) -> AttributeType:
    """With the standard's name first, if it is one of the type's: grants are written without a directory's schema."""
    if name not in type_.names[1:]:
        return type_
    return replace(type_, names=(name, *(one for one in type_.names if one != name)))


def _without_descriptions(text: str) -> str:
    """Free text could hold words that look like the definition's own."""
    return re.sub(r"\sDESC\s+'[^']*'", " ", text)


def _standard() -> list[AttributeType]:
    types = []
    for line in STANDARD_TYPES.split("\n"):
        oid, names, superior = [*line.split(" "), ""][:3]
        types.append(AttributeType(oid, tuple(names.lower().split("=")), superior))
    return types


def _undefined(text: str) -> Spoken:
    return Spoken(Reason.UNSUPPORTED, Code.UNDEFINED_TYPE, text)

"""``idbridge account discover``: accounts of programs in a directory, as one static account sees them.

No directory marks all of them. What is taken for one: the object classes made for it, a service principal name, a
password that never ends (Active Directory), or a name that begins as such accounts' names do. ``why`` tells which.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from adapters.ldap import codec
from adapters.ldap.doctor import contexts
from adapters.ldap.questions import Entry, logged_in
from bridge.adapter import Admission, SystemFacts

CLASSES = (
    "simpleSecurityObject", "applicationProcess", "account", "msDS-ManagedServiceAccount",
    "msDS-GroupManagedServiceAccount",
)  # fmt: skip
PREFIXES = ("svc", "srv", "service", "sa-", "sa_", "app-", "app_", "bot", "sys-", "sys_", "system-")
NAMES = ("uid", "cn", "sAMAccountName")

DISABLED, NEVER_EXPIRES = 0x2, 0x10000
"""Of userAccountControl (MS-ADTS 2.2.16)."""

_READ = (
    "objectClass", "uid", "cn", "sAMAccountName", "userPrincipalName", "description", "servicePrincipalName",
    "userAccountControl", "lockoutTime", "lastLogonTimestamp", "pwdLastSet", "pwdAccountLockedTime", "pwdChangedTime",
    "pwdLastSuccess", "authTimestamp", "nsAccountLock", "lastLoginTime", "passwordExpirationTime",
)  # fmt: skip

_GENERALIZED = re.compile(r"(\d{4})(\d\d)(\d\d)\d{4,6}(?:\.\d+)?Z")
_FILETIME_EPOCH = 11_644_473_600  # seconds from 1601 to 1970 (MS-DTYP 2.3.3)


async def discover(admission: Admission, system: SystemFacts, clock: Callable[[], float]) -> list[dict[str, str]]:
    """A row for each, by name. Raises Refused when the login or a question fails."""
    async with logged_in(admission, system, clock) as questions:
        root = await questions.entry("", "namingContexts", "defaultNamingContext")
        found: dict[str, Entry] = {}
        for base in contexts(root) if root else []:
            found |= {entry.name: entry for entry in await questions.search(base, WANTED, *_READ)}
    rows = [row(entry) for entry in found.values()]
    return sorted((one for one in rows if one["why"]), key=lambda one: (one["account"].lower(), one["user"]))


WANTED = codec.any_of(
    *(codec.equality(b"objectClass", name) for name in CLASSES),
    codec.present(b"servicePrincipalName"),
    codec.has_bits(b"userAccountControl", NEVER_EXPIRES),
    *(codec.begins(attribute.encode(), prefix) for attribute in NAMES for prefix in PREFIXES),
)


def row(entry: Entry) -> dict[str, str]:
    """``user`` is the login name for ``accounts.….user``; times are UTC days, "" where the directory tells none."""
    account = next(filter(None, map(entry.text, ("sAMAccountName", "uid", "cn"))), "")
    return {
        "account": account,
        "user": entry.name,
        "why": reason(entry),
        "state": state(entry),
        "last_login": _day(entry, "lastLogonTimestamp", "pwdLastSuccess", "authTimestamp", "lastLoginTime"),
        "password_set": _day(entry, "pwdLastSet", "pwdChangedTime"),
        "description": entry.text("description"),
    }


def reason(entry: Entry) -> str:
    """Why it looks like an account of a program; "" for a computer, and for what has no login."""
    classes = {name.lower() for name in entry.texts("objectClass")}
    if "computer" in classes and not classes & {name.lower() for name in CLASSES}:
        return ""
    if classes & {"group", "groupofnames", "groupofuniquenames", "posixgroup", "organizationalunit", "container"}:
        return ""
    for name in CLASSES:
        if name.lower() in classes and not (name == "account" and "posixaccount" in classes):
            return name
    if entry.texts("servicePrincipalName"):
        return "service principal name"
    if entry.number("userAccountControl") & NEVER_EXPIRES:
        return "password never expires"
    named = [value.lower() for attribute in NAMES for value in entry.texts(attribute)]
    return "name" if any(value.startswith(PREFIXES) for value in named) else ""


def state(entry: Entry) -> str:
    if entry.number("userAccountControl") & DISABLED or entry.text("nsAccountLock").lower() == "true":
        return "disabled"
    if entry.text("pwdAccountLockedTime") or entry.number("lockoutTime"):
        return "locked"
    return "active"


def _day(entry: Entry, *attributes: str) -> str:
    days = (_generalized(entry.text(name)) or _filetime(entry.text(name)) for name in attributes)
    return next(filter(None, days), "")


def _generalized(text: str) -> str:
    """The day of a GeneralizedTime (RFC 4517 section 3.3.13)."""
    found = _GENERALIZED.fullmatch(text)
    return "-".join(found.groups()) if found else ""


def _filetime(text: str) -> str:
    """The day of a number of 100 ns since 1601; 0 means never."""
    try:
        seconds = int(text) / 10_000_000 - _FILETIME_EPOCH
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat() if int(text) > 0 else ""
    except (ValueError, OverflowError, OSError):
        return ""

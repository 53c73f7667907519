"""``idbridge doctor``: what the static account can really do, asked of the directory as that account.

LDAP has no question "may I write?". What answers it everywhere is a change that cannot succeed: taking away a value
that is not there. A directory looks at rights first, so 50 (insufficientAccessRights) means no, 16 (noSuchAttribute)
means that only the value was missing (verified with OpenLDAP, 389 Directory Server, Samba). Nothing is ever changed.
Rights differ from entry to entry, so a sample is tried and the verdict says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from adapters.ldap import codec
from adapters.ldap.codes import Code
from adapters.ldap.controls import Ppolicy
from adapters.ldap.observing import CONNECTIONS
from adapters.ldap.questions import ANYTHING, LEVEL, Entry, Questions, logged_in
from adapters.ldap.schema import SENSITIVE
from bridge.adapter import Action, Admission, Check, SystemFacts

MAX_BASES = 20
"""Naming contexts or granted bases looked into; each is a handful of questions."""

SAMPLE = 5
"""Entries below each base whose rights are tried."""

SOON = 14 * 86400
"""Seconds before a password's end at which it is worth a word."""

PROBE_ATTRIBUTE = b"description"

_ROOT = (
    "objectClass", "vendorName", "vendorVersion", "namingContexts", "defaultNamingContext", "subschemaSubentry",
    "supportedLDAPVersion",
)  # fmt: skip
_PASSWORDS = ("userPassword", "unicodePwd", "sambaNTPassword", "krbPrincipalKey", "ipaNTHash")


async def examine(
    admission: Admission, system: SystemFacts, targets: Mapping[str, frozenset[str]], clock: Callable[[], float]
) -> list[Check]:
    """``targets``: the bases that grants narrow to; each must be there for the account. Raises Refused."""
    async with logged_in(admission, system, clock) as questions:
        encrypted = questions.directory.stream.tls is not None
        checks = [Check.of_encryption(encrypted)]
        if encrypted and admission.upstream_tls is not None and not admission.upstream_tls.verifies:
            checks.append(Check("warning", "the directory's certificate is not verified (upstream.tls)"))
        checks += password(questions.directory.password)
        return checks + await _looked_around(questions, admission, targets.get("base", frozenset()))


def password(policy: Ppolicy) -> list[Check]:
    """What the password policy said at the login."""
    found = []
    if 0 <= policy.seconds_left < SOON:
        found.append(Check("warning", "the static password ends soon", f"in {policy.seconds_left // 3600} hours"))
    if policy.graces_left >= 0:
        title = "the static password has ended; the directory still allows a few logins"
        found.append(Check("problem", title, f"{policy.graces_left} are left"))
    return found


async def _looked_around(questions: Questions, admission: Admission, granted: frozenset[str]) -> list[Check]:
    root = await questions.entry("", *_ROOT)
    if root is None:
        return [Check("problem", "the directory does not tell about itself (rootDSE)")]
    checks = [Check("ok", "the directory is", kind(root)), await _schema(questions, root.text("subschemaSubentry"))]
    bases = sorted(one for one in granted if "*" not in one)[:MAX_BASES] or contexts(root)
    entries, missing = await _readable(questions, bases)
    checks.append(_bases(bases, missing))
    checks += await _passwords(questions, [one for one in bases if one not in missing])
    checks.append(await _sessions(questions))
    own = await questions.entry(admission.login.user) if "=" in admission.login.user else None
    return [*checks, *await _rights(questions, [*entries, *([own] if own else [])], Action.WRITE in admission.actions)]


def kind(root: Entry) -> str:
    """What the rootDSE says of the software."""
    if root.text("defaultNamingContext") and not root.text("vendorName"):
        return "Active Directory"
    if "OpenLDAProotDSE" in root.texts("objectClass"):
        return "OpenLDAP"
    return " ".join(filter(None, (root.text("vendorName"), root.text("vendorVersion")))) or "of unknown make"


def contexts(root: Entry) -> list[str]:
    """The default naming context where there is one (Active Directory's others are its own), else all."""
    return root.texts("defaultNamingContext") or root.texts("namingContexts")[:MAX_BASES]


async def _schema(questions: Questions, where: str) -> Check:
    found = await questions.entry(where, "attributeTypes") if where else None
    number = len(found.texts("attributeTypes")) if found else 0
    if not number:
        advice = "rules on attributes then know their standard names only; let the account read the subschema"
        return Check("warning", "the directory shows no schema to this account", advice)
    return Check("ok", "the directory shows its schema", f"{number} attribute types")


async def _readable(questions: Questions, bases: list[str]) -> tuple[list[Entry], list[str]]:
    """A sample of the entries at and below the bases, and the bases that are not there for the account."""
    entries, missing = [], []
    for base in bases:
        found = await questions.entry(base, "objectClass")
        if found is None:
            missing.append(base)
            continue
        entries.append(found)
        for below in await questions.search(base, ANYTHING, "1.1", scope=LEVEL, most=SAMPLE):
            entries.append(below)
            entries += await questions.search(below.name, ANYTHING, "1.1", scope=LEVEL, most=1)
    return entries, missing


def _bases(bases: list[str], missing: list[str]) -> Check:
    if not bases:
        return Check("problem", "the directory names no base to this account (namingContexts)")
    if missing:
        return Check("problem", "bases are not there for the account", "; ".join(missing))
    return Check("ok", "the account can read", "; ".join(bases))


async def _passwords(questions: Questions, bases: list[str]) -> list[Check]:
    seen = set()
    for base in bases:
        for attribute in _PASSWORDS:
            for entry in await questions.search(base, codec.present(attribute.encode()), attribute, most=1):
                seen |= {name for name in entry.values if name in SENSITIVE}
    if not seen:
        return []
    advice = f"{', '.join(sorted(seen))}; the bridge keeps them from agents unless options.secrets says otherwise"
    return [Check("warning", "the account can read stored passwords", advice)]


async def _sessions(questions: Questions) -> Check:
    if await questions.entry(CONNECTIONS) is not None:
        return Check("ok", "the directory lists its sessions to this account (idbridge reconcile)")
    advice = f"idbridge reconcile needs read access to {CONNECTIONS}, which OpenLDAP alone has"
    return Check("warning", "the directory does not list its sessions to this account", advice)


async def _rights(questions: Questions, entries: list[Entry], writes: bool) -> list[Check]:
    """The verdict; ``writes``: grants let agents write as this account."""
    writable, unclear = [], []
    for name in sorted({entry.name for entry in entries}):
        code = await questions.change(codec.removal(name.encode(), PROBE_ATTRIBUTE, secrets.token_hex(16).encode()))
        if code in (Code.NO_SUCH_ATTRIBUTE, Code.SUCCESS):
            writable.append(name)
        elif code != Code.INSUFFICIENT_ACCESS:
            unclear.append(f"{name} (result {code})")
    return verdict(writable, unclear, len(entries), writes)


def verdict(writable: list[str], unclear: list[str], tried: int, writes: bool) -> list[Check]:
    found = []
    if unclear:
        found.append(Check("warning", "not found out: rights on some entries", "; ".join(unclear[:SAMPLE])))
    if writable:
        some = "; ".join(writable[:SAMPLE])
        if writes:
            return [*found, Check("ok", "the account can write, and grants let agents write as it", some)]
        advice = f"it can change {some}; the bridge refuses it, but a read-only account would be safer"
        return [*found, Check("problem", "read-only is not guaranteed", advice)]
    if writes:
        return [*found, Check("warning", "grants let agents write, but no entry that was tried can be changed")]
    return [*found, Check("ok", "no right to write was found", f"tried on {tried} entries, with a change of no effect")]

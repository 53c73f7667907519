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
from adapters.ldap.observing import WHERE, lists_sessions
from adapters.ldap.questions import ANYTHING, LEVEL, Entry, Questions, logged_in
from adapters.ldap.schema import SENSITIVE
from bridge.adapter import Action, Admission, Check, SystemFacts, TLSSettings

NOT_VERIFIED = "the directory's certificate is not verified (upstream.tls)"

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
        checks = [Check("ok", "the static account can log in", admission.login.user)]
        checks += _encryption(questions.directory.stream.tls is not None, admission.upstream_tls)
        checks += password(questions.directory.password)
        granted = targets.get("base", frozenset())
        return checks + await _looked_around(questions, admission, granted, system.options.stats_log)


def _encryption(encrypted: bool, settings: TLSSettings | None) -> list[Check]:
    found = [Check.of_encryption(encrypted)]
    if encrypted and settings is not None:
        verified = Check("ok", "the directory's certificate is verified")
        found.append(verified if settings.verifies else Check("warning", NOT_VERIFIED))
    return found


def password(policy: Ppolicy) -> list[Check]:
    """What the password policy said at the login."""
    found = []
    if 0 <= policy.seconds_left < SOON:
        found.append(Check("warning", "the static password ends soon", f"in {policy.seconds_left // 3600} hours"))
    if policy.graces_left >= 0:
        title = "the static password has ended; the directory still allows a few logins"
        found.append(Check("problem", title, f"{policy.graces_left} are left"))
    return found


async def _looked_around(
    questions: Questions, admission: Admission, granted: frozenset[str], stats_log: str
) -> list[Check]:
    root = await questions.entry("", *_ROOT)
    if root is None:
        return [Check("problem", "the directory does not tell about itself (rootDSE)")]
    checks = [Check("ok", "the directory is", kind(root)), await _schema(questions, root.text("subschemaSubentry"))]
    bases = sorted(one for one in granted if "*" not in one)[:MAX_BASES] or contexts(root)
    entries, missing = await _readable(questions, bases)
    checks.append(_bases(bases, missing))
    checks += await _passwords(questions, [one for one in bases if one not in missing])
    checks.append(await _sessions(questions, stats_log))
    own = await questions.entry(admission.login.user) if "=" in admission.login.user else None
    names = {entry.name for entry in (*entries, *([own] if own else []))}
    return [*checks, *await _rights(questions, sorted(names), Action.WRITE in admission.actions)]


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
    wanted = codec.any_of(*(codec.present(name.encode()) for name in _PASSWORDS))
    for base in bases:
        for entry in await questions.search(base, wanted, *_PASSWORDS, most=SAMPLE, types_only=True):
            seen |= {name for name in entry.values if name in SENSITIVE}
    if not seen:
        return []
    advice = f"{', '.join(sorted(seen))}; the bridge keeps them from agents unless options.secrets says otherwise"
    return [Check("warning", "the account can read stored passwords", advice)]


async def _sessions(questions: Questions, stats_log: str) -> Check:
    if await lists_sessions(questions):
        return Check("ok", "the directory lists its sessions to this account (idbridge reconcile)")
    if stats_log:
        return Check("ok", "sessions are told by OpenLDAP's stats log (idbridge reconcile)", stats_log)
    advice = f"idbridge reconcile needs read access to {WHERE}; other directories have no such list"
    return Check("warning", "the directory does not list its sessions to this account", advice)


async def _rights(questions: Questions, names: list[str], writes: bool) -> list[Check]:
    """The verdict on the entries of these names; ``writes``: grants let agents write as this account."""
    codes = {}
    for name in names:
        absent = secrets.token_hex(16).encode()
        removal = codec.Change(codec.DELETE, PROBE_ATTRIBUTE, (absent,))
        codes[name] = await questions.change(codec.modification(name.encode(), removal))
    return verdict(codes, writes)


def verdict(codes: Mapping[str, int], writes: bool) -> list[Check]:
    """``codes``: what the directory said to the change, by entry."""
    writable = [name for name, code in codes.items() if code in (Code.NO_SUCH_ATTRIBUTE, Code.SUCCESS)]
    denied = [name for name, code in codes.items() if code == Code.INSUFFICIENT_ACCESS]
    unclear = [f"{name} (result {code})" for name, code in codes.items() if name not in (*writable, *denied)]
    found = []
    if unclear or not codes:
        found.append(Check("warning", "not found out: rights on some entries", "; ".join(unclear[:SAMPLE])))
    if writable and writes:
        title = "the account can write, and grants let agents write as it"
        return [*found, Check("ok", title, "; ".join(writable[:SAMPLE]))]
    if writable:
        some = "; ".join(writable[:SAMPLE])
        advice = f"it can change {some}; the bridge refuses it, but a read-only account would be safer"
        return [*found, Check("problem", "read-only is not guaranteed", advice)]
    if writes:
        return [*found, Check("warning", "grants let agents write, but no entry that was tried can be changed")]
    if denied:
        tried = f"tried on {len(denied)} entries, with a change of no effect"
        return [*found, Check("ok", "no right to write was found", tried)]
    return found

"""A new password for the static account, given by itself.

By Password Modify (RFC 3062), which leaves it to the directory how a password is kept; the old one goes with it, as a
password policy may demand. Active Directory has no such request: there one Modify takes the old value of unicodePwd
away and adds the new one (MS-ADTS 3.1.1.3.1.5).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from adapters.ldap import codec, controls
from adapters.ldap.answers import read_result
from adapters.ldap.codec import Change
from adapters.ldap.codes import Code, Oid
from adapters.ldap.extended import password_modify
from adapters.ldap.framing import Message
from adapters.ldap.knowledge import named
from adapters.ldap.questions import Questions, Unanswered, logged_in
from adapters.ldap.upstream import log_in as bound
from adapters.ldap.upstream_login import policy_of, words
from bridge.adapter import Admission, BridgeError, NotTaken, Secret, SystemFacts

UNCLEAR = frozenset({Code.OPERATIONS_ERROR, Code.TIME_LIMIT, Code.UNAVAILABLE, Code.OTHER})
"""After these it may have been done all the same: a proxy in front of the directory gives them too."""

_ROOT = ("supportedCapabilities", "defaultNamingContext")
_NUMBER = re.compile(r"([0-9A-Fa-f]{8}): ")
_MEANING = {
    0x05: "the account may not change its own password",
    0x1F: "it takes a new password on an encrypted connection only",
    0x52D: "too short, too simple, used before, or younger than the domain's minimum age of a password",
    0x56: "the old password is not right",
    0x775: "the account is locked",
}
"""Win32 errors (MS-ERREF 2.2) with which Active Directory begins its texts."""


async def rotate(admission: Admission, system: SystemFacts, new: Secret, clock: Callable[[], float]) -> None:
    directory = await bound(admission, system, clock=clock)
    try:
        await admission.established({})
        questions, login = Questions(directory, clock), admission.login
        try:
            operation = await _operation(questions, login.user, login.secret, new)
        except Unanswered as no:
            raise NotTaken(str(no)) from None
        judge(await questions.last(operation, controls.ppolicy_request()))
    finally:
        await directory.stream.close()


async def log_in(admission: Admission, system: SystemFacts, clock: Callable[[], float]) -> None:
    async with logged_in(admission, system, clock):
        pass


def judge(answer: Message) -> None:
    """Raises NotTaken, or BridgeError where it is not clear what was done."""
    result = read_result(answer)
    if result.code == Code.SUCCESS:
        return
    said = f"{result.code}: {words(result, policy_of(answer))}".rstrip(": ")
    number = _NUMBER.match(result.text.decode("utf-8", "replace"))
    meaning = _MEANING.get(int(number[1], 16)) if number else None
    text = f"{said} ({meaning})" if meaning else said
    raise BridgeError(text) if result.code in UNCLEAR else NotTaken(text)


def unicode_pwd(password: Secret) -> bytes:
    """In quotes, as UTF-16 (MS-ADTS 3.1.1.3.1.5.1). Raises NotTaken."""
    try:
        return f'"{password.reveal_text()}"'.encode("utf-16-le")
    except UnicodeDecodeError:
        raise NotTaken("the old password is not UTF-8 text") from None


async def _operation(questions: Questions, user: str, old: Secret, new: Secret) -> bytes:
    root = await questions.entry("", *_ROOT)
    if root is None or Oid.ACTIVE_DIRECTORY not in root.texts("supportedCapabilities"):
        return codec.extended(Oid.PASSWORD_MODIFY, password_modify(old.reveal(), new.reveal()))
    name = await _own_entry(questions, user, root.text("defaultNamingContext"))
    return codec.modification(
        name.encode(),
        Change(codec.DELETE, b"unicodePwd", (unicode_pwd(old),)),
        Change(codec.ADD, b"unicodePwd", (unicode_pwd(new),)),
    )


async def _own_entry(questions: Questions, user: str, base: str) -> str:
    """The DN of who is logged in. Raises NotTaken when it is not shown."""
    if "=" in user:
        return user
    found = await questions.search(base, named(user), "1.1", most=2)
    if len(found) != 1:
        raise NotTaken(f"the entry of {user} is not found below {base}, so its password cannot be changed")
    return found[0].name

"""A new password for the static account, given by itself.

MySQL from 5.7.6 on leaves it out of its logs. MariaDB and older servers write ``SET PASSWORD = PASSWORD('…')`` into the
general log as it came; they are sent what they keep of the password instead, by the account's own plugin.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from adapters.mysql import passwords
from adapters.mysql.doctor import logged_in
from adapters.mysql.questions import Questions, Unanswered
from adapters.mysql.upstream import UpstreamLogins
from bridge.adapter import Admission, NotTaken, Secret, SystemFacts

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_PLUGIN = re.compile(r" IDENTIFIED (?:VIA|WITH) '?(\w+)")
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")
ALTER_USER = (5, 7, 6)
"""The first MySQL whose ALTER USER sets a password and keeps the account's plugin; MariaDB's would change it."""

NATIVE = "mysql_native_password"
KEPT = {NATIVE: passwords.native_kept, "ed25519": passwords.ed25519_kept}


class UnknownPlugin(NotTaken):
    """What the server keeps of a password of this plugin is not known here."""


async def rotate(
    admission: Admission, logins: UpstreamLogins, system: SystemFacts, new: Secret,
    *, clock: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    async with logged_in(admission, logins, system, clock) as (questions, _):
        try:
            ((version,),) = await questions.ask("select version()")
            if takes_alter_user(version):
                await questions.ask(f"alter user user() identified by '{plain(new)}'")
            else:
                await questions.ask(f"set password = '{kept(new, await _plugin(questions))}'")
        except Unanswered as no:
            raise NotTaken(str(no)) from None


async def log_in(
    admission: Admission, logins: UpstreamLogins, system: SystemFacts, *, clock: Callable[[], float] = time.monotonic
) -> None:
    async with logged_in(admission, logins, system, clock):
        pass


def takes_alter_user(version: str) -> bool:
    found = _VERSION.match(version)
    number = tuple(int(part) for part in found.groups()) if found else (0, 0, 0)
    return "mariadb" not in version.lower() and number >= ALTER_USER


def plain(password: Secret) -> str:
    """Raises NotTaken for a password that would need quoting."""
    text = password.reveal_text()
    if not _PLAIN.fullmatch(text):
        raise NotTaken("the new password has characters that would need quoting")
    return text


def kept(password: Secret, plugin: str) -> str:
    """Raises UnknownPlugin."""
    if plugin not in KEPT:
        raise UnknownPlugin(f"the bridge cannot change passwords of the plugin {plugin}")
    return KEPT[plugin](password.reveal())


async def _plugin(questions: Questions) -> str:
    """Of the account itself. Servers that cannot say it (before MariaDB 10.2) know the native one alone."""
    try:
        ((told,),) = await questions.ask("show create user")
    except Unanswered:
        return NATIVE
    found = _PLUGIN.search(told)
    return found[1] if found else NATIVE

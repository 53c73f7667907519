"""A new password for the static account, given by itself.

The server is sent the verifier that it would make of the password (SCRAM-SHA-256, or md5 where it is set to that), so
that the password is in none of its logs, whatever ``log_statement`` says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from adapters.postgres.doctor import Unanswered, logged_in, own_database
from adapters.postgres.login import md5_kept
from adapters.postgres.upstream import UpstreamLogins
from bridge.adapter import Admission, NotTaken, Secret, SystemFacts
from bridge.wire import scram

ITERATIONS = 4096  # PostgreSQL's own
SALT = 16

_WHO = "select current_user, quote_ident(current_user), current_setting('password_encryption')"


async def rotate(
    admission: Admission, logins: UpstreamLogins, system: SystemFacts, new: Secret,
    *, clock: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    async with logged_in(admission, logins, system, own_database(system), clock) as (questions, _):
        ((name, quoted, encryption),) = await questions.ask(_WHO)
        stored = verifier(new.reveal(), name.encode(), encryption)
        try:
            await questions.ask(f"begin read write; alter role {quoted} password '{stored}'; commit")
        except Unanswered as no:
            raise NotTaken(str(no)) from None


async def log_in(
    admission: Admission, logins: UpstreamLogins, system: SystemFacts, *, clock: Callable[[], float] = time.monotonic
) -> None:
    async with logged_in(admission, logins, system, own_database(system), clock):
        pass


def verifier(password: bytes, role: bytes, encryption: str) -> str:
    """``encryption`` is the server's ``password_encryption``: "on" is md5, as servers before 10 have it."""
    if encryption == "scram-sha-256":
        return scram.in_thread_verifier(password, os.urandom(SALT), ITERATIONS)
    return "md5" + md5_kept(password, role)

"""The user name: which account, and of a fleet which host.

The agent is never in it: who it is follows from its proof alone. ``account+host`` and ``account@host`` are the two
spellings; other separators break one client or another (``%``, ``:``, ``/``, ``,``, ``#``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from bridge.adapter import PeerFault

DEFAULT_ACCOUNT = "agent"
"""Asks for the agent's default account; its own id does so as well, which the core knows."""

LONGEST = 320  # 64 for the account, 253 for a host (RFC 1035), and the separator

_ACCOUNT = re.compile(r"[^\x00-\x20\x7f+%:/,#|]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}")


class Wish(NamedTuple):
    """``account`` None: the default. ``host`` "": none was named."""

    account: str | None
    host: str


def read_wish(user: str, *, fleet: bool) -> Wish:
    """Only the user names of a ``fleet`` name a host. Raises PeerFault for what is no account or no host."""
    account, separator, host = _split(user) if fleet else (user, "", "")
    if len(user) > LONGEST or not _ACCOUNT.fullmatch(account) or (separator and not is_host(host)):
        raise PeerFault("the user name is an account, account+host or account@host")
    return Wish(None if account == DEFAULT_ACCOUNT else account, host.lower())


def is_host(text: str) -> bool:
    return bool(_HOST.fullmatch(text))


def _split(user: str) -> tuple[str, str, str]:
    account, found, host = user.rpartition("+" if "+" in user else "@")
    return (account, found, host) if found else (user, "", "")

"""OpenLDAP's stats log (slapd.conf(5), ``loglevel stats``): which sessions of an account are open by what it says.

::

    conn=1007 fd=14 ACCEPT from IP=192.0.2.7:4711 (IP=192.0.2.1:636)
    conn=1007 op=0 BIND dn="cn=svc,dc=example" method=128
    conn=1007 op=0 BIND dn="cn=svc,dc=example" mech=SIMPLE bind_ssf=0 ssf=256
    conn=1007 fd=14 closed

The second BIND line says that the login succeeded. Numbers begin anew when slapd starts. Whatever stands before
``conn=`` (of slapd itself or of syslog) is not read, except slapd's own time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from adapters.ldap.names import standard_names
from adapters.ldap.refusals import Spoken
from bridge.adapter import LegacySession

MAX_READ = 256 * 1024 * 1024
"""Bytes of the log's end that are read; a session that was opened before them is not seen."""

MAX_OPEN = 100_000

_CONNECTION = re.compile(r"conn=(\d+) fd=\d+ (ACCEPT|closed)(.*)")
_OPERATION = re.compile(r"conn=(\d+) op=\d+ (\[.*\] )?BIND(.*)")
PEER = r"IP=\[?([0-9a-fA-F.:]+?)\]?:(\d+)"
"""How slapd writes a client's address and port; one on a Unix socket is ``PATH=…``."""
_PEER = re.compile(f" from {PEER} ")
_BIND = re.compile(r' dn="(.*)" (method|mech)=')
_TIME = re.compile(r"([0-9a-f]{8})\.[0-9a-f]{8} ")
_START = "slapd starting"


def in_thread_open_sessions(path: str, user: str) -> list[LegacySession]:
    """Of the account whose login name is ``user``. Raises OSError."""
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - MAX_READ))
        return open_sessions((line.decode("utf-8", "replace") for line in file), user)


def open_sessions(lines: Iterable[str], user: str) -> list[LegacySession]:
    """In the order in which they began."""
    wanted = normal(user)
    opened: dict[int, LegacySession] = {}
    bound: set[int] = set()
    for line in lines:
        at = line.find("conn=")  # the first alone is slapd's: a client's words stand behind it
        connection, operation = _CONNECTION.match(line, max(at, 0)), _OPERATION.match(line, max(at, 0))
        if connection is not None:
            number = int(connection[1])
            bound.discard(number)
            opened.pop(number, None)
            if connection[2] == "ACCEPT" and len(opened) < MAX_OPEN:
                opened[number] = _accepted(number, connection[3], line)
        elif operation is not None:
            _bind(operation, wanted, bound)
        elif at < 0 and _START in line:
            opened, bound = {}, set()
    return [session for number, session in opened.items() if number in bound]


def _accepted(number: int, rest: str, line: str) -> LegacySession:
    peer, when = _PEER.match(rest), _TIME.match(line)
    return LegacySession(*end(peer), number, float(int(when[1], 16)) if when else 0.0)


def end(peer: re.Match[str] | None) -> tuple[str, int]:
    """Address and port of what ``PEER`` matched."""
    return (peer[1], int(peer[2])) if peer else ("", 0)


def _bind(operation: re.Match[str], wanted: str, bound: set[int]) -> None:
    """A Bind that has only begun makes nobody of the connection.

    What stands in brackets is the client's (session tracking), and could be made to look like the end of it. Such a
    line may say that the account is there, never that it is gone.
    """
    number, bind = int(operation[1]), _BIND.match(operation[3])
    if bind is not None and bind[2] == "mech" and normal(bind[1]) == wanted:
        bound.add(number)
    elif not operation[2]:
        bound.discard(number)


def normal(name: str) -> str:
    """A login name in one form."""
    try:
        return standard_names().read(name.encode()).text
    except Spoken:
        return name.lower()

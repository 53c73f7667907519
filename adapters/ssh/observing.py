"""``idbridge reconcile``: the open connections of the static account on the host, as the account itself sees them.

sshd puts the client's address and port into the environment of what it starts (SSH_CONNECTION, ssh(1)), and an account
may read that of its own processes; no setting of the host is needed. A process may outlive its connection, so only
those count whose socket is still established. Not seen are connections without a process (``ssh -N``, SFTP that sshd
serves by itself), and hosts without Linux's /proc. A process can change what it tells its children: this finds
accidents and habits.
"""

from __future__ import annotations

import shlex
from ipaddress import ip_address

from adapters.ssh.commands import Commands, Unanswered
from adapters.ssh.upstream import HostLeg
from bridge.adapter import LegacySession

MOST = 1000

_SCRIPT = (
    'echo "self $SSH_CONNECTION"; for p in /proc/[0-9]*; do c=$(tr "\\000" "\\n" <"$p/environ" | '
    'grep "^SSH_CONNECTION=" | head -n 1); [ -n "$c" ] && echo "process ${p#/proc/} ${c#*=}"; done; '
    'grep -h ":PORT .* 01 " /proc/net/tcp /proc/net/tcp6 | while read -r n l r x; do echo "socket $r"; done; echo end'
)
"""Lines: ``self`` and ``process PID`` with client, port, host, port; ``socket`` with an established client's in hex."""


async def observe(leg: HostLeg) -> list[LegacySession]:
    """Raises Unanswered, PeerFault, TimedOut, StreamClosed."""
    script = _SCRIPT.replace("PORT", f"{leg.stream.peer.port:04X}")
    answer = await Commands(leg).ask(f"sh -c {shlex.quote(script)}")
    return listed(answer.text)


def listed(text: str) -> list[LegacySession]:
    """From the lines of the script. Raises Unanswered when they are not whole."""
    lines = [line.split() for line in text.splitlines()]
    if not lines or lines[-1] != ["end"]:
        raise Unanswered("the host does not list the processes of the account")
    own = next((tuple(line[1:3]) for line in lines if line[0:1] == ["self"]), ())
    open_ports = {line[1].rpartition(":")[2].upper() for line in lines if line[0:1] == ["socket"] and len(line) == 2}
    if not open_ports:
        raise Unanswered("the host does not list its connections")  # ours is one of them
    found: dict[tuple[str, int], LegacySession] = {}
    for line in lines:
        session = _session(line)
        if session is None or tuple(line[2:4]) == own or f"{session.port:04X}" not in open_ports:
            continue
        place = session.address, session.port
        if len(found) < MOST and (place not in found or session.backend < found[place].backend):
            found[place] = session
    return list(found.values())


def _session(line: list[str]) -> LegacySession | None:
    try:
        kind, process, address, port = line[:4]
        if kind != "process":
            return None
        return LegacySession(str(ip_address(address)), int(port), int(process))
    except ValueError:
        return None

"""``idbridge doctor``: what the static account can do on the host, asked of the host itself as that account.

Nothing here can prove that an account only reads: a shell is a shell. So it says who the account is, whether it can
become more, and whether the host's own logs will lead back to the bridge's.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from adapters.ssh import codec
from adapters.ssh.codec import Asked, Confirmation
from adapters.ssh.environment import stamps
from adapters.ssh.fields import Fields, number, string
from adapters.ssh.upstream import HostLeg
from bridge.adapter import Action, BridgeError, Check

ANSWER_TIME = 15.0
"""Seconds for one command; ``sudo -l`` may ask a directory service."""

LONGEST_ANSWER = WINDOW = 1024 * 1024
"""The host may say so much, and gets no more room."""

LARGEST = 32 * 1024
NONE = -1  # the host told no exit status

MIGHTY_GROUPS = frozenset({"root", "sudo", "wheel", "admin", "adm", "docker", "lxd", "disk", "shadow"})
WEAK = re.compile(r"sha1|cbc|md5|ssh-dss|^ssh-rsa$|group1-")


class Unanswered(BridgeError):
    """The host does not run the command; the message says how it refused."""


class Answer(NamedTuple):
    status: int
    text: str


class Commands:
    """Commands on a leg that nobody relays, one after the other, each in a channel of its own."""

    def __init__(self, leg: HostLeg) -> None:
        self._leg = leg
        self._next = 0

    async def ask(self, command: str, stamp: str = "") -> Answer:
        """Raises Unanswered, PeerFault, TimedOut, StreamClosed."""
        own, self._next = self._next, self._next + 1
        self._leg.write(bytes((codec.OPEN,)) + string("session") + number(own) + number(WINDOW) + number(LARGEST))
        theirs = await self._opened()
        for name, value in stamps(stamp) if stamp else ():
            self._leg.write(codec.environment(theirs, name, value))
        self._leg.write(codec.request(theirs, "exec", string(command), want_reply=True))
        self._leg.write(codec.eof(theirs))
        answer = await self._until_closed()
        self._leg.write(codec.close(theirs))
        await self._leg.flush()
        return answer

    async def _opened(self) -> int:
        while True:
            payload = await self._message()
            if payload[0] == codec.OPEN_CONFIRMATION:
                return Confirmation.parse(payload).sender
            if payload[0] == codec.OPEN_FAILURE:
                raise Unanswered("the host opens no session")

    async def _until_closed(self) -> Answer:
        status, text = NONE, b""
        while True:
            payload = await self._message()
            if payload[0] == codec.DATA and len(text) < LONGEST_ANSWER:
                text += Fields(payload, 5).string()
            elif payload[0] == codec.CHANNEL_REQUEST and (asked := Asked.parse(payload)).kind == "exit-status":
                status = Fields(asked.rest).number()
            elif payload[0] == codec.CHANNEL_FAILURE:
                raise Unanswered("the host runs no command")
            elif payload[0] == codec.CLOSE:
                return Answer(status, text.decode("utf-8", "replace").strip())

    async def _message(self) -> bytes:
        """The next one of the connection protocol; what the host asks meanwhile is refused."""
        await self._leg.flush()
        payload = await self._leg.message(ANSWER_TIME)
        if payload[0] == codec.GLOBAL_REQUEST:
            fields = Fields(payload, 1)
            fields.name()
            if fields.flag():
                self._leg.write(bytes((codec.REQUEST_FAILURE,)))
        return payload


async def look_around(leg: HostLeg, actions: frozenset[Action], stamp: str) -> list[Check]:
    """Raises PeerFault, TimedOut, StreamClosed."""
    commands = Commands(leg)
    found = [_encryption(leg)]
    try:
        found.append(_who(await commands.ask("id")))
        found.append(_sudo(await commands.ask("sudo -n -l")))
        found.append(_correlation(leg, await commands.ask('echo "$SSH_CONNECTION"')))
        found.append(_stamp(stamp, await commands.ask("env", stamp)))
    except Unanswered as no:
        found.append(Check("warning", "the host could not be asked", f"{no}; nothing is known of the account's rights"))
    if Action.WRITE not in actions:
        detail = "The bridge refuses what it knows to write; only the host's own permissions can guarantee it."
        found.append(
            Check("warning", "the grants only allow reading, and a command is what the account may do", detail)
        )
    return found


def _encryption(leg: HostLeg) -> Check:
    facts = leg.facts
    used = [facts.get(name, "") for name in ("kex", "host_key", "cipher", "mac")]
    weak = [name for name in used if WEAK.search(name)]
    title = "logged in, " + ", ".join(filter(None, used))
    if weak:
        return Check("warning", title, f"broken or weak today: {', '.join(weak)}")
    return Check("ok", title, facts.get("software", ""))


def _who(answer: Answer) -> Check:
    if answer.status != 0:
        return Check("warning", "the account has no ordinary shell", "`id` does not run")
    groups = set(re.findall(r"\((.*?)\)", answer.text.partition("groups=")[2]))
    if answer.text.startswith("uid=0("):
        return Check("problem", "the account is root", "Nothing on the host is out of an agent's reach.")
    if mighty := sorted(groups & MIGHTY_GROUPS):
        return Check("warning", "the account is in groups that can become more", ", ".join(mighty))
    return Check("ok", "the account is an ordinary one", answer.text[:200])


def _sudo(answer: Answer) -> Check:
    rules = [line.strip() for line in answer.text.splitlines() if line.strip().startswith("(")]
    if answer.status == 0 and rules:
        level = "problem" if any(rule.endswith("ALL") for rule in rules) else "warning"
        return Check(level, "sudo runs commands as others, without a password", "; ".join(rules)[:500])
    return Check("ok", "sudo runs nothing without a password")


def _correlation(leg: HostLeg, answer: Answer) -> Check:
    """Whether sshd's log has the port by which ``idbridge log who`` finds the session."""
    ours = leg.stream.local
    told = answer.text.split()
    if told[1:2] == [str(ours.port)]:
        return Check("ok", "the host sees the bridge's own port", "Its log leads back: idbridge log who --client-port")
    seen = " ".join(told[:2]) or "nothing"
    return Check("warning", "the host sees another address than the bridge's", f"{seen} in place of {ours}: a NAT?")


def _stamp(stamp: str, answer: Answer) -> Check:
    arrived = [line.partition("=")[0] for line in answer.text.splitlines() if stamp and line.endswith(f"={stamp}")]
    if arrived:
        return Check("ok", "the session's stamp is in its environment", ", ".join(arrived))
    return Check("warning", "the host takes no stamp", "AcceptEnv LC_* in its sshd_config would let it in.")

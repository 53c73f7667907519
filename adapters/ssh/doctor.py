"""``idbridge doctor``: what the static account can do on the host, asked of the host itself as that account.

Nothing here can prove that an account only reads: a shell is a shell. So it says who the account is, whether it can
become more, and whether the host's own logs will lead back to the bridge's.
"""

from __future__ import annotations

import re

from adapters.ssh.commands import Answer, Commands, Unanswered
from adapters.ssh.upstream import HostLeg
from bridge.adapter import Action, Check

MIGHTY_GROUPS = frozenset({"root", "sudo", "wheel", "admin", "adm", "docker", "lxd", "disk", "shadow"})
WEAK = re.compile(r"sha1|cbc|md5|ssh-dss|^ssh-rsa$|group1-")


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

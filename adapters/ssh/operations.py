"""What an agent asks of a host, as operations: commands, shells, subsystems, forwards. No I/O.

A command is a line for the account's shell, so what it does cannot be known; it counts as writing unless it is one of
those that only read by their own protocol or by the system's option ``read_commands``. A grant that narrows by
``command`` must cover every simple command of the line, and covers no line whose shell syntax could run another one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from bridge.adapter import Action, Operation, StatementLogging

SFTP_SERVERS = re.compile(r"(?:/\S*/)?(?:sftp-server|internal-sftp)(?:\s|$)")

ANOTHER = re.compile(r"[`<>(){}\\]|\$|\n|\r")
"""Outside of quotes: substitution, redirection, grouping, or a line break."""

SEPARATOR = re.compile(r"&&|\|\||[;&|]")
LONGEST = 16 * 1024

SECRET = re.compile(
    r"(?i)((?:--?|\b)(?:password|passwd|pass|token|secret|api[-_]?key|authorization)(?:[ =:]\s*))"
    r"(?:\"[^\"]*\"|'[^']*'|(?:bearer |basic )?[^\s'\"]+)"
)
LOGIN_IN_URL = re.compile(r"(://[^/\s:@]*:)[^@\s/]+@")


def command(text: str, statements: StatementLogging, read_commands: Iterable[str]) -> Operation:
    """``text`` as the agent sent it."""
    shown = redacted(text) if statements is StatementLogging.REDACTED else text
    return Operation(
        verb=_verb(text),
        action=Action.READ if reads(text, read_commands) else Action.WRITE,
        objects=(),
        text="" if statements is StatementLogging.DIGEST else shown,
        digest=digest(text),
        target={"command": text, "forward": "", "path": ""},
    )


def shell() -> Operation:
    return Operation("ssh.shell", Action.WRITE, target={"command": "", "forward": "", "path": ""})


def subsystem(name: str) -> Operation:
    return Operation("ssh.subsystem", Action.WRITE, (name,), target={"command": name, "forward": "", "path": ""})


def forward(host: str, port: int, *, remote: bool = False) -> Operation:
    where = f"{host}:{port}"
    verb = "ssh.forward.remote" if remote else "ssh.forward"
    return Operation(verb, Action.WRITE, (where,), target={"command": "", "forward": where, "path": ""})


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def redacted(text: str) -> str:
    """Without what looks like a secret in a command line."""
    return LOGIN_IN_URL.sub(r"\1?@", SECRET.sub(r"\1?", text))


def reads(text: str, read_commands: Iterable[str]) -> bool:
    """Whether the line only reads, by its own protocol or by the option; never one that can run another command."""
    parts = simple_commands(text)
    if parts is None:
        return False
    return all(_transfer(part) is Action.READ or _listed(part, read_commands) for part in parts)


def _transfer(part: str) -> Action | None:
    """The far ends of scp, rsync and git say themselves in which direction they work; None for other commands."""
    words = part.split()
    name, rest = words[0].rpartition("/")[2], words[1:]
    if name == "git" and rest:
        name, rest = f"git-{rest[0]}", rest[1:]
    flags = rest[: next((at for at, word in enumerate(rest) if not word.startswith("-")), len(rest))]
    if name == "scp":
        return Action.READ if "-f" in flags and "-t" not in flags else Action.WRITE
    if name == "rsync":
        return Action.READ if flags[:2] == ["--server", "--sender"] else Action.WRITE
    if name in ("git-upload-pack", "git-upload-archive"):
        return Action.READ
    return Action.WRITE if name == "git-receive-pack" else None


def _listed(part: str, read_commands: Iterable[str]) -> bool:
    return _transfer(part) is None and _one_of(part, read_commands)


def simple_commands(text: str) -> list[str] | None:
    """The commands of a line, as the shell will separate them; None where it could run something else as well."""
    outside, quoted = _outside_quotes(text)
    if not quoted or ANOTHER.search(outside) or len(text) > LONGEST:
        return None
    parts, start = [], 0
    for found in SEPARATOR.finditer(outside):
        parts.append(text[start : found.start()].strip())
        start = found.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part] or None


def _outside_quotes(text: str) -> tuple[str, bool]:
    """``text`` with what stands in quotes blanked, at the same places; and whether all quotes are closed.

    In double quotes ``$`` and a back-quote still do something, so they are kept.
    """
    kept, inside = [], ""
    for character in text:
        if inside:
            active = inside == '"' and character in "$`\\"
            kept.append(character if active else " " if character != inside else character)
            inside = "" if character == inside else inside
        else:
            kept.append(character)
            inside = character if character in "'\"" else ""
    return "".join(kept), not inside


def _one_of(text: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(".*".join(map(re.escape, one.split("*"))), text, re.DOTALL) for one in patterns)


def _verb(text: str) -> str:
    first = text.split(maxsplit=1)[0].rpartition("/")[2] if text.split() else ""
    return {"scp": "ssh.scp", "rsync": "ssh.rsync", "git-upload-pack": "ssh.git", "git-receive-pack": "ssh.git"}.get(
        first, "ssh.exec"
    )

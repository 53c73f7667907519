"""What an agent asks of a host, as operations: commands, shells, subsystems, forwards. No I/O.

A command is a line for the account's shell, so what it does cannot be known; it counts as writing unless it is one of
those that only read by their own protocol or by the system's option ``read_commands``. A grant that narrows by
``command`` must cover every simple command of the line, and covers no line whose shell syntax could run another one.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterable

from bridge.adapter import Action, Operation, StatementLogging

SFTP_SERVER = re.compile(r"/usr/(?:local/)?(?:lib|lib64|libexec)/(?:openssh/|ssh/)?sftp-server(?: -[eR])*")
"""Where systems keep it: a program of that name elsewhere may be anything, put there by the agent itself."""

ANOTHER = re.compile(r"[`<>(){}\\#]|\$|\n|\r")
"""Outside of quotes: substitution, redirection, grouping, a line break, or a comment (it may hide a quote)."""

FOLDERS = ("", "/bin", "/usr/bin", "/usr/local/bin", "/usr/lib/git-core", "/usr/libexec/git-core")
SCP_FLAGS = frozenset({"-v", "-r", "-p", "-q", "-d", "-f", "--"})
RSYNC_FLAGS = re.compile(
    r"-(?=\w)[A-Za-df-rt-z0-9]*(?:e[\w.]*)?|--(?:server|sender|numeric-ids|list-only|inplace|partial|checksum|one-file-system|safe-links"
    r"|copy-unsafe-links|delete|delete-(?:before|during|after|delay|excluded)|ignore-errors|no-[a-z-]+|size-only"
    r"|(?:timeout|bwlimit|block-size|max-size|min-size|modify-window|compress-level|compress-choice|checksum-choice"
    r"|checksum-seed)=\S*)"
)
"""Of rsync's sending end. What is not here may write (--remove-source-files, --log-file), run something (--daemon)
or read its arguments from the agent later (-s)."""

SEPARATOR = re.compile(r"&&|\|\||[;&|]")
LONGEST = 16 * 1024
MOST_COMMANDS = 100
"""In a line that is looked into: each is asked of the policy, and nobody types more."""

SECRET = re.compile(
    r"(?i)((?:--?|\b)(?:password|passwd|pass|token|secret|api[-_]?key|authorization)(?:[ =:]\s*))"
    r"(?:\"[^\"]*\"|'[^']*'|(?:bearer |basic )?[^\s'\"]+)"
)
LOGIN_IN_URL = re.compile(r"(://[^/\s:@]*:)[^@\s/]+@")


def command(line: bytes, statements: StatementLogging, read_commands: Iterable[str]) -> Operation:
    """``line`` as the agent sent it."""
    text = readable(line)
    shown = redacted(text) if statements is StatementLogging.REDACTED else text
    return Operation(
        verb=_verb(text),
        action=Action.READ if reads(text, read_commands) else Action.WRITE,
        objects=(),
        text="" if statements is StatementLogging.DIGEST else shown,
        digest="sha256:" + hashlib.sha256(line).hexdigest(),
        target={"command": text, "forward": "", "path": ""},
    )


def shell() -> Operation:
    return Operation("ssh.shell", Action.WRITE, target={"command": "", "forward": "", "path": ""})


def subsystem(name: str) -> Operation:
    return Operation("ssh.subsystem", Action.WRITE, (name,), target={"command": name, "forward": "", "path": ""})


def forward(host: str, port: int, *, remote: bool = False) -> Operation:
    where = f"{host.rstrip('.').lower()}:{port}"
    verb = "ssh.forward.remote" if remote else "ssh.forward"
    return Operation(verb, Action.WRITE, (where,), target={"command": "", "forward": where, "path": ""})


def readable(line: bytes) -> str:
    """What is not UTF-8 is written with a backslash, so that no grant by ``command`` covers it."""
    return line.decode("utf-8", "backslashreplace")


def redacted(text: str) -> str:
    """Without what looks like a secret in a command line."""
    return LOGIN_IN_URL.sub(r"\1?@", SECRET.sub(r"\1?", text))


def reads(text: str, read_commands: Iterable[str]) -> bool:
    """Whether the line only reads, by its own protocol or by the option; never one that can run another command."""
    parts = simple_commands(text)
    if parts is None:
        return False
    return all(_transfer(part) is Action.READ or _listed(part, read_commands) for part in parts)


def is_sftp_server(text: str) -> bool:
    """Whether the line runs the host's own SFTP server and nothing else."""
    return SFTP_SERVER.fullmatch(text.strip()) is not None


def _transfer(part: str) -> Action | None:
    """The far ends of scp, rsync and git say themselves in which direction they work; None for other commands."""
    words = shlex.split(part)  # quotes are closed: ``part`` is of ``simple_commands``
    folder, _, name = words[0].rpartition("/")
    rest = words[1:]
    if name == "git" and rest and rest[0] in ("upload-pack", "upload-archive", "receive-pack"):
        name, rest = f"git-{rest[0]}", rest[1:]
    sends = SENDERS.get(name)
    if sends is None:
        return Action.WRITE if name == "git-receive-pack" else None
    # a name in the place of a flag could be made of a pattern: a file may be called --remove-source-files
    patterns = any(word[:1] in ("*", "?", "[") for word in part.split())
    return Action.READ if folder in FOLDERS and not patterns and sends(rest) else Action.WRITE


def scp_flags(text: str) -> list[str]:
    """Of a line that is one far end of scp; else none."""
    parts = simple_commands(text)
    words = shlex.split(parts[0]) if parts is not None and len(parts) == 1 else [""]
    return _flags(words[1:]) if words[0].rpartition("/")[2] == "scp" else []


def _flags(words: list[str]) -> list[str]:
    return words[: next((at for at, word in enumerate(words) if not word.startswith("-")), len(words))]


def _scp_sends(words: list[str]) -> bool:
    flags = _flags(words)
    return "-f" in flags and SCP_FLAGS.issuperset(flags)


def _rsync_sends(words: list[str]) -> bool:
    """rsync takes flags behind names as well."""
    return words[:2] == ["--server", "--sender"] and all(
        RSYNC_FLAGS.fullmatch(word) for word in words if word.startswith("-")
    )


def _git_sends(words: list[str]) -> bool:
    return all(word == "--strict" or word.startswith("--timeout=") for word in words if word.startswith("-"))


SENDERS: dict[str, Callable[[list[str]], bool]] = {
    "scp": _scp_sends,
    "rsync": _rsync_sends,
    "git-upload-pack": _git_sends,
    "git-upload-archive": _git_sends,
}


def _listed(part: str, read_commands: Iterable[str]) -> bool:
    return _transfer(part) is None and _one_of(part, read_commands)


def simple_commands(text: str) -> list[str] | None:
    """The commands of a line, as the shell will separate them; None where it could run something else as well."""
    if len(text) > LONGEST:
        return None
    outside, quoted = _outside_quotes(text)
    if not quoted or ANOTHER.search(outside):
        return None
    parts, start = [], 0
    for found in SEPARATOR.finditer(outside):
        parts.append(text[start : found.start()].strip())
        start = found.end()
    parts.append(text[start:].strip())
    commands = [part for part in parts if part]
    return commands if 0 < len(commands) <= MOST_COMMANDS else None


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

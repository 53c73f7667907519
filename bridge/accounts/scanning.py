"""Finding static secrets in files and in the history of git repositories. What is found is never printed, only where.

Everything blocks and belongs in a process or thread of its own.
"""

from __future__ import annotations

import mmap
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.adapter import BridgeError

GIT_TIMEOUT = 60.0
"""Seconds for one question to git; the stream of all objects has no limit, it ends with the repository."""

LARGEST_BLOB = 64 * 1024 * 1024
"""Bytes of an object of the history; larger ones are no code, and are counted as skipped."""

_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*")
"""A repository that is scanned must not make us run anything."""


class CannotScan(BridgeError):
    """The path cannot be scanned. The message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A secret of some account, by its forms (see ``forms``). ``name`` is what findings call it."""

    name: str
    needles: Mapping[bytes, str]


@dataclass(frozen=True, slots=True)
class Found:
    """``line`` counts from 1; 0 in binary files. ``commit`` is that of the history in which it first stood; ``hint`` is
    who to ask: the author of that commit or of the last one, else the file's owner; ``when`` that commit's time."""

    name: str
    form: str
    path: str
    line: int
    commit: str = ""
    hint: str = ""
    when: str = ""


@dataclass(slots=True)
class Tally:
    files: int = 0
    objects: int = 0
    unreadable: int = 0
    skipped: int = 0


def scan(root: Path, wanted: Sequence[Wanted], tally: Tally, *, history: bool = True) -> Iterator[Found]:
    """The file or folder ``root``, and the history of each git repository at or below it. Raises CannotScan."""
    if not root.exists():
        raise CannotScan(f"{root}: no such file or directory")
    repositories: list[Path] = []
    for path in _files(root, repositories, tally):
        yield from _in_file(path, wanted, tally)
    above = _repository(root)
    if history:
        for repository in dict.fromkeys([*([above] if above else []), *repositories]):
            yield from _in_history(repository, wanted, tally)


def _files(root: Path, repositories: list[Path], tally: Tally) -> Iterator[Path]:
    """Regular files, symbolic links not followed; ``.git`` is history, and not read as files."""
    if not root.is_dir():
        yield root
        return

    def unreadable(error: OSError) -> None:
        tally.unreadable += 1

    for folder, folders, names in os.walk(root, onerror=unreadable):
        if ".git" in folders or ".git" in names:
            repositories.append(Path(folder))
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(names):
            if name != ".git":
                yield Path(folder) / name


def _in_file(path: Path, wanted: Sequence[Wanted], tally: Tally) -> Iterator[Found]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        tally.unreadable += 0 if path.is_symlink() else 1
        return
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or not facts.st_size:
            return
        tally.files += 1
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            hits = list(_hits(data, wanted))
    except (OSError, ValueError):
        tally.unreadable += 1
        return
    finally:
        os.close(descriptor)
    if hits:
        author, when = _last_author(path)
        hint = author or _user(facts.st_uid)
        yield from (Found(name, form, str(path), line, hint=hint, when=when) for name, form, line in hits)


def _hits(data: mmap.mmap | bytes, wanted: Sequence[Wanted]) -> Iterator[tuple[str, str, int]]:
    """Each secret once a line; the first of its forms that is there."""
    for one in wanted:
        told: set[int] = set()
        for needle, form in one.needles.items():
            at = data.find(needle)
            while at >= 0:
                line = _line(data, at)
                if line not in told:
                    told.add(line)
                    yield one.name, form, line
                at = data.find(needle, at + len(needle))


def _line(data: mmap.mmap | bytes, at: int) -> int:
    before = data[:at]
    return 0 if b"\0" in before[:8192] else before.count(b"\n") + 1


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


# -- git


def _git(repository: Path, *arguments: str) -> str:
    """Its answer; "" when it has none, or is no repository."""
    command = ["git", *_SAFE, "-C", str(repository), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_TIMEOUT, check=False, env=environment,
                              stdin=subprocess.DEVNULL)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def _repository(path: Path) -> Path | None:
    top = _git(path if path.is_dir() else path.parent, "rev-parse", "--show-toplevel").strip()
    return Path(top) if top else None


def _last_author(path: Path) -> tuple[str, str]:
    told = _git(path.parent, "log", "-1", "--format=%an <%ae>%x00%aI", "--", path.name).strip()
    author, _, when = told.partition("\0")
    return author, when


def _in_history(repository: Path, wanted: Sequence[Wanted], tally: Tally) -> Iterator[Found]:
    """Every object that any branch or tag reaches, once."""
    for id, path, data in _blobs(repository, tally):
        for name, form, line in _hits(data, wanted):
            commit, author, when = _first_commit(repository, id)
            yield Found(name, form, f"{repository}: {path}", line, commit, author, when)


def _blobs(repository: Path, tally: Tally) -> Iterator[tuple[str, str, bytes]]:
    listed = _git(repository, "rev-list", "--objects", "--all")
    paths = dict(line.split(" ", 1) for line in listed.splitlines() if " " in line)
    if not paths:
        return
    command = ["git", *_SAFE, "-C", str(repository), "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as asked:
        assert asked.stdin is not None
        assert asked.stdout is not None
        try:
            for id, path in paths.items():
                asked.stdin.write(id.encode() + b"\n")
                asked.stdin.flush()
                head = asked.stdout.readline().split()
                if len(head) != 3:
                    continue
                size = int(head[2])
                if size > LARGEST_BLOB:
                    tally.skipped += 1
                    _pass_over(asked.stdout, size + 1)
                    continue
                data = asked.stdout.read(size + 1)[:size]
                if head[1] == b"blob":
                    tally.objects += 1
                    yield id, path, data
        finally:
            asked.stdin.close()
            asked.terminate()


def _pass_over(stream: object, size: int) -> None:
    while size > 0:
        size -= len(stream.read(min(size, 1 << 20))) or size  # type: ignore[attr-defined]


def _first_commit(repository: Path, id: str) -> tuple[str, str, str]:
    asked = ("--all", "--reverse", "--no-textconv", "--no-ext-diff", f"--find-object={id}")
    told = _git(repository, "log", *asked, "--format=%H%x00%an <%ae>%x00%aI")
    commit, _, rest = told.splitlines()[0].partition("\0") if told else ("", "", "")
    author, _, when = rest.partition("\0")
    return commit, author, when

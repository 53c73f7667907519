"""SFTP, version 3, read on its way (draft-ietf-secsh-filexfer-02, and OpenSSH PROTOCOL section 4).

* Requests that change or open something wait for a permit as whole packets; bulk (READ, WRITE, DATA) is only counted,
  and a message that holds nothing else is passed on as the bytes that came.
* A refused request never reaches the host: the bridge answers with SSH_FX_PERMISSION_DENIED, between two packets of the
  host's, and settles the windows: what it kept from the host is credited to the agent, what it said in the host's place
  is held against the agent's next credit.
* What cannot be read ends the session: a tap that does not understand could not refuse.
"""

from __future__ import annotations

import posixpath
import struct
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from adapters.ssh import codec
from adapters.ssh.channels import Channel
from adapters.ssh.fields import Fields, number, string
from adapters.ssh.gate import denied, survived
from adapters.ssh.leg import Leg
from bridge.adapter import Action, Admission, Operation, Outcome, PeerFault, Permit, Refused, Result

INIT, VERSION = 1, 2
OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR = 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK, EXTENDED = 13, 14, 15, 16, 17, 18, 19, 20, 200
STATUS, HANDLE, DATA = 101, 102, 103

OK, PERMISSION_DENIED, UNSUPPORTED = 0, 3, 8
FLAG_READ, FLAGS_CHANGING = 0x01, 0x02 | 0x04 | 0x08 | 0x10  # write, append, create, truncate

LARGEST = 256 * 1024 + 1024  # OpenSSH takes 256 KiB
BULK_HEAD = 4 + 1 + 4 + 4 + 256 + 8 + 4  # of a WRITE up to its data; handles have at most 256 bytes
MOST_WAITING = 1024  # OpenSSH's client sends 64 ahead
MOST_SAID = 4096  # refusals that wait for the agent's window
MOST_HANDLES = 1024
LONGEST_PATH = 4096  # PATH_MAX of Linux; longer ones would fill memory while they wait

PATHS = {LSTAT: 1, SETSTAT: 1, OPENDIR: 1, REMOVE: 1, MKDIR: 1, RMDIR: 1, REALPATH: 1, STAT: 1, RENAME: 2, READLINK: 1,
         SYMLINK: 2}  # fmt: skip
CHANGING = {SETSTAT: "sftp.setstat", REMOVE: "sftp.remove", MKDIR: "sftp.mkdir", RMDIR: "sftp.rmdir",
            RENAME: "sftp.rename", SYMLINK: "sftp.symlink"}  # fmt: skip
LOOKING = frozenset({LSTAT, STAT, REALPATH, READLINK})
EXTENSIONS: dict[str, tuple[str, int]] = {
    "posix-rename@openssh.com": ("sftp.rename", 2),
    "hardlink@openssh.com": ("sftp.link", 2),
    "lsetstat@openssh.com": ("sftp.setstat", 1),
}
HARMLESS = frozenset(
    {"fsync@openssh.com", "fstatvfs@openssh.com", "limits@openssh.com", "copy-data", "home-directory",
     "users-groups-by-id@openssh.com"}
)  # fmt: skip
LOOKING_EXTENSIONS = frozenset({"statvfs@openssh.com", "expand-path@openssh.com"})


@dataclass(slots=True, eq=False)
class Opened:
    """A file or folder that the host has opened."""

    permit: Permit
    path: str
    writing: bool
    read: int = 0
    written: int = 0


@dataclass(slots=True, eq=False)
class Waiting:
    """A request whose answer is awaited. ``permit`` is told an outcome by it; ``opening``: a handle is the answer."""

    permit: Permit | None = None
    opening: bool = False
    path: str = ""
    writing: bool = False
    reading: bytes = b""
    closing: bytes = b""


class SFTPTap:
    """``from_agent`` and ``from_host`` take a CHANNEL_DATA message each, and write what is to go on."""

    def __init__(self, channel: Channel, agent: Leg, host: Leg, admission: Admission) -> None:
        self._channel = channel
        self._agent = agent
        self._host = host
        self._admission = admission
        self._held = b""  # of the agent's, not yet passed on
        self._skip = 0  # bytes of the agent's present packet that go on as they come
        self._left = 0  # bytes of the host's present packet
        self._head = b""  # of the host's packet that has just begun
        self._said: deque[bytes] = deque()  # the bridge's answers, until the host is between packets
        self._waiting: dict[int, Waiting] = {}
        self._handles: dict[bytes, Opened] = {}
        self._started = False
        self._closed = False

    # -- from the agent

    def from_agent(self, payload: bytes) -> Coroutine[Any, Any, None] | None:
        size = len(payload) - 9
        if not self._held and self._skip >= size:
            self._skip -= size
            self._host.write(payload)
            return None
        return self._taken(self._held + payload[9:], b"" if self._held else payload)

    async def _taken(self, data: bytes, whole: bytes) -> None:
        """``whole`` is the message that ``data`` came in; where all of it may go on, it does as it is."""
        at, through = 0, 0  # what lies before ``through`` may go on
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at = through = at + step
                continue
            if len(data) - at < 5:
                break
            length = int.from_bytes(data[at : at + 4], "big")
            if not 1 <= length <= LARGEST:
                raise PeerFault("an SFTP packet is 1 byte to 256 KiB")
            kind, end = data[at + 4], at + 4 + length
            if kind == WRITE:
                if len(data) < min(end, at + BULK_HEAD):
                    break
                self._wrote(data, at, end)
                self._skip = 4 + length
                continue
            if len(data) < end:
                break
            packet = data[at:end]
            refusal = await self._asked(kind, packet)
            if refusal is None:
                at = through = end
                continue
            self._pass(data[:through])
            data, whole = data[end:], b""
            at = through = 0
            self._keep(len(packet))
            self._say(refusal)
        if whole and through == len(data):
            self._host.write(whole)
            return
        self._pass(data[:through])
        self._held = data[through:]

    def _pass(self, data: bytes) -> None:
        if data and self._channel.host is not None:
            self._host.write(codec.data(self._channel.host, data))

    def _keep(self, count: int) -> None:
        """Bytes that the host never gets, so never credits."""
        if self._channel.agent is not None:
            more = self._channel.room.widened(count)
            if more:
                self._agent.write(codec.adjust(self._channel.agent, more))

    def _wrote(self, data: bytes, at: int, end: int) -> None:
        fields = Fields(data[at : min(end, at + BULK_HEAD)], 5)
        self._fresh(fields.number())
        opened = self._handles.get(fields.string(256))
        fields.number(), fields.number()
        if opened is not None:
            opened.written += min(fields.number(), end - at)

    def _fresh(self, request: int) -> None:
        """An answer must tell of which request it is the outcome."""
        if request in self._waiting:
            raise PeerFault("an SFTP request number is used twice at a time")

    async def _asked(self, kind: int, packet: bytes) -> bytes | None:
        """None: it may go on; else the answer in the host's place. Raises Refused where the session is over."""
        if kind == INIT:
            if self._started:
                raise PeerFault("SFTP begins once")
            self._started = True
            return None
        fields = Fields(packet, 5)
        request = fields.number()
        self._fresh(request)
        if len(self._waiting) >= MOST_WAITING:
            raise PeerFault("too many SFTP requests without an answer")
        try:
            waiting = await self._allowed(kind, fields)
        except _Unsupported:
            return _status(request, UNSUPPORTED, "identity-bridge does not pass this extension on")
        except Refused as refused:
            return _status(request, PERMISSION_DENIED, f"identity-bridge: {survived(refused)}")
        if waiting is not None:
            self._waiting[request] = waiting
        if self._closed:
            self.close()  # while the permit was awaited
        return None

    async def _allowed(self, kind: int, fields: Fields) -> Waiting | None:
        if kind == OPEN:
            path, flags = _path(fields), fields.number()
            action = Action.WRITE if flags & FLAGS_CHANGING else Action.READ
            writing = action is Action.WRITE
            permit = await self._permit("sftp.write" if writing else "sftp.read", action, path)
            return Waiting(permit, opening=True, path=path, writing=writing)
        if kind == OPENDIR:
            path = _path(fields)
            return Waiting(await self._permit("sftp.list", Action.READ, path), opening=True, path=path)
        if kind in CHANGING:
            paths = [_path(fields) for _ in range(PATHS[kind])]
            return Waiting(await self._permit(CHANGING[kind], Action.WRITE, *paths))
        if kind in LOOKING:
            return await self._look(_path(fields))
        if kind == FSETSTAT:
            opened = self._handles.get(fields.string(256))
            if opened is not None and opened.writing:
                return None
            path = opened.path if opened is not None else ""
            return Waiting(await self._permit("sftp.setstat", Action.WRITE, path))
        if kind == READ:
            return Waiting(reading=fields.string(256))
        if kind == CLOSE:
            return Waiting(closing=fields.string(256))
        if kind in (FSTAT, READDIR):
            return None
        if kind == EXTENDED:
            return await self._extension(fields)
        raise PeerFault("an SFTP request of an unknown kind")

    async def _extension(self, fields: Fields) -> Waiting | None:
        name = fields.name()
        if name in EXTENSIONS:
            verb, count = EXTENSIONS[name]
            return Waiting(await self._permit(verb, Action.WRITE, *[_path(fields) for _ in range(count)]))
        if name in LOOKING_EXTENSIONS:
            return await self._look(_path(fields))
        if name in HARMLESS:
            return None
        raise _Unsupported

    async def _permit(self, verb: str, action: Action, *paths: str) -> Permit:
        if any(_escapes(path) for path in paths):
            operation = Operation(verb, action, paths, target=_target(""))
            text = "a path out of the home folder is to be given from the root"
            raise await denied(self._admission, operation, text)
        for path in paths[:-1]:
            if not self._admission.may(action, _target(path)):
                return await self._admission.permit(Operation(verb, action, paths, target=_target(path)))
        return await self._admission.permit(Operation(verb, action, paths, target=_target(paths[-1])))

    async def _look(self, path: str) -> Waiting | None:
        """Attributes and links are looked up by the hundred: those that may be are not recorded one by one."""
        if _escapes(path) or not self._admission.may(Action.READ, _target(path)):
            return Waiting(await self._permit("sftp.stat", Action.READ, path))
        return None

    # -- from the host

    def from_host(self, payload: bytes) -> None:
        data = payload[9:]
        place = self._observed(data)
        if not self._said or place < 0:
            self._agent.write(payload)
            return
        self._give(data[:place])
        self._flush_said()
        self._give(data[place:])

    def _observed(self, data: bytes) -> int:
        """Reads along; returns the first place in ``data`` that is between two packets, -1 for none."""
        place, at = (0 if self._between else -1), 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            else:
                step = min(self._wanted() - len(self._head), len(data) - at)
                self._head += data[at : at + step]
                at += step
                if len(self._head) == self._wanted():
                    self._answered(self._head)
                    self._left = 4 + int.from_bytes(self._head[:4], "big") - len(self._head)
                    self._head = b""
            if place < 0 and self._between:
                place = at
        return place

    @property
    def _between(self) -> bool:
        return not self._left and not self._head

    def _wanted(self) -> int:
        """How many bytes of the host's packet are looked at: of a handle all, else up to the first number."""
        if len(self._head) < 5:
            return 5
        length = int.from_bytes(self._head[:4], "big")
        if not 1 <= length <= LARGEST or (self._head[4] == HANDLE and length > 9 + 256):
            raise PeerFault("the host sent an SFTP packet that is too long")
        return 4 + length if self._head[4] == HANDLE else 4 + min(length, 9)

    def _give(self, data: bytes) -> None:
        if data and self._channel.agent is not None:
            self._agent.write(codec.data(self._channel.agent, data))

    def _say(self, packet: bytes) -> None:
        if len(self._said) >= MOST_SAID:
            raise PeerFault("too many refused SFTP requests without room for their answers")
        self._said.append(packet)
        self.may_speak()

    def may_speak(self) -> None:
        """The agent has given room, or there is something to say."""
        if self._between:
            self._flush_said()

    def _flush_said(self) -> None:
        while self._said and self._channel.agent is not None and self._channel.window.left >= len(self._said[0]):
            packet = self._said.popleft()
            self._channel.window.lent(len(packet))
            self._agent.write(codec.data(self._channel.agent, packet))

    def _answered(self, head: bytes) -> None:
        """``head``: at least kind, id and, of a handle, all of it; of a status its code, of data its length."""
        if len(head) < 9 or head[4] == VERSION:
            return
        waiting = self._waiting.pop(int.from_bytes(head[5:9], "big"), None)
        if waiting is None:
            return
        kind = head[4]
        value = int.from_bytes(head[9:13], "big") if len(head) >= 13 else 0
        if kind == HANDLE and waiting.opening and waiting.permit is not None:
            handle = Fields(head, 9).string(256)
            self._shut(handle, Result.UNKNOWN)
            self._handles[handle] = Opened(waiting.permit, waiting.path, waiting.writing)
            if len(self._handles) > MOST_HANDLES:
                raise PeerFault("too many files are open")
        elif waiting.permit is not None:
            good = kind == STATUS and value == OK
            outcome = Outcome(Result.SUCCESS if good else Result.FAILURE, code="" if good else str(value))
            self._admission.outcome(waiting.permit, outcome)
        elif waiting.reading and kind == DATA:
            opened = self._handles.get(waiting.reading)
            if opened is not None:
                opened.read += value
        elif waiting.closing:
            self._shut(waiting.closing, Result.SUCCESS if value == OK else Result.FAILURE)

    def _shut(self, handle: bytes, result: Result) -> None:
        opened = self._handles.pop(handle, None)
        if opened is not None:
            self._admission.outcome(opened.permit, Outcome(result, bytes=opened.read + opened.written))

    def close(self) -> None:
        """The channel is over: whatever is open was closed by the host with it."""
        self._closed = True
        for handle in list(self._handles):
            self._shut(handle, Result.SUCCESS)
        for waiting in self._waiting.values():
            if waiting.permit is not None:
                self._admission.outcome(waiting.permit, Outcome(Result.UNKNOWN))
        self._waiting.clear()


class _Unsupported(Exception):
    """An extension that could do anything."""


def _path(fields: Fields) -> str:
    path = fields.string(LONGEST_PATH)
    if b"\0" in path:  # some hosts take what stands before it, which is another path
        raise PeerFault("a path holds a zero byte")
    return path.decode("utf-8", "backslashreplace")


def _target(path: str) -> dict[str, str]:
    return {"path": _named(path), "command": "", "forward": ""}


def _named(path: str) -> str:
    """As grants name it: without ``.``, ``..`` and doubled slashes, with ``~/`` where it begins at home."""
    if path.startswith("/"):
        return "/" + posixpath.normpath(path).lstrip("/")
    return posixpath.normpath(f"~/{path}") if path else ""


def _escapes(path: str) -> bool:
    """A path from the home folder, which the bridge does not know, out of it."""
    return not path.startswith("/") and posixpath.normpath(path).split("/")[0] == ".."


def _status(request: int, code: int, text: str) -> bytes:
    body = bytes((STATUS,)) + struct.pack("!II", request, code) + string(text) + string("")
    return number(len(body)) + body

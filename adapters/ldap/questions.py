"""Searches of the bridge's own, as the static account: for ``doctor``, ``account discover`` and ``reconcile``.

Sent over the connection that ``Admission.connect`` made, so that it alone dials, verifies and knows the password.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from adapters.ldap import codec, controls
from adapters.ldap.answers import LdapResult, read_result
from adapters.ldap.codes import Code, Oid, Op
from adapters.ldap.entries import entry_name
from adapters.ldap.framing import Message
from adapters.ldap.rootdse import read_entry
from adapters.ldap.upstream import Directory, log_in, unavailable
from bridge.adapter import Admission, BridgeError, Deadline, PeerFault, StreamClosed, SystemFacts, TimedOut
from bridge.wire import ber

QUESTION_TIMEOUT = 30.0
"""Seconds for one answer, or for one page of it."""

TIME_LIMIT = 20
"""Seconds after which the directory itself is to stop, and gives what it has found."""

PAGE = 500
"""Entries of a page; Active Directory gives at most 1,000 (MaxPageSize)."""

MAX_ENTRIES = 10_000

BASE, LEVEL, SUBTREE = 0, 1, 2
"""Scopes (RFC 4511 section 4.5.1.2)."""

ANYTHING = codec.present(b"objectClass")

_PARTIAL = frozenset({Code.SUCCESS, Code.TIME_LIMIT, Code.SIZE_LIMIT, Code.ADMIN_LIMIT})
_HIDDEN = frozenset({Code.NO_SUCH_OBJECT, Code.INSUFFICIENT_ACCESS})


class Unanswered(BridgeError):
    """The directory refused a question; the message is its code and text."""

    def __init__(self, result: LdapResult) -> None:
        text = result.text.decode("utf-8", "replace").rstrip("\0\n")
        super().__init__(f"{result.code}: {text}" if text else f"result {result.code}")
        self.hidden = result.code in _HIDDEN


@dataclass(frozen=True, slots=True)
class Entry:
    """``values``: by lower-case attribute name, without options."""

    name: str
    values: dict[str, list[bytes]]

    def texts(self, attribute: str) -> list[str]:
        return [value.decode("utf-8", "replace") for value in self.values.get(attribute.lower(), ())]

    def text(self, attribute: str) -> str:
        """The first value, "" for none."""
        return next(iter(self.texts(attribute)), "")

    def number(self, attribute: str) -> int:
        """The first value, 0 for none and for what is no number."""
        try:
            return int(self.text(attribute))
        except ValueError:
            return 0


class Questions:
    """One after the other. Each raises Unanswered, PeerFault, StreamClosed or TimedOut."""

    def __init__(self, directory: Directory, clock: Callable[[], float]) -> None:
        self.directory = directory
        self._clock = clock

    async def entry(self, name: str, *attributes: str) -> Entry | None:
        """None when it is not there for this account."""
        try:
            found = await self.search(name, ANYTHING, *attributes, scope=BASE)
        except Unanswered as unanswered:
            if unanswered.hidden:
                return None
            raise
        return found[0] if found else None

    async def search(
        self,
        base: str,
        wanted: bytes,
        *attributes: str,
        scope: int = SUBTREE,
        most: int = MAX_ENTRIES,
        types_only: bool = False,
    ) -> list[Entry]:
        """At most ``most`` entries that fit the encoded filter ``wanted``; fewer where the directory sets a limit."""
        names = tuple(name.encode() for name in attributes)
        operation = codec.search(
            base.encode(), scope, wanted, names, size_limit=most, time_limit=TIME_LIMIT, types_only=types_only
        )
        entries: list[Entry] = []
        cookie: bytes | None = b""
        while cookie is not None and len(entries) < most:
            paging = _paging(cookie) if most > PAGE else b""
            found, last = await self._ask(operation, paging)
            if read_result(last).code not in _PARTIAL:
                raise Unanswered(read_result(last))
            entries += found
            cookie = _next_page(last)
        return entries[:most]

    async def change(self, operation: bytes) -> int:
        """The result code of a Modify."""
        return read_result(await self.last(operation)).code

    async def last(self, operation: bytes, more: bytes = b"") -> Message:
        """The final answer; ``more``: controls, encoded."""
        return (await self._ask(operation, more))[1]

    async def _ask(self, operation: bytes, more: bytes = b"") -> tuple[list[Entry], Message]:
        deadline = Deadline(QUESTION_TIMEOUT, self._clock, "the directory did not answer in time")
        *found, last = await self.directory.ask(operation, deadline, more)
        return [_entry(message) for message in found if message.tag == Op.ENTRY], last


@asynccontextmanager
async def logged_in(admission: Admission, system: SystemFacts, clock: Callable[[], float]) -> AsyncIterator[Questions]:
    """As the static account; closes at the end. Whatever goes wrong becomes Refused, with its cause for ops."""
    directory = await log_in(admission, system, clock=clock)
    try:
        await admission.established({})
        yield Questions(directory, clock)
    except (Unanswered, PeerFault, StreamClosed, TimedOut) as failure:
        raise unavailable(admission, str(failure)) from None
    finally:
        await directory.stream.close()


# -- in detail ---------------------------------------------------------------------------------------------------------


def _entry(message: Message) -> Entry:
    values: dict[str, list[bytes]] = {}
    for description, found in read_entry(message):
        values.setdefault(description.partition(b";")[0].decode("latin-1").lower(), []).extend(found)
    return Entry(entry_name(message).decode("utf-8", "replace"), values)


def _paging(cookie: bytes) -> bytes:
    value = ber.encode(ber.SEQUENCE, ber.encode_integer(PAGE), ber.encode(ber.OCTET_STRING, cookie))
    return controls.encode(Oid.PAGED_RESULTS, value)


def _next_page(last: Message) -> bytes | None:
    """The cookie to ask on with; None at the end, and from a directory that has no pages."""
    for control in controls.read(last):
        if control.oid == Oid.PAGED_RESULTS:
            return controls.page(control.value)[1] or None
    return None

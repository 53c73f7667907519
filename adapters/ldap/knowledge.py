"""What is known of one directory: its schema, the names everybody may read, where the static account's entry is.

Asked over the first connection that is open anyway, kept for all sessions, asked anew after ``LIFE``. What a directory
does not show is not known: standard types stand in, and the subschema's entry is then no open name.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import DeferredLock

from adapters.ldap import codec
from adapters.ldap.answers import read_result
from adapters.ldap.codes import Code, Op
from adapters.ldap.entries import Mentions, entry_name
from adapters.ldap.names import Name, Names
from adapters.ldap.refusals import Spoken
from adapters.ldap.rootdse import read_entry
from adapters.ldap.schema import Schema
from adapters.ldap.upstream import Directory
from bridge.adapter import Deadline

LIFE = 3600.0
"""Seconds; a schema changes rarely, and an attribute it does not list yet stands for itself."""

RETRY = 300.0
"""Seconds until a directory that showed no schema is asked again."""

MAX_ACCOUNTS = 256

_WHERE = (b"subschemaSubentry", b"namingContexts", b"defaultNamingContext")


@dataclass(slots=True)
class Knowledge:
    """One directory's.

    ``secrets`` finds what may be an attribute with secrets in a run of entries. ``until``: when to ask anew, on the
    monotonic clock.
    """

    schema: Schema = field(default_factory=Schema)
    open_names: frozenset[str] = frozenset()
    names: Names = field(init=False)
    secrets: Mentions = field(init=False)
    contexts: tuple[bytes, ...] = ()
    until: float = 0.0
    entries: dict[str, Name | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = Names(self.schema)
        self.secrets = Mentions(self.schema.secret_words())


class Learning:
    """One per adapter. ``deferring`` runs what takes long in a pool."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.known = Knowledge()
        self._one_at_a_time = DeferredLock()
        self.deferring: Callable[..., Awaitable[Any]] | None = None

    async def of(self, directory: Directory, deadline: Deadline) -> Knowledge:
        """What is known, asked now if it was not or is old; who comes meanwhile waits: no session is judged by less.

        Raises StreamClosed, TimedOut, PeerFault."""
        if self._clock() >= self.known.until:
            await self._one_at_a_time.acquire()
            try:
                _ = deadline.left  # it may be over by now
                await self._learn(directory, deadline)
            finally:
                self._one_at_a_time.release()
        return self.known

    async def _learn(self, directory: Directory, deadline: Deadline) -> None:
        if self._clock() < self.known.until:
            return  # learnt by another session meanwhile
        root = await _entry(directory, b"", _WHERE, deadline)
        where = root.get("subschemasubentry", [b""])[0]
        types = (
            (await _entry(directory, where, (b"attributeTypes",), deadline)).get("attributetypes") if where else None
        )
        if types:
            schema = await self._parsed([one.decode("utf-8", "replace") for one in types])
            self.known = Knowledge(schema, _open(schema, where))
        self.known.until = self._clock() + (LIFE if types else RETRY)
        self.known.contexts = tuple(root.get("defaultnamingcontext") or root.get("namingcontexts", []))

    async def _parsed(self, definitions: list[str]) -> Schema:
        if self.deferring is None:
            return Schema.of_definitions(definitions)
        schema: Schema = await self.deferring(Schema.of_definitions, definitions)
        return schema

    async def entry_of(self, directory: Directory, login: str, deadline: Deadline) -> Name | None:
        """The static account's entry; None when the directory does not show one of that login name."""
        known = self.known
        try:
            return known.names.read(login.encode())
        except Spoken:
            pass  # no DN: Active Directory takes user@domain and DOMAIN\\user
        if login not in known.entries:
            if len(known.entries) >= MAX_ACCOUNTS:
                known.entries.clear()
            known.entries[login] = await self._found(directory, login, known, deadline)
        return known.entries[login]

    async def _found(self, directory: Directory, login: str, known: Knowledge, deadline: Deadline) -> Name | None:
        for context in known.contexts:
            operation = codec.search(context, 2, named(login), (b"1.1",), size_limit=2)
            found = [one for one in await directory.ask(operation, deadline) if one.tag == Op.ENTRY]
            if len(found) == 1:
                return known.names.of_entry(entry_name(found[0]))
        return None


def named(login: str) -> bytes:
    """The filter for the entry that logs in by a name of Active Directory: user@domain, DOMAIN\\user."""
    short = login.rpartition("\\")[2]
    return codec.any_of(codec.equality(b"userPrincipalName", login), codec.equality(b"sAMAccountName", short))


async def _entry(
    directory: Directory, name: bytes, attributes: tuple[bytes, ...], deadline: Deadline
) -> dict[str, list[bytes]]:
    """One entry's attributes, by lower-case name; none when it is not shown."""
    operation = codec.search(name, 0, codec.present(b"objectClass"), attributes, size_limit=1)
    *found, last = await directory.ask(operation, deadline)
    if last.tag != Op.DONE or read_result(last).code != Code.SUCCESS:
        return {}
    entries = [read_entry(message) for message in found if message.tag == Op.ENTRY]
    return {name.decode("latin-1").lower(): values for name, values in entries[0]} if entries else {}


def _open(schema: Schema, where: bytes) -> frozenset[str]:
    try:
        return frozenset((Names(schema).read(where).text,))
    except Spoken:
        return frozenset()

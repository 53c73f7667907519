"""What the bridge does with each message of a client: permit and forward, replace, or drop (research A7).

Ideas:

* A message goes upstream only after every operation in it was permitted, which is after it was recorded.
* A refused message is replaced by one that fails upstream (a syntax error), and that error by the refusal: so the
  refusal comes in its place among the answers and the transaction fails as it would on a server that said no.
* After a refusal in the extended protocol the rest up to the Sync is dropped, as the server would skip it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from adapters.postgres import codec, guard, usual
from adapters.postgres.answers import (
    BIND,
    CALL,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    NOT_WHILE_COPYING,
    PARSE,
    QUERY,
    REFUSED,
    SYNC,
    Answers,
    Expected,
    Unit,
)
from adapters.postgres.codec import Bind, Front
from adapters.postgres.framing import Frame
from adapters.postgres.lexer import shape
from adapters.postgres.names import ALL, Change, Doubt, Names
from adapters.postgres.operations import LARGE_OBJECTS, Describing, Prepared, Texts
from adapters.postgres.refusals import Spoken, error_message
from adapters.postgres.statements import RENAMES, STRINGS, UNPARSED, Statement, depend_on_integers
from adapters.postgres.usual import Asked, Execution
from adapters.postgres.worker import Classifier
from bridge.adapter import Action, Admission, Operation, Outcome, PeerFault, Reason, Refused, Result
from bridge.adapter.kept_operations import KeptOperations
from bridge.adapter.unexecuted import denied

_T = TypeVar("_T")

DROP = b""

FAILS = b"identity_bridge refused a statement"
"""No SQL: the server answers it with a syntax error, and its log shows where a statement was refused."""

MAX_NAME = 63
"""NAMEDATALEN - 1: the server cuts names there, so that two longer ones may be one to it."""

MAX_NAMES = 10_000
"""Prepared statements and portals remembered per session; a client that makes more is not a client."""


MAX_STATEMENTS = 1000
"""Statements of one message: each is an operation in the log, and a message of 256 KiB has room for 100,000."""

MAX_IN_FLIGHT = 1000
"""Messages that wait for their answers; one session's pipeline must not fill the log's queue for all others."""


class BrokenProtocol(PeerFault):
    """Nothing can be answered to this; the session ends, as it would on the server."""


class Portal:
    """A bound statement; ``unit`` once it was first executed."""

    __slots__ = ("bind", "prepared", "unit")

    def __init__(self, prepared: Prepared | None, bind: Bind | None) -> None:
        self.prepared = prepared
        self.bind = bind
        self.unit: Unit | None = None


class Requests:
    """One session's. ``quiet`` waits until everything in flight is answered; ``warn`` tells the client a warning."""

    def __init__(
        self,
        admission: Admission,
        answers: Answers,
        texts: Texts,
        describing: Describing,
        classifier: Classifier,
        kept: KeptOperations,
        *,
        scope: str,
        quiet: Callable[[], Awaitable[None]],
        warn: Callable[[str], None],
    ) -> None:
        self._admission = admission
        self._answers = answers
        self._texts = texts
        self._describing = describing
        self._classifier = classifier
        self._kept = kept
        self._scope = scope
        self._quiet = quiet
        self._warn = warn
        self._read_only = guard.read_only(admission.actions)
        self._statements: Names[Prepared] = Names()
        self._portals: Names[Portal] = Names()
        self._batch = 0
        self._skipping = False
        self.terminated = False
        answers.ready = self._ready
        answers.bound = self._bound
        answers.unfolded = self._unfolded
        texts.rested = lambda: answers.rested

    # -- the usual request --------------------------------------------------------------------------------------------

    def at_once(self, data: bytes) -> bool:
        """Whether ``data`` is one usual request, which then was permitted without a wait and goes upstream as it is."""
        if not self._answers.quiet or self._skipping or not data:
            return False
        text = usual.query(data)
        execution = usual.execution(data) if text is None else None
        prepared = self._executed(execution) if execution is not None else None
        operation = prepared.operation if prepared is not None else None
        if text is not None:
            operation = self._kept_operation(self._shape(text))
        permit = self._admission.permit_at_once(operation) if operation is not None else None
        if permit is None:
            return False
        if permit.warning:
            self._warn(permit.warning)
        self._batch += 1
        self._answers.ask(Asked(permit, prepared, execution))
        return True

    def _shape(self, text: bytes) -> bytes | None:
        return shape(text) if self._texts.plain else None

    def _kept_operation(self, key: bytes | None) -> Operation | None:
        operations = self._kept.get(self._scope, key) if key is not None else None
        return operations[0] if operations is not None and len(operations) == 1 else None

    def _executed(self, execution: Execution) -> Prepared | None:
        """A statement of which executing it is its operation, and nothing more."""
        if self._describing.keeps_values or not self._statements.settled:
            return None
        if execution.text is None:
            prepared = self._statements.known.get(execution.name)
            return prepared if prepared is not None and prepared.plain else None
        key = self._shape(execution.text)
        operation, statements = self._kept_operation(key), self._classifier.cached(key)
        if operation is None or statements is None or not _is_plain(statements[0]):
            return None
        room = len(self._statements.known) < MAX_NAMES
        return Prepared(statements[0], operation, plain=True) if room and not execution.name else None

    def _bound(self, asked: Asked) -> None:
        """The unnamed statement stays. In a transaction the portal outlives the answer; it is at its end."""
        if asked.parsed and asked.prepared is not None:
            self._statements.known[b""] = asked.prepared
        if self._answers.status != "I" and asked.prepared is not None:
            portal = self._portals.known[b""] = Portal(asked.prepared, None)
            portal.unit = Unit(asked.permit, ended=True)

    def _unfolded(self, asked: Asked) -> list[Expected]:
        unit = Unit(asked.permit)
        if asked.prepared is None:
            return [Expected(QUERY, (unit,))]
        portal, batch = Portal(asked.prepared, None), self._batch - 1
        portal.unit = unit
        expected = []
        if asked.parsed:
            parsed = self._statements.change(b"", asked.prepared, batch)
            expected.append(Expected(PARSE, change=parsed, operation=asked.prepared.operation))  # type: ignore[arg-type]
        expected.append(Expected(BIND, change=self._portals.change(b"", portal, batch)))  # type: ignore[arg-type]
        if asked.described:
            expected.append(Expected(DESCRIBE))
        return [*expected, Expected(EXECUTE, (unit,)), Expected(SYNC)]

    # -- dispatch -----------------------------------------------------------------------------------------------------

    async def message(self, frame: Frame, buffer: bytes) -> bytes | None:
        """None: forward as it is; else what goes upstream instead (``DROP``: nothing).

        Raises PeerFault for what no server would take either.
        """
        kind, start, end, _count, ends = frame
        if (kind == Front.SYNC or kind == Front.FLUSH) and end - start != codec.HEADER_SIZE:
            raise BrokenProtocol("a Sync or Flush has a body")
        if kind == Front.SYNC:
            self._skipping = False
            self._batch += 1
            self._answers.sync()
            return None
        if kind == Front.TERMINATE:
            self.terminated = True
            return None
        if self._skipping:
            return DROP
        answers = self._answers
        if answers.copying and kind not in _WHILE_COPYING:
            raise BrokenProtocol(NOT_WHILE_COPYING)
        if answers.in_flight >= MAX_IN_FLIGHT:
            await self._quiet()
        try:
            if kind == Front.DESCRIBE:
                codec.parse_named(buffer[start + 5 : end])
                answers.expect(Expected(DESCRIBE))
                return None
            handling = _KINDS.get(kind)
            if handling is None:
                self._other(kind)
                return None
            return await handling(self, buffer[start + 5 : end], ends)
        except BrokenProtocol:
            raise
        except PeerFault as fault:
            return await self._malformed(kind, str(fault))

    def _other(self, kind: int) -> None:
        if kind in (Front.COPY_DONE, Front.COPY_FAIL):
            self._answers.copy_end()
        elif kind != Front.FLUSH:
            raise BrokenProtocol("a message of a kind that clients do not send")

    async def _malformed(self, kind: int, why: str) -> bytes:
        spoken = Spoken(Reason.PROTOCOL, "08P01", f"invalid message format: {why}")
        operation = self._describing.malformed(chr(kind))
        refused = await self._denied(operation, spoken)
        simple = kind in (Front.QUERY, Front.FUNCTION_CALL)
        error = codec.error_response("ERROR", "08P01", str(refused))
        return self._refused(error, simple)

    # -- simple -------------------------------------------------------------------------------------------------------

    async def _query(self, body: bytes, whole: bool) -> bytes | None:
        text = _text(body, "Query") if whole else body
        self._batch += 1
        key = self._shape(text)
        operations = self._kept.get(self._scope, key) if key is not None else None
        reads = operations is not None and all(operation.action is Action.READ for operation in operations)
        if operations is not None and (reads or not self._read_only):
            return await self._permitted(operations, ())
        return await self._query_anew(text, key, whole)

    async def _query_anew(self, text: bytes, key: bytes | None, whole: bool) -> bytes | None:
        statements = await self._classify(text, key, whole)
        if len(statements) > MAX_STATEMENTS:
            (operation,) = self._describing.operations(text, (UNPARSED,))
            why = f"one message holds more than {MAX_STATEMENTS} statements"
            return self._refused(await self._objected(operation, why), simple=True)
        operations = self._describing.operations(text, statements)
        self._keep(text, key, statements, operations)
        if _are_plain(statements) and not self._read_only:
            return await self._permitted(operations, ())
        changes: list[tuple[Change[object], ...]] = []
        for index, statement in enumerate(statements):
            why = guard.objection(statement, is_read_only=self._read_only)
            if why:
                _drop(changes)
                return self._refused(await self._objected(operations[index], why), simple=True)
            operations[index] = await self._by_name(statement, operations[index])
            changes.append(self._changes(statement, operations[index]))
        refused = await self._permitted(operations, changes)
        if refused is not None or not any(RENAMES in statement.flags for statement in statements):
            return refused
        return codec.query(self._renamed(text, statements))

    def _keep(
        self, text: bytes, key: bytes | None, statements: tuple[Statement, ...], operations: list[Operation]
    ) -> None:
        """For the next text of this shape, where it can have no other meaning and was understood."""
        keepable = statements[0] != UNPARSED and (key == text or not depend_on_integers(statements))
        if key is not None and _are_plain(statements) and keepable and self._describing.repeatable:
            self._kept.put(self._scope, key, tuple(operations))

    async def _permitted(
        self, operations: list[Operation] | tuple[Operation, ...], changes: list[tuple[Change[object], ...]] | tuple[()]
    ) -> bytes | None:
        units: list[Unit] = []
        permit = self._admission.permit
        try:
            for operation in operations:
                granted = await permit(operation)
                units.append(Unit(granted, operation.verb == UNPARSED.verb))
                if granted.warning:
                    self._warn(granted.warning)
        except Refused as refused:
            for unit in units:
                self._admission.outcome(unit.permit, Outcome(Result.ABORTED))
            _drop(changes)
            return self._refused(error_message(refused, live=True), simple=True)
        for unit, change in zip(units, changes, strict=False):
            unit.changes = change
        self._answers.expect(Expected(QUERY, units))
        return None

    # -- extended -----------------------------------------------------------------------------------------------------

    async def _parse(self, body: bytes, whole: bool) -> bytes | None:
        raw, text = _parse_head(body, whole)
        name = self._name(raw)
        key = self._shape(text)
        statements = await self._classify(text, key, whole)
        if len(statements) > 1:
            statements, key = (UNPARSED,), None  # the server refuses it
        statement = statements[0]
        operations = self._describing.operations(text, statements)
        self._keep(text, key, statements, operations)
        operation = operations[0]
        why = guard.objection(statement, is_read_only=self._read_only)
        if why:
            return self._refused(await self._objected(operation, why), simple=False)
        if len(self._statements.known) >= MAX_NAMES and name not in self._statements.known:
            raise PeerFault("too many prepared statements")
        prepared = Prepared(statement, operation, _is_plain(statement))
        change = self._statements.change(name, prepared, self._batch)
        self._answers.expect(Expected(PARSE, change=change, operation=operation))  # type: ignore[arg-type]
        if RENAMES in statement.flags:
            parse = codec.parse_parse(body)
            return codec.parse_message(raw, self._renamed(text, statements), parse.types)
        return None

    async def _bind(self, body: bytes, whole: bool) -> bytes | None:
        portal_name, statement_name = _two_names(body, "Bind")
        bind = codec.parse_bind(body) if whole and self._describing.keeps_values else None
        portal_name, statement_name = self._name(portal_name), self._name(statement_name)
        prepared = self._statements.resolve(statement_name, self._batch)
        if isinstance(prepared, Doubt):
            prepared = await self._resolve(self._statements, statement_name)
        portals = self._portals.known
        if portals:
            self._replacing(portal_name)
            if len(portals) >= MAX_NAMES and portal_name not in portals:
                raise PeerFault("too many portals")
        change = self._portals.change(portal_name, Portal(prepared, bind), self._batch)
        self._answers.expect(Expected(BIND, change=change))  # type: ignore[arg-type]
        return None

    async def _close(self, body: bytes, whole: bool) -> bytes | None:
        named = codec.parse_named(body)
        name = self._name(named.name)
        change: Change[object]
        if named.which == "S":
            change = self._statements.change(name, None, self._batch)  # type: ignore[assignment]
        else:
            self._replacing(name)
            change = self._portals.change(name, None, self._batch)  # type: ignore[assignment]
        self._answers.expect(Expected(CLOSE, change=change))
        return None

    def _replacing(self, portal_name: bytes) -> None:
        old = self._portals.known.get(portal_name)
        if old is not None and old.unit is not None:
            self._answers.close_portal(old.unit)

    async def _execute(self, body: bytes, whole: bool) -> bytes | None:
        execute = codec.parse_execute(body)
        name = self._name(execute.portal)
        portal = self._portals.resolve(name, self._batch)
        if isinstance(portal, Doubt):
            portal = await self._resolve(self._portals, name)
        if portal is not None and portal.unit is not None:  # goes on where a row limit stopped it
            self._answers.expect(Expected(EXECUTE, (portal.unit,)))
            return None
        if portal is None or portal.prepared is None:
            why = "a portal or statement that the bridge has not seen"
            operation = self._describing.unseen(self._describing.malformed("Execute"), why)
            statement = UNPARSED
        else:
            statement, operation = portal.prepared.statement, portal.prepared.operation
            if statement.verb in _BY_NAME:
                operation = await self._by_name(statement, operation)
            operation = self._describing.bound(operation, portal.bind)
        why = guard.objection(statement, is_read_only=self._read_only)
        if why:
            return self._refused(await self._objected(operation, why), simple=False)
        try:
            permit = await self._admission.permit(operation)
        except Refused as refused:
            return self._refused(error_message(refused, live=True), simple=False)
        if permit.warning:
            self._warn(permit.warning)
        unit = Unit(permit, operation.verb == UNPARSED.verb, self._changes(statement, operation))
        if portal is not None:
            portal.unit = unit
        self._answers.expect(Expected(EXECUTE, (unit,)))
        return None

    async def _call(self, body: bytes, whole: bool) -> bytes | None:
        call = codec.parse_function_call(body) if whole else codec.FunctionCall(_oid(body), (), (), 0)
        self._batch += 1
        operation = self._describing.function_call(call)
        if call.oid not in LARGE_OBJECTS:
            why = "the bridge lets only the large object functions be called by number"
            return self._refused(await self._objected(operation, why), simple=True)
        if self._read_only and operation.action is not Action.READ:
            return self._refused(await self._objected(operation, guard.READ_ONLY), simple=True)
        try:
            permit = await self._admission.permit(operation)
        except Refused as refused:
            return self._refused(error_message(refused, live=True), simple=True)
        if permit.warning:
            self._warn(permit.warning)
        self._answers.expect(Expected(CALL, (Unit(permit),)))
        return None

    # -- refusing -----------------------------------------------------------------------------------------------------

    async def _objected(self, operation: Operation, why: str) -> bytes:
        hint = "" if why.startswith(guard.READ_ONLY) else "This holds whatever the grants say."
        spoken = Spoken(Reason.ACTION_DENIED, "42501", why, hint=hint)
        return error_message(await self._denied(operation, spoken), live=True)

    async def _denied(self, operation: Operation, spoken: Spoken) -> Refused:
        return await denied(self._admission, operation, spoken, code=spoken.sqlstate)

    def _refused(self, error: bytes, simple: bool) -> bytes:
        if simple:
            self._answers.expect(Expected(QUERY, error=error))
            return codec.query(FAILS)
        self._skipping = True
        self._answers.expect(Expected(REFUSED, error=error))
        # by name, so that the unnamed statement stays as it is; a statement that fails is not kept
        return codec.parse_message(b"identity_bridge_refused", FAILS, ())

    # -- names --------------------------------------------------------------------------------------------------------

    async def _resolve(self, names: Names[_T], name: bytes) -> _T | None:
        value = names.resolve(name, self._batch)
        if isinstance(value, Doubt):
            await self._quiet()
            value = names.resolve(name, self._batch)
        return None if isinstance(value, Doubt) else value

    async def _by_name(self, statement: Statement, operation: Operation) -> Operation:
        """SQL's EXECUTE does what its prepared statement does, and FETCH runs what is only bound so far."""
        if statement.verb in ("sql.fetch", "sql.move"):
            portal = await self._resolve(self._portals, statement.name.encode())
            bound = portal.prepared if portal is not None else None
            if bound is None or bound.operation.verb == "sql.declare":  # the log has a cursor's text since its DECLARE
                return operation
            return self._describing.executed(bound, operation)
        if statement.verb != "sql.execute":
            return operation
        prepared = await self._resolve(self._statements, statement.name.encode())
        if prepared is None:
            return self._describing.unseen(operation, "EXECUTE of a statement that the bridge has not seen")
        return self._describing.executed(prepared, operation)

    def _changes(self, statement: Statement, operation: Operation) -> tuple[Change[object], ...]:
        """What SQL does to the names that the protocol shares with it."""
        verb = statement.verb
        if verb not in _NAMING:
            return ()
        name = statement.name.encode()
        changes: list[object] = []
        if verb == "sql.prepare":
            inner = Statement(statement.verb, statement.action, statement.objects)
            changes.append(self._statements.change(name, Prepared(inner, operation), self._batch))
        elif verb == "sql.deallocate":
            changes.append(self._statements.change(name, None, self._batch))
        elif verb == "sql.declare":
            portal = Portal(Prepared(statement, operation), None)
            changes.append(self._portals.change(name, portal, self._batch))
        elif verb == "sql.close":
            changes.append(self._portals.change(name, None, self._batch))
        elif verb == "sql.discard" and name == ALL:
            changes.append(self._statements.change(ALL, None, self._batch))
            changes.append(self._portals.change(ALL, None, self._batch))
        return tuple(changes)  # type: ignore[arg-type]

    def _ready(self, status: str) -> None:
        """Portals end with their transaction; cursors WITH HOLD live on, and are then not understood."""
        if status == "I" and self._portals.known:
            self._portals.known.clear()

    # -- texts --------------------------------------------------------------------------------------------------------

    async def _classify(self, text: bytes, key: bytes | None, whole: bool) -> tuple[Statement, ...]:
        if not whole:
            return (UNPARSED,)
        decoded = self._texts.decode(text)
        if decoded is None and self._texts.doubtful:
            await self._quiet()
            decoded = self._texts.decode(text)
        statements = await self._classifier.classify(text, decoded, key)
        for statement in statements:
            if STRINGS in statement.flags:
                self._texts.doubt()
            if not statement.name.isascii() and len(statement.name.encode()) > MAX_NAME - 4:
                raise PeerFault("a name of this length must be ASCII")  # the server's encoding says where it is cut
        return statements

    def _name(self, raw: bytes) -> bytes:
        """The name of a statement or portal, as names in SQL are kept here."""
        if len(raw) > MAX_NAME or raw == ALL:
            raise PeerFault(f"the name of a statement or portal is `*` or longer than {MAX_NAME} bytes")
        if raw.isascii():
            return raw
        decoded = self._texts.decode(raw)
        if decoded is None or len(decoded.encode()) > MAX_NAME:
            raise PeerFault("the name of a statement or portal cannot be read in the session's encoding")
        return decoded.encode()

    def _renamed(self, text: bytes, statements: tuple[Statement, ...]) -> bytes:
        decoded = self._texts.decode(text)
        assert decoded is not None  # it was parsed
        return self._texts.encode(guard.with_renamings(decoded, statements, self._admission.stamp))


_BY_NAME = frozenset({"sql.execute", "sql.fetch", "sql.move"})
_NAMING = frozenset({"sql.prepare", "sql.deallocate", "sql.declare", "sql.close", "sql.discard"})
_SPECIAL = _BY_NAME | _NAMING | {UNPARSED.verb}
_WHILE_COPYING = (Front.COPY_DONE, Front.COPY_FAIL, Front.FLUSH)

_KINDS = {
    Front.QUERY: Requests._query,
    Front.PARSE: Requests._parse,
    Front.BIND: Requests._bind,
    Front.CLOSE: Requests._close,
    Front.EXECUTE: Requests._execute,
    Front.FUNCTION_CALL: Requests._call,
}


def _is_plain(statement: Statement) -> bool:
    return not statement.flags and statement.verb not in _SPECIAL


def _are_plain(statements: tuple[Statement, ...]) -> bool:
    return not any(statement.name or statement.flags for statement in statements)


def _drop(changes: list[tuple[Change[object], ...]] | tuple[()]) -> None:
    for some in changes:
        for change in some:
            change.drop()


def _text(body: bytes, what: str) -> bytes:
    """Up to its only NUL; another one inside is an error to the server too (08P01)."""
    if body.find(b"\0") != len(body) - 1 or not body:
        raise PeerFault(f"{what}: a NUL inside the text")
    return body[:-1]


def _parse_head(body: bytes, whole: bool) -> tuple[bytes, bytes]:
    if whole:
        parse = codec.parse_parse(body)
        return parse.name, parse.text
    name, found, text = body.partition(b"\0")
    if not found:
        raise PeerFault("Parse: its name is too long")
    return name, text


def _two_names(body: bytes, what: str) -> tuple[bytes, bytes]:
    parts = body.split(b"\0", 2)
    if len(parts) < 3:
        raise PeerFault(f"{what}: its names are too long")
    return parts[0], parts[1]


def _oid(body: bytes) -> int:
    return int.from_bytes(body[:4], "big")

"""What the bridge does with each command of a client: permit and forward, replace, or refuse (research B5).

Ideas:

* A command goes upstream only after every operation in it was permitted, which is after it was recorded.
* A refused command is answered by the bridge with an ERR, in its place among the answers; the session lives.
* A list of the commands that are served; everything else is refused, for many of them act without any SQL.
* Before a text is read the bridge knows how the server reads it: it asks for sql_mode, character set and database when
  anything may have changed them, and waits for what is in flight to be answered (``_settle``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from adapters.mysql import guard, usual
from adapters.mysql.classifier import Classifier
from adapters.mysql.codec import HEADER_SIZE, Com, packets
from adapters.mysql.kill import Kills, KillSlot
from adapters.mysql.lexer import UNKNOWN, Modes, shape
from adapters.mysql.operations import Describing, foreign
from adapters.mysql.prepared import LAST_PREPARED, MAX_STATEMENTS, Prepared, statement_number, values
from adapters.mysql.refusals import Spoken, error_payload
from adapters.mysql.results import FETCH, FIELDS, ONE, PREPARE, RESULTS, TEXT, Answers, Expected, Unit
from adapters.mysql.session_modes import ASK_MODES, read_modes
from adapters.mysql.statements import (
    KILL,
    LEXICAL,
    LOCAL,
    OPAQUE,
    SEVERAL,
    UNPARSED,
    USES,
    Statement,
    stronger,
)
from adapters.mysql.statements import TEXT as PREPARES_TEXT
from adapters.mysql.usual import Asked
from bridge.adapter import Action, Admission, Operation, Outcome, PeerFault, Reason, Refused, Result
from bridge.adapter.unexecuted import denied

MAX_TEXTS = 1000
"""Statements of one command: each is an operation in the log, and a command of 1 MiB has room for 500,000."""

MAX_IN_FLIGHT = 1000
"""Commands that wait for their answers; one session's pipeline must not fill the log's queue for all others."""

NOTHING = b""
"""Nothing goes upstream."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The client hears this ERR payload when its command is there to the end; nothing goes upstream."""

    payload: bytes


Verdict = bytes | Refusal | None
"""None: forward as it is; bytes: what goes upstream instead."""


class Commands:
    """One session's. ``quiet`` waits until everything in flight is answered.

    ``ask`` runs a statement of the bridge's own, when all is quiet, and returns the packets of its answer.
    ``unprepared`` is told of what the server would not even prepare: nothing is executed, but it is to be logged.
    """

    def __init__(
        self,
        admission: Admission,
        answers: Answers,
        describing: Describing,
        classifier: Classifier,
        kills: Kills,
        slot: KillSlot,
        *,
        capabilities: int,
        database: str,
        multi_statements: bool,
        local_files: bool,
        quiet: Callable[[], Awaitable[None]],
        ask: Callable[[str], Awaitable[bytes]],
        unprepared: Callable[[Operation, str], None],
    ) -> None:
        self._admission = admission
        self._answers = answers
        self._describing = describing
        self._classifier = classifier
        self._kills = kills
        self._slot = slot
        self._capabilities = capabilities
        self._multi_allowed = multi_statements
        self._local_files = local_files
        self._quiet = quiet
        self._ask = ask
        self._unprepared = unprepared
        self._read_only = guard.read_only(admission.actions)
        self._database = database
        self._scope = f"{describing.scope} {database}"
        self._modes: Modes = UNKNOWN
        self._in_doubt = True  # modes and database are to be asked for
        self._reset = False  # the session was reset: the seat-belt is to be put on again
        self._waiting_first = False  # the answer must begin before the client's next packet is understood
        self._statements: dict[int, Prepared] = {}
        self._last: Prepared | None = None
        self._preparing = 0
        self._by_name: dict[str, Operation | None] = {}
        self.offered_file: str | None = None
        self.terminated = False
        answers.unfolded = self._unfolded

    # -- the usual command --------------------------------------------------------------------------------------------

    def at_once(self, data: bytes) -> bool:
        """Whether ``data`` is one usual command, which then was permitted without a wait and goes upstream as it is."""
        if not self._answers.quiet or self._in_doubt or self._reset or self._waiting_first:
            return False
        number = usual.command(data)
        prepared = None
        if number == Com.QUERY:
            operation = self._kept_operation(data[HEADER_SIZE + 1 :])
        elif number == Com.STMT_EXECUTE:
            prepared = self._plain_statement(data[HEADER_SIZE:])
            operation = prepared.operation if prepared is not None else None
        else:
            return False
        permit = self._admission.permit_at_once(operation) if operation is not None else None
        if permit is None:
            return False
        self._answers.ask(Asked(permit, prepared))
        return True

    def _kept_operation(self, text: bytes) -> Operation | None:
        key = shape(text) if self._modes.plain else None
        operations = self._classifier.kept.get(self._scope, key) if key is not None else None
        return operations[0] if operations is not None and len(operations) == 1 else None

    def _plain_statement(self, body: bytes) -> Prepared | None:
        """A statement of which executing it is its operation, and nothing more."""
        prepared = self._statements.get(statement_number(body))
        if prepared is None or self._describing.keeps_values or prepared.long or prepared.cursor is not None:
            return None
        statement = prepared.statement
        return None if statement.flags or statement.databases else prepared

    def _unfolded(self, asked: Asked) -> Expected:
        prepared, units = asked.prepared, (Unit(asked.permit),)
        if prepared is None:
            return Expected(RESULTS, units)
        return Expected(RESULTS, units, cursor=lambda unit: self._cursor(prepared, unit))

    # -- dispatch -----------------------------------------------------------------------------------------------------

    async def command(self, body: bytes, whole: bool) -> Verdict:
        """``body``: the command from its first byte, at least its head where it is not ``whole``.

        Raises PeerFault for what no server would take either, Refused when the session cannot go on.
        """
        if not body:
            raise PeerFault("a command is empty")
        com = body[0]
        if com == Com.QUIT:
            self.terminated = True
            return None
        if self._answers.in_flight >= MAX_IN_FLIGHT or self._waiting_first:
            self._waiting_first = False
            await self._quiet()
            if self._answers.infile:
                raise PeerFault("a command came in place of the file that was asked for")
            self.offered_file = None
        if self._reset:
            await self._fasten()
        handling = _COMMANDS.get(com)
        if handling is None:
            return await self._not_served(com)
        if not whole and com not in _HEAD_SAYS_ALL:
            return await self._too_long(com)
        return await handling(self, body)

    # -- text ---------------------------------------------------------------------------------------------------------

    async def _query(self, body: bytes) -> Verdict:
        if self._in_doubt:
            await self._settle()
        text = body[1:]
        key = shape(text) if self._modes.plain else None
        if key is not None:
            operations = self._classifier.kept.get(self._scope, key)
            if operations is not None and (operations[0].action is Action.READ or not self._read_only):
                return await self._permitted(operations, ())
        return await self._query_anew(text, key)

    async def _query_anew(self, text: bytes, key: bytes | None) -> Verdict:
        statements = await self._classifier.classify(text, self._modes, key)
        if len(statements) > MAX_TEXTS:
            operation = self._describing.of(text, replace(UNPARSED, end=len(text)), self._modes, self._database)
            return await self._objected(operation, f"one command holds more than {MAX_TEXTS} statements")
        operations: list[Operation] = []
        database = self._database
        for statement in statements:
            operation, why = await self._described(text, statement, database, several=len(statements) > 1)
            if not why and len(statements) > 1:
                why = guard.among_others(statement)
            if why:
                return await self._objected(operation, why)
            database = statement.name if USES in statement.flags else database
            operations.append(operation)
        only = statements[0] if len(statements) == 1 else None
        if only is not None and KILL in only.flags:
            return await self._kill(operations[0], int(only.value), only.name)
        if only is not None and key is not None and self._keepable(only, key == text):
            self._classifier.kept.put(self._scope, key, tuple(operations))
        return await self._permitted(operations, statements)

    def _keepable(self, statement: Statement, own_key: bool) -> bool:
        plain = not statement.flags and not statement.name and not foreign(statement, self._database)
        return plain and self._describing.repeatable and (own_key or statement.verb != "sql.set")

    async def _described(
        self, text: bytes, statement: Statement, database: str, *, several: bool = False
    ) -> tuple[Operation, str]:
        """The operation, and why it is refused whatever the grants say."""
        if USES in statement.flags:
            database = statement.name
        operation = self._describing.of(text, statement, self._modes, database, several=several)
        operation = self._narrowed(operation, foreign(statement, database))
        why = guard.objection(statement, is_read_only=self._read_only, local_files=self._local_files)
        if OPAQUE in statement.flags and not why:
            why = guard.hidden(statement, text)
        if PREPARES_TEXT in statement.flags and not why:
            operation, why = await self._prepares(statement, operation)
        elif statement.verb == "sql.prepare" and not why:
            self._name(statement.name, None)
        elif statement.verb == "sql.execute":
            operation = self._describing.executed(operation, self._by_name.get(statement.name))
            if self._read_only and operation.action is not Action.READ:
                why = why or "this session is read-only"
        return operation, why

    def _narrowed(self, operation: Operation, databases: Sequence[str]) -> Operation:
        """With the database that a grant does not cover as its target, if the statement names such a one."""
        for name in databases:
            target = {**operation.target, "database": name}
            if not self._admission.may(operation.action, target):
                return replace(operation, target=target)
        return operation

    async def _prepares(self, statement: Statement, operation: Operation) -> tuple[Operation, str]:
        """PREPARE … FROM 'text': it is what the text is."""
        text = statement.value.encode("utf-8")
        inner = await self._classifier.classify(text, self._modes, None)
        if len(inner) != 1:
            return replace(operation, action=Action.ADMIN), "only one statement can be prepared"
        prepared, why = await self._described(text, inner[0], self._database)
        why = why or guard.inner_objection(inner[0])
        action = stronger(operation.action, prepared.action)
        operation = replace(operation, action=action, objects=prepared.objects, target=prepared.target)
        if not why:
            self._name(statement.name, prepared)
        return operation, why

    def _name(self, name: str, operation: Operation | None) -> None:
        """What the name meant before still counts, for its new meaning may fail. None: not understood."""
        if name in self._by_name:
            before = self._by_name[name]
            if before is not None and operation is not None:
                operation = replace(operation, action=stronger(before.action, operation.action))
            else:
                operation = None
        elif len(self._by_name) >= MAX_STATEMENTS:
            return  # and so never understood
        self._by_name[name] = operation

    async def _permitted(self, operations: Sequence[Operation], statements: Sequence[Statement]) -> Verdict:
        units: list[Unit] = []
        try:
            for operation in operations:
                units.append(Unit(await self._admission.permit(operation)))
        except Refused as refused:
            for unit in units:
                self._answers.finish(unit, Result.ABORTED)
            return self._refuse(refused)
        for unit, statement in zip(units, statements, strict=False):
            if statement.flags:
                self._heed(unit, statement)
        self._answers.expect(Expected(RESULTS, units))
        return None

    def _heed(self, unit: Unit, statement: Statement) -> None:
        flags = statement.flags
        unit.several = SEVERAL in flags
        if flags & {LEXICAL, USES}:
            self._in_doubt = True
        if flags & {LOCAL, OPAQUE}:  # the client's next packets may be a file
            self._waiting_first = True
            self.offered_file = statement.value if LOCAL in flags else None

    async def _too_long(self, com: int) -> Verdict:
        if com not in (Com.QUERY, Com.STMT_PREPARE):
            raise PeerFault("a command is longer than its kind may be")
        operation = self._describing.command("sql.unparsed", Action.ADMIN, self._database)
        return await self._objected(operation, "a statement may have at most 16 MiB here", 1153, "08S01")

    # -- prepared statements ------------------------------------------------------------------------------------------

    async def _prepare(self, body: bytes) -> Verdict:
        if self._in_doubt:
            await self._settle()
        text = body[1:]
        key = shape(text) if self._modes.plain else None
        statements = await self._classifier.classify(text, self._modes, key)
        statement = statements[0] if len(statements) == 1 else replace(UNPARSED, end=len(text))
        operation, why = await self._described(text, statement, self._database)
        why = why or guard.inner_objection(statement)
        if why:
            return await self._objected(operation, why)
        if len(self._statements) + self._preparing >= MAX_STATEMENTS:
            return self._refuse(_spoken(Reason.UNSUPPORTED, 1461, "42000", "too many prepared statements"))
        if not self._admission.may(operation.action, operation.target):
            return await self._denied_by_grants(operation)
        self._preparing += 1
        prepared = Prepared(statement, operation)
        self._answers.expect(
            Expected(
                PREPARE,
                prepared=lambda number, count: self._is_prepared(prepared, number, count),
                done=lambda succeeded, code: self._prepare_ended(operation, succeeded, code),
            )
        )
        return None

    async def _denied_by_grants(self, operation: Operation) -> Verdict:
        """Recorded by asking; where the grants have changed their mind meanwhile, the client tries again."""
        try:
            permit = await self._admission.permit(operation)
        except Refused as refused:
            return self._refuse(refused)
        self._admission.outcome(permit, Outcome(Result.ABORTED))
        return self._refuse(_spoken(Reason.ACTION_DENIED, 1142, "42000", "the grants are changing, try again"))

    def _is_prepared(self, prepared: Prepared, number: int, parameters: int) -> None:
        prepared.number, prepared.parameters = number, parameters
        self._statements[number] = prepared
        self._last = prepared

    def _prepare_ended(self, operation: Operation, succeeded: bool, code: str) -> None:
        self._preparing -= 1
        if not succeeded:
            self._last = None
            self._unprepared(operation, code)

    async def _known(self, body: bytes) -> Prepared | None:
        number = statement_number(body)
        if self._preparing and (number == LAST_PREPARED or number not in self._statements):
            await self._quiet()
        return self._last if number == LAST_PREPARED else self._statements.get(number)

    async def _execute(self, body: bytes) -> Verdict:
        prepared = await self._known(body)
        if prepared is None:
            return self._unknown_statement()
        found = values(body, prepared) if self._describing.keeps_values and body[0] == Com.STMT_EXECUTE else None
        operation = self._describing.bound(prepared.operation, found, prepared.parameters)
        operation = self._narrowed(operation, foreign(prepared.statement, self._database))  # grants change
        self._close_cursor(prepared)
        try:
            permit = await self._admission.permit(operation)
        except Refused as refused:
            prepared.long.clear()
            return self._refuse(refused)
        prepared.long.clear()
        unit = Unit(permit)
        self._heed(unit, prepared.statement)
        self._answers.expect(Expected(RESULTS, (unit,), cursor=lambda unit: self._cursor(prepared, unit)))
        return None

    @staticmethod
    def _cursor(prepared: Prepared, unit: Unit) -> None:
        prepared.cursor = unit

    def _close_cursor(self, prepared: Prepared) -> None:
        unit, prepared.cursor = prepared.cursor, None
        if unit is not None:
            self._answers.finish(unit, Result.SUCCESS, detail="closed before its last row")

    async def _fetch(self, body: bytes) -> Verdict:
        prepared = await self._known(body)
        if prepared is not None and prepared.cursor is None:
            await self._quiet()
        if prepared is None or prepared.cursor is None:
            return self._unknown_statement()
        self._answers.expect(Expected(FETCH, (prepared.cursor,)))
        return None

    async def _long_data(self, body: bytes) -> Verdict:
        prepared = await self._known(body)
        if prepared is None or len(body) < 7:
            return NOTHING  # nobody answers this command
        prepared.long.add(int.from_bytes(body[5:7], "little"))
        return None

    async def _close(self, body: bytes) -> Verdict:
        prepared = await self._known(body)
        if prepared is None:
            return NOTHING
        self._close_cursor(prepared)
        self._statements.pop(prepared.number, None)
        return None

    async def _reset_statement(self, body: bytes) -> Verdict:
        prepared = await self._known(body)
        if prepared is None:
            return self._unknown_statement()
        self._close_cursor(prepared)
        prepared.long.clear()
        self._answers.expect(Expected(ONE))
        return None

    def _unknown_statement(self) -> Refusal:
        text = "unknown prepared statement: the bridge has not seen it prepared in this session"
        return self._refuse(_spoken(Reason.UNSUPPORTED, 1243, "HY000", text))

    # -- other commands -----------------------------------------------------------------------------------------------

    async def _init_db(self, body: bytes) -> Verdict:
        name = body[1:].decode("utf-8", "replace")
        operation = self._describing.command("sql.use", Action.READ, name)
        verdict = await self._simple(replace(operation, objects=(name,)), ONE)
        self._in_doubt = self._in_doubt or verdict is None
        return verdict

    async def _field_list(self, body: bytes) -> Verdict:
        table, found, _ = body[1:].partition(b"\0")
        if not found:
            raise PeerFault("COM_FIELD_LIST: the name of the table has no end")
        name = table.decode("utf-8", "replace")
        operation = self._describing.command("sql.field_list", Action.READ, self._database)
        return await self._simple(replace(operation, objects=(name,)), FIELDS)

    async def _statistics(self, body: bytes) -> Verdict:
        return await self._simple(self._describing.command("sql.statistics", Action.READ, self._database), TEXT)

    async def _simple(self, operation: Operation, kind: str) -> Verdict:
        try:
            permit = await self._admission.permit(operation)
        except Refused as refused:
            return self._refuse(refused)
        self._answers.expect(Expected(kind, (Unit(permit),)))
        return None

    async def _ping(self, body: bytes) -> Verdict:
        self._answers.expect(Expected(ONE))
        return None

    async def _set_option(self, body: bytes) -> Verdict:
        """0 lets the server take several statements in one command, 1 ends that."""
        if len(body) != 3 or body[1:] not in (b"\0\0", b"\1\0"):
            raise PeerFault("COM_SET_OPTION: no such option")
        if body[1] == 0 and not self._multi_allowed:
            text = "several statements in one command are not allowed on this system"
            return self._refuse(_spoken(Reason.ACTION_DENIED, 1142, "42000", text))
        self._answers.expect(Expected(ONE))
        return None

    async def _reset_connection(self, body: bytes) -> Verdict:
        self._answers.expect(Expected(ONE, done=self._was_reset))
        self._reset = self._in_doubt = True
        return None

    def _was_reset(self, succeeded: bool, code: str) -> None:
        if succeeded:
            for prepared in self._statements.values():
                self._close_cursor(prepared)
            self._statements.clear()
            self._by_name.clear()
            self._last = None

    async def _process_kill(self, body: bytes) -> Verdict:
        if len(body) != 5:
            raise PeerFault("COM_PROCESS_KILL has another length")
        operation = self._describing.command("sql.kill", Action.READ, self._database)
        return await self._kill(operation, int.from_bytes(body[1:], "little"), "connection")

    async def _kill(self, operation: Operation, number: int, what: str) -> Verdict:
        """Among the agent's own sessions on this account, by the legacy server's number for it."""
        found = self._kills.find(number, self._slot)
        if found is None:
            spoken = _spoken(Reason.ACTION_DENIED, 1094, "HY000", f"you have no session with the number {number}")
            return self._refuse(await self._denied(operation, spoken))
        details = {**operation.details, "session": found.session, "what": what}
        verdict = await self._permitted((replace(operation, details=details),), ())
        text = f"KILL {what.upper()} {found.thread_id}".encode("ascii")
        return packets(bytes((Com.QUERY,)) + text, 0) if verdict is None else verdict

    async def _not_served(self, com: int) -> Verdict:
        operation = self._describing.command(f"sql.command_0x{com:02x}", Action.ADMIN, self._database)
        change = com == Com.CHANGE_USER
        text = "changing the user is not served, connect again" if change else "this command is not served"
        return self._refuse(await self._denied(operation, _spoken(Reason.UNSUPPORTED, 1047, "08S01", text)))

    # -- refusing -----------------------------------------------------------------------------------------------------

    async def _objected(self, operation: Operation, why: str, number: int = 1142, sqlstate: str = "42000") -> Verdict:
        hint = "This holds whatever the grants say."
        spoken = Spoken(Reason.ACTION_DENIED, number, sqlstate, why, hint=hint)
        return self._refuse(await self._denied(operation, spoken))

    async def _denied(self, operation: Operation, spoken: Spoken) -> Refused:
        return await denied(self._admission, operation, spoken, code=str(spoken.number))

    @staticmethod
    def _refuse(refused: Refused) -> Refusal:
        return Refusal(error_payload(refused, live=True))

    # -- how the server reads -----------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Asks for the modes; what the server does not say is not known, and then texts are not understood."""
        await self._quiet()
        self._in_doubt = False
        found = read_modes(await self._ask(ASK_MODES), self._capabilities)
        if found is None:
            self._modes = replace(UNKNOWN, charset=False)
        else:
            self._modes, self._database = found
            self._scope = f"{self._describing.scope} {self._database}"

    async def _fasten(self) -> None:
        """The read-only seat-belt, again, before anything else is done in a session that was reset."""
        await self._quiet()
        self._reset = False
        for text in guard.after_login(self._admission.actions):
            answer = await self._ask(text)
            if answer[4:5] != b"\0" and answer[4:7] not in _NO_SEAT_BELT:
                refused = Refused(Reason.INTERNAL, "the session could not be made read-only again")
                raise refused.referenced(self._admission.session)


_HEAD_SAYS_ALL = frozenset({Com.STMT_EXECUTE, Com.STMT_BULK_EXECUTE, Com.STMT_SEND_LONG_DATA})
_NO_SEAT_BELT = {b"\xff" + number.to_bytes(2, "little") for number in (1064, 1193)}  # MySQL 5.5, MariaDB before 10.0


def _spoken(reason: Reason, number: int, sqlstate: str, text: str) -> Spoken:
    return Spoken(reason, number, sqlstate, text)


_COMMANDS = {
    Com.QUERY: Commands._query,
    Com.INIT_DB: Commands._init_db,
    Com.FIELD_LIST: Commands._field_list,
    Com.STATISTICS: Commands._statistics,
    Com.PING: Commands._ping,
    Com.PROCESS_KILL: Commands._process_kill,
    Com.STMT_PREPARE: Commands._prepare,
    Com.STMT_EXECUTE: Commands._execute,
    Com.STMT_BULK_EXECUTE: Commands._execute,
    Com.STMT_SEND_LONG_DATA: Commands._long_data,
    Com.STMT_CLOSE: Commands._close,
    Com.STMT_RESET: Commands._reset_statement,
    Com.STMT_FETCH: Commands._fetch,
    Com.SET_OPTION: Commands._set_option,
    Com.RESET_CONNECTION: Commands._reset_connection,
}

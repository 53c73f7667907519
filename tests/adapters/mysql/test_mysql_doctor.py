"""What the doctor makes of a server's answers; a real server answers in the integration tests."""

from __future__ import annotations

import contextlib

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from adapters.mysql import codec
from adapters.mysql.codec import packets
from adapters.mysql.doctor import findings, privileges, roles_in
from adapters.mysql.observing import session
from adapters.mysql.questions import Questions, Unanswered
from bridge.adapter import Check, LegacySession, PeerFault, StreamClosed
from bridge.testing import MemoryStream, memory_pair, now

READER = [
    "GRANT USAGE ON *.* TO `r`@`%` IDENTIFIED BY PASSWORD '*0123ABCD' REQUIRE SSL",
    "GRANT SELECT ON `app`.* TO `r`@`%`",
]
WRITER = [*READER, "GRANT ALL PRIVILEGES ON `app`.* TO `r`@`%` WITH GRANT OPTION"]

Answers = dict[str, list[tuple[str | None, ...]] | str]


def rows_of(rows: list[tuple[str | None, ...]]) -> bytes:
    width = len(rows[0]) if rows else 1
    payloads = [bytes((width,)), *[b"column"] * width, codec.eof()]
    for row in rows:
        payloads.append(b"".join(b"\xfb" if one is None else codec.string_lenenc(one.encode()) for one in row))
    return b"".join(packets(payload, number + 1) for number, payload in enumerate([*payloads, codec.eof()]))


class Server:
    """Answers each question by the longest beginning that it knows; else with an error."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.far: MemoryStream
        near, self.far = memory_pair(Clock())
        self.questions = Questions(near, Clock().seconds)

    def start(self) -> Questions:
        Deferred.fromCoroutine(self._serve())
        return self.questions

    async def _serve(self) -> None:
        with contextlib.suppress(StreamClosed):
            await self._answer_all()

    async def _answer_all(self) -> None:
        while data := await self.far.receive():
            asked = data[5:].decode()
            self.asked.append(asked)
            known = max((name for name in self.answers if asked.startswith(name)), key=len, default="")
            answer = self.answers.get(known, "unknown")
            if isinstance(answer, str):
                await self.far.send(packets(codec.error(1227, "42000", answer), 1))
            else:
                await self.far.send(rows_of(answer))

    def found(self, *, writes: bool = False) -> list[Check]:
        result: list[Check] = now(findings(self.start(), writes=writes))
        self.far.abort()
        return result


def server(grants: list[str], version: str = "10.11.6-MariaDB", **more: list[tuple[str | None, ...]] | str) -> Server:
    answers: Answers = {
        "show grants": [(line,) for line in grants],
        "show grants for public": [],
        "select version()": [(version,)],
        "select @@global.read_only": [("0",)],
        "select schema_name": [],
        "select concat": [],
    }
    return Server({**answers, **{name.replace("_", " "): answer for name, answer in more.items()}})


def test_an_account_that_can_only_select_is_guaranteed() -> None:
    *_, verdict = server(READER).found()
    assert (verdict.level, verdict.title) == ("ok", "read-only guaranteed")


def test_an_account_that_can_write_is_not_and_the_way_is_named() -> None:
    way, verdict = server(WRITER).found()
    assert way.detail == "ALL PRIVILEGES on `app`.*, GRANT OPTION on `app`.*"
    assert verdict.level == "problem"
    assert server(WRITER).found(writes=True)[-1].level == "ok"


def test_the_hash_of_the_password_is_never_told() -> None:
    odd = "GRANT `x` IDENTIFIED BY PASSWORD '*0123ABCD'"
    told = server([*READER, odd]).found()
    assert "0123ABCD" not in repr(told)
    assert told[-1].level == "problem"


def test_what_roles_may_counts() -> None:
    grants = ["GRANT `writers`,`odd role` TO `r`@`%`", *READER]
    mariadb = server(grants)
    mariadb.answers["show grants for `writers`"] = [("GRANT INSERT ON `app`.* TO `writers`",)]
    mariadb.answers["show grants for `odd role`"] = []
    roles, way, verdict = mariadb.found()
    assert roles.detail == "`odd role`, `writers`"
    assert way.detail == "INSERT on `app`.*"
    assert verdict.level == "problem"
    mysql = server(grants, "8.0.36")
    mysql.found()
    assert "show grants for current_user() using `writers`" in mysql.asked
    assert "show grants for public" not in mysql.asked


def test_a_question_that_is_refused_is_no_guarantee() -> None:
    missing, verdict = server(READER, select_concat="denied").found()
    assert missing.title == "not found out: views that call stored functions"
    assert verdict.level == "problem"


def test_databases_named_test_are_open_to_everyone() -> None:
    found = server(READER)
    found.answers["select schema_name"] = [("test",)]
    assert "test" in found.found()[0].detail


def test_a_read_only_server_is_a_guarantee_unless_the_account_writes_past_it() -> None:
    standby = server(WRITER)
    standby.answers["select @@global.read_only"] = [("1",)]
    assert standby.found()[-1].detail.startswith("the server is read_only")
    mighty = server(["GRANT SELECT, SUPER ON *.* TO `r`@`%`"])
    mighty.answers["select @@global.read_only"] = [("1",)]
    assert mighty.found()[-1].level == "problem"


@pytest.mark.parametrize(
    ("line", "beyond"),
    [
        ("GRANT SELECT (`a`, `b`), INSERT (`c`) ON `d`.`t` TO `r`@`%`", ["INSERT on `d`.`t`"]),
        (
            "GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION",
            ["GRANT OPTION on ''@'%'", "PROXY on ''@'%'"],
        ),
        ("GRANT EXECUTE ON PROCEDURE `app`.`two` TO `r`@`%`", ["EXECUTE on PROCEDURE `app`.`two`"]),
        ("GRANT SELECT, FILE ON *.* TO `r`@`%`", ["FILE on *.*"]),
        ("GRANT SELECT, SHOW VIEW, PROCESS ON *.* TO `r`@`%`", []),
    ],
)
def test_privileges_beyond_reading(line: str, beyond: list[str]) -> None:
    assert privileges([line]) == beyond
    assert roles_in(line) == []


def test_views_that_call_or_hide_a_stored_function() -> None:
    """They run with their definer's rights; a real server finds them in the integration tests."""
    way, verdict = server(READER, select_concat=[("app.a",)]).found()
    assert way.detail == "app.a"
    assert verdict.level == "problem"


def test_null_is_an_empty_text_and_an_error_an_error() -> None:
    asked = Server({"a": [("x", None), (None, "y")], "b": "no"})
    asked.start()
    assert now(asked.questions.ask("a")) == [("x", ""), ("", "y")]
    with pytest.raises(Unanswered, match="1227: no"):
        now(asked.questions.ask("b"))
    asked.far.abort()


@pytest.mark.parametrize(
    "said", [packets(b"", 1), packets(b"\x01", 1) + packets(b"c", 2) + packets(b"no eof", 3), b"x" * 9]
)
def test_an_answer_that_is_none_is_a_fault(said: bytes) -> None:
    near, far = memory_pair(Clock())
    now(far.send(said))
    with pytest.raises(PeerFault):
        now(Questions(near, Clock().seconds).ask("select 1"))


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("192.0.2.7:40007", LegacySession("192.0.2.7", 40007, 9)),
        ("localhost:40007", LegacySession("127.0.0.1", 40007, 9)),
        ("app.example.org:40007", LegacySession("app.example.org", 40007, 9)),
        ("2001:db8::7:40007", LegacySession("2001:db8::7", 40007, 9)),
        ("localhost", LegacySession("", 0, 9)),
        ("", LegacySession("", 0, 9)),
    ],
)
def test_where_a_listed_session_comes_from(host: str, listed: LegacySession) -> None:
    assert session(host, 9) == listed

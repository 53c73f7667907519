"""The overview answers what the log itself answers, only sooner; and is not believed when it is not the log's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.storage import open_engine, reading, writing
from bridge.translation import (
    Event,
    IndexKeys,
    LogReader,
    OpenOperation,
    SessionFacts,
    SessionLog,
    facts,
    in_thread_append,
)
from bridge.translation.alike import MAX_GROUPS, Alike, alike
from bridge.translation.appending import append
from bridge.translation.identifiers import Identifiers, Timestamps
from bridge.translation.overview import KIND, SUBJECT, Overview
from bridge.translation.query import Query, Term, parse
from bridge.translation.record import EventEntry
from bridge.translation.schema import create
from bridge.translation.searching import windows

NOON = 1_795_600_000_000
AGENTS, SYSTEMS, ACTIONS, OUTCOMES = ("a1", "a2", "b1"), ("s1", "s2"), ("read", "write"), ("success", "denied")
PERSONS, LABELS, TEXTS = ("", "alice", "bob"), ((), ("pii",), ("pii", "x")), ("SELECT Invoice", 'say "hé"', "", "x\\y")


def event(number: int, agent: str, system: str, action: str, outcome: str, person: str, labels: tuple[str, ...],
          text: str, at: int) -> Event:  # fmt: skip
    sections = {
        "agent": facts.agent_section(id=agent, owner="o-" + agent),
        "delegation": facts.delegation_section(mode="delegated" if person else "autonomous", subject=person),
        "action": facts.action_section(f"sql.{action}", action, [f"t{number % 3}"] if number % 4 else [], text),
    }
    index = IndexKeys(f"ses_{agent}_{system}", agent, "o-" + agent, system, "svc", action, labels)
    return Event("operation", outcome=outcome, sections=sections, index=index, at=NOON + at)


EVENTS = st.tuples(
    st.sampled_from(AGENTS), st.sampled_from(SYSTEMS), st.sampled_from(ACTIONS), st.sampled_from(OUTCOMES),
    st.sampled_from(PERSONS), st.sampled_from(LABELS), st.sampled_from(TEXTS), st.integers(0, 60),
)  # fmt: skip
TERMS = st.one_of(
    *(
        st.builds(lambda key, values, negated: Term(key, tuple(values), negated), st.just(key),
                  st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True), st.booleans())
        for key, values in {
            "agent": AGENTS, "owner": ("o-a1", "o-b1"), "system": SYSTEMS, "action": ACTIONS, "outcome": OUTCOMES,
            "person": PERSONS[1:], "label": ("pii", "x", "y"), "text": ("invoice", "HÉ", 'y "', "x", "\\"),
            "verb": ("sql.read",), "object": ("t1", "t2"), "session": ("ses_a1_s1",), "type": ("operation", "log.read"),
        }.items()
    ),
    st.builds(lambda at: Term("since", (NOON + at,)), st.integers(-1, 61)),
    st.builds(lambda at: Term("until", (NOON + at,)), st.integers(-1, 61)),
)  # fmt: skip


OPENED = [
    Event("session.open", index=IndexKeys(f"ses_{agent}_{system}", agent, "o-" + agent, system, "svc"), at=NOON)
    for agent in AGENTS
    for system in SYSTEMS
]


class Trial:
    """A log and its overview, both in memory files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.log = open_engine(folder / "log.db", kind="translation")
        create(self.log)
        self.engine = open_engine(folder / "overview.db", kind="translation")
        self.overview = Overview(self.engine, self.log, block=8)
        self.plain, self.quick = LogReader(self.log), LogReader(self.log, self.overview)

    def close(self) -> None:
        self.log.dispose()
        self.engine.dispose()


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    made = Trial(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
@given(st.lists(EVENTS, min_size=1, max_size=70), st.lists(TERMS, max_size=3, unique_by=lambda term: term.key),
       st.integers(1, 40), st.booleans(), st.integers(0, 80))  # fmt: skip
@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
def test_with_and_without_it_the_answers_are_the_same(
    events: list[tuple[object, ...]], terms: list[Term], limit: int, oldest_first: bool, later: int
) -> None:
    """Also for what came after it was made, and when clocks stepped."""
    with TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        made = OPENED + [event(number, *one) for number, one in enumerate(events)]  # type: ignore[arg-type]
        in_thread_append(trial.log, "l", made[: 6 + later])
        trial.overview.in_thread_catch_up()
        if made[6 + later :]:
            in_thread_append(trial.log, "l", made[6 + later :])
        for query in (Query(tuple(terms)), Query(tuple(terms), after=3, before=40)):
            plain, quick = (
                one.in_thread_answer(query, limit, oldest_first=oldest_first) for one in (trial.plain, trial.quick)
            )
            assert quick == plain
            assert trial.quick.in_thread_tallies(query) == trial.plain.in_thread_tallies(query)
        counted, _ = trial.quick.in_thread_tallies(Query(tuple(terms)))
        assert sum(one.count for one in counted) == len(trial.plain.in_thread_find(Query(tuple(terms)), 1000))
        trial.close()


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["select a", "select b"]), st.sampled_from(OUTCOMES),
                          st.integers(0, 9), st.integers(1, 12)), min_size=1, max_size=12))  # fmt: skip
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
def test_looking_at_one_of_those_that_are_alike_gives_the_same(commits: list[tuple[int, str, str, int, int]]) -> None:
    """Commits of operations by four sessions, some with an event of another kind among them."""
    with TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        whole = Overview(open_engine(Path(folder) / "whole.db", kind="translation"), trial.log, block=8)
        identifiers, timestamps, first = Identifiers(), Timestamps(), 1
        for session, text, outcome, minute, count in commits:
            held = [operation(SESSIONS[(session + n % 2) % 4], text, outcome) for n in range(count)]
            for n, one in enumerate(held):
                one.at = NOON + minute * 60_000 - n % 3
            appended = [one.plain() for one in held]
            if minute == 0:
                appended.append(EventEntry(Event("log.read").stamped(identifiers)).plain())
            with writing(trial.log) as connection:
                append(connection, "l", appended, timestamps)
            trial.overview.alike.add(alike(first, appended, 8))
            first += len(appended)
        assert trial.overview.in_thread_catch_up() == whole.in_thread_catch_up() == (first - 1) // 8
        with reading(trial.engine) as one, reading(whole.engine) as other:
            for sql in (TALLIES, "SELECT * FROM block"):
                assert sorted(map(repr, one.exec_driver_sql(sql))) == sorted(map(repr, other.exec_driver_sql(sql)))
        for text in ("select a", "select b"):
            plain, quick = (one.in_thread_find(parse(f'text:"{text}"'), 1000) for one in (trial.plain, trial.quick))
            assert quick == plain
        whole.engine.dispose()
        trial.close()


TALLIES = (
    f"SELECT block, count, first, last, first_at, last_at, {', '.join(f's.{name}' for name in SUBJECT)},"
    f" {', '.join(f'k.{name}' for name in KIND)} FROM tally t JOIN subject s ON s.id = t.subject"
    " JOIN kind k ON k.id = t.kind"
)


class _Held:
    """The log that the sessions of this test write to."""

    name = "l"
    identifiers = Identifiers()

    def hold(self, entry: object, size: int) -> None: ...


SESSIONS = [
    SessionLog(_Held(), SessionFacts(  # type: ignore[arg-type]
        IndexKeys(f"ses_{n}", f"a{n % 2}", "o", "s1", "svc", labels=("pii",) if n else ()),
        {"agent": facts.agent_section(id=f"a{n % 2}", owner="o"),
         "delegation": facts.delegation_section(mode="delegated" if n > 1 else "autonomous",
                                                subject="alice" if n > 1 else "")},
    )) for n in range(4)
]  # fmt: skip


def operation(session: SessionLog, text: str, outcome: str) -> OpenOperation:
    held = session.operation(facts.action_section("sql.select", "read", ("t",), text), "read")
    held.finish(outcome, rows=1)
    return held


def test_groups_are_used_where_they_are_of_the_whole_block_and_few() -> None:
    plains = [operation(SESSIONS[n % 2], "select a", "success").plain() for n in range(40)]
    groups = alike(5, plains, 16)
    assert [(count, first, last) for count, first, last, _, _ in groups] == [
        (6, 5, 15), (6, 6, 16), (8, 17, 31), (8, 18, 32), (6, 33, 43), (6, 34, 44),
    ]  # fmt: skip
    known = Alike(16)
    known.add(groups)
    assert [len(known.take(number)) for number in (0, 1, 1, 2)] == [0, 2, 0, 0]
    known.add(alike(1, plains[:16] + [EventEntry(Event("log.read").stamped(Identifiers())).plain()] * 16, 16))
    assert [len(known.take(number)) for number in (0, 1)] == [2, 0]
    for start in range(1, 2 * MAX_GROUPS, 16):
        known.add([(1, start + n, start + n, 0, 0) for n in range(16)])
    assert known._kept == sum(len(one.groups) for one in known._blocks.values()) == 0  # many groups are not kept
    for block in range(MAX_GROUPS):
        known.add([(8, 16 * block + 1, 16 * block + 15, 0, 0), (8, 16 * block + 2, 16 * block + 16, 0, 0)])
    assert known._kept == sum(len(one.groups) for one in known._blocks.values()) == MAX_GROUPS
    assert known.take(MAX_GROUPS - 1)


def fill(trial: Trial, count: int) -> None:
    in_thread_append(trial.log, "l", [
        event(n, "a1" if n % 20 else "rare", "s1", "read", "success", "", (), "find me" if n == 3 else "other", n)
        for n in range(count)
    ])  # fmt: skip


def read_of(trial: Trial, query: str, last: int = 163) -> list[tuple[int, int]]:
    """The windows that are read for a query."""
    with reading(trial.log) as log, trial.overview.in_thread_reading(log) as found:
        assert found is not None
        return list(windows(found, parse(query), last, oldest_first=True))


def test_only_blocks_that_may_have_it_are_read(trial: Trial) -> None:
    fill(trial, 163)
    assert trial.overview.in_thread_catch_up() == 20
    assert trial.overview.in_thread_catch_up() == 0
    assert read_of(trial, "agent:rare") == [(one, one) for one in range(1, 160, 20)] + [(161, 163)]
    assert read_of(trial, 'text:"FIND"') == [(1, 8), (161, 163)]
    assert read_of(trial, f"since:{NOON + 150} agent:a1") == [(145, 152), (153, 160), (161, 163)]
    assert read_of(trial, f"agent:a1 until:{NOON + 5}") == [(2, 8), (161, 163)]
    assert read_of(trial, "agent:nobody") == [(161, 163)]


def test_it_is_made_in_steps_and_stops_when_its_time_is_over(trial: Trial) -> None:
    fill(trial, 8 * 40)
    assert trial.overview.in_thread_catch_up(0) == 16
    assert len(trial.quick.in_thread_find(parse("owner:o-rare"), 1000)) == 16
    assert trial.overview.in_thread_catch_up() == 24


def test_a_block_with_too_many_different_texts_is_read_whenever_text_is_looked_for(trial: Trial) -> None:
    fill(trial, 8)
    many = [event(n, "a1", "s1", "read", "success", "", (), f"{n} " * 7000, n) for n in range(8)]
    in_thread_append(trial.log, "l", many)
    trial.overview.in_thread_catch_up()
    assert read_of(trial, 'text:"find"', 16) == [(1, 8), (9, 16)]
    assert [one.seq for one in trial.quick.in_thread_find(parse("text:7,find"), 9)] == [16, 4]


def test_the_overview_of_another_log_is_not_believed_and_made_anew(trial: Trial, tmp_path: Path) -> None:
    fill(trial, 16)
    trial.overview.in_thread_catch_up()
    other = Trial(_folder(tmp_path / "other"))
    in_thread_append(other.log, "other", [
        event(n, "z", "s1", "read", "success", "", (), "", n) for n in range(24)])  # fmt: skip
    mixed = Overview(trial.engine, other.log, block=8)
    assert len(LogReader(other.log, mixed).in_thread_find(parse("owner:o-z"))) == 24
    assert mixed.in_thread_catch_up() == 3
    assert len(LogReader(other.log, mixed).in_thread_find(parse("owner:o-z"))) == 24
    other.close()


def test_a_damaged_overview_costs_time_only(trial: Trial, tmp_path: Path) -> None:
    fill(trial, 160)
    trial.overview.in_thread_catch_up()
    trial.engine.dispose()
    file = tmp_path / "overview.db"
    file.write_bytes(b"nonsense" * 1000)
    (tmp_path / "overview.db-wal").unlink(missing_ok=True)
    assert len(trial.quick.in_thread_find(parse("owner:o-rare"))) == 8


def _folder(path: Path) -> Path:
    path.mkdir()
    return path

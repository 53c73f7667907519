"""The query language: what it means, what it refuses and where, and that its text is a query again."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from bridge.cli import main
from bridge.translation import Event, IndexKeys, LogReader, facts, in_thread_append
from bridge.translation.query import KEYS, MAX_LENGTH, Pattern, Query, QueryError, Term, equals, merged, parse
from bridge.translation.schema import create

NOW = 1_800_000_000.0
NOON = 1_795_600_000_000


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("agent:deploy-7", [Term("agent", ("deploy-7",))]),
        (" agent:a  system:b ", [Term("agent", ("a",)), Term("system", ("b",))]),
        ("agent:a,b agent:c,a", [Term("agent", ("a", "b", "c"))]),
        ("-agent:a agent:b", [Term("agent", ("a",), True), Term("agent", ("b",))]),
        ('text:"two words, \\"quoted\\" \\\\"', [Term("text", ('two words, "quoted" \\',))]),
        ('text:"a",b', [Term("text", ("a", "b"))]),
        ("agent:deploy-*", [Term("agent", (Pattern("deploy-*"),))]),
        ('agent:"deploy-*"', [Term("agent", ("deploy-*",))]),
        ("text:a*b", [Term("text", ("a*b",))]),
        ("type:log.st*", [Term("type", ("log.start", "log.stop"))]),
        ("since:2h", [Term("since", (1_799_992_800_000,))]),
        ("since:2026-11-01T00:00:00Z", [Term("since", (1_793_491_200_000,))]),
        ("AGENT:a", [Term("agent", ("a",))]),
        ("session:ses_1:x", [Term("session", ("ses_1:x",))]),
    ],
)
def test_what_a_query_means(text: str, terms: list[Term]) -> None:
    assert list(parse(text, NOW).terms) == terms


def test_until_a_date_includes_its_day() -> None:
    (since,), (until,) = (parse(f"{key}:2026-11-01").terms[0].values for key in ("since", "until"))
    assert isinstance(since, int)
    assert until == since + 86_400_000 - 1


@pytest.mark.parametrize(
    ("text", "position", "part"),
    [
        ("agnet:a", 1, "did you mean agent?"),
        ("agent:a -sistem:b", 10, "did you mean system?"),
        ("zzz:1", 1, "Keys: agent, owner, person"),
        ("invoice", 1, "'invoice' is not a term; write key:value"),
        ("agent:a invoice", 9, "not a term"),
        ("agent=a", 1, "'agent=a' is not a term"),
        ("agent:", 7, "agent: has no value here; expected the agent's id"),
        ("agent: a", 7, "has no value"),
        ("agent:a,", 9, "has no value"),
        ('text:"a', 6, "not closed"),
        ('text:""', 6, "empty"),
        ('text:"a\\n"', 8, "only"),
        ('text:"a"b', 9, "expected a blank"),
        ("action:destroy", 8, "one of read, write, admin"),
        ("outcome:good", 9, "one of success, failure"),
        ("type:nothing*", 6, "one of session.open"),
        ("since:yesterday", 7, "since: expected a time"),
        ("since:1h,2h", 9, "takes one time"),
        ("since:1h since:2h", 10, "given twice"),
        ("-until:1h", 1, "cannot be negated"),
        (":a", 1, "not a term"),
        ("-", 1, "not a term"),
        ("SELECT * FROM event", 1, "not a term"),
        ("agent:" + ",".join("a" * n for n in range(1, 10)) + "x" * MAX_LENGTH, MAX_LENGTH + 1, "longer than"),
    ],
)
def test_what_is_not_a_query_is_told_with_its_place(text: str, position: int, part: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text, NOW)
    assert caught.value.position == position
    assert part in str(caught.value)


def test_too_many_values_are_refused() -> None:
    with pytest.raises(QueryError, match="more than 200 values"):
        parse("agent:" + ",".join(f"a{n}" for n in range(201)))


def test_options_say_the_same_as_a_query() -> None:
    said = Query(tuple(merged(equals({"agent": "a", "owner": "", "since": None, "until": 5, "text": "*"}))))
    assert said == parse('agent:a until:1970-01-01T00:00:00.005Z text:"*"')


@given(st.text(st.sampled_from('abz019-_.:,*"\\ =\n') | st.characters(), max_size=60))
@settings(deadline=None)
def test_any_text_is_a_query_or_an_error_with_a_place_in_it(text: str) -> None:
    try:
        query = parse(text, NOW)
    except QueryError as error:
        position = error.position
    else:
        position = 1
        assert parse(str(query), NOW) == query
    assert 1 <= position <= len(text) + 1


VALUES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
PATTERNS = st.text("ab*", min_size=1, max_size=4).filter(lambda text: "*" in text).map(Pattern)
FREE = st.sampled_from([key for key in KEYS if key not in ("action", "outcome", "type", "phase", "since", "until")])


@st.composite
def terms(draw: st.DrawFn) -> Term:
    key = draw(FREE)
    kinds = VALUES if key in ("label", "text") else VALUES | PATTERNS
    return Term(key, tuple(draw(st.lists(kinds, min_size=1, max_size=3, unique=True))), draw(st.booleans()))


@given(st.lists(terms(), max_size=5, unique_by=lambda term: (term.key, term.negated)))
@settings(deadline=None)
def test_a_query_as_text_is_the_same_query(given_terms: list[Term]) -> None:
    query = Query(tuple(given_terms))
    assert parse(str(query)) == query


# -- what is found

OPERATIONS = [
    # agent, owner, person, label, action, outcome, objects, rules, text
    ("a1", "o1", "", "pii", "read", "success", ["t"], [], "SELECT 1 FROM Invoice"),
    ("a1", "o1", "alice", "pii", "write", "denied", ["t", "u"], ["g1"], "UPDATE t SET a = 'it''s 100%_'"),
    ("a2", "o1", "bob", "", "write", "success", ["u"], [], 'say "hello"'),
    ("b[1]?", "o2", "", "x_y", "admin", "failure", [], ["g1", "g2"], ""),
]


@pytest.fixture(scope="module")
def filled() -> LogReader:
    engine = create_engine("sqlite://")
    create(engine)
    events = []
    for number, (agent, owner, person, label, action, outcome, objects, rules, text) in enumerate(OPERATIONS):
        sections = {
            "agent": facts.agent_section(id=agent, owner=owner),
            "delegation": facts.delegation_section(mode="delegated" if person else "autonomous", subject=person),
            "action": facts.action_section(f"sql.{action}", action, objects, text),
            "decision": facts.decision_section(effect="allow", rules=rules),
        }
        labels = (label,) if label else ()
        index = IndexKeys(f"ses_{agent}", agent, owner, "warehouse", "svc", action, labels)
        events.append(Event("operation", outcome=outcome, sections=sections, index=index, at=NOON + number))
    actor = facts.actor_section(kind="person", id="carol")
    events.append(Event("registry.change", sections={"actor": actor}, index=IndexKeys(agent="a1"), at=NOON + 9))
    in_thread_append(engine, "l", events)
    with engine.begin() as connection:  # their opening is no part of these examples
        for agent, owner, *_ in OPERATIONS:
            opened = (f"ses_{agent}", agent, owner, "warehouse", "svc", NOON, 1, "")
            connection.exec_driver_sql(
                "INSERT OR IGNORE INTO session (session, agent, owner, system, account, opened, opened_seq, outcome)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)", opened,
            )  # fmt: skip
    return LogReader(engine)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("agent:a1", [1, 2, 5]),
        ("agent:a1,a2", [1, 2, 3, 5]),
        ("agent:a1 agent:a2", [1, 2, 3, 5]),
        ("-agent:a1", [3, 4]),
        ("agent:a*", [1, 2, 3, 5]),
        ("agent:b[1]*", [4]),
        ('agent:"b[1]?"', [4]),
        ("agent:?1*", []),
        ("agent:a* -agent:a2 type:operation", [1, 2]),
        ("person:alice", [2]),
        ("person:*", [2, 3, 5]),
        ("-person:alice,carol", [1, 3, 4]),
        ("person:carol", [5]),
        ("person:a1", []),
        ("label:pii", [1, 2]),
        ("label:PII", []),
        ("label:x_y,pii", [1, 2, 4]),
        ("-label:pii", [3, 4, 5]),
        ("action:write outcome:success", [3]),
        ("-action:read,write", [4, 5]),
        ("outcome:denied,failure", [2, 4]),
        ("-type:operation", [5]),
        ("type:registry.change", [5]),
        ("type:op*", [1, 2, 3, 4]),
        ("verb:sql.*", [1, 2, 3, 4]),
        ("verb:sql.write", [2, 3]),
        ("object:u", [2, 3]),
        ("-object:u", [1, 4, 5]),
        ("object:*", [1, 2, 3]),
        ("grant:g1 -grant:g2", [2]),
        ("text:invoice", [1]),
        ("text:invoice,HELLO", [1, 3]),
        ('text:"100%_"', [2]),
        ('text:"100__"', []),
        ('text:"\\"hello"', [3]),
        ("-text:invoice", [2, 3, 4, 5]),
        ("reason:ok -agent:a*", [4]),
        ("phase:complete", [1, 2, 3, 4, 5]),
        ("phase:intent", []),
        ("session:ses_a1 system:ware* account:svc", [1, 2]),
        ("session:ses_a1,ses_a2", [1, 2, 3]),
        ("session:ses_* system:warehouse", [1, 2, 3, 4]),
        (f"since:{NOON + 1} until:{NOON + 2}", [2, 3]),
    ],
)
def test_a_query_finds_exactly_what_it_says(filled: LogReader, query: str, found: list[int]) -> None:
    answer = filled.in_thread_answer(parse(query), oldest_first=True)
    assert [event.seq for event in answer.events] == found
    assert (answer.more, answer.extent.size) == (False, 5)


def test_an_answer_says_that_there_is_more(filled: LogReader) -> None:
    answer = filled.in_thread_answer(parse("agent:a1"), 2)
    assert ([event.seq for event in answer.events], answer.more) == ([5, 2], True)
    assert not filled.in_thread_answer(parse("agent:a1"), 3).more


@given(st.lists(terms(), max_size=3, unique_by=lambda term: (term.key, term.negated)))
@settings(deadline=None, max_examples=60)
def test_every_query_can_be_asked(filled: LogReader, given_terms: list[Term]) -> None:
    query = Query(tuple(given_terms))
    found = {event.seq for event in filled.in_thread_find(query)}
    for term in given_terms:
        without = Query((*(one for one in given_terms if one != term), Term(term.key, term.values, not term.negated)))
        if (term.key, not term.negated) not in {(one.key, one.negated) for one in given_terms}:
            assert not found & {event.seq for event in filled.in_thread_find(without)}


def test_every_key_is_explained_to_users() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert [key for key in KEYS if f"`{key}`" not in readme] == []
    help_text = CliRunner().invoke(main, ["log", "list", "--help"]).stdout
    assert [key for key in KEYS if key not in help_text] == []

"""Events in the words of others: OCSF against its published schema, CEF, RFC 5424."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import bridge.translation.formats
from bridge.translation import Event, facts
from bridge.translation.canonical import canonical
from bridge.translation.composing import row as composed
from bridge.translation.formats import LINES, syslog
from bridge.translation.formats.ocsf import _MAPPED, mapped
from bridge.translation.identifiers import Identifiers, Timestamps
from bridge.translation.reading import LoggedEvent
from bridge.translation.record import EventEntry
from bridge.translation.vocabulary import TYPES

HERE = Path(__file__).parent
SAMPLES = [LoggedEvent(n, line) for n, line in enumerate((HERE / "samples_v1.jsonl").read_text().splitlines(), 1)]
README = (Path(bridge.translation.formats.__file__).parent / "README.md").read_text()

CLASSES = {0: "base_event", 1008: "event_log_actvity", 2004: "detection_finding", 3002: "authentication",
           3004: "entity_management", 6003: "api_activity", 6005: "datastore_activity"}  # fmt: skip
BASE = "https://schema.ocsf.io/schema/1.8.0/classes/"


@cache
def validator(class_uid: int) -> Draft202012Validator:
    """Of a class with the profile security_control, from the published schema (``ocsf_1.8.0.jsonl``, one part a line:
    what the package ocsf-json-schema 1.2.0 makes of it, without titles)."""
    parts = [json.loads(line) for line in (HERE / "ocsf_1.8.0.jsonl").read_text().splitlines()]
    registry: Registry[Any] = Registry().with_resources([(one["$id"], Resource.from_contents(one)) for one in parts])
    uri = f"{BASE}{CLASSES[class_uid]}?profiles=security_control"
    return Draft202012Validator(registry.contents(uri), registry=registry)


def ocsf(event: LoggedEvent) -> dict[str, Any]:
    return mapped(event, event.fields)


def cef(event: LoggedEvent) -> str:
    return LINES["cef"](event)


def problems(event: LoggedEvent) -> list[str]:
    made = ocsf(event)
    found = validator(made["class_uid"]).iter_errors(made)
    return [f"{'.'.join(map(str, one.path))}: {one.message[:300]}" for one in found]


AGENT = facts.agent_section(id="deploy-7", name="Deploy 7", owner="payments", purpose="pays | = ] \n bills")
SECTIONS = {
    "agent": AGENT,
    "credential": facts.credential_section(
        profile="at+jwt", issuer="corp", iss="https://idp", token_id="t-1", issued_at=1, expires_at=901
    ),
    "decision": facts.decision_section(effect="allow", mode="observe", would="deny", rules=["g-1"], policy="sha256:1"),
    "delegation": facts.delegation_section(mode="delegated", subject="alice", subject_issuer="https://idp"),
    "transport": facts.transport_section(protocol="postgres", source="[2001:db8::1]:5", local="127.0.0.1:6", tls="1.3"),
    "legacy": facts.legacy_section(
        system="warehouse",
        account="svc_reader",
        labels=["pii"],
        target={"database": "app"},
        upstream="db.internal:5432",
    ),
    "node": facts.node_section(id="n1", version="0.4.0"),
    "corr": facts.section(session="ses_1"),
    "actor": facts.actor_section(kind="person", id="ops-1", via="cli"),
    "detail": facts.detail_section(text="two\nlines"),
}


def logged(event: Event, seq: int = 7) -> LoggedEvent:
    entry = EventEntry(event.stamped(Identifiers(lambda: 1_795_615_909.479)))
    row = composed(entry.plain(), seq, "prod-1", Timestamps())
    return LoggedEvent(seq, row[1])


def operation(verb: str, kind: str = "read", **more: Any) -> LoggedEvent:
    action = facts.action_section(verb, kind, more.pop("objects", ()), more.pop("text", ""), digest="sha256:1")
    return logged(Event("operation", sections={**SECTIONS, "action": action}, **more))


# -- OCSF


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.fields["type"])
def test_samples_are_valid_ocsf(event: LoggedEvent) -> None:
    assert problems(event) == []


@pytest.mark.parametrize("outcome", ["success", "denied", "failure", "unknown"])
@pytest.mark.parametrize("type", TYPES)
def test_every_type_is_valid_ocsf(type: str, outcome: str) -> None:
    full, bare = Event(type, outcome=outcome, sections=SECTIONS), Event(type, outcome=outcome)
    assert problems(logged(full)) == problems(logged(bare)) == []


@pytest.mark.parametrize("verb", ["sql.select", "sql.ddl.create_table", "sql.unparsed", "ssh.exec", "ldap.search", ""])
@pytest.mark.parametrize("kind", ["read", "write", "admin"])
def test_operations_of_every_protocol_are_valid_ocsf(verb: str, kind: str) -> None:
    assert problems(operation(verb, kind, objects=("ledger", "a b"), text="SELECT ?")) == []
    assert problems(operation(verb, kind)) == []


def test_a_login_names_the_agent_the_person_and_the_account() -> None:
    sections = {name: text for name, text in SECTIONS.items() if name != "actor"}
    opened = ocsf(logged(Event("session.open", sections=sections)))
    assert (opened["class_uid"], opened["activity_id"], opened["type_uid"]) == (3002, 1, 300201)
    assert (opened["user"]["uid"], opened["user"]["type"]) == ("deploy-7", "Service")
    assert (opened["actor"]["user"]["uid"], opened["actor"]["app_uid"]) == ("alice", "deploy-7")
    assert (opened["src_endpoint"], opened["dst_endpoint"]["hostname"]) == (
        {"ip": "2001:db8::1", "port": 5}, "db.internal")  # fmt: skip
    switched = ocsf(logged(Event("session.established", sections=SECTIONS)))
    assert (switched["activity_id"], switched["account_switch_type_id"]) == (7, 2)
    assert (switched["user"]["name"], switched["user"]["domain"]) == ("svc_reader", "warehouse")


def test_a_statement_is_a_datastore_activity() -> None:
    made = ocsf(operation("sql.delete", "write", objects=("ledger",), text="DELETE FROM ledger"))
    assert (made["class_uid"], made["activity_name"], made["table"]["name"]) == (6005, "Delete", "ledger")
    assert (made["query_info"]["query_string"], made["database"]["name"]) == ("DELETE FROM ledger", "app")
    assert (made["action"], made["disposition"], made["status"]) == ("Observed", "Logged", "success")
    assert made["authorizations"][0]["policy"] == {"uid": "sha256:1", "name": "g-1", "is_applied": False}


def test_the_exact_event_is_in_it() -> None:
    event = operation("ssh.exec", "write", text="reboot")
    made = ocsf(event)
    assert made["raw_data"] == event.body
    assert made["raw_data_hash"]["value"] == hashlib.sha256(event.body.encode()).hexdigest()
    assert (made["metadata"]["uid"], made["metadata"]["sequence"]) == (event.fields["id"], event.seq)
    assert made["time"] == 1_795_615_909_479


@pytest.mark.parametrize(
    ("before", "after", "activity"),
    [(None, {"state": "active"}, "Create"), ({"state": "active"}, {"state": "suspended"}, "Suspend"),
     ({"state": "suspended"}, {"state": "active"}, "Resume"), ({"state": "active"}, {"state": "revoked"}, "Deactivate"),
     ({"purpose": "a"}, {"purpose": "b"}, "Update"), ({"name": "a"}, None, "Delete")],
)  # fmt: skip
def test_a_change_says_what_kind_it_is(before: Any, after: Any, activity: str) -> None:
    change = facts.change_section("deploy-7", before, after)
    event = logged(Event("registry.change", sections={"actor": SECTIONS["actor"], "change": change}))
    assert ocsf(event)["activity_name"] == activity
    assert problems(event) == []


@pytest.mark.parametrize("type", _MAPPED)
def test_every_mapping_is_in_the_table(type: str) -> None:
    """The types that have none are covered by its last row, and by the one of the log's own."""
    assert f"`{type}`" in README


# -- whatever it is


VALUES = st.recursive(
    st.text(max_size=8) | st.integers(-5, 2**53) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "sub", "subject", "verb", "objects", "text", "src", "upstream", "state", "before", "after", "class",
         "target", "host", "iat", "rules", "session", "kind"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
NAMES = st.sampled_from([*sorted(SECTIONS), "action", "result", "change", "ts", "id", "outcome", "reason", "v"])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*TYPES, "no.type", "log.later"]), st.dictionaries(NAMES, VALUES, max_size=8))
def test_no_event_stops_a_format(type: str, fields: dict[str, Any]) -> None:
    """Of a later version, or one that somebody altered: it still becomes one line, and is not lost."""
    event = LoggedEvent(1, json.dumps({**fields, "type": type}))
    for line in LINES.values():
        assert "\n" not in line(event)


@pytest.mark.parametrize("body", [" ", "{", "[1]", '{"type":"operation","action":{"objects":5}}', "[" * 100_000])
def test_what_cannot_be_read_is_an_alarm(body: str) -> None:
    event = LoggedEvent(3, body)
    made = json.loads(LINES["ocsf"](event))
    assert (made["class_uid"], made["status_code"], made["raw_data"]) == (2004, "unreadable", body)
    assert list(validator(2004).iter_errors(made)) == []
    assert "unreadable" in LINES["cef"](event)
    assert MESSAGE.fullmatch(LINES["syslog"](event))


# -- CEF


def test_cef_escapes_what_would_end_a_field() -> None:
    line = cef(operation("sql.select", text="a=b|c\\d\ne", objects=("t",)))
    assert line.startswith("CEF:0|identity-bridge|identity-bridge|0.4.0|operation|Deploy 7 (owner payments), for alice")
    assert " msg=a\\=b|c\\\\d\\ne " in line
    assert " cs3Label=purpose cs3=pays | \\= ] \\n bills " in line
    assert " suser=alice duser=svc_reader " in line
    assert " c6a2Label=Source IPv6 Address c6a2=2001:db8::1 spt=5 dhost=db.internal dpt=5432 " in line


def test_a_pipe_in_the_header_is_escaped() -> None:
    event = LoggedEvent(1, canonical({"type": "alarm", "reason": "a|b", "node": {"ver": "1\n2"}}))
    assert cef(event).startswith(r"CEF:0|identity-bridge|identity-bridge|1 2|alarm|ALARM: a\|b|9|")


# -- RFC 5424

MESSAGE = re.compile(
    r"<(\d{1,3})>1 (\S+) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) "
    r'((?:\[[^ =\]"]{1,32}(?: [^ =\]"]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])+) (.*)', re.DOTALL
)  # fmt: skip


def test_syslog_follows_the_grammar() -> None:
    event = logged(Event("session.refused", outcome="denied", reason="no-grant", sections={
        **SECTIONS, "agent": facts.agent_section(id='a"b]c\\d', owner="p")}))  # fmt: skip
    found = MESSAGE.fullmatch(LINES["syslog"](event))
    assert found
    assert found.group(1, 2, 3, 4, 5, 6) == (
        "108",
        "2026-11-25T14:11:49.479Z",
        "n1",
        "idbridge",
        "-",
        "session.refused",
    )
    assert r'agent="a\"b\]c\\d"' in found[7]
    assert (
        '[meta sequenceId="7"][origin software="identity-bridge" swVersion="0.4.0"][bridge@32473 seq="7" ' in found[7]
    )
    assert found[8] == event.body


def test_syslog_carries_another_format() -> None:
    event = operation("sql.select", text="SELECT 1")
    found = MESSAGE.fullmatch(syslog(event, event.fields, cef, facility=16, enterprise=4711))
    assert found
    assert found[1] == str(16 * 8 + 6)
    assert "[bridge@4711 " in found[7]
    assert found[8].startswith("CEF:0|")


def test_a_message_that_is_too_long_says_that_it_was_shortened() -> None:
    event = operation("sql.select", text="SELECT " + "ä" * 9000)
    short = syslog(event, event.fields, limit=2048)
    found = MESSAGE.fullmatch(short)
    assert found
    assert len(short.encode()) <= 2048
    assert ' shortened="yes"]' in found[7]
    assert hashlib.sha256(event.body.encode()).hexdigest() in found[7]
    assert syslog(event, event.fields, limit=2**20).endswith(event.body)

"""How long questions to a large translation log take.

The log is made by bulk appends of what a year of a company's agents would leave: sessions of 5 to 60 statements, 60 at
a time, 2,000 agents on 40 systems, one refusal to 20 sessions.
Run: python scripts/bench.d/log_query.py [EVENTS] [FOLDER]
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bridge.storage import open_engine, upgrade
from bridge.translation import Event, Filters, IndexKeys, LogReader, facts, in_thread_append
from bridge.translation.identifiers import Identifiers
from bridge.translation.overview import Overview
from bridge.translation.query import parse

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
AT_ONCE = 20_000
AGENTS, OWNERS, SYSTEMS, TABLES = 2000, 60, 40, 300
LIVE = 60
BEGIN = 1_764_000_000_000
YEAR = 365 * 86_400_000

QUESTIONS = (
    "agent:agent-7",
    "agent:agent-1999 action:write",
    "owner:owner-3",
    "owner:owner-3 action:admin",
    "label:pii action:write",
    "label:finance since:2026-06-01 until:2026-06-02",
    "system:system-3 account:svc_writer outcome:failure",
    "person:person-11",
    "outcome:denied label:pii",
    "reason:no-grant owner:owner-3",
    'text:"table_17 "',
    'text:"nothing like it"',
    "object:table_299 agent:agent-7",
    "verb:sql.delete label:pii",
    "type:registry.change",
    "-type:operation owner:owner-3",
    "agent:nobody",
)


class Company:
    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)
        self.live: list[tuple[IndexKeys, dict[str, str], int]] = []
        self.number = 0

    def opened(self, at: int) -> Event:
        chance = self.random
        self.number += 1
        agent = min(int(chance.paretovariate(0.6)), AGENTS - 1)
        system = agent % SYSTEMS if chance.random() < 0.8 else chance.randrange(SYSTEMS)
        account = "svc_writer" if agent % 3 == 0 else "svc_reader"
        labels = ("pii",) if system % 8 == 0 else ("finance",) if system % 8 == 1 else ()
        person = f"person-{chance.randrange(180)}" if chance.random() < 0.1 else ""
        index = IndexKeys(f"ses_{self.number:016d}", f"agent-{agent}", f"owner-{agent % OWNERS}", f"system-{system}",
                          account, labels=labels)  # fmt: skip
        sections = {
            "agent": facts.agent_section(id=index.agent, name=index.agent, owner=index.owner, owner_kind="team",
                                         purpose="nightly reconciliation", roles=("reader",), environment="prod"),
            "delegation": facts.delegation_section(mode="delegated" if person else "autonomous", subject=person),
            "legacy": facts.legacy_section(system=index.system, account=account, labels=labels),
            "transport": facts.transport_section(protocol="postgresql", source="10.1.2.3:51112", tls="TLSv1.3"),
            "corr": facts.section(session=index.session),
        }  # fmt: skip
        decision = facts.decision_section(effect="allow", rules=(f"grant-{agent % 200}",), policy="sha256:" + "0" * 64)
        if chance.random() < 0.05:
            return Event("session.refused", outcome="denied", reason="no-grant", sections=sections, index=index, at=at)
        self.live.append((index, sections, chance.randint(5, 60)))
        return Event("session.open", sections={**sections, "decision": decision}, index=index, at=at)

    def operation(self, at: int) -> Event:
        chance = self.random
        place = chance.randrange(len(self.live))
        index, sections, left = self.live[place]
        if left == 0:
            self.live[place] = self.live[-1]
            self.live.pop()
            return Event("session.close", sections=sections, index=index, at=at)
        self.live[place] = index, sections, left - 1
        writer = index.account == "svc_writer" and chance.random() < 0.3
        verb = chance.choice(("insert", "update", "delete")) if writer else "select"
        kind = "admin" if writer and chance.random() < 0.001 else "write" if writer else "read"
        table = f"table_{min(int(chance.paretovariate(0.5)), TABLES - 1)}"
        text = f"{verb.upper()} id, amount FROM {table} WHERE id = ? AND branch = ?"
        action = facts.action_section(f"sql.{verb}", kind, (table,), text, digest="sha256:" + "1" * 64)
        keys = IndexKeys(index.session, index.agent, index.owner, index.system, index.account, kind, index.labels)
        outcome = "failure" if chance.random() < 0.003 else "success"
        return Event("operation", outcome=outcome, sections={**sections, "action": action}, index=keys, at=at)

    def events(self, count: int) -> Iterator[Event]:
        for number in range(count):
            at = BEGIN + number * YEAR // count
            yield self.opened(at) if len(self.live) < LIVE else self.operation(at)


def make(folder: Path) -> None:
    engine = open_engine(folder / "translation.db", kind="translation")
    upgrade(engine, "translation")
    with engine.connect() as connection:
        have = connection.exec_driver_sql("SELECT ifnull(max(seq), 0) FROM event").scalar_one()
    if have >= EVENTS:
        return
    began, events, identifiers = time.perf_counter(), Company().events(EVENTS), Identifiers()
    for _ in range(EVENTS // AT_ONCE):
        in_thread_append(engine, "bench", [next(events) for _ in range(AT_ONCE)], identifiers)
    print(f"made {EVENTS:,} events in {time.perf_counter() - began:.0f} s")
    engine.dispose()


def timed(reader: LogReader, question: str) -> tuple[float, float, float, int]:
    """Milliseconds of the first and of the quickest of three, of CPU, and how many events."""
    took, worked = [], []
    for _ in range(3):
        began, busy = time.perf_counter(), time.process_time()
        found = reader.in_thread_answer(parse(question), 50)
        took.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - busy) * 1000)
    return took[0], min(took), min(worked), len(found.events)


def main(folder: Path) -> None:
    make(folder)
    log = open_engine(folder / "translation.db", kind="translation")
    engine = open_engine(folder / "overview.db", kind="translation")
    overview = Overview(engine, log)
    began = time.perf_counter()
    blocks = overview.in_thread_catch_up(3600)
    seconds = time.perf_counter() - began
    if blocks:
        print(f"overview of {blocks:,} blocks in {seconds:.0f} s: {blocks * 1024 / seconds:,.0f} events/s")
    for name in ("translation.db", "overview.db"):
        print(f"{name}: {(folder / name).stat().st_size / EVENTS:.0f} bytes an event")
    reader = LogReader(log, overview)
    print("| question (newest 50) | first, ms | again, ms | CPU, ms | events |\n| --- | --- | --- | --- | --- |")
    for question in QUESTIONS:
        first, best, busy, count = timed(reader, question)
        print(f"| `{question}` | {first:.0f} | {best:.0f} | {busy:.0f} | {count} |", flush=True)
    for question in ("", "label:pii", "since:2026-06-01 until:2026-06-30", "owner:owner-3 since:2026-03-01"):
        began, started = time.perf_counter(), time.process_time()
        rows, _ = reader.in_thread_tallies(parse(question))
        took, busy = ((time.perf_counter() - began) * 1000, (time.process_time() - started) * 1000)
        count = sum(one.count for one in rows)
        print(f"| counted: `{question}` | {took:.0f} | | {busy:.0f} | {count:,} |", flush=True)
    assert reader.in_thread_find(Filters(agent="nobody")) == []


if len(sys.argv) > 2:
    main(Path(sys.argv[2]))
else:
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))

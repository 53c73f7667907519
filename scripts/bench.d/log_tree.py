"""What tamper evidence costs: the tree's share of an append, a checkpoint, a proof, a whole verification.

A log of EVENTS operations is written in groups of 1,000, each durable, by the one function that appends (log_append.py
measures the rest of the bridge too), then asked. Run: python scripts/bench.d/log_tree.py [EVENTS] [DATABASE]
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from bridge.storage import open_engine, reading, upgrade, writing
from bridge.translation import Event, IndexKeys, appending, facts
from bridge.translation.checkpoints import Checkpoints
from bridge.translation.composing import Plain
from bridge.translation.identifiers import Identifiers, Timestamps
from bridge.translation.note import Signer
from bridge.translation.proving import in_thread_prove, root_of
from bridge.translation.record import EventEntry
from bridge.translation.stored_tree import StoredTree
from bridge.translation.verifying import in_thread_verify

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
GROUP = 1000
PROOFS = 300
ROUNDS = 7


def group(identifiers: Identifiers, start: int) -> list[Plain]:
    """Reads of 200 sessions; about 900 bytes each."""
    entries = []
    for number in range(start, start + GROUP):
        session, agent = f"ses_01JDM3ZK8Q2W4R6T8Y0A{number // 500:06d}", f"agent-{number % 50}"
        text = f"SELECT abalance FROM accounts WHERE aid = ? AND bid = {number % 97}"
        sections = {
            "action": facts.action_section("sql.select", "read", ("public.accounts",), text, "sha256:" + "1" * 64),
            "agent": facts.agent_section(id=agent, name=agent, owner="payments", purpose="nightly reconciliation"),
            "corr": facts.section(session=session),
            "decision": facts.decision_section(effect="allow", rules=("read",), policy="sha256:" + "0" * 64),
            "delegation": facts.delegation_section(),
            "legacy": facts.legacy_section(system="warehouse", account="svc_reader", labels=("pii",)),
            "transport": facts.transport_section(protocol="postgresql", source="10.1.2.3:51112", tls="TLSv1.3"),
        }
        index = IndexKeys(session, agent, "payments", "warehouse", "svc_reader", action="read", labels=("pii",))
        entries.append(EventEntry(Event("operation", sections=sections, index=index).stamped(identifiers)).plain())
    return entries


def write(engine: Engine, events: int, signer: Signer) -> None:
    checkpoints, identifiers, timestamps = Checkpoints(signer), Identifiers(), Timestamps()
    for start in range(0, events, GROUP):
        entries = group(identifiers, start)
        with writing(engine) as connection:
            first = appending.append(connection, "bench", entries, timestamps)
            checkpoints.append(connection, first + GROUP - 1)
        if start % 100_000 == 0:
            print(f"\r{start:,} written", end="", file=sys.stderr)
    print("\r", end="", file=sys.stderr)


def share(engine: Engine, signer: Signer) -> float:
    """CPU time of the tree and checkpoints in that of making and appending events; medians of interleaved rounds."""
    checkpoints, identifiers, timestamps = Checkpoints(signer), Identifiers(), Timestamps()
    spent: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * ROUNDS):
        tree = number % 2 == 0
        began = time.process_time()
        entries = group(identifiers, number * GROUP)
        # Without the tree the transaction is given up, so that the log stays one.
        with mock.patch.object(appending, "extend", appending.extend if tree else lambda *_: None):
            connection = engine.connect()
            connection.begin()
            first = appending.append(connection, "bench", entries, timestamps)
            if tree:
                checkpoints.append(connection, first + GROUP - 1)
            spent[tree].append(time.process_time() - began)
            connection.rollback()
            connection.close()
    return 1 - statistics.median(spent[False]) / statistics.median(spent[True])


def times(ask: Callable[[int], object], size: int) -> str:
    """Milliseconds of random asks, p50 / p99, and those of CPU that one takes."""
    taken, busy = [], time.process_time()
    for _ in range(PROOFS):
        seq = random.randint(1, size)
        began = time.perf_counter()
        ask(seq)
        taken.append((time.perf_counter() - began) * 1000)
    busy = (time.process_time() - busy) * 1000 / PROOFS
    taken.sort()
    return f"{taken[len(taken) // 2]:.2f} / {taken[len(taken) * 99 // 100]:.2f} ms (p50 / p99), {busy:.2f} ms of CPU"


def rates(engine: Engine, signer: Signer) -> Iterator[str]:
    size = root_of(engine).size
    yield f"events:                    {size:,}"
    yield f"the tree's share of the CPU: {share(engine, signer):.1%}"
    proof = times(lambda seq: in_thread_prove(engine, [seq], signer.key), size)
    yield f"proof of an event:         {proof}"

    def consistency(old: int) -> list[bytes]:
        with reading(engine) as connection:
            return StoredTree(connection).consistency(old, size)

    yield f"consistency proof:         {times(consistency, size)}"
    yield f"root of the whole:         {times(lambda _: root_of(engine), size)}"
    began, busy = time.perf_counter(), time.process_time()
    report = in_thread_verify(engine, [signer.key], progress=bar)
    taken, busy = time.perf_counter() - began, time.process_time() - busy
    assert report.findings == []
    rate = f"{report.size / taken:,.0f} events/s, {taken:.1f} s for all"
    yield f"verification:              {rate}; a second of CPU verifies {report.size / busy:,.0f}"


def bar(done: int, total: int) -> None:
    print(f"\r{done / total:.0%}", end="\r", file=sys.stderr)


def main(path: Path) -> None:
    signer = Signer("bench", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    engine = open_engine(path, kind="translation")
    upgrade(engine, "translation")
    missing = EVENTS - root_of(engine).size
    if missing > 0:
        began, busy = time.perf_counter(), time.process_time()
        write(engine, missing, signer)
        rate, work = missing / (time.perf_counter() - began), missing / (time.process_time() - busy)
        print(f"written in groups of 1,000: {rate:,.0f} /s; a second of CPU writes {work:,.0f}")
    for line in rates(engine, signer):
        print(line)
    print(f"on the disk:               {path.stat().st_size / root_of(engine).size:,.0f} bytes an event")
    engine.dispose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(Path(sys.argv[2]) if len(sys.argv) > 2 else Path(directory) / "translation.db")

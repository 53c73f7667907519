"""How many operation events a second the translation log takes, and what one costs in CPU time.

Sessions write finished reads as fast as the log takes them, through everything that the bridge uses: the process that
composes and appends, group commit, SQLite with fsync, a checkpoint now and then.
Run: python scripts/bench.d/log_append.py [EVENTS]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251 - the bench is the process
from twisted.internet.defer import Deferred

from bridge.storage import open_engine, upgrade
from bridge.translation import IndexKeys, SessionFacts, SessionLog, SQLLog, facts
from bridge.translation.appender_process import AppenderProcess

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
BURST = 200
FEW = 5_000
ROUNDS = 3


def session(log: SQLLog, number: int) -> SessionLog:
    agent, id = f"agent-{number % 50}", f"ses_01JDM3ZK8Q2W4R6T8Y0A{number:06d}"
    index = IndexKeys(id, agent, "payments", "warehouse", "svc_reader", labels=("pii",))
    sections = {
        "agent": facts.agent_section(
            id=agent,
            name=agent,
            owner="payments",
            purpose="nightly reconciliation",
            roles=("reader",),
            environment="prod",
        ),
        "delegation": facts.delegation_section(),
        "legacy": facts.legacy_section(system="warehouse", account="svc_reader", labels=("pii",)),
        "node": facts.node_section(id="n1", version="0.1.0"),
        "transport": facts.transport_section(protocol="postgresql", source="10.1.2.3:51112", tls="TLSv1.3"),
    }
    return log.session(SessionFacts(index, sections))


def pause(seconds: float) -> Deferred[None]:
    waited: Deferred[None] = Deferred()
    reactor.callLater(seconds, waited.callback, None)
    return waited


def worked(appender: AppenderProcess) -> float:
    """Seconds of CPU of both processes."""
    ran, _, _ = Path(f"/proc/{appender.pid}/schedstat").read_text().split()
    return time.process_time() + int(ran) / 1e9


async def round_of(log: SQLLog, appender: AppenderProcess, sessions: list[SessionLog]) -> tuple[float, float]:
    decision = facts.decision_section(effect="allow", rules=("warehouse-read",), policy="sha256:" + "0" * 64)
    wall, cpu = time.perf_counter(), worked(appender)
    for start in range(0, EVENTS, BURST):
        for number in range(start, start + BURST):
            action = facts.action_section(
                "sql.select",
                "read",
                ("public.accounts",),
                "SELECT abalance FROM accounts WHERE aid = ?",
                "sha256:" + "1" * 64,
            )
            sessions[number % len(sessions)].operation(action, "read", decision).finish(rows=1, bytes=120)
        await pause(0)
        while log.pending() > FEW:
            await pause(0.002)
    while log.pending():
        await pause(0.002)
    return EVENTS / (time.perf_counter() - wall), (worked(appender) - cpu) / EVENTS * 1e6


async def main(directory: Path) -> None:
    engine = open_engine(directory / "translation.db", kind="translation")
    upgrade(engine, "translation")
    engine.dispose()
    appender = AppenderProcess(directory / "translation.db", directory, "bench")
    log = SQLLog(appender, reactor, "bench")
    await log.start()
    sessions = [session(log, number) for number in range(200)]
    rounds = [await round_of(log, appender, sessions) for _ in range(ROUNDS)]
    await log.stop()
    size = (directory / "translation.db").stat().st_size / (EVENTS * ROUNDS)
    print(f"operations recorded:  {statistics.median(rate for rate, _ in rounds):,.0f} /s")
    print(f"CPU of one:           {statistics.median(cost for _, cost in rounds):.1f} µs (both processes)")
    print(f"disk of one:          {size:,.0f} bytes with indexes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        running = Deferred.fromCoroutine(main(Path(directory)))
        running.addErrback(lambda failure: failure.printTraceback()).addBoth(lambda _: reactor.stop())
        reactor.run()

"""Runs every measurement, the ways to a server by turns, and prints medians and ratios beside the targets."""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol, TypeVar

sys.path.insert(0, str(Path(__file__).parent))

import directory
import inside
import measuring
import mysql
import ssh
from peers import ONCE, POOLING, Peers
from rig.bridge import Bridge
from rig.sshd import available as sshd_available

from bridge import __version__

QUESTIONED = 200_000
RESULTS = Path(__file__).parents[1] / "BENCHMARKS.md"

PREAMBLE = """\
# Benchmarks

{day}, {machine}, version {version}, load {load:.1f} before the start.
Made by `scripts/bench {options}`: clients, servers and all peers share the machine and take turns; each number is
the median of {rounds} runs, of {seconds} s where it is a rate. Only the ratios within one run mean something.

pgbouncer in session mode reuses its server connections, so that its clients wait for one login; the bridge logs in
upstream for every session, on purpose, as pgbouncer does with `server_lifetime = 0`: that row is the same work, and the
target of logins is held against it. (Even a direct connection has a small part of the rate of one that reuses logins.)
The legacy login is SCRAM-SHA-256, the one to pgbouncer MD5. Figures of a log of ten million events, which take an hour
to make, are kept in BENCHMARKS-LOG.md. Memory of a session is that of the bridge without the process that appends to
the log, whose cache of pages grows to 8 MiB whatever the sessions are."""


class Report:
    """Markdown, printed as it grows."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str = "") -> None:
        self.lines.append(line)
        print(line, flush=True)

    def section(self, title: str) -> None:
        self.say()
        self.say(f"## {title}")
        self.say()

    def table(self, *heads: str) -> None:
        self.row(*heads)
        self.row(*("---" for _ in heads))

    def row(self, *cells: str) -> None:
        self.say(f"| {' | '.join(cells)} |")


class Named(Protocol):
    @property
    def name(self) -> str: ...


AnyWay = TypeVar("AnyWay", bound=Named)


def by_turns(ways: Sequence[AnyWay], rounds: int, measure: Callable[[AnyWay], float]) -> dict[str, float]:
    """The median of each way; a noisy second hits all of them, and each is first once."""
    found: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(rounds):
        first = number % len(ways)
        for way in (*ways[first:], *ways[:first]):
            found[way.name].append(measure(way))
    return {name: statistics.median(values) for name, values in found.items()}


def compare(report: Report, title: str, unit: str, medians: dict[str, float], peer: str, target: float) -> None:
    report.section(title)
    report.table("way", unit, "bridge / it")
    for name, value in medians.items():
        ratio = "" if name == "bridge" else f"{medians['bridge'] / value:.2f}"
        if name == peer:
            ratio += f" (target ≥ {target})"
        report.row(name, f"{value:,.0f}", ratio)


def measure_all(report: Report, peers: Peers, seconds: int, rounds: int, idle: int) -> None:
    pid = peers.bridge.process.pid if peers.bridge.process else 0
    memory(report, peers, pid, idle)
    inner(report, peers)
    statements(report, peers, seconds, rounds)
    logins(report, peers, seconds, rounds)
    ways = [peers.direct(), peers.bouncer(), peers.proxy(), peers.through_bridge()]
    for way in ways:
        measuring.check_copy(way)
    compare(report, "COPY out of 200 MB", "MB/s", by_turns(ways, rounds, measuring.copy_out), "HAProxy tcp", 0.8)


def memory(report: Report, peers: Peers, pid: int, idle: int) -> None:
    """Before any load, so that nothing is hidden in memory that a load has left free."""
    base = measuring.resident(pid)
    streaming = measuring.peak_while(pid, lambda: measuring.copy_out(peers.through_bridge())) - base
    each = measuring.idle_sessions(pid, peers.through_bridge(), idle)
    report.section("Memory")
    report.table("what", "measured", "target")
    report.row("at start, with the processes that parse statements and append to the log", f"{base / 1024:.0f} MiB", "")
    report.row("more while 200 MB stream, at most", f"{streaming / 1024:.1f} MiB", "≤ 64 MiB")
    report.row(f"each of {idle:,} idle sessions", f"{each:.1f} KiB", "≤ 64 KiB")


LOG_TARGETS = {
    "operations recorded": "≥ 10,000 /s",
    "the tree's share of the CPU": "≤ 15 %",
    "proof of an event": "≤ 10 ms",
    "verification": "≥ 100,000 events/s",
}


def inner(report: Report, peers: Peers) -> None:
    unseen, seen = inside.verification(peers.place.folder)
    admit, permit = inside.decisions()
    report.section("Time inside the bridge")
    report.table("what", "measured", "target")
    report.row("token verified, never seen (EdDSA)", f"{unseen:.0f} µs", "≤ 1000 µs")
    report.row("token verified, seen before", f"{seen:.0f} µs", "")
    report.row("decision at login, 1,000 grants", f"{admit:.1f} µs", "≤ 20 µs")
    report.row("decision per statement", f"{permit:.2f} µs", "≤ 20 µs")
    for script in ("log_append.py", "log_tree.py"):
        measured = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(script))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True, timeout=300,
        )  # fmt: skip
        for line in measured.stdout.splitlines():
            what, figure = line.split(":", 1)
            report.row(f"translation log: {what}", figure.strip(), LOG_TARGETS.get(what, ""))
    questions(report)


def questions(report: Report) -> None:
    """To a log that is made in a minute; BENCHMARKS-LOG.md has those of a large one."""
    measured = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("log_query.py")), str(QUESTIONED)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True, timeout=900,
    )  # fmt: skip
    report.section(f"Questions to a translation log of {QUESTIONED:,} events (target ≤ 200 ms)")
    for line in measured.stdout.splitlines():
        if line.startswith("|"):
            report.say(line)


def statements(report: Report, peers: Peers, seconds: int, rounds: int) -> None:
    pgbench = peers.server.bin / "pgbench"
    ways = [peers.direct(), peers.bouncer(), peers.proxy(), peers.through_bridge()]
    for mode in ("simple", "prepared"):
        medians = by_turns(ways, rounds, lambda way, mode=mode: measuring.pgbench(pgbench, way, seconds, "-M", mode))
        title = f"Statements: `pgbench -S -M {mode}`, 8 clients, every statement logged"
        compare(report, title, "per second", medians, POOLING, 0.6)


def logins(report: Report, peers: Peers, seconds: int, rounds: int) -> None:
    pgbench = peers.server.bin / "pgbench"
    ways = [peers.direct(), peers.bouncer(), peers.bouncer_once(), peers.proxy(), peers.through_bridge()]
    medians = by_turns(ways, rounds, lambda way: measuring.pgbench(pgbench, way, seconds, "-C"))
    compare(report, "Logins: `pgbench -S -C`, 8 clients, without TLS", "per second", medians, ONCE, 0.4)
    ways = [peers.direct(True), peers.bouncer(True), peers.bouncer_once(True), peers.through_bridge(True)]
    medians = by_turns(ways, rounds, lambda way: measuring.pgbench(pgbench, way, seconds, "-C"))
    compare(report, "Logins: `pgbench -S -C`, 8 clients, TLS with verify-full", "per second", medians, ONCE, 0.4)


def measure_mysql(report: Report, shop: mysql.Shop, seconds: int, rounds: int, idle: int) -> None:
    """``seconds`` is what a run should take about; the number of statements is fixed from one direct run."""
    pid = shop.bridge.process.pid if shop.bridge.process else 0
    bridge = shop.routes()[-1]
    base = measuring.resident(pid)
    streaming = measuring.peak_while(pid, lambda: mysql.wide(bridge)) - base
    bridge.connect().close()
    before = measuring.resident(pid, log=False)
    held = mysql.idle_sessions(bridge, idle)
    each = (measuring.resident(pid, log=False) - before) / idle
    for connection in held:
        connection.close()
    report.section("MySQL: memory")
    report.table("what", "measured", "target")
    report.row("more while 200 MB of rows stream, at most", f"{streaming / 1024:.1f} MiB", "≤ 64 MiB")
    report.row(f"each of {idle:,} idle sessions", f"{each:.1f} KiB", "≤ 64 KiB")
    count = max(2000, int(shop.selects(bridge, 2000) * seconds))
    medians = _routes(shop, rounds, lambda route: shop.selects(route, count))
    title = f"MySQL: point selects, `mariadb-slap` with {mysql.CLIENTS} clients, every statement logged"
    compare(report, title, "per second", medians, "HAProxy tcp", 0.6)
    compare(report, "MySQL: result of 200 MB", "MB/s", _routes(shop, rounds, mysql.wide), "HAProxy tcp", 0.7)


def measure_ssh(report: Report, fleet: ssh.Fleet, rounds: int, idle: int) -> None:
    each, threads = fleet.idle_sessions(idle)
    report.section("SSH: memory and threads")
    report.table("what", "measured", "target")
    report.row(f"each of {idle:,} sessions in which `cat` waits", f"{each:.1f} KiB", "≤ 64 KiB")
    report.row("threads that came with them", str(threads), "none of their own; the pools may grow by a few")
    lanes = fleet.lanes()
    for title, measure in (("host to client", fleet.down), ("client to host", fleet.up)):
        report.section(f"SSH: {fleet.bulk / 1e6:,.0f} MB from {title}, aes128-gcm")
        measure_bulk(report, fleet, rounds, measure)
    medians = by_turns([*lanes, fleet.by_token()], rounds, fleet.true)
    report.section("SSH: connect, prove, run `true`")
    report.table("way", "ms", "bridge / it")
    for name, value in medians.items():
        ratio = "" if name.startswith("bridge") else f"{medians['bridge'] / value:.2f}"
        report.row(name, f"{value:,.0f}", ratio + (" (target ≤ 1.3)" if name == "direct" else ""))


def measure_bulk(report: Report, fleet: ssh.Fleet, rounds: int, transfer: Callable[[ssh.Lane], float]) -> None:
    """MB a second, and MB for each second of processor time of the way's bridge: client and host, which use the same
    processors, and other load of the machine count less in it."""
    by_processor: dict[str, list[float]] = {}

    def measure(lane: ssh.Lane) -> float:
        before = fleet.processor_time(lane)
        rate = transfer(lane)
        used = fleet.processor_time(lane) - before
        if used:
            by_processor.setdefault(lane.name, []).append(fleet.bulk / 1e6 / used)
        return rate

    rates = by_turns(fleet.lanes(), rounds, measure)
    own = {name: statistics.median(values) for name, values in by_processor.items()}
    targets = {"direct": " (target ≥ 0.6)", ssh.PEER: " (target ≥ 1.7)"}
    report.table("way", "MB/s", "bridge / it", "MB per processor second of the bridge", "bridge / it")
    for name, rate in rates.items():
        ratio = f"{rates['bridge'] / rate:.2f}{targets[name]}" if name in targets else ""
        peer = f"{own['bridge'] / own[name]:.2f}{targets[name]}" if name == ssh.PEER else ""
        report.row(name, f"{rate:,.0f}", ratio, f"{own[name]:,.0f}" if name in own else "", peer)


def measure_ldap(report: Report, people: directory.People, seconds: int, rounds: int) -> None:
    """``seconds`` is what a run should take about; the number of searches is fixed from one run of the bridge."""
    pid = people.bridge.process.pid if people.bridge.process else 0
    *_, bridge = people.doors()
    for door in people.doors():
        directory.check_whole(door)
    base = measuring.resident(pid)
    stalled = measuring.peak_while(pid, lambda: directory.stall(bridge)) - base
    report.section("LDAP: memory")
    report.table("what", "measured", "target")
    entries = f"{directory.ENTRIES:,} entries"
    what = f"more while {directory.STALLED} clients ask for {entries} each and read none, at most"
    report.row(what, f"{stalled / 1024:.1f} MiB", "≤ 64 MiB")
    count = max(500, int(directory.searches(bridge, 500) * seconds))
    medians = by_turns(people.doors(), rounds, lambda door: directory.searches(door, count))
    title = "LDAP: searches of one entry, one after the other, every one logged"
    compare(report, title, "per second", medians, directory.PROXY, 0.77)
    medians = by_turns(people.doors(), rounds, lambda door: directory.whole(door, people.place.folder))
    compare(report, f"LDAP: `ldapsearch` of {entries}", "entries/s", medians, directory.DIRECT, 0.63)
    count = max(50, int(directory.sessions(bridge, 50) * seconds))
    medians = by_turns(people.doors(), rounds, lambda door: directory.sessions(door, count))
    title = "LDAP: connect, Bind, search of one entry, Unbind"
    compare(report, f"{title}; without TLS", "per second", medians, "", 0)
    medians = by_turns(people.tls_doors(), rounds, lambda door: directory.sessions(door, count))
    compare(report, f"{title}; TLS on both sides", "per second", medians, "", 0)


def _routes(shop: mysql.Shop, rounds: int, measure: Callable[[mysql.Route], float]) -> dict[str, float]:
    return by_turns(shop.routes(), rounds, measure)


def machine() -> str:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cpu = model[1] if model else platform.machine()
    return f"{os.cpu_count()} cores ({cpu}), Linux, Python {platform.python_version()}"


def preamble(seconds: int, rounds: int) -> str:
    return PREAMBLE.format(
        day=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        machine=machine(),
        version=__version__,
        load=os.getloadavg()[0],
        options=" ".join(sys.argv[1:]),
        rounds=rounds,
        seconds=seconds,
    )


def alone() -> IO[str]:
    """Held while we run: two at once would measure each other."""
    lock = (Path(tempfile.gettempdir()) / "idbridge-bench.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit("bench: another run is going on; wait for its end") from None
    return lock


def run_postgres(report: Report, folder: Path, seconds: int, rounds: int, idle: int) -> None:
    peers = Peers(_folder(folder, "postgres"))
    try:
        peers.start()
        measure_all(report, peers, seconds, rounds, idle)
    except SystemExit:
        last_words(peers.bridge)
        raise
    finally:
        peers.close()


def run_mysql(report: Report, folder: Path, seconds: int, rounds: int, idle: int) -> None:
    shop = mysql.Shop(_folder(folder, "mysql"))
    try:
        shop.start()
        measure_mysql(report, shop, seconds, rounds, idle)
    except SystemExit:
        last_words(shop.bridge)
        raise
    finally:
        shop.close()


def run_ssh(report: Report, folder: Path, rounds: int, quick: bool) -> None:
    if not sshd_available():
        report.say("SSH is left out: a system user for sshd needs root.")
        return
    fleet = ssh.Fleet(_folder(folder, "ssh"), 100_000_000 if quick else 1_000_000_000)
    try:
        fleet.start()
        measure_ssh(report, fleet, rounds, 25 if quick else 250)
    except SystemExit:
        last_words(fleet.bridge)
        raise
    finally:
        fleet.close()


def run_ldap(report: Report, folder: Path, seconds: int, rounds: int) -> None:
    people = directory.People(_folder(folder, "ldap"))
    try:
        people.start()
        measure_ldap(report, people, seconds, rounds)
    except SystemExit:
        last_words(people.bridge)
        raise
    finally:
        people.close()


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir(mode=0o755)
    return folder


def last_words(bridge: Bridge) -> None:
    alive = bridge.process is not None and bridge.process.poll() is None
    said = bridge.daemon_log.read_text().splitlines()[-40:]
    print(f"bench: the bridge {'still runs' if alive else 'has ended'}; the end of its log:", *said, sep="\n  ")


def main() -> int:
    arguments = argparse.ArgumentParser(description="Measures the bridge beside its peers, in one run.")
    arguments.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    arguments.add_argument("--quick", action="store_true", help="one round of one second: only whether it runs")
    arguments.add_argument("--seconds", type=int, default=8, help="of each pgbench run")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--idle", type=int, default=1000, help="idle sessions held open")
    arguments.add_argument("--only", choices=("postgres", "mysql", "ssh", "ldap"), help="leave the others out")
    given = arguments.parse_args()
    seconds, rounds, idle = (1, 1, 50) if given.quick else (given.seconds, given.rounds, given.idle)
    lock = alone()
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.default_int_handler)  # the peers are ended whatever ends us
    folder = Path(tempfile.mkdtemp(prefix="idbridge-bench-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    report = Report()
    report.say(preamble(seconds, rounds))
    try:
        if given.only in (None, "postgres"):
            run_postgres(report, folder, seconds, rounds, idle)
        if given.only in (None, "mysql"):
            run_mysql(report, folder, seconds, rounds, idle)
        if given.only in (None, "ssh"):
            run_ssh(report, folder, rounds, given.quick)
        if given.only in (None, "ldap"):
            run_ldap(report, folder, seconds, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
    if given.save:
        RESULTS.write_text("\n".join(report.lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

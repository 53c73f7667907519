"""The measurements. Each returns one number per call; who calls interleaves the ways and takes medians."""

from __future__ import annotations

import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from peers import ROWS, Way

TRANSACTIONS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
MIB = 1024 * 1024
COPY = "copy wide to stdout"
COPIED = ROWS * 96  # bytes


def pgbench(program: Path, way: Way, seconds: int, *options: str) -> float:
    """Transactions a second of ``pgbench -S`` with 8 clients; with ``-C`` the connection time counts."""
    command = [str(program), "-n", "-S", "-c", "8", "-j", "2", "-T", str(seconds), *options, way.conninfo]
    done = subprocess.run(
        command, env=way.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=seconds + 120
    )
    found = TRANSACTIONS.search(done.stdout)
    if done.returncode or not found:
        raise SystemExit(f"bench: pgbench by way of {way.name} failed: {done.stderr.strip()[-500:]}")
    return float(found[1])


def check_copy(way: Way) -> None:
    """Nobody is quick by leaving something out."""
    command = ["psql", "-XqAt", "-c", COPY, way.conninfo]
    with subprocess.Popen(command, env=way.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as psql:
        assert psql.stdout is not None
        got = sum(len(chunk) for chunk in iter(lambda: psql.stdout.read(MIB), b""))
    if psql.returncode or got != COPIED:
        raise SystemExit(f"bench: COPY by way of {way.name} gave {got} bytes instead of {COPIED}")


def copy_out(way: Way) -> float:
    """MB a second of the whole table, by psql into nothing."""
    started = time.perf_counter()
    done = subprocess.run(
        ["psql", "-XqAt", "-c", COPY, way.conninfo],
        env=way.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=300,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"bench: COPY by way of {way.name} failed: {done.stderr.decode()[-500:]}")
    return COPIED / 1e6 / (time.perf_counter() - started)


def resident(pid: int, *, log: bool = True) -> float:
    """KiB of memory of a process and its children: statements are parsed in one, the ``log`` is appended to in another,
    which keeps what was written last (8 MiB at most), however many sessions there are."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    counted = [one for one in children if log or b"appender" not in Path(f"/proc/{one}/cmdline").read_bytes()]
    return sum(_rss(one) for one in (str(pid), *counted))


def _rss(pid: str) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return float(found[1]) if found else 0.0


def peak_while(pid: int, work: Callable[[], object]) -> float:
    """The highest resident KiB while ``work`` runs."""
    peak, done = [resident(pid)], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], resident(pid))

    watcher = threading.Thread(target=watch, name="memory watch")
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak[0]


def idle_sessions(pid: int, way: Way, count: int) -> float:
    """KiB of the bridge's memory per session, of ``count`` that have run one statement and wait."""
    psycopg.connect(way.conninfo, password=way.password, autocommit=True).execute("select 1").connection.close()
    before = resident(pid, log=False)
    held = []
    try:
        for _ in range(count):
            connection = psycopg.connect(way.conninfo, password=way.password, autocommit=True)
            held.append(connection)
            connection.execute("select 1")
        time.sleep(1.0)
        return (resident(pid, log=False) - before) / count
    finally:
        for connection in held:
            connection.close()


def microseconds(work: Callable[[], object], times: int = 3000) -> float:
    """The median of one call."""
    spent = []
    for _ in range(times):
        started = time.perf_counter_ns()
        work()
        spent.append(time.perf_counter_ns() - started)
    return statistics.median(spent) / 1000

"""The thread pool, on the real reactor."""

import threading

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251  the pool's own tests need the real one
from twisted.internet.defer import CancelledError

from bridge.storage import PoolFull, PoolStopped, ThreadPool


@pytest.fixture
def pool():
    made = ThreadPool("vault", 1, reactor, queue_limit=2)
    yield made
    if made._stopped is None:
        pytest_twisted.blockon(made.stop(1))


@pytest_twisted.ensureDeferred
async def test_a_call_runs_in_a_named_thread_and_gives_its_result(pool):
    assert await pool.run(lambda: threading.current_thread().name) == "vault-1"
    assert await pool.run(divmod, 7, 3) == (2, 1)


@pytest_twisted.ensureDeferred
async def test_an_exception_reaches_the_caller_and_the_thread_goes_on(pool):
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 1, 0)
    with pytest.raises(SystemExit):
        await pool.run(exit)
    assert await pool.run(int, "7") == 7


@pytest_twisted.ensureDeferred
async def test_no_more_threads_than_its_size_and_no_more_waiting_than_its_limit(pool):
    gate = threading.Event()
    names = [pool.run(in_thread_wait, gate) for _ in range(3)]
    assert pool.waiting == 2
    with pytest.raises(PoolFull, match="vault: 2 calls wait already"):
        await pool.run(int)
    gate.set()
    assert [await name for name in names] == ["vault-1"] * 3
    assert pool.waiting == 0


@pytest_twisted.ensureDeferred
async def test_a_cancelled_call_that_waits_is_never_made_and_frees_its_place(pool):
    gate, made = threading.Event(), []
    first = pool.run(in_thread_wait, gate)
    second = pool.run(made.append, "second")
    second.cancel()
    with pytest.raises(CancelledError):
        await second
    assert pool.waiting == 0
    gate.set()
    await first
    await pool.run(int)
    assert made == []


@pytest_twisted.ensureDeferred
async def test_a_cancelled_call_that_runs_goes_on_unheard(pool):
    gate, made = threading.Event(), []
    running = pool.run(lambda: (gate.wait(5), made.append("done")))
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    gate.set()
    await pool.run(int)
    assert made == ["done"]


@pytest_twisted.ensureDeferred
async def test_stopping_waits_for_what_runs_and_drops_what_waits(pool):
    gate = threading.Event()
    running, waiting = pool.run(in_thread_wait, gate), pool.run(int)
    stopped = pool.stop(5)
    with pytest.raises(PoolStopped):
        await waiting
    with pytest.raises(PoolStopped):
        await pool.run(int)
    gate.set()
    assert await stopped == 0
    assert await running == "vault-1"


@pytest_twisted.ensureDeferred
async def test_stopping_leaves_a_stuck_call_behind_after_the_grace(pool):
    gate = threading.Event()
    stuck = pool.run(in_thread_wait, gate)
    assert await pool.stop(0.05) == 1
    gate.set()
    assert await stuck == "vault-1"


@pytest_twisted.ensureDeferred
async def test_threads_end_with_the_pool():
    pool = ThreadPool("short", 2, reactor)
    await pool.run(int)
    await pool.run(int)
    assert await pool.stop() == 0
    for thread in threading.enumerate():
        if thread.name.startswith("short-"):
            thread.join(2)
            assert not thread.is_alive()


def in_thread_wait(gate):
    gate.wait(5)
    return threading.current_thread().name

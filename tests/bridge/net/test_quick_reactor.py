"""The reactor's own main loop does what Twisted's does. It runs in a process of its own: a process has one reactor."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import threading, time
from bridge.net import quick_reactor
quick_reactor.install()
from twisted.internet import reactor

said, polls = [], []
poll = reactor.doPoll

def counted(timeout):
    polls.append(timeout)
    poll(timeout)

reactor.doPoll = counted

def fail():
    said.append("failed")
    raise RuntimeError("a defect in a timed call")

def later():
    reactor.callLater(0.02, said.append, "later")
    reactor.callLater(0, said.append, "at once")

def from_thread():
    time.sleep(0.1)
    reactor.callFromThread(said.append, "from a thread")
    reactor.callFromThread(reactor.callLater, 0.01, stop)

def stop():
    said.append("stop")
    reactor.stop()

moved = reactor.callLater(0.01, said.append, "moved")
moved.reset(0.06)
reactor.callLater(0.01, said.append, "cancelled").cancel()
for _ in range(200):
    reactor.callLater(3600, print).cancel()
reactor.callLater(7200, print)
reactor.callLater(0.04, fail)
reactor.callWhenRunning(later)
reactor.addSystemEventTrigger("before", "shutdown", said.append, "shutdown")
threading.Thread(target=from_thread).start()
reactor.run()
print(",".join(said))
print(len(polls))
"""


def test_timers_calls_from_threads_and_the_stop_come_as_in_twisted() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    said, polls = done.stdout.splitlines()
    assert said == "at once,later,failed,moved,from a thread,stop,shutdown"
    assert int(polls) < 50  # it slept where nothing was due

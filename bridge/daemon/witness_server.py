"""``idbridge witness``: a small web server that cosigns other hosts' checkpoints (c2sp.org/tlog-witness).

It needs no configuration file and no bridge: a folder, the keys of the logs, an address. The protocol's messages are
signed, so that plain HTTP gives nothing away but volumes; for TLS put a web server in front.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from bridge.adapter import Address, BridgeError
from bridge.daemon import observing
from bridge.storage import PoolFull, PoolStopped, ThreadPool, load_or_create_key
from bridge.translation.note import COSIGNATURE, NoteRefused, Signer, VerifierKey
from bridge.translation.witness import MAX_REQUEST, Answer, Witness

WAITING = 64
"""Requests that may wait for the disk. A witness of many logs still has few at once."""

_log = Logger(namespace="bridge.witness")


class WitnessBusy(BridgeError):
    """Another process is the witness of this folder: two of them could cosign two histories."""


def open_witness(folder: Path, name: str, logs: Sequence[VerifierKey]) -> tuple[Witness, VerifierKey]:
    """Makes the folder and the key if they are missing; the folder stays ours until the process ends. Blocks.

    Raises WitnessBusy, KeyRefused, NoteRefused, OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "witness.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise WitnessBusy(f"{folder}: another witness runs on this folder") from None
    signer = Signer(name, load_or_create_key(folder / "witness.key"), COSIGNATURE)
    return Witness(signer, folder, logs, time.time, _conflict), signer.key


def _conflict(text: str) -> None:
    _log.critical("NOT COSIGNED: {text}", text=text)


class WitnessPage(Resource):
    isLeaf = True

    def __init__(self, witness: Witness, pool: ThreadPool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._witness = witness
        self._pool = pool

    def render_POST(self, request: Request) -> Any:
        body = request.content.read(MAX_REQUEST + 1) if request.content else b""
        if request.path != b"/add-checkpoint":
            return _send(request, Answer(404, "expected POST /add-checkpoint\n"))
        return self._answer(request, self._witness.in_thread_add, body)

    def render_GET(self, request: Request) -> Any:
        name, _, page = (request.path or b"").decode("ascii", "replace").strip("/").partition("/")
        if page != "checkpoint":
            return _send(request, Answer(404, "expected /HASH-OF-ORIGIN/checkpoint\n"))
        return self._answer(request, self._witness.in_thread_latest, name)

    def _answer(self, request: Request, ask: Callable[[Any], Answer], given: object) -> int:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def failed(failure: Any) -> Answer:
            if failure.check(PoolFull, PoolStopped):
                return Answer(503, "too many requests\n")
            if not failure.check(OSError, NoteRefused):
                _log.failure("a request failed", failure=failure)
            else:
                _log.critical("nothing was cosigned: {cause}", cause=failure.getErrorMessage())
            return Answer(500, "the witness failed; nothing was cosigned\n")

        answering: Deferred[Any] = self._pool.run(ask, given)
        answering.addErrback(failed)
        answering.addCallback(lambda answer: None if gone else _finish(request, answer))
        return NOT_DONE_YET  # type: ignore[no-any-return, unused-ignore]


def _finish(request: Any, answer: Answer) -> None:
    request.write(_send(request, answer))
    request.finish()


def _send(request: Any, answer: Answer) -> bytes:
    request.setResponseCode(answer.status)
    request.setHeader("Content-Type", answer.type)
    return answer.body.encode()


def witness_site(witness: Witness, pool: ThreadPool) -> Site:
    return Site(WitnessPage(witness, pool), timeout=60)  # type: ignore[no-untyped-call]


def run_witness(witness: Witness, listen: Address, started: Callable[[str], None]) -> None:
    """Until SIGTERM or SIGINT. ``started`` hears where it listens. Raises OSError."""
    from twisted.internet import reactor  # noqa: TID251  the one place of this process that takes it

    taking: Any = reactor
    observing.begin("text")
    pool = ThreadPool("witness", 1, taking, queue_limit=WAITING)
    port = taking.listenTCP(listen.port, witness_site(witness, pool), interface=listen.host)
    started(str(Address(listen.host, port.getHost().port)))
    taking.addSystemEventTrigger("before", "shutdown", pool.stop)
    taking.run()

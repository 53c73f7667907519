"""The admin socket: ``POST /v1/COMMAND`` with JSON parameters, JSON back. The peer's user is the actor."""

from __future__ import annotations

import json
import pwd
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from bridge.adapter import BridgeError
from bridge.api.commands import call
from bridge.api.failure import CommandFailed
from bridge.api.services import Actor, Services
from bridge.storage import PoolFull, PoolStopped, StorageError

MAX_BODY = 1024 * 1024
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED, unix(7)

RunInThread = Callable[..., "Deferred[Any]"]


class Commands(Resource):
    """``run`` calls a function in a thread of the admin pool."""

    isLeaf = True
    log = Logger()

    def __init__(self, services: Services, run: RunInThread) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._services = services
        self._run = run

    def render(self, request: Request) -> int:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        answering = Deferred.fromCoroutine(self._answer(request, gone))
        answering.addErrback(lambda failure: self.log.failure("a command's answer was not sent", failure=failure))
        return NOT_DONE_YET  # type: ignore[no-any-return, unused-ignore]

    async def _answer(self, request: Request, gone: list[object]) -> None:
        """``gone`` has something in it once nobody waits for the answer any more; what was begun is finished."""
        name = (request.path or b"").decode("ascii", "replace").removeprefix("/v1/")
        status, value = await answer(self._run, self._services, _actor(request), name, lambda: _read(request))
        if not gone:
            _send(request, status, value)


async def answer(
    run: RunInThread, services: Services, actor: Actor, name: str, read: Callable[[], dict[str, Any]]
) -> tuple[int, Any]:
    """The HTTP status and the value of the answer, whatever happens. ``read`` gives the parameters."""
    try:
        return 200, await run(call, services, actor, name, read())
    except CommandFailed as failed:
        return failed.status, {"error": str(failed), "field": failed.field}
    except (StorageError, PoolFull, PoolStopped) as failure:
        return 503, {"error": str(failure)}
    except CancelledError:
        raise
    except BridgeError as failure:
        return 409, {"error": str(failure)}
    except Exception:  # a command's defect must be answered and seen, and must not hang the client
        Commands.log.failure("a command failed")
        return 500, {"error": "the bridge failed; its own log has the cause"}


def _send(request: Any, status: int, value: Any) -> None:
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    request.write(json.dumps(value).encode())
    request.finish()


def _read(request: Request) -> dict[str, Any]:
    path = (request.path or b"").decode("ascii", "replace")
    if request.method != b"POST" or not path.startswith("/v1/"):
        raise CommandFailed("expected POST /v1/COMMAND", status=404)
    body = request.content.read(MAX_BODY + 1) if request.content else b""
    if len(body) > MAX_BODY:
        raise CommandFailed(f"parameters of more than {MAX_BODY} bytes")
    return parameters_of(body)


def parameters_of(body: bytes) -> dict[str, Any]:
    """Raises CommandFailed."""
    try:
        parameters = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise CommandFailed("the parameters are not JSON") from None
    if not isinstance(parameters, dict):
        raise CommandFailed("the parameters are not a JSON object")
    return parameters


def _actor(request: Any) -> Actor:
    """Who is at the other end, as the kernel says."""
    transport = request.channel.transport
    raw = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid = _CREDENTIALS.unpack(raw)[1]
    try:
        return Actor(pwd.getpwuid(uid).pw_name, via="socket")
    except KeyError:
        return Actor(f"uid:{uid}", via="socket")


def admin_site(services: Services, run: RunInThread) -> Site:
    return Site(Commands(services, run))  # type: ignore[no-untyped-call]

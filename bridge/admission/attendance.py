"""Runs an adapter on one connection and writes the end of what it admitted, whatever the end was."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from bridge.adapter import Adapter, PeerFault, Reason, Refused, Stream, StreamClosed, TimedOut
from bridge.admission.door import SystemDoor
from bridge.admission.system import Core, System
from bridge.translation.vocabulary import OK

_log = Logger()


async def attend(core: Core, system: System, adapter: Adapter, client: Stream, admitted: Callable[[], None]) -> None:
    """The whole life of one connection; the caller closes ``client`` after it."""
    door = SystemDoor(core, system, client, admitted)
    reason, failed, detail = OK, False, ""
    try:
        await adapter.serve(client, door)
    except CancelledError:
        reason, failed = Reason.SHUTDOWN.value, True
        raise
    except Refused as refused:
        reason, failed, detail = refused.reason.value, True, f"{refused.code}: {refused.detail}".rstrip(": ")
    except PeerFault as fault:
        reason, failed, detail = Reason.PROTOCOL.value, True, str(fault)
        await door.note_stranger(Reason.PROTOCOL, detail)
    except StreamClosed as closed:
        reason, detail = "connection-lost", str(closed)
    except TimedOut as late:
        reason, failed, detail = "timed-out", True, str(late)
        await door.note_stranger(Reason.CREDENTIAL_MISSING, detail)
    except Exception:  # the one broad catch: an adapter's defect must not hurt other sessions, and must be seen
        _log.failure("the adapter {protocol} failed", protocol=system.protocol)
        reason, failed = Reason.INTERNAL.value, True
    finally:
        for session in door.sessions:
            await session.close(reason, failed=failed, detail=detail)

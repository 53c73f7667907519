"""Operations that the legacy system does not execute, and that are in the log all the same."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from bridge.adapter.admission import Admission
from bridge.adapter.operation import Operation, Outcome, Result
from bridge.adapter.refusal import Reason, Refused


async def denied(admission: Admission, operation: Operation, refused: Refused, *, code: str) -> Refused:
    """Records what the bridge itself refuses, whatever the grants say; ``code`` is the client's, for the log.

    Gives ``refused`` with its reference, or what else the session came to. Where the grants refuse it as well, it is
    recorded as theirs; and where it says nothing of what to do, the agent hears that it may ask for a grant.
    """
    try:
        permit = await admission.permit(operation)
    except Refused as by_grants:
        if by_grants.reason is not Reason.ACTION_DENIED:
            return by_grants
        if by_grants.askable and not refused.hint:
            refused.askable, refused.hint = True, by_grants.hint
        return refused.referenced(by_grants.reference)
    admission.outcome(permit, Outcome(Result.DENIED, code, detail=refused.text))
    return refused.referenced(admission.session)


class Unprepared:
    """Records statements that the legacy system would not even prepare: nothing is executed, but it was asked."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._recording: set[Deferred[None]] = set()

    def record(self, operation: Operation, code: str) -> None:
        """Does not wait. ``code`` is the legacy system's error."""
        recording = Deferred.fromCoroutine(self._record(operation, code))
        self._recording.add(recording)
        recording.addBoth(lambda _: self._recording.discard(recording))

    async def _record(self, operation: Operation, code: str) -> None:
        try:
            permit = await self._admission.permit(operation)
        except Refused:
            return  # recorded as denied, or the log is down and the session ends
        self._admission.outcome(permit, Outcome(Result.FAILURE, code, detail="not prepared"))

"""What becomes of each request of a bound agent: permitted and recorded, then sent on with the bridge's stamp.

The order: read it, judge its controls, describe it, what no grant can open, every name and attribute it touches, the
permit. Whatever stops it before is recorded as denied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from adapters.ldap import codec, controls
from adapters.ldap.codes import Code, Oid, Op
from adapters.ldap.controls import Control
from adapters.ldap.extended import read_cancel
from adapters.ldap.framing import Message
from adapters.ldap.operations import Asking, Describing
from adapters.ldap.protected import Protected, serves
from adapters.ldap.refusals import Spoken
from adapters.ldap.results import Asked, Results
from adapters.ldap.sieve import Sieve, Sight
from bridge.adapter import Action, Admission, Operation, Outcome, Permit, Reason, Refused, Result, Target
from bridge.adapter.unexecuted import denied

_KINDS = {
    Op.SEARCH: ("ldap.search", Action.READ),
    Op.COMPARE: ("ldap.compare", Action.READ),
    Op.ADD: ("ldap.add", Action.WRITE),
    Op.MODIFY: ("ldap.modify", Action.WRITE),
    Op.DELETE: ("ldap.delete", Action.WRITE),
    Op.MODIFY_DN: ("ldap.modify_dn", Action.WRITE),
    Op.EXTENDED: ("ldap.extended", Action.ADMIN),
}

NEVER_DEREF = 0

MAX_KEPT, MAX_KEPT_SIZE = 64, 512
"""Requests of one session that are kept with what they ask, and the most bytes of one."""


class Limits(NamedTuple):
    """Of the system's options. ``entries`` and ``seconds`` 0: none; ``controls`` and ``extensions``: OIDs beside the
    usual ones."""

    entries: int
    seconds: int
    outstanding: int
    controls: frozenset[str]
    extensions: frozenset[str]


class Deciding:
    """One session's. ``stamp``: the bridge's own control, encoded."""

    def __init__(
        self,
        admission: Admission,
        describing: Describing,
        protected: Protected,
        sight: Sight,
        results: Results,
        limits: Limits,
        stamp: bytes,
    ) -> None:
        self._admission = admission
        self._describing = describing
        self._protected = protected
        self._sight = sight
        self._results = results
        self._limits = limits
        self._stamp = stamp
        self._kept: dict[bytes, Asking] = {}

    async def decide(self, message: Message) -> bytes:
        """What goes to the directory, now among the outstanding. Raises Refused, already recorded; PeerFault."""
        if len(self._results.outstanding) >= self._limits.outstanding:
            raise await self._denied(message, Spoken(Reason.QUOTA, Code.BUSY, "too many operations are under way"))
        try:
            request = codec.decode(message)
            kept = controls.judge(controls.read(message), self._limits.controls)
            if isinstance(request, codec.Extended):
                cancelled = self._extended(request)
                if cancelled is not None:
                    return await self._cancel(message, cancelled)
            asking = self._described(message, request, kept)
        except Spoken as spoken:
            raise await self._denied(message, spoken) from None
        refusal = asking.refusal or self._protected.refusal(request, asking)
        if refusal is not None:
            raise await denied(self._admission, asking.operation, refusal, code=str(refusal.result.value))
        sieve = self._sieve(request, asking) if isinstance(request, codec.Search) else None
        asked = Asked(message.tag, await self._permit(asking), sieve)
        self._results.outstanding[message.id] = asked
        operation = self._limited(message, request, kept, asked) if isinstance(request, codec.Search) else None
        return codec.rebuilt(message, operation, controls.joined(kept) + self._stamp)

    def _described(self, message: Message, request: codec.Request, kept: tuple[Control, ...]) -> Asking:
        """Programs ask the same again and again; what they ask is read once."""
        if kept or message.stop - message.body > MAX_KEPT_SIZE or message.tag not in (Op.SEARCH, Op.COMPARE):
            return self._describing.describe(request, kept)
        key = bytes((message.tag,)) + message.data[message.body : message.stop]
        asking = self._kept.get(key)
        if asking is None:
            asking = self._describing.describe(request, kept)
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = asking
        return asking

    def stamped(self, message: Message) -> bytes:
        """A request that needs no permit: Abandon."""
        return codec.rebuilt(message, None, self._stamp)

    async def _permit(self, asking: Asking) -> Permit:
        """Every target must be allowed; the first that is not, or only by the mode, is what the record names."""
        operation, may = asking.operation, self._admission.may
        action = operation.action
        doubtful = [target for target in _targets(asking) if not may(action, target, strictly=True)]
        if not doubtful:
            return await self._admission.permit(operation)
        failing = next((target for target in doubtful if not may(action, target)), None)
        permit = await self._admission.permit(replace(operation, target=failing or doubtful[0]))
        if failing is None:
            return permit
        self._admission.outcome(permit, Outcome(Result.DENIED))  # the grants changed between the two questions
        raise Refused(Reason.ACTION_DENIED, "the agent's grants do not permit this operation")

    def _sieve(self, search: codec.Search, asking: Asking) -> Sieve:
        assert asking.name is not None
        return Sieve(self._sight, search, asking.name, public=not asking.operation.target)

    def _limited(self, message: Message, search: codec.Search, kept: tuple[Control, ...], asked: Asked) -> bytes | None:
        """The operation where limits change it; counts on from the earlier pages of a paged search."""
        page = next((control for control in kept if control.oid == Oid.PAGED_RESULTS), None)
        if page is not None:
            asked.paged = True
            asked.chain = self._results.chain(controls.page(page.value)[1])
        if self._limits.entries:
            asked.limit = max(self._limits.entries - asked.chain, 0)
        deref = NEVER_DEREF if asked.sieve is not None and asked.sieve.narrows_names else None
        return codec.limited(message, search, size=self._limits.entries, time=self._limits.seconds, deref=deref)

    # -- extended -----------------------------------------------------------------------------------------------------

    def _extended(self, request: codec.Extended) -> int | None:
        """The operation to be cancelled, None for another request. Raises Spoken for what is not served."""
        if not serves(request.oid, self._limits.extensions):
            raise Spoken(Reason.UNSUPPORTED, Code.PROTOCOL_ERROR, "this extended operation is not served here")
        return read_cancel(request.value) if request.oid == Oid.CANCEL else None

    async def _cancel(self, message: Message, number: int) -> bytes:
        """Of one's own operation: no grant is needed, and the record is that of what is cancelled and of the wish."""
        granted = self._admission.actions
        action = next((one for one in Action if one in granted), Action.READ)  # whatever let it begin lets it end
        operation = Operation("ldap.cancel", action, text=f"cancel {number}", details={"target": number})
        if number not in self._results.outstanding:
            spoken = Spoken(Reason.UNSUPPORTED, Code.NO_SUCH_OPERATION, "no such operation is under way")
            raise await denied(self._admission, operation, spoken, code=str(Code.NO_SUCH_OPERATION.value))
        permit = await self._admission.permit(operation)
        self._results.outstanding[message.id] = Asked(message.tag, permit)
        return codec.rebuilt(message, None, self._stamp)

    async def _denied(self, message: Message, refused: Spoken) -> Refused:
        """Records a request that was not understood far enough to be described."""
        verb, action = _KINDS[message.tag]
        operation = Operation(verb, action, text=verb, target={"base": "", "attribute": ""})
        return await denied(self._admission, operation, refused, code=str(refused.result.value))


def _targets(asking: Asking) -> list[Target]:
    """Of the operation, of all it compares or changes, and of the attributes that a Search names."""
    operation = asking.operation
    targets: list[Target] = [operation.target, *asking.also]
    if operation.target and asking.reads:
        targets += [{**operation.target, "attribute": names} for names in asking.reads]
    return targets

"""What becomes of each request of a bound agent: permitted and recorded, then sent on with the bridge's stamp.

The order: read it, judge its controls, describe it, what no grant can open, every name and attribute it touches, the
permit. Whatever stops it before is recorded as denied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from adapters.ldap import codec, controls
from adapters.ldap.answers import numbered
from adapters.ldap.codes import Code, Op
from adapters.ldap.framing import Message
from adapters.ldap.refusals import Spoken
from adapters.ldap.results import Asked, Results
from adapters.ldap.sieve import Sieve, Sight
from adapters.ldap.understanding import Cancelling, Understanding, Understood
from bridge.adapter import Action, Admission, Operation, Outcome, Permit, Reason, Refused, Result
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

_FACTS = ("base", "attribute")
"""By which grants can narrow what an agent does here."""


class Limits(NamedTuple):
    """Of the system's options. ``entries`` and ``seconds`` 0: none."""

    entries: int
    seconds: int
    outstanding: int


class Deciding:
    """One session's. ``stamp``: the bridge's own control, encoded."""

    def __init__(
        self,
        admission: Admission,
        understanding: Understanding,
        sight: Sight,
        results: Results,
        limits: Limits,
        stamp: bytes,
    ) -> None:
        self._admission = admission
        self._understanding = understanding
        self._sight = sight
        self._results = results
        self._limits = limits
        self._stamp = stamp

    def at_once(self, message: Message) -> bytes | None:
        """``decide`` for a read that is allowed and waits for nothing, where no grant narrows. None: nothing was done.

        Raises PeerFault."""
        results, admission = self._results, self._admission
        narrowing = admission.narrowing
        if (
            len(results.outstanding) >= self._limits.outstanding
            or message.id in results.retired
            or not narrowing.isdisjoint(_FACTS)
        ):
            return None
        try:
            understood = self._understanding.of(message)
        except Spoken:
            return None
        if isinstance(understood, Cancelling) or understood.refusal is not None:
            return None
        sieve, rest = self._ways(message, understood, narrowing)
        permit = admission.permit_at_once(understood.asking.operation)
        if permit is None:
            return None
        self._begin(message, understood, permit, sieve)
        return numbered(message.id, rest)

    async def decide(self, message: Message) -> bytes:
        """What goes to the directory, now among the outstanding. Raises Refused, already recorded; PeerFault."""
        results = self._results
        if len(results.outstanding) >= self._limits.outstanding:
            raise await self._denied(message, Spoken(Reason.QUOTA, Code.BUSY, "too many operations are under way"))
        if message.id in results.retired:
            text = "the directory may still answer an earlier request of this message id; use another"
            raise await self._denied(message, Spoken(Reason.QUOTA, Code.BUSY, text))
        try:
            understood = self._understanding.of(message)
        except Spoken as spoken:
            raise await self._denied(message, spoken) from None
        if isinstance(understood, Cancelling):
            return await self._cancel(message, understood.number)
        refusal = understood.refusal
        if refusal is not None:
            operation = understood.asking.operation
            raise await denied(self._admission, operation, refusal, code=str(refusal.result.value))
        narrowing = self._admission.narrowing
        sieve, rest = self._ways(message, understood, narrowing)
        narrows = not narrowing.isdisjoint(_FACTS)
        permit = await (
            self._permit_each(understood) if narrows else self._admission.permit(understood.asking.operation)
        )
        self._begin(message, understood, permit, sieve)
        return numbered(message.id, rest)

    def _begin(self, message: Message, understood: Understood, permit: Permit, sieve: Sieve | None) -> None:
        asked, seconds = Asked(message.tag, permit, sieve), 0
        request = understood.request
        if isinstance(request, codec.Search):
            self._count(asked, understood)
            seconds = codec.lower(request.time_limit, self._limits.seconds)
        self._results.began(message.id, asked, seconds)

    def _ways(self, message: Message, understood: Understood, narrowing: frozenset[str]) -> tuple[Sieve | None, bytes]:
        """What sifts the answer, and the message behind its id. A sieve that asks no grant anything is kept, for as
        long as the same facts narrow."""
        sieve = understood.sieve
        if understood.rest and (sieve is None or sieve.narrowing == narrowing):
            return sieve, understood.rest
        request, asking, deref = understood.request, understood.asking, None
        operation: bytes | None = None
        if isinstance(request, codec.Search):
            assert asking.name is not None
            sieve = Sieve(self._sight, request, asking.name, narrowing, public=not asking.operation.target)
            deref = NEVER_DEREF if sieve.narrows_names else None
            limits = self._limits
            operation = codec.limited(message, request, size=limits.entries, time=limits.seconds, deref=deref)
        rest = codec.behind_id(message, operation, controls.joined(understood.kept) + self._stamp)
        if sieve is None or sieve.idle:
            understood.sieve, understood.rest = sieve, rest
        return sieve, rest

    def stamped(self, message: Message) -> bytes:
        """A request that needs no permit: Abandon."""
        return codec.rebuilt(message, None, self._stamp)

    async def _permit_each(self, understood: Understood) -> Permit:
        """Every target must be allowed; the first that is not, or only by the mode, is what the record names."""
        operation, may = understood.asking.operation, self._admission.may
        action = operation.action
        doubtful = [target for target in understood.targets if not may(action, target, strictly=True)]
        if not doubtful:
            return await self._admission.permit(operation)
        failing = next((target for target in doubtful if not may(action, target)), None)
        permit = await self._admission.permit(replace(operation, target=failing or doubtful[0]))
        if failing is None:
            return permit
        self._admission.outcome(permit, Outcome(Result.DENIED))  # the grants changed between the two questions
        raise Refused(Reason.ACTION_DENIED, "the agent's grants do not permit this operation")

    def _count(self, asked: Asked, understood: Understood) -> None:
        """How many entries may come; counts on from the earlier pages of a paged search."""
        asked.lasting = understood.lasting
        page = understood.page
        if page is not None:
            asked.paged = True
            asked.chain = self._results.chain(controls.page(page.value)[1])
        if self._limits.entries:
            asked.limit = max(self._limits.entries - asked.chain, 0)

    async def _cancel(self, message: Message, number: int) -> bytes:
        """Of one's own operation: no grant is needed, and the record is that of what is cancelled and of the wish."""
        granted = self._admission.actions
        action = next((one for one in Action if one in granted), Action.READ)  # whatever let it begin lets it end
        operation = Operation("ldap.cancel", action, text=f"cancel {number}", details={"target": number})
        if number not in self._results.outstanding:
            spoken = Spoken(Reason.UNSUPPORTED, Code.NO_SUCH_OPERATION, "no such operation is under way")
            raise await denied(self._admission, operation, spoken, code=str(Code.NO_SUCH_OPERATION.value))
        permit = await self._admission.permit(operation)
        self._results.began(message.id, Asked(message.tag, permit), 0)
        return codec.rebuilt(message, None, self._stamp)

    async def _denied(self, message: Message, refused: Spoken) -> Refused:
        """Records a request that was not understood far enough to be described."""
        verb, action = _KINDS[message.tag]
        operation = Operation(verb, action, text=verb, target={"base": "", "attribute": ""})
        return await denied(self._admission, operation, refused, code=str(refused.result.value))

"""What comes from the directory: attributed to what was asked, sifted, counted (RFC 4511 section 4.5.2).

Entries that no rule looks into pass in runs, as the bytes that came. What answers nothing that was asked is dropped: it
belongs to an operation that was abandoned (Samba goes on sending), or to none (node-ldapjs#890).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from adapters.ldap import answers, codec, controls
from adapters.ldap.codes import NOT_FINAL, READS, Code, Oid, Op
from adapters.ldap.entries import Mentions
from adapters.ldap.framing import MAX_ID, Framer, Message
from adapters.ldap.referrals import Referrals
from adapters.ldap.refusals import refusal as refusal_message
from adapters.ldap.sieve import Sieve
from bridge.adapter import Outcome, Permit, Refused, Result
from bridge.wire import ber

GOOD = frozenset({Code.SUCCESS, Code.COMPARE_FALSE, Code.COMPARE_TRUE, Code.SASL_IN_PROGRESS})

_ENTRY = bytes((Op.ENTRY,))

GRACE = 5.0
"""Seconds that the directory has to answer 3 by itself when the time of a search is up."""

FOREVER = float("inf")

MAX_RETIRED = 4096
"""Ids of operations that were given up while the directory may still answer them."""

MAX_CHAINS = 64
"""Paged searches of one session whose count is kept between two pages."""


@dataclass(slots=True, eq=False)
class Asked:
    """One operation under way. ``limit``: entries that may come, -1 for any; ``chain``: those of its earlier pages.
    ``heard``: when the directory last said something to it; ``due``: when all must have come; ``lasting``: it goes on
    until it is abandoned."""

    tag: int
    permit: Permit
    sieve: Sieve | None = None
    limit: int = -1
    chain: int = 0
    paged: bool = False
    lasting: bool = False
    rows: int = 0
    bytes: int = 0
    left_out: int = 0
    references: int = 0
    heard: float = 0.0
    due: float = FOREVER

    def outcome(self, result: Result, code: str, detail: str = "") -> Outcome:
        notes = [detail] if detail else []
        if self.left_out:
            notes.append(f"{self.left_out} entries left out")
        if self.references:
            notes.append(f"{self.references} references left out")
        return Outcome(result, code, self.rows, self.bytes, "; ".join(notes))


class Results:
    """One session's. ``told``: ``Admission.outcome``, ``alarm``: ``Admission.alarm``. ``upward``: what is to be sent to
    the directory because of what came."""

    def __init__(
        self,
        framer: Framer,
        told: Callable[[Permit, Outcome], None],
        referrals: Referrals,
        secrets: Mentions,
        *,
        alarm: Callable[[str, str], None],
        pass_references: bool = False,
        stamp: bytes = b"",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outstanding: dict[int, Asked] = {}
        self.retired: dict[int, None] = {}
        self.upward: list[bytes] = []
        self._over: list[tuple[Asked, int]] = []
        self.goodbye = ""
        self._framer = framer
        self._told = told
        self._alarm = alarm
        self._alarmed = False
        self._referrals = referrals
        self._secrets = secrets
        self._pass_references = pass_references
        self._stamp = stamp
        self._clock = clock
        self._now = clock()
        self._chains: OrderedDict[bytes, int] = OrderedDict()
        self._block = b""
        self._suspicious = False

    # -- what was asked

    def chain(self, cookie: bytes) -> int:
        """Entries that came on the earlier pages of a paged search."""
        return self._chains.pop(cookie, 0)

    def forget(self, number: int, detail: str, result: Result = Result.ABORTED) -> bool:
        """The operation is given up; whatever still comes for it is dropped."""
        asked = self.outstanding.pop(number, None)
        if asked is None:
            return False
        self._retire(number)
        self._told(asked.permit, asked.outcome(result, "", detail))
        return True

    def _retire(self, number: int) -> None:
        """What still comes for it must not be taken for an answer to the next request of that id."""
        if len(self.retired) >= MAX_RETIRED:
            del self.retired[next(iter(self.retired))]
        self.retired[number] = None

    def settle(self, detail: str, result: Result = Result.UNKNOWN) -> None:
        """The end: what is under way will not be answered."""
        for number in list(self.outstanding):
            self.forget(number, detail, result)

    def refuse_all(self, refused: Refused) -> bytes:
        """Answers to all that is under way, whose outcome stays unknown."""
        said = [refusal_message(refused, asked.tag, number) for number, asked in self.outstanding.items()]
        self.settle(f"the session ended before the answer: {refused.reason.value}")
        return b"".join(said)

    def abandons(self) -> list[bytes]:
        """Abandon requests for all that is under way."""
        return [self._abandon(number) for number in self.outstanding]

    # -- what does not come

    def began(self, number: int, asked: Asked, seconds: int) -> None:
        """It goes to the directory, which has ``seconds`` for all of it (0: no limit)."""
        asked.heard = now = self._clock()
        if seconds:
            asked.due = now + seconds + GRACE
        self.outstanding[number] = asked

    def excuse(self) -> None:
        """The directory could not be heard, because of the agent."""
        now = self._clock()
        for asked in self.outstanding.values():
            asked.heard = now

    def overdue(self, silence: int) -> bytes:
        """Answers to all that the directory has left without a word for ``silence`` seconds (0: no limit) or not
        finished in its time; ``upward`` gets their Abandons."""
        now = self._clock()
        since = now - silence if silence else -FOREVER
        late = [
            number
            for number, asked in self.outstanding.items()
            if now >= asked.due or (asked.heard <= since and not asked.lasting)
        ]
        return b"".join([self._given_up(number) for number in late])

    def _given_up(self, number: int) -> bytes:
        """Whether a change was made nobody knows."""
        asked = self.outstanding.pop(number)
        self._retire(number)
        self.upward.append(self._abandon(number))
        reading = asked.tag in READS
        code = Code.TIME_LIMIT if reading else Code.UNAVAILABLE
        text = "the directory did not answer in time"
        result = Result.FAILURE if reading else Result.UNKNOWN
        self._told(asked.permit, asked.outcome(result, str(code.value), text))
        return answers.answer_to(asked.tag, number, code, text if reading else f"{text}; what came of it is not known")

    # -- what comes

    def receive(self, data: bytes) -> list[bytes | memoryview]:
        """What the agent gets; ``tell`` is to be called when it has it. Raises PeerFault."""
        out: list[bytes | memoryview] = []
        block, start, end = b"", 0, 0  # a run of messages that pass as they came
        framer = self._framer
        framer.add(data)
        self._now = self._clock()
        while (message := framer.next()) is not None:
            passed = self._one(message)
            if passed is message:
                if message.data is not block or message.start != end:
                    if end:
                        out.append(memoryview(block)[start:end])
                    block, start = message.data, message.start
                end = self._run(message) if message.tag == Op.ENTRY else message.end
            elif passed is not None:
                if end:
                    out.append(memoryview(block)[start:end])
                    end = 0
                out.append(passed)  # type: ignore[arg-type]
        if end:
            out.append(block if end - start == len(block) else memoryview(block)[start:end])
        return out

    def _run(self, first: Message) -> int:
        """Where the run of entries ends that pass as ``first`` does, which is most of what directories send."""
        asked = self.outstanding[first.id]
        sieve = asked.sieve
        if sieve is None or not sieve.idle or not (sieve.clean or not self._suspicious):
            return first.end
        most = -1 if asked.limit < 0 else asked.limit - asked.rows
        count, end = self._framer.run(ber.encode_integer(first.id) + _ENTRY, most)
        if not count:
            return first.end
        asked.rows += count
        asked.bytes += end - first.end
        return end

    def _one(self, message: Message) -> Message | bytes | None:
        asked = self.outstanding.get(message.id)
        if asked is None:
            self._stray(message)
            return None
        asked.heard = self._now
        if message.tag == Op.ENTRY:
            return self._entry(message, asked)
        if message.tag == Op.REFERENCE:
            return self._reference(message, asked)
        if message.tag in NOT_FINAL:
            return message
        return self._final(message, asked)

    def _stray(self, message: Message) -> None:
        if message.id in self.retired:
            if message.tag not in NOT_FINAL:
                del self.retired[message.id]
            return
        if message.id:
            if not self._alarmed:
                self._alarmed = True
                self._alarm("unasked-answer", f"the directory answered what nobody asked, message id {message.id}")
            return
        found = answers.read_result(message)
        if found.name == Oid.NOTICE_OF_DISCONNECTION.encode():
            self.goodbye = f"notice of disconnection, code {found.code}"

    def _entry(self, message: Message, asked: Asked) -> Message | bytes | None:
        sieve = asked.sieve
        if sieve is None:
            return None  # an entry that answers no search
        if asked.rows == asked.limit:
            return self._cut(message.id, asked)
        passed: Message | bytes | None = message
        if not sieve.idle or (not sieve.clean and self._suspect(message)):
            passed = sieve.sift(message)
            if passed is None:
                asked.left_out += 1
                return None
        asked.rows += 1
        asked.bytes += message.end - message.start
        return passed

    def _suspect(self, message: Message) -> bool:
        """Whether a name of an attribute with secrets may be in it; a block of entries is looked at once."""
        if message.data is not self._block:
            self._block = message.data
            self._suspicious = self._secrets.in_bytes(message.data)
        return self._suspicious and self._secrets.in_bytes(message.raw)

    def _cut(self, number: int, asked: Asked) -> bytes:
        """The bridge's own limit is reached, whatever the directory made of the one in the request."""
        del self.outstanding[number]
        self._retire(number)
        self.upward.append(self._abandon(number))
        text = "the most entries of one search here have come"
        self._told(asked.permit, asked.outcome(Result.FAILURE, str(Code.SIZE_LIMIT.value), text))
        return answers.answer_to(asked.tag, number, Code.SIZE_LIMIT, text)

    def _abandon(self, number: int) -> bytes:
        return codec.request(MAX_ID, codec.abandon(number), self._stamp)

    def _reference(self, message: Message, asked: Asked) -> bytes | None:
        passed = self._referrals.reference(message) if self._pass_references else None
        if passed is None:
            asked.references += 1
        return passed

    def _final(self, message: Message, asked: Asked) -> Message | bytes:
        code = answers.code_of(message)
        del self.outstanding[message.id]
        self._over.append((asked, code))
        if asked.paged:
            self._page(message, asked)
        if code == Code.REFERRAL:
            return self._referrals.result(asked.tag, message)
        return answers.fitting(asked.tag, message)

    def tell(self) -> None:
        """Records how operations ended; the agent need not wait for that, what they do was recorded before."""
        over, self._over = self._over, []
        for asked, code in over:
            self._told(asked.permit, asked.outcome(Result.SUCCESS if code in GOOD else Result.FAILURE, str(code)))

    def _page(self, message: Message, asked: Asked) -> None:
        for control in controls.read(message):
            if control.oid == Oid.PAGED_RESULTS:
                _, cookie = controls.page(control.value)
                if cookie:
                    self._chains[cookie] = asked.chain + asked.rows
                    while len(self._chains) > MAX_CHAINS:
                        self._chains.popitem(last=False)

"""A door with a script: it keeps the contract and writes down in which order an adapter used it.

For an adapter's own tests of its words; whether the order is *right* is what ``ConformanceSuite`` asks, with the real
core.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from bridge.adapter import (
    Action,
    AdmissionRequest,
    AgentFacts,
    Credential,
    Login,
    Operation,
    Outcome,
    Permit,
    Reason,
    Refused,
    Secret,
    Stream,
    SystemFacts,
    Target,
    TLSSettings,
)
from bridge.testing.streams import MemoryStream, memory_pair


class FakePermit:
    """Implements ``Permit``; ``outcomes`` shows whether each was told exactly once."""

    def __init__(self, operation: Operation, warning: str) -> None:
        self.operation = operation
        self.warning = warning
        self.outcomes: list[Outcome] = []


class FakeRecording:
    """Implements ``Recording``; ``text`` is what was written."""

    def __init__(self) -> None:
        self.text = ""
        self.closed = False

    def write(self, text: str) -> None:
        self.text += text

    def close(self) -> None:
        self.closed = True


class FakeAdmission:
    """Implements ``Admission``. ``refuse`` maps an action to its refusal; ``legacy`` are the far ends dialled."""

    session = "ses_0000000000000000"
    account = "svc_reader"
    stamp = "ib:ses_0000000000000000"
    upstream_tls: TLSSettings | None = None
    upstream_tls_optional = False

    def __init__(self, door: FakeDoor, agent: AgentFacts, actions: Iterable[Action]) -> None:
        self.agent = agent
        self.actions = frozenset(actions)
        self.login = Login(door.login, Secret("static-password"))
        self.refuse: dict[Action, Refused] = {}
        self.narrowing: frozenset[str] = frozenset()
        self.warning = ""
        self.unreachable: Refused | None = None
        self.legacy: list[MemoryStream] = []
        self.recordings: list[FakeRecording] = []
        self.permits: list[FakePermit] = []
        self.facts: Mapping[str, str | int] = {}
        self._door = door
        self._hear: Callable[[Refused], Awaitable[None]] | None = None
        self._look: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def connect(self) -> Stream:
        self._door.story.append("connect")
        if self.unreachable is not None:
            raise self.unreachable
        near, far = memory_pair(self._door.clock)
        self.legacy.append(far)
        return near

    async def login_refused(self, cause: str) -> Refused:
        self._door.story.append("login refused")
        return Refused(Reason.UPSTREAM_UNAVAILABLE, "unavailable", reference=self.session, detail=cause)

    async def established(self, facts: Mapping[str, str | int]) -> None:
        self._door.story.append("established")
        self.facts = facts

    async def permit(self, operation: Operation) -> Permit:
        refused = self.refuse.get(operation.action)
        if refused is not None:
            self._door.story.append(f"refuse {operation.verb}")
            raise refused
        return self._permitted(operation)

    def permit_at_once(self, operation: Operation) -> Permit | None:
        if operation.action is not Action.READ or operation.action in self.refuse:
            return None
        return self._permitted(operation)

    def _permitted(self, operation: Operation) -> Permit:
        self._door.story.append(f"permit {operation.verb}")
        permit = FakePermit(operation, self.warning)
        self.permits.append(permit)
        return permit

    def outcome(self, permit: Permit, outcome: Outcome) -> None:
        assert isinstance(permit, FakePermit)
        self._door.story.append(f"outcome {permit.operation.verb} {outcome.result.value}")
        permit.outcomes.append(outcome)
        assert len(permit.outcomes) == 1, f"two outcomes of one permit: {permit.operation.verb}"

    def may(self, action: Action, target: Target, *, strictly: bool = False) -> bool:
        return action not in self.refuse

    def recording(self, name: str, *, required: bool) -> FakeRecording:
        self._door.story.append(f"recording {name}")
        recording = FakeRecording()
        self.recordings.append(recording)
        return recording

    async def end(self, detail: str = "") -> None:
        self._door.story.append("end")

    def alarm(self, code: str, detail: str) -> None:
        self._door.story.append(f"alarm {code}")

    def on_cut(self, hear: Callable[[Refused], Awaitable[None]], *, outlives_expiry: bool = False) -> None:
        self._hear = hear

    def each_second(self, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._look = look

    async def second(self) -> None:
        """A second has gone by."""
        if self._look is not None:
            await self._look()

    async def cut(self, refused: Refused) -> None:
        """Ends the session from outside, as a revocation does."""
        self._door.story.append(f"cut {refused.reason.value}")
        if self._hear is not None:
            await self._hear(refused)

    @property
    def open_permits(self) -> list[str]:
        """The verbs of permitted operations whose outcome was not told."""
        return [one.operation.verb for one in self.permits if not one.outcomes]


class FakeDoor:
    """Implements ``Door``. Each ``admit`` takes the next of ``script``: a Refused is raised, None admits."""

    def __init__(
        self,
        options: Any = None,
        *,
        script: Iterable[Refused | None] = (),
        actions: Iterable[Action] = tuple(Action),
        agent: AgentFacts | None = None,
        plaintext: bool = False,
        clock: IReactorTime | None = None,
        system: SystemFacts | None = None,
        login: str = "legacy",
    ) -> None:
        self.system = system or SystemFacts("orders", options)
        self.story: list[str] = []
        self.clock = clock if clock is not None else Clock()
        self.plaintext = plaintext
        self.asked: list[tuple[Credential, AdmissionRequest]] = []
        self.admissions: list[FakeAdmission] = []
        self._script = list(script)
        self._actions = frozenset(actions)
        self.login = login
        self._agent = agent or AgentFacts("deploy-7", "Deploy 7", "payments")

    async def admit(
        self, credential: Credential, request: AdmissionRequest, *, within: Stream | None = None
    ) -> FakeAdmission:
        self.asked.append((credential, request))
        refused = self._script.pop(0) if self._script else None
        if refused is not None:
            self.story.append(f"refuse {refused.reason.value}")
            raise refused
        self.story.append("admit")
        admission = FakeAdmission(self, self._agent, self._actions)
        self.admissions.append(admission)
        return admission

    async def verify(self, credential: Credential) -> AgentFacts:
        refused = self._script.pop(0) if self._script else None
        if refused is not None:
            self.story.append(f"refuse {refused.reason.value}")
            raise refused
        self.story.append("verify")
        return self._agent

    async def turn_away(self, reason: Reason, *, detail: str = "") -> Refused:
        self.story.append(f"turn away {reason.value}")
        return Refused(reason, f"refused: {reason.value}", reference="ref_0000000000000000", detail=detail)

    def plaintext_allowed(self, client: Stream) -> bool:
        return client.tls is not None or (self.plaintext and client.peer.loopback)

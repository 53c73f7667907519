"""The way in: a door admits a credential, an admission is what one then holds.

An adapter cannot dial, cannot read a secret and cannot write the log by itself; it holds an ``Admission`` or nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge.adapter.adapter import SystemFacts
from bridge.adapter.credential import Credential
from bridge.adapter.operation import Action, Operation, Outcome, Target
from bridge.adapter.refusal import Reason, Refused
from bridge.adapter.secret import Secret
from bridge.adapter.stream import Stream, TLSSettings


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """What the client asks for. ``account`` is None for the agent's default.

    ``target`` holds the facts that grants narrow by (PostgreSQL: ``database``). ``client`` is the client software as it
    named itself, for the log.
    """

    account: str | None = None
    target: Target = field(default_factory=dict)
    client: str = ""


@dataclass(frozen=True, slots=True)
class AgentFacts:
    id: str
    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class Login:
    """The static account's user name and secret, read from its vault after the open record was durable.

    The secret is a password or a private key (PEM); ``passphrase`` belongs to an encrypted private key.
    """

    user: str
    secret: Secret
    passphrase: Secret = field(default_factory=lambda: Secret(b""))


class Recording(Protocol):
    """What an agent saw, in the form the adapter gives it (asciicast). Encrypted, capped and kept by the core."""

    def write(self, text: str) -> None:
        """Never waits and never raises: a recording that fails ends the session if it is required, else itself."""
        ...

    def close(self) -> None: ...


class Permit(Protocol):
    """Proof that an operation was permitted and recorded. ``warning`` is to be told to the client (mode ``warn``)."""

    @property
    def warning(self) -> str: ...


class Admission(Protocol):
    """One admitted session.

    ``stamp`` (ASCII, at most 40 characters) is what goes into the legacy system so that its own logs lead back.
    ``actions`` is what the grants allow at most, by mode: an adapter adds its seat-belts when WRITE is missing.
    """

    @property
    def session(self) -> str: ...
    @property
    def agent(self) -> AgentFacts: ...
    @property
    def account(self) -> str: ...
    @property
    def stamp(self) -> str: ...
    @property
    def actions(self) -> frozenset[Action]: ...
    @property
    def login(self) -> Login: ...
    @property
    def upstream_tls(self) -> TLSSettings | None:
        """How to encrypt upstream; None means never."""
        ...

    @property
    def upstream_tls_optional(self) -> bool:
        """True for mode ``prefer``: go on in plaintext when the legacy system has no TLS."""
        ...

    async def connect(self) -> Stream:
        """Dials the legacy system, with the time limit of the system. Raises Refused (UPSTREAM_UNAVAILABLE).

        A second call makes a side connection of the same session (PostgreSQL's CancelRequest).
        """
        ...

    async def login_refused(self, cause: str) -> Refused:
        """The legacy system refused the static login: records it for ops, trips the circuit breaker.

        ``cause`` is the legacy system's own words; the returned Refused tells the agent only a reference.
        """
        ...

    async def established(self, facts: Mapping[str, str | int]) -> None:
        """Records that the legacy login succeeded, with facts that its own logs show.

        ``backend`` is the legacy side's own number for this connection (process, thread or connection id), by which
        ``log who`` finds it; our own address of the connection is added by the core.
        """
        ...

    async def permit(self, operation: Operation) -> Permit:
        """Decides and records before the legacy side acts. Raises Refused (ACTION_DENIED, LOG_UNAVAILABLE …)."""
        ...

    def permit_at_once(self, operation: Operation) -> Permit | None:
        """``permit`` where it says yes and nothing is to be waited for. None: nothing was done, ask ``permit``."""
        ...

    def outcome(self, permit: Permit, outcome: Outcome) -> None:
        """Records what became of a permitted operation. Does not wait; call it exactly once per permit."""
        ...

    def may(self, action: Action, target: Target, *, strictly: bool = False) -> bool:
        """The same decision without a record, to leave out of an answer what must not be seen.

        ``strictly``: what the grants say, whatever the mode lets through; to find what ``permit`` is to be asked about.
        """
        ...

    @property
    def narrowing(self) -> frozenset[str]:
        """The facts by which any grant about this agent narrows: where none does, nothing need be looked at."""
        ...

    def recording(self, name: str, *, required: bool) -> Recording:
        """A new recording of this session. Raises Refused when it is required and cannot be made."""
        ...

    def alarm(self, code: str, detail: str) -> None:
        """Records something that should not happen (a tampered stamp) and tells ops."""
        ...

    def on_cut(self, hear: Callable[[Refused], Awaitable[None]], *, outlives_expiry: bool = False) -> None:
        """``hear`` is called once if the session is ended from outside (revoked, expired, stopped, shutdown).

        It says goodbye in the protocol's words; the core cuts both connections after it returns or after the grace.
        ``outlives_expiry``: when the time is up only the legacy one, because the client can prove itself anew on its
        own (LDAP); the adapter bounds how long it may take for that.
        """
        ...

    def each_second(self, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """``look`` is called about once a second while the session is open: for limits on what the legacy side leaves
        unanswered. Not again before it has returned; an exception ends the session."""
        ...

    async def end(self, detail: str = "") -> None:
        """Ends this session while the client's connection goes on (a rebind): writes its end, closes its upstreams."""
        ...


class Door(Protocol):
    """One per connection. ``admit`` may be called again for a change of identity on the same connection."""

    @property
    def system(self) -> SystemFacts: ...

    async def admit(
        self, credential: Credential, request: AdmissionRequest, *, within: Stream | None = None
    ) -> Admission:
        """Verify, resolve, check, decide, choose the account, commit the open record, read the secret: in this order.

        ``within``: the part of the connection that this session is, where a connection has several; only that is
        dropped when the session is cut. Raises Refused; a refused record was written then.
        """
        ...

    async def verify(self, credential: Credential) -> AgentFacts:
        """Proves the agent and opens nothing, for a protocol that asks where to only later. Raises Refused."""
        ...

    async def turn_away(self, reason: Reason, *, detail: str = "") -> Refused:
        """Records a refusal that the adapter itself found (plaintext, protocol) and returns it to be rendered."""
        ...

    def plaintext_allowed(self, client: Stream) -> bool:
        """Whether a credential may be asked for on this connection although it is not encrypted."""
        ...

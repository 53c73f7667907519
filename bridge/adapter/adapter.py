"""What a protocol is to the core."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from bridge.adapter.operation import StatementLogging
from bridge.adapter.secret import Secret
from bridge.adapter.stream import TLSSettings

if TYPE_CHECKING:
    from bridge.adapter.admission import Admission, Door, Login
    from bridge.adapter.stream import Stream

AdapterOptions = Any
"""An instance of the adapter's own pydantic model (``Adapter.Options``)."""


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """The legacy system a door leads to, as far as an adapter needs to know it.

    ``tls`` is the listener's own certificate (None: TLS is not configured). ``host`` is the legacy host as configured,
    a name or an address; ``hosts`` are the names or patterns of a fleet's, among which
    ``AdmissionRequest.target["host"]`` chooses. ``folder`` is a private directory that is there for the adapter's own
    keys. ``record_all``: what can be recorded is recorded, or the session does not go on; asked anew after each
    ``Door.admit``. Times are seconds.
    """

    name: str
    options: AdapterOptions
    statements: StatementLogging = StatementLogging.REDACTED
    tls: TLSSettings | None = None
    host: str = ""
    hosts: tuple[str, ...] = ()
    folder: str = ""
    record_all: bool = False
    hello_timeout: float = 10.0
    auth_timeout: float = 30.0
    upstream_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of ``Adapter.examine``; ``level`` is ``ok``, ``warning`` or ``problem``."""

    level: str
    title: str
    detail: str = ""

    @classmethod
    def of_encryption(cls, encrypted: bool) -> Check:
        if encrypted:
            return cls("ok", "the connection to the legacy system is encrypted")
        return cls("warning", "the connection to the legacy system is not encrypted")


class Adapter(Protocol):
    """One instance per system. ``Options`` is a pydantic model of the system's protocol options.

    ``targets`` names the facts that grants of this protocol may narrow by and that are known at login (PostgreSQL:
    ``database``), ``operation_targets`` those that only an operation has (SSH: ``command``). ``encrypts``: the protocol
    does so by itself, without TLS.
    """

    name: ClassVar[str]
    default_port: ClassVar[int]
    Options: ClassVar[type[Any]]
    targets: ClassVar[frozenset[str]]
    operation_targets: ClassVar[frozenset[str]]
    encrypts: ClassVar[bool]

    async def serve(self, client: Stream, door: Door) -> None:
        """The whole life of one connection. Returns or raises; the core closes the streams and writes the end."""
        ...

    async def examine(
        self, admission: Admission, system: SystemFacts, targets: Mapping[str, frozenset[str]]
    ) -> list[Check]:
        """``idbridge doctor``: logs in upstream and reports what the static account really may do.

        ``admission.actions`` is what the grants allow on the account, ``targets`` what they narrow it to.
        """
        ...

    def start(self, deferring: Callable[..., Awaitable[Any]]) -> None:
        """Called once before the first ``serve``; ``deferring(function, *plain)`` runs what blocks in a pool."""
        ...

    def stop(self) -> None:
        """Called once at shutdown; ends helper processes."""
        ...


@runtime_checkable
class Discovering(Protocol):
    """An adapter that can list the accounts of a legacy system (``idbridge account discover``)."""

    async def discover(self, admission: Admission, system: SystemFacts) -> list[dict[str, str]]:
        """Those that could be mapped, a row each; all rows have the same keys, the first is ``account``."""
        ...


@runtime_checkable
class Naming(Protocol):
    """An adapter whose facts can be written in several ways: what people write is put into the form operations have."""

    @staticmethod
    def names(fact: str, value: str) -> tuple[str, ...]:
        """All names that an operation on this has, the one that grants use first. Raises ValueError, saying what is
        expected."""
        ...


@runtime_checkable
class Trusting(Protocol):
    """An adapter whose legacy hosts show keys of their own before any login (``idbridge ssh trust``)."""

    async def trust(
        self, connect: Callable[[], Awaitable[Stream]], system: SystemFacts, host: str
    ) -> list[dict[str, str]]:
        """The keys of ``host``, a row each: ``type``, ``fingerprint``, ``line`` as it stands in ``file``, ``state``
        (pinned, new, changed)."""
        ...


@runtime_checkable
class Rotating(Protocol):
    """An adapter that can change the password of the static account (``idbridge account rotate``)."""

    async def rotate(self, admission: Admission, system: SystemFacts, new: Secret) -> None:
        """Logs in as the account and gives it the password ``new``, without letting it into the legacy system's log
        where that can be helped. Raises Refused (the login), NotTaken, any other BridgeError (nobody knows)."""
        ...

    async def log_in(self, admission: Admission, system: SystemFacts) -> None:
        """Logs in as the account and out again. Raises Refused."""
        ...


@runtime_checkable
class Rekeying(Rotating, Protocol):
    """One whose secrets may be private keys. ``rotate`` puts such a key beside the old one: both let in for a while."""

    @staticmethod
    def is_key(secret: Secret) -> bool:
        """Else it is a password."""
        ...

    async def successor(self, login: Login) -> Secret:
        """A new private key in place of the login's, under the same passphrase. Raises BridgeError."""
        ...

    async def withdraw(self, admission: Admission, system: SystemFacts, key: Secret) -> None:
        """Logs in, and from then on ``key``, another one, does not let in; nothing is done where it did not before.

        Raises Refused (the login), BridgeError.
        """
        ...


@dataclass(frozen=True, slots=True)
class LegacySession:
    """A session of the static account, as the legacy system lists it.

    ``address`` is the client's IP literal, "" for one on the legacy host itself (a socket without address); ``port``
    the client's, ``backend`` the legacy side's number, 0 where it tells none. ``started`` is Unix time, 0: not told.
    """

    address: str
    port: int
    backend: int
    started: float = 0.0
    name: str = ""


@runtime_checkable
class Observing(Protocol):
    """An adapter that can list the sessions of the static account (``idbridge reconcile``)."""

    async def observe(self, admission: Admission, system: SystemFacts) -> list[LegacySession]:
        """All that ``admission.account`` has at this moment but the one that asks."""
        ...

"""Where the keys of issuers are kept: a login reads memory, fetching happens beside it.

* Refreshed in the background, every 300 s or as the issuer hints, with jitter; after a failure sooner, backing off.
* An unknown ``kid`` may start one fetch, at least 30 s after the last; whoever waits for it waits 3 s at most.
* A fetch that succeeds replaces the set at once: a ``kid`` that is gone is revoked, an empty set revokes all.
* A fetch that fails leaves the set in use until it is an hour old. Then nobody of that issuer gets in: fail closed.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent

from bridge.https import Document, Fetcher
from bridge.identity.discovery import locate_keys
from bridge.identity.jwk import KeySet, parse_key_set
from bridge.identity.settings import IssuerSettings

REFRESH = 300.0
REFRESH_BOUNDS = (60.0, 1800.0)  # of an issuer's own hint; at most half of MAX_STALE, so that one failure is no outage
JITTER = 0.1  # bridges started together must not fetch together
RETRY = 30.0  # doubled with each failure, up to the usual interval
MAX_STALE = 3600.0
MISS_SPACING = 30.0  # tokens with made-up kids must not become load on the issuer
MISS_WAIT = 3.0
MISS_MEMORY = 60.0
MAX_MISSES = 1000
MAX_WAITERS = 1000


class KeysUnavailable(Exception):
    """The issuer's keys were never fetched, or are too old to be trusted."""


@dataclass(frozen=True, slots=True)
class KeySetChange:
    """An audit event: which kids came and went. ``kid`` may be empty: not every key has a name."""

    issuer: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    size: int


OnChange = Callable[[KeySetChange], None]
OnFailure = Callable[[str, str], None]
"""``(issuer name, cause for ops)``"""


class KeySource(Protocol):
    """The current keys of one issuer."""

    def keys(self) -> KeySet:
        """Raises KeysUnavailable."""
        ...

    async def look_again(self, kid: str) -> None:
        """Returns when the set is as new as it can be with regard to ``kid``, at most 3 s later. Never raises."""
        ...

    def ready(self) -> bool: ...
    def age(self) -> float | None:
        """Seconds since the set was fetched; None for keys that are not fetched, or not yet."""
        ...

    def start(self) -> None: ...
    def stop(self) -> None: ...


class FixedKeys:
    """Keys from the configuration, a file, or the built-in issuer; they change with a reload."""

    def __init__(self, key_set: KeySet) -> None:
        self._keys = key_set

    def keys(self) -> KeySet:
        return self._keys

    async def look_again(self, kid: str) -> None:
        return None

    def ready(self) -> bool:
        return True

    def age(self) -> float | None:
        return None

    def start(self) -> None: ...
    def stop(self) -> None: ...


class RemoteKeys:
    """Keys that are fetched. ``fetch`` gets the document and ``parse`` reads it; both may raise."""

    def __init__(
        self,
        issuer: str,
        fetch: Callable[[], Awaitable[Document]],
        parse: Callable[[bytes], KeySet],
        clock: IReactorTime,
        *,
        on_change: OnChange | None = None,
        on_failure: OnFailure | None = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._parse = parse
        self._clock = clock
        self._on_change = on_change
        self._on_failure = on_failure
        self._spread = spread
        self._keys: KeySet | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._interval = REFRESH
        self._failures = 0
        self._fetching: Deferred[Document] | None = None
        self._next: IDelayedCall | None = None
        self._waiting: set[Deferred[None]] = set()
        self._missing: OrderedDict[str, float] = OrderedDict()
        self._running = False

    def start(self) -> None:
        self._running = True
        self._refresh()

    def stop(self) -> None:
        self._running = False
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._fetching is not None:
            self._fetching.cancel()
        self._release()

    def keys(self) -> KeySet:
        if self._keys is None:
            raise KeysUnavailable("the keys were not fetched yet")
        if self._clock.seconds() - self._fetched_at > MAX_STALE:
            raise KeysUnavailable("the keys could not be refreshed for too long")
        return self._keys

    def ready(self) -> bool:
        return self._keys is not None and self._clock.seconds() - self._fetched_at <= MAX_STALE

    def age(self) -> float | None:
        return None if self._keys is None else self._clock.seconds() - self._fetched_at

    async def look_again(self, kid: str) -> None:
        now = self._clock.seconds()
        if self._missing.get(kid, now) > now or not self._running or len(self._waiting) >= MAX_WAITERS:
            return
        if self._fetching is None:
            if now - self._tried_at < MISS_SPACING:
                return
            self._refresh()
        await self._fetch_end()
        if self._fetched_at >= self._tried_at >= now and self._keys is not None and not self._keys.named(kid):
            self._remember_missing(kid)

    async def _fetch_end(self) -> None:
        """Waits for the fetch in flight, if it still is, and not longer than MISS_WAIT."""
        if self._fetching is None:
            return
        waiter: Deferred[None] = Deferred()
        self._waiting.add(waiter)
        try:
            await waiter.addTimeout(MISS_WAIT, self._clock)
        except DeferredTimeout:
            pass
        finally:
            self._waiting.discard(waiter)

    def _remember_missing(self, kid: str) -> None:
        self._missing[kid] = self._clock.seconds() + MISS_MEMORY
        self._missing.move_to_end(kid)
        if len(self._missing) > MAX_MISSES:
            self._missing.popitem(last=False)

    def _refresh(self) -> None:
        if self._fetching is not None or not self._running:
            return
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._tried_at = self._clock.seconds()
        fetching = self._fetching = Deferred.fromCoroutine(self._fetch_document())
        fetching.addCallback(self._fetched)
        fetching.addErrback(self._failed)
        fetching.addCallback(self._finished)

    async def _fetch_document(self) -> Document:
        return await self._fetch()

    def _fetched(self, document: Document) -> None:
        new = self._parse(document.body)
        old, self._keys = self._keys, new
        self._fetched_at = self._clock.seconds()
        self._failures = 0
        hint = new.refresh_hint or document.max_age
        self._interval = REFRESH if hint is None else min(max(hint, REFRESH_BOUNDS[0]), REFRESH_BOUNDS[1])
        for kid in [kid for kid in self._missing if new.named(kid)]:
            del self._missing[kid]
        before = frozenset() if old is None else old.keys
        if self._on_change is not None and new.keys != before:
            gone, came = before - new.keys, new.keys - before
            self._on_change(KeySetChange(self._issuer, _names(came), _names(gone), len(new.keys)))

    def _failed(self, failure: Failure) -> None:
        self._failures += 1
        if self._on_failure is not None and self._running:
            self._on_failure(self._issuer, f"{type(failure.value).__name__}: {failure.getErrorMessage()}")

    def _finished(self, _: object) -> None:
        self._fetching = None
        self._release()
        if self._running:
            wait = min(RETRY * 2.0 ** min(self._failures - 1, 10), self._interval) if self._failures else self._interval
            self._next = self._clock.callLater(wait * (1 + JITTER * (2 * self._spread() - 1)), self._refresh)

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            waiter.callback(None)


def _names(keys: frozenset[object]) -> tuple[str, ...]:
    return tuple(sorted(getattr(key, "kid", "") for key in keys))


def remote_keys(
    settings: IssuerSettings,
    agent: IAgent,
    clock: IReactorTime,
    *,
    on_change: OnChange | None = None,
    on_failure: OnFailure | None = None,
) -> RemoteKeys:
    """The source for an issuer with ``jwks_uri`` or ``discovery``; call ``start`` to begin fetching."""
    where = settings.keys
    fetcher = Fetcher(agent, clock, http_loopback=where.http_loopback)

    async def fetch() -> Document:
        uri = where.jwks_uri or await locate_keys(
            fetcher, settings.iss, origins=where.origins, http_loopback=where.http_loopback
        )
        return await fetcher.get(uri)

    def parse(document: bytes) -> KeySet:
        return parse_key_set(document, algorithms=settings.algorithms, spiffe=settings.profile == "jwt-svid")

    return RemoteKeys(settings.name, fetch, parse, clock, on_change=on_change, on_failure=on_failure)


def fixed_keys(settings: IssuerSettings, document: bytes) -> FixedKeys:
    """The source for an issuer with ``jwks_file`` or ``jwks_inline``, given the text. Raises BadKeySet."""
    spiffe = settings.profile == "jwt-svid"
    return FixedKeys(parse_key_set(document, algorithms=settings.algorithms, spiffe=spiffe))

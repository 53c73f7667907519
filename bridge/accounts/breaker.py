"""Stops trying a static login that the legacy system refuses, before it locks the account.

Pure: the caller gives the time. One refusal opens the circuit; it closes after a pause that doubles with each further
refusal of the same secret, or by ``reset``: an operator's, or because a stored secret was set anew.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from bridge.adapter import Secret

FIRST_PAUSE = 30.0
"""Seconds. Many directories lock after 3 to 5 failures in some minutes; two in the first minute stay below that."""

LAST_PAUSE = 900.0

TRIAL = 30.0
"""Seconds in which the one try after a pause must end; until then, or its end, all others wait."""


@dataclass(slots=True)
class _Open:
    until: float
    pause: float
    fingerprint: bytes


class CircuitBreaker:
    """By system and account. Holds a keyed digest of the refused secret, with a key that dies with the process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._open: dict[tuple[str, str], _Open] = {}

    def refusal(self, system: str, account: str, now: float) -> float:
        """Seconds until the next try; 0 when this caller may make one.

        After a pause the first caller alone gets 0: a crowd that comes back at once would lock the account after all.
        """
        found = self._open.get((system, account))
        if found is None:
            return 0.0
        if found.until > now:
            return found.until - now
        found.until = now + TRIAL
        return 0.0

    def refused(self, system: str, account: str, secret: Secret, now: float) -> None:
        """The legacy system refused this secret."""
        fingerprint = self._fingerprint(secret)
        found = self._open.get((system, account))
        known = found is not None and found.fingerprint == fingerprint
        pause = min(found.pause * 2, LAST_PAUSE) if found is not None and known else FIRST_PAUSE
        self._open[system, account] = _Open(now + pause, pause, fingerprint)

    def succeeded(self, system: str, account: str) -> None:
        self._open.pop((system, account), None)

    def reset(self, system: str, account: str) -> bool:
        """Whether it was open, on any host of a fleet."""
        ours = [key for key in self._open if key[0] == system and (key[1] + "@").startswith(f"{account}@")]
        for key in ours:
            del self._open[key]
        return bool(ours)

    def open_circuits(self, now: float) -> dict[tuple[str, str], float]:
        """Seconds left of each, for ``status``."""
        return {key: one.until - now for key, one in self._open.items() if one.until > now}

    def _fingerprint(self, secret: Secret) -> bytes:
        return hmac.digest(self._key, secret.reveal(), hashlib.sha256)

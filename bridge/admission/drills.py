"""Credential drills: for a while the tokens of chosen agents live shorter, to see who can fetch a new one.

A drill takes nothing that an agent could not lose at any time: a token that is older than ``life`` counts as expired.
It is forgotten when the bridge stops; the log has that it was begun, and all that came of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bridge.identity.verifier import VerifiedCredential


@dataclass(frozen=True, slots=True)
class Drill:
    """``until`` in Unix seconds; ``life`` in seconds, from when a token was issued."""

    until: float
    life: float


class Drills:
    """By agent."""

    def __init__(self) -> None:
        self._drills: dict[str, Drill] = {}

    def begin(self, agents: Iterable[str], drill: Drill) -> None:
        self._drills |= dict.fromkeys(agents, drill)

    def end(self) -> list[str]:
        """The agents whose drill that ends."""
        ended = sorted(self._drills)
        self._drills.clear()
        return ended

    def shortened(self, agent: str, credential: VerifiedCredential, now: float) -> VerifiedCredential:
        """The credential as it counts now; what is no token, and does not say when it was issued, stays as it is."""
        drill = self._drills.get(agent)
        if drill is None or credential.issued_at is None:
            return credential
        if now >= drill.until:
            del self._drills[agent]
            return credential
        end = int(credential.issued_at + drill.life)
        return replace(credential, expires_at=min(credential.expires_at, end))

"""The sessions that are live, so that revocations, operators and quotas find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bridge.adapter import Reason

if TYPE_CHECKING:
    from bridge.admission.session import Session


class LiveSessions:
    """By session id, with a count per agent."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._by_agent: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def get(self, session: str) -> Session | None:
        return self._sessions.get(session)

    def of_agent(self, agent: str) -> int:
        return self._by_agent.get(agent, 0)

    def add(self, session: Session) -> None:
        self._sessions[session.session] = session
        self._by_agent[session.agent.id] = self.of_agent(session.agent.id) + 1

    def remove(self, session: Session) -> None:
        if self._sessions.pop(session.session, None) is None:
            return
        left = self.of_agent(session.agent.id) - 1
        if left:
            self._by_agent[session.agent.id] = left
        else:
            del self._by_agent[session.agent.id]

    def cut(self, which: Callable[[Session], bool], reason: Reason, detail: str) -> int:
        """Ends each session that ``which`` picks; returns how many. Each hears it in its own protocol."""
        chosen = [session for session in self if which(session)]
        for session in chosen:
            session.cut(reason, detail)
        return len(chosen)

"""Whether what stands beside the bodies, for finding, is what they say: index columns, ``session`` and ``span``.

SQLite compares, which costs a verification twice what all else does: all columns at once, and one by one only where
that finds something. A column may have what its body has not (whom a change of the registry is about), but for what
agents did: there it repeats the body.
"""

from __future__ import annotations

from sqlalchemy import Connection

from bridge.translation.schema import SPAN

_PLACES = {
    "type": "type", "phase": "phase", "outcome": "outcome", "session": "corr.session", "agent": "agent.id",
    "owner": "agent.owner", "system": "legacy.system", "account": "legacy.account", "action": "action.kind",
}  # fmt: skip

_OF_AGENTS = "'operation', 'session.open', 'session.established', 'session.close'"


def _said(place: str) -> str:
    return f"json_extract(body, '$.{place}')"


_OTHERS = (
    f"json_extract(body, {', '.join(repr('$.' + place) for place in _PLACES.values())})"
    f" <> json_array({', '.join(f'nullif({name}, {chr(39) * 2})' for name in _PLACES)})"
)
_DIFFERENT = {
    name: f"{name} <> ifnull({_said(place)}, CASE WHEN type IN ({_OF_AGENTS}) THEN '' ELSE {name} END)"
    for name, place in _PLACES.items()
} | {
    "ts": f"ts <> unixepoch({_said('ts')}) * 1000 + substr({_said('ts')}, 21, 3)",
    "labels": "labels <> ifnull('|' || replace(replace(replace("
    f"""{_said("legacy.class")}, '["', ''), '"]', ''), '","', '|') || '|', labels)""",
}
_DIFFERENT["account"] += " AND NOT (type = 'session.refused' AND account = '')"  # only wished for
_LOST = {
    "table span": "session <> '' AND NOT EXISTS (SELECT 1 FROM span s WHERE s.session = event.session"
    f" AND s.first BETWEEN event.seq - {SPAN - 1} AND event.seq AND s.last >= event.seq)",
    "table session": "type = 'session.open' AND NOT EXISTS (SELECT 1 FROM session s WHERE s.session = event.session"
    " AND (s.opened_seq, s.opened, s.agent, s.owner, s.system, s.account)"
    " = (event.seq, event.ts, event.agent, event.owner, event.system, event.account))"
    " OR type = 'session.close' AND NOT EXISTS (SELECT 1 FROM session s WHERE s.session = event.session"
    " AND s.closed_seq <= event.seq)",
}
_EACH = " OR ".join(f"({sql})" for sql in _DIFFERENT.values())

DIFFERS = (
    f"CASE WHEN json_valid(body) THEN ({_OTHERS} OR {_DIFFERENT['ts']} OR {_DIFFERENT['labels']}) AND ({_EACH})"
    f" OR {' OR '.join(f'({sql})' for sql in _LOST.values())} END"
)
"""Of an event: true where something beside it is not what its body says."""

_NO_SUCH = (
    "SELECT opened_seq FROM session s WHERE opened_seq > ? AND NOT EXISTS (SELECT 1 FROM event e"
    " WHERE e.seq = s.opened_seq AND e.type = 'session.open' AND e.session = s.session) ORDER BY 1"
)


def different(connection: Connection, seq: int) -> list[str]:
    """What it is, by name."""
    parts = {**_DIFFERENT, **_LOST}
    found = connection.exec_driver_sql(f"SELECT {', '.join(parts.values())} FROM event WHERE seq = ?", (seq,)).one()
    return [name for name, differs in zip(parts, found, strict=True) if differs]


def invented(connection: Connection, after: int) -> list[int]:
    """Sequence numbers after ``after`` under which ``session`` has a session that no event opens."""
    return [int(row[0]) for row in connection.exec_driver_sql(_NO_SUCH, (after,))]

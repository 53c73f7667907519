"""Reports for auditors. Making one reads the log, which is recorded before the answer."""

from __future__ import annotations

from typing import Any

from bridge.api.basis import basis
from bridge.api.failure import CommandFailed
from bridge.api.reports import access as of_access
from bridge.api.reports.evidence import DAY_MS, Evidence
from bridge.api.reports.figures import FIGURES
from bridge.api.reports.requirements import FRAMEWORKS, Requirement
from bridge.api.services import Actor, Services
from bridge.translation.identifiers import timestamp

PERIOD_DAYS = 90
"""When no beginning is given: a quarter."""

NOT_COVERED, EXCEPTIONS, COUNTED = "not covered", "exceptions", "counted"


def framework(
    services: Services, actor: Actor, name: str, since: int | None = None, until: int | None = None
) -> dict[str, Any]:
    """``rows``: each testable requirement of a framework with its figure, or "not covered"."""
    if name not in FRAMEWORKS:
        raise CommandFailed(f"no framework {name!r}; one of {', '.join(FRAMEWORKS)}", status=404, field="name")
    title, requirements = FRAMEWORKS[name]
    evidence = _evidence(services, actor, f"report.{name}", since, until)
    rows = [_row(one, evidence) for one in requirements]
    return _told(evidence, title, rows)


def access(services: Services, actor: Actor, since: int | None = None, until: int | None = None) -> dict[str, Any]:
    """``rows``: who has what at the end of the period, by which grants, and when it was last used in the period."""
    evidence = _evidence(services, actor, "report.access", since, until)
    return _told(evidence, "Access review", of_access.review(evidence))


def unused(services: Services, actor: Actor, since: int | None = None, until: int | None = None) -> dict[str, Any]:
    """``rows``: grants of which something was not used in the period."""
    evidence = _evidence(services, actor, "report.unused", since, until)
    return _told(evidence, "Unused grants", of_access.unused(evidence))


def _evidence(services: Services, actor: Actor, command: str, since: int | None, until: int | None) -> Evidence:
    now = int(services.now() * 1000)
    end = now if until is None else min(until, now)
    begin = end - PERIOD_DAYS * DAY_MS if since is None else since
    if begin >= end:
        raise CommandFailed("the period ends before it begins", field="since")
    given = basis(services, actor, command, None if end == now else end // 1000)
    evidence = Evidence(services, given, begin, end)
    services.read(actor, command, evidence.selection, sum(one.count for one in evidence.tallies))
    return evidence


def _row(requirement: Requirement, evidence: Evidence) -> dict[str, Any]:
    row: dict[str, Any] = {"number": requirement.number, "requirement": requirement.text, "topic": requirement.topic}
    if not requirement.figure:
        return {**row, "status": NOT_COVERED, "figure": "", "value": "", "count": None, "exceptions": None, "query": ""}
    found = FIGURES[requirement.figure](evidence)
    return {
        **row,
        "status": EXCEPTIONS if found.exceptions else COUNTED,
        "figure": requirement.figure,
        "value": found.value,
        "count": found.number,
        "exceptions": found.exceptions,
        "query": f"{found.query} {evidence.period}" if found.query else "",
    }


def _told(evidence: Evidence, title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "title": title,
        "bridge": evidence.services.name,
        "since": timestamp(evidence.since),
        "until": timestamp(evidence.until),
        "basis": evidence.basis.told,
        "log": evidence.extent.plain(),
        "count": len(rows),
        "rows": rows,
    }

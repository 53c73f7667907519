"""The running bridge: its live sessions, its state, reload, and doctor."""

from __future__ import annotations

from typing import Any

from bridge.api.failure import CommandFailed
from bridge.api.known import known_system
from bridge.api.services import Actor, Services
from bridge.translation import facts
from bridge.translation.record import Event, IndexKeys
from bridge.translation.vocabulary import SESSION_STOP


def list_all(
    services: Services, actor: Actor, agent: str = "", owner: str = "", system: str = "", account: str = ""
) -> list[dict[str, Any]]:
    """The live sessions, oldest first."""
    wanted = {"agent": agent, "owner": owner, "system": system, "account": account}
    rows = services.running().sessions()
    return [row for row in rows if all(not value or row[name] == value for name, value in wanted.items())]


def show(services: Services, actor: Actor, session: str) -> dict[str, Any]:
    for row in services.running().sessions():
        if row["session"] == session:
            return row
    raise CommandFailed(f"no live session {session}; `idbridge log show {session}` shows one that ended", status=404)


def end(services: Services, actor: Actor, session: str, reason: str = "") -> dict[str, Any]:
    """Ends a live session; the agent hears that an operator did."""
    row = show(services, actor, session)
    ended = services.running().end_session(session, reason)
    index = IndexKeys(
        session=session, agent=row["agent"], owner=row["owner"], system=row["system"], account=row["account"]
    )
    sections = {"actor": actor.section(), "corr": facts.section(session=session)}
    if reason:
        sections["detail"] = facts.detail_section(text=reason)
    services.write(Event(SESSION_STOP, sections=sections, index=index), done=True)
    return {"session": session, "ended": ended}


def status(services: Services, actor: Actor) -> dict[str, Any]:
    return services.running().status()


def reload(services: Services, actor: Actor) -> dict[str, Any]:
    """Reads the configuration again; a bad file changes nothing and says why."""
    return services.running().reload(actor)


def doctor(
    services: Services, actor: Actor, system: str, account: str | None = None, host: str = ""
) -> list[dict[str, str]]:
    """Logs in to a legacy system (of a fleet: to that host) as its static accounts and says what they may really do."""
    _known(services, system, account)
    return services.running().examine(system, account, host.lower())


def discover(services: Services, actor: Actor, system: str, account: str | None = None) -> list[dict[str, str]]:
    """Logs in as ``account`` (the first of the system) and lists accounts of the legacy system that could be mapped."""
    _known(services, system, account)
    return services.running().discover(system, account or services.policy.systems[system].accounts[0])


def rotate(services: Services, actor: Actor, system: str, account: str) -> dict[str, Any]:
    """Gives a static account a new password that nobody but the bridge knows."""
    _known(services, system, account)
    return services.running().rotate(actor, system, account)


def reconcile(
    services: Services, actor: Actor, system: str, account: str | None = None, host: str = ""
) -> list[dict[str, str | int]]:
    """Compares the sessions of the static accounts, as the legacy system lists them, with those of the bridge."""
    _known(services, system, account)
    accounts = [account] if account is not None else list(services.policy.systems[system].accounts)
    live = services.running()
    return [{"account": name, **row} for name in accounts for row in live.reconcile(system, name, host.lower())]


def trust(services: Services, actor: Actor, system: str, host: str = "") -> list[dict[str, str]]:
    """The keys that a legacy host shows before any login, and whether they are the pinned ones."""
    _known(services, system, None)
    return services.running().trust(system, host.lower())


def _known(services: Services, system: str, account: str | None) -> None:
    found = known_system(services.policy, system)
    if account is not None and account not in found.accounts:
        raise CommandFailed(f"system {system} has no account {account}", status=404, field="account")


def reset_breaker(services: Services, actor: Actor, system: str, account: str) -> dict[str, Any]:
    """Lets the bridge try a static login again at once, after ops repaired it."""
    return {"system": system, "account": account, "was_open": services.running().reset_breaker(system, account)}

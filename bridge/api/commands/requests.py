"""Just-in-time access: an agent asks for what its grants do not give, somebody else gives it for a time.

The same commands for agents and approvers, who prove themselves by a token, and for ops at the admin socket. Nobody
approves what they asked for, or what was asked in their name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bridge.adapter import Action
from bridge.admission.access_requests import NotInState, TooManyRequests
from bridge.admission.identifiers import new_id
from bridge.admission.subjects import subject
from bridge.api.commands.refusals import refused_access
from bridge.api.failure import CommandFailed
from bridge.api.known import known_agent
from bridge.api.services import Actor, Services
from bridge.identity.agents import Agent
from bridge.policy.access_request import AccessRequest, State, Terms, helps
from bridge.translation import facts
from bridge.translation.record import IndexKeys
from bridge.translation.vocabulary import ACCESS_GRANT, ACCESS_REQUEST

USUAL = 3600
"""Seconds, when no time is named and the system's terms give as much."""

SHORTEST = 5
MOST_TEXT = 1000
MOST_VALUES = 32


def ask(
    services: Services,
    actor: Actor,
    reason: str,
    system: str = "",
    account: str = "",
    actions: list[str] | None = None,
    targets: dict[str, list[str]] | None = None,
    seconds: int | None = None,
    reference: str = "",
    agent: str = "",
) -> dict[str, Any]:
    """For ``seconds``; what ``reference``, a refusal of the agent, says need not be said again. Asked twice: the same.

    ``agent`` is for ops, who ask in an agent's name.
    """
    services.running()
    asking = _asking(services, actor, agent)
    if reference:
        found = refused_access(services, asking.id, reference)
        system, account = system or found.system, account or found.account
        actions, targets = actions or found.actions, found.targets if targets is None else targets
    terms = _terms(services, system)
    now = int(services.now())
    asked = AccessRequest(
        id=new_id("req_"),
        agent=asking.id,
        system=system,
        account=_account(terms, system, account),
        actions=_actions(terms, actions or [Action.READ.value]),
        targets=_targets(services, terms, system, targets or {}),
        seconds=_seconds(terms, seconds),
        reason=_text(reason, "reason"),
        requester=actor.name,
        behalf=actor.behalf,
        reference=reference,
        created=now,
        lapses=now + services.asking.waiting,
    )
    return _ask(services, actor, asking, asked)


def _ask(services: Services, actor: Actor, asking: Agent, asked: AccessRequest) -> dict[str, Any]:
    pending = services.asking.pending
    try:
        same = services.access_requests.in_thread_same(asked, pending)
        if same is not None:
            return _plain(services, same)
        _check_helps(services, asking, asked)
        index, about = _index(asking, asked), _about(asking, asked)
        with services.changing(actor, ACCESS_REQUEST, asked.id, widens=True, index=index, about=about) as change:
            made = services.access_requests.in_thread_add(asked, pending)
            change.made(None, _plain(services, made))
    except TooManyRequests as failure:
        raise CommandFailed(str(failure), status=429) from None
    return _plain(services, made)


def list_all(
    services: Services, actor: Actor, state: str = "", agent: str = "", system: str = ""
) -> list[dict[str, Any]]:
    """The newest first; to an agent its own, and what it may approve."""
    rows = [
        _plain(services, one) for one in services.access_requests.in_thread_list(agent) if _sees(services, actor, one)
    ]
    wanted = {"state": state, "system": system}
    return [row for row in rows if all(not value or row[name] == value for name, value in wanted.items())]


def show(services: Services, actor: Actor, id: str) -> dict[str, Any]:
    return _plain(services, _found(services, actor, id))


def approve(services: Services, actor: Actor, id: str, seconds: int | None = None, note: str = "") -> dict[str, Any]:
    """Gives it from now on, for the time that was asked for or a shorter one. Approved twice: once."""
    services.running()
    found = _found(services, actor, id)
    _check_approver(services, actor, found)
    now = services.now()
    if found.state_at(now) is State.APPROVED:
        return _plain(services, found)
    _check_state(found, State.PENDING, now)
    asking = known_agent(services.registry.in_thread_directory(), found.agent)
    if asking.refusal(now):
        raise CommandFailed(f"the agent {asking.id} is {asking.refusal(now)}", status=409)
    terms = _terms(services, found.system)
    given = min(found.seconds, terms.longest) if seconds is None else seconds
    if not SHORTEST <= given <= min(found.seconds, terms.longest):
        raise CommandFailed(
            f"it was asked for {found.seconds} s; give {SHORTEST} s or more, not longer", field="seconds"
        )
    _account(terms, found.system, found.account)
    _actions(terms, found.actions)
    _check_helps(services, asking, found)
    after = {"decider": actor.name, "decided": int(now), "note": _text(note, "note"), "ends": int(now) + given}
    return _move(services, actor, asking, found, State.APPROVED, ACCESS_GRANT, after, widens=True)


def deny(services: Services, actor: Actor, id: str, note: str = "") -> dict[str, Any]:
    """By who may approve it, or by ops."""
    return _end(services, actor, id, State.DENIED, ACCESS_REQUEST, note, own=False)


def withdraw(services: Services, actor: Actor, id: str, note: str = "") -> dict[str, Any]:
    """A request that waits: by the agent, or by ops."""
    return _end(services, actor, id, State.WITHDRAWN, ACCESS_REQUEST, note, own=True)


def revoke(services: Services, actor: Actor, id: str, note: str = "") -> dict[str, Any]:
    """What was given; sessions that stand on it alone end within a second."""
    return _end(services, actor, id, State.REVOKED, ACCESS_GRANT, note, own=True)


def _end(services: Services, actor: Actor, id: str, state: State, type: str, note: str, *, own: bool) -> dict[str, Any]:
    """What narrows: ops may, the agent itself where it is its ``own`` matter, and who may approve. Twice: once."""
    found = _found(services, actor, id)
    if found.state is state:
        return _plain(services, found)
    if not (actor.kind == "person" or (own and actor.name == found.agent) or _approves(services, actor, found)):
        raise CommandFailed(f"{actor.name} may not decide about {id}", status=403)
    _check_state(found, State.APPROVED if state is State.REVOKED else State.PENDING, services.now())
    asking = services.registry.in_thread_directory().by_id(found.agent)
    decided = {"decider": actor.name, "decided": int(services.now()), "note": _text(note, "note")}
    return _move(services, actor, asking, found, state, type, decided, widens=False)


def _move(
    services: Services,
    actor: Actor,
    asking: Agent | None,
    found: AccessRequest,
    state: State,
    type: str,
    decided: dict[str, Any],
    *,
    widens: bool,
) -> dict[str, Any]:
    try:
        index, about = _index(asking, found), _about(asking, found)
        with services.changing(actor, type, found.id, widens=widens, index=index, about=about) as change:
            before, after = services.access_requests.in_thread_move(found.id, state, services.now(), **decided)
            change.made(_plain(services, before), _plain(services, after))
    except NotInState as failure:
        raise CommandFailed(str(failure), status=409, field="id") from None
    return {**_plain(services, after), "sessions_ended": change.ended}


# -- who


def _asking(services: Services, actor: Actor, agent: str) -> Agent:
    """The agent that asks, or in whose name somebody asks."""
    if actor.kind == "agent" and agent not in ("", actor.id):
        raise CommandFailed("an agent asks for itself", status=403, field="agent")
    if actor.kind != "agent" and not agent:
        raise CommandFailed("name the agent", field="agent")
    known = known_agent(services.registry.in_thread_directory(), agent or actor.id)
    if known.refusal(services.now()):
        raise CommandFailed(f"the agent {known.id} is {known.refusal(services.now())}", status=409, field="agent")
    return known


def _approves(services: Services, actor: Actor, found: AccessRequest) -> bool:
    terms = services.asking.systems.get(found.system)
    return terms is not None and actor.name in terms.approvers.get(found.account, ())


def _sees(services: Services, actor: Actor, found: AccessRequest) -> bool:
    return actor.kind == "person" or actor.name == found.agent or _approves(services, actor, found)


def _check_approver(services: Services, actor: Actor, found: AccessRequest) -> None:
    if actor.behalf:
        raise CommandFailed("nobody approves on behalf of somebody else", status=403)
    # A user at the admin socket and an identity of the same name are taken for the same person.
    asked_by = {found.agent, found.requester.removeprefix("user:")}
    if actor.name.removeprefix("user:") in asked_by or (actor.subject and actor.subject == found.behalf):
        raise CommandFailed("nobody approves what they ask for, or what is asked in their name", status=403)
    if not _approves(services, actor, found):
        raise CommandFailed(
            f"{actor.name} may not approve {found.account} on {found.system}; the configuration names who may",
            status=403,
        )


def _found(services: Services, actor: Actor, id: str) -> AccessRequest:
    found = services.access_requests.in_thread_find(id)
    if found is None or not _sees(services, actor, found):
        raise CommandFailed(f"no request {id}", status=404, field="id")
    return found


# -- what


def _terms(services: Services, system: str) -> Terms:
    """Says the same of a system that does not exist."""
    terms = services.asking.systems.get(system)
    if terms is None or system not in services.policy.systems:
        raise CommandFailed(f"nothing can be asked for on a system {system!r}", status=404, field="system")
    return terms


def _account(terms: Terms, system: str, account: str) -> str:
    known = sorted(terms.approvers)
    if not account and len(known) == 1:
        return known[0]
    if account not in terms.approvers:
        raise CommandFailed(f"of {system} can be asked for: {', '.join(known)}", field="account")
    return account


def _actions(terms: Terms, actions: Iterable[str]) -> frozenset[Action]:
    known = {action.value: action for action in Action if action in terms.actions}
    wrong = sorted(set(actions) - known.keys())
    if wrong:
        raise CommandFailed(f"{wrong[0]!r} cannot be asked for; expected {', '.join(known)}", field="actions")
    return frozenset(known[name] for name in actions)


def _targets(services: Services, terms: Terms, system: str, targets: dict[str, list[str]]) -> dict[str, frozenset[str]]:
    """In the form that operations of the protocol have."""
    if sum(map(len, targets.values())) > MOST_VALUES:
        raise CommandFailed(f"{MOST_VALUES} values at most", field="targets")
    found: dict[str, frozenset[str]] = {}
    for fact, values in targets.items():
        if fact not in terms.facts or not values:
            known = ", ".join(sorted(terms.facts)) or "no target"
            raise CommandFailed(f"expected {known}, each with a value", field="targets")
        found[fact] = frozenset(_spelled(services, system, fact, _text(value, "targets")) for value in values)
    return found


def _spelled(services: Services, system: str, fact: str, value: str) -> str:
    try:
        named = services.spelled(system, {fact: value})[fact]
    except ValueError as error:
        raise CommandFailed(f"expected {error}", field="targets") from None
    return named if isinstance(named, str) else named[0]


def _seconds(terms: Terms, seconds: int | None) -> int:
    wanted = min(USUAL, terms.longest) if seconds is None else seconds
    if not SHORTEST <= wanted <= terms.longest:
        raise CommandFailed(f"expected {SHORTEST} to {terms.longest} seconds", field="seconds")
    return wanted


def _text(text: str, field: str) -> str:
    if len(text) > MOST_TEXT or not text.isprintable():
        raise CommandFailed(f"expected at most {MOST_TEXT} printable characters", field=field)
    if field == "reason" and not text.strip():
        raise CommandFailed("say what it is for", field=field)
    return text.strip()


def _check_helps(services: Services, asking: Agent, asked: AccessRequest) -> None:
    if not helps(services.policy, asked.grant(), subject(asking, delegated=False), services.now()):
        raise CommandFailed("a deny grant forbids it, so that giving it would change nothing", status=409)


def _check_state(found: AccessRequest, wanted: State, now: float) -> None:
    if found.state_at(now) is not wanted:
        raise CommandFailed(f"{found.id} is {found.state_at(now)}", status=409, field="id")


def _plain(services: Services, one: AccessRequest) -> dict[str, Any]:
    return one.plain(services.now())


def _about(asking: Agent | None, one: AccessRequest) -> dict[str, str]:
    whose = facts.agent_section(
        id=one.agent,
        name=asking.name if asking is not None else "",
        owner=asking.owner.id if asking is not None else "",
    )
    return {"agent": whose, "legacy": facts.legacy_section(system=one.system, account=one.account)}


def _index(asking: Agent | None, one: AccessRequest) -> IndexKeys:
    owner = asking.owner.id if asking is not None else ""
    return IndexKeys(session=one.id, agent=one.agent, owner=owner, system=one.system, account=one.account)

"""Cross checks of ``grants``: does every name exist, does the protocol know the facts, can the grant ever matter?"""

from __future__ import annotations

from bridge.adapter import Naming
from bridge.config.building import Adapters, target_aliases
from bridge.config.findings import Findings
from bridge.config.tree import Mapping, Place

WHO = ("agents", "roles", "owners", "cost_centres")
WHERE = ("system", "systems", "labels")


def check(found: Findings, adapters: Adapters) -> None:
    seen: dict[str, int] = {}
    reached: set[str] = set()
    section = found.root.get("grants")
    for grant in section.elements() if section is not None else ():
        if isinstance(grant.node, Mapping):
            _id(found, grant, seen)
            _who(found, grant)
            systems = _where(found, grant)
            reached |= systems
            _account(found, grant, systems)
            _targets(found, grant, systems, adapters)
            _rest(found, grant)
    for name, system in found.root.under("systems"):
        if name not in reached:
            found.warning(system, "no grant leads to it, so every agent is refused", "a grant", on_key=True)


def _id(found: Findings, grant: Place, seen: dict[str, int]) -> None:
    place = grant.get("id")
    if place is None or place.text is None:
        return
    if place.text in seen:
        found.error(place, f"another grant on line {seen[place.text]} has this id", "each id once")
    seen.setdefault(place.text, place.value.line)


def _who(found: Findings, grant: Place) -> None:
    if not any(grant.get(key) for key in WHO):
        found.error(grant, "names nobody", 'agents, roles, owners or cost_centres; agents: ["*"] for every agent')
    for section, what in (("roles", "role"), ("owners", "owner")):
        found.declared(grant, section, section, what)
    declared = found.names("agents")
    for name, place in grant.texts("agents"):
        if declared and name != "*" and name not in declared:
            found.warning(place, f'no agent "{name[:80]}" in this file', "an agent of this file or of the registry")


def _where(found: Findings, grant: Place) -> set[str]:
    """The names of the existing systems that the grant reaches."""
    given = [key for key in WHERE if grant.get(key)]
    effect = grant.get("effect")
    deny = effect is not None and effect.text == "deny"
    if len(given) > 1:
        found.error(grant.get(given[1]) or grant, f"stands beside {given[0]}", "one of them", on_key=True)
    if not given and not deny:
        found.error(grant, "names no system", "system, systems or labels")
    known = found.names("systems")
    reached: set[str] = set()
    for key in ("system", "systems"):
        for name, place in grant.texts(key):
            if name in known:
                reached.add(name)
            else:
                found.unknown(place, "system", known)
    labels = {name: labels_of(system) for name, system in found.root.under("systems")}
    for label, place in grant.texts("labels"):
        matching = {name for name, own in labels.items() if label in own}
        reached |= matching
        if not matching:
            found.unknown(place, "system with the label", set().union(*labels.values()) if labels else ())
    return reached if given else known


def labels_of(system: Place) -> set[str]:
    environment = system.get("environment")
    own = {label for label, _ in system.texts("labels")}
    return own | {f"environment:{environment.text}"} if environment is not None and environment.text else own


def _account(found: Findings, grant: Place, systems: set[str]) -> None:
    account, effect, default = grant.get("account"), grant.get("effect"), grant.get("default")
    deny = effect is not None and effect.text == "deny"
    if deny and default is not None and getattr(default.node, "value", None) is True:
        found.error(default, "a deny cannot make an account the default", "false, or no such key")
    if account is None or account.text is None:
        if account is None and not deny:
            found.error(grant, "is missing", "the account that the grant leads to", below="account")
        return
    accounts = {
        name: {account for account, _ in system.under("accounts")}
        for name, system in found.root.under("systems")
        if name in systems
    }
    lacking = sorted(name for name, own in accounts.items() if account.text not in own)
    by_label = grant.get("labels") is not None
    if lacking and (not by_label or len(lacking) == len(accounts)):
        found.unknown(account, f"account of system {lacking[0]} is called", accounts[lacking[0]])


def _targets(found: Findings, grant: Place, systems: set[str], adapters: Adapters) -> None:
    named = [(name, place) for name, place in grant.under("targets")]
    aliases = target_aliases(adapters)
    named += [
        (fact, place) for alias in aliases if (place := grant.get(alias)) is not None for fact in [aliases[alias]]
    ]
    for fact, place in named:
        for name in sorted(systems):
            protocol = found.root.get("systems", name, "protocol")
            adapter = adapters.get(protocol.text or "") if protocol is not None else None
            facts = adapter.targets | adapter.operation_targets if adapter is not None else frozenset({fact})
            if adapter is not None and fact not in facts:
                known = ", ".join(sorted(facts)) or "no narrowing"
                found.error(place, f"system {name} ({adapter.name}) cannot be narrowed by {fact}", known, on_key=True)
                break
            _forms(found, fact, place, adapter)


def _forms(found: Findings, fact: str, place: Place, adapter: object) -> None:
    """Whether the protocol can read the values, if they can be written in several ways."""
    if not isinstance(adapter, Naming):
        return
    for one in (place, *place.elements()):
        if one.text is not None:
            try:
                adapter.names(fact, one.text)
            except ValueError as error:
                found.error(one, f"is no {fact}", str(error))


def _rest(found: Findings, grant: Place) -> None:
    effect = grant.get("effect")
    if grant.get("actions") is None and (effect is None or effect.text != "deny"):
        found.error(grant, "is missing", "some of read, write, admin", below="actions")
    found.expiry(grant, "grant")
    begin, end = grant.get("hours", "from"), grant.get("hours", "to")
    if begin is not None and end is not None and begin.text is not None and begin.text == end.text:
        found.error(end, "is the same as from", "another time; without hours the grant holds all day")

"""The semantics of the grants written down a second time, as plainly as possible and with no index."""

from ipaddress import ip_address, ip_network

from bridge.adapter import Action
from bridge.policy import ANYONE, Delegated, Effect, Mode

ORDER = [Mode.OBSERVE, Mode.WARN, Mode.ENFORCE]


def selects(grant, system, subject, account, at):
    labels = set(system.labels) | ({"environment:" + system.environment} if system.environment else set())
    anywhere = not grant.systems and not grant.labels
    return (
        (anywhere or system.name in grant.systems or bool(labels & grant.labels))
        and (grant.account is None or grant.account == account)
        and (not grant.agents or subject.agent in grant.agents or ANYONE in grant.agents)
        and (not grant.roles or bool(grant.roles & subject.roles))
        and (not grant.owners or subject.owner in grant.owners)
        and (not grant.cost_centres or subject.cost_centre in grant.cost_centres)
        and (grant.expires is None or at < grant.expires)
    )


def holds(grant, subject, action, target, source, at):
    closed = grant.effect is Effect.DENY
    known = all(name in target for name in grant.targets)
    return (
        action in grant.actions
        and (not grant.environments or subject.environment in grant.environments)
        and (grant.delegated is Delegated.ANY or subject.delegated == (grant.delegated is Delegated.REQUIRED))
        and all(target[name] in values for name, values in grant.targets.items() if name in target)
        and (known or closed)
        and (
            not grant.sources
            or (closed if not source else any(ip_address(source) in ip_network(n) for n in grant.sources))
        )
        and (grant.hours is None or grant.hours.contains(at))
    )


def one_action(grants, system, subject, account, action, target, source, at):
    """(granted, let through, the mode of the refusal or None)"""
    about = [grant for grant in grants if selects(grant, system, subject, account, at)]
    matching = [grant for grant in about if holds(grant, subject, action, target, source, at)]
    denying = [grant for grant in matching if grant.effect is Effect.DENY]
    allowing = [grant for grant in matching if grant.effect is Effect.ALLOW]
    grounds = [grant.mode or system.mode for grant in denying]
    if not allowing:
        leading = [grant.mode or system.mode for grant in about if grant.effect is Effect.ALLOW]
        grounds.append(min(leading, key=ORDER.index) if leading else system.mode)
    strictest = max(grounds, key=ORDER.index) if grounds else None
    return bool(allowing) and not denying, strictest is not Mode.ENFORCE, bool(allowing), strictest


def reaches(grants, system, subject, account, target, source, at):
    """(actions let through, actions granted, actions allowed by some grant)"""
    answers = {a: one_action(grants, system, subject, account, a, target, source, at) for a in Action}
    return tuple(frozenset(a for a in Action if answers[a][part]) for part in (1, 0, 2))


def decide(grants, system, subject, account, action, target, source, at):
    """(account or "", allowed, granted)"""
    wanted = frozenset(Action) if action is None else frozenset({action})
    reached = {a: reaches(grants, system, subject, a, target, source, at) for a in system.accounts}

    def leads(name, flag):
        return any(
            grant.effect is Effect.ALLOW and (grant.default or not flag) and selects(grant, system, subject, name, at)
            for grant in grants
        )

    def given(name, actions, which):
        return any(
            which(grant)
            and grant.effect is Effect.ALLOW
            and selects(grant, system, subject, name, at)
            and holds(grant, subject, a, target, source, at)
            for grant in grants
            for a in actions
        )

    def default(grant):
        return grant.default

    def standing(grant):
        return ":" not in grant.id

    if account is None:
        usable = {name: (through & some & wanted) for name, (through, _, some) in reached.items()}
        through = [name for name, (through, _, _) in reached.items() if through & wanted]
        tiers = [
            [name for name, actions in usable.items() if given(name, actions, default)],
            [name for name, actions in usable.items() if given(name, actions, standing)],
            [name for name, actions in usable.items() if actions],
            [name for name in through if leads(name, True)],
            [name for name in through if leads(name, False)],
            through,
        ]
        best = next((tier for tier in tiers if tier), [])
        if len(best) != 1:
            return "", False, False
        account = best[0]
    if account not in reached:
        return "", False, False
    through, granted, _ = reached[account]
    return account, bool(through & wanted), bool(granted & wanted)

"""What the configuration says, in the words of the packages that do it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from bridge.accounts.vaults import SecretReference
from bridge.adapter import Adapter, Naming, SystemFacts
from bridge.admission.system import StaticAccount
from bridge.config import Account, Config, Grant, Issuer, Quota, System
from bridge.identity.issuer import BuiltinIssuer
from bridge.identity.jwt import IssuerSettings, KeyLocation
from bridge.identity.ssh import KEY_ISSUER
from bridge.identity.ssh import PROFILE as SSH_PROFILE
from bridge.net.limits import AcceptLimits, StreamLimits
from bridge.net.tls import ServerTLS, UpstreamTLS
from bridge.policy import Delegated, Effect, Hours, Measure, Mode, Per, Policy, Price, Running, SystemPolicy
from bridge.policy import Grant as PolicyGrant
from bridge.policy import Quota as PolicyQuota
from bridge.policy.access_request import Asking, Terms
from bridge.policy.emergency import Rules
from bridge.policy.quotas import MICRO
from bridge.translation.recording_retention import Retention


def policy(
    config: Config,
    adapters: Mapping[str, type[Adapter]],
    now: float | None = None,
    temporary: Iterable[PolicyGrant] = (),
) -> Policy:
    """As it is at ``now`` (Unix seconds; the present when not given): modes end, see ``next_end``.

    ``temporary``: grants that somebody gave for a time. One on a system that is no longer there gives nothing.
    """
    at = time.time() if now is None else now
    systems = [
        SystemPolicy(
            name=name,
            accounts=tuple(system.accounts),
            labels=frozenset(system.labels),
            mode=_mode(system.mode, system.mode_until, at),
            environment=system.environment,
            operation_targets=adapters[system.protocol].operation_targets,
            account_labels={key: frozenset(one.labels) for key, one in system.accounts.items() if one.labels},
        )
        for name, system in config.systems.items()
    ]
    grants = [_grant(one, adapters, at) for one in config.grants]
    return Policy([*grants, *temporary], systems, version=config.digest)


def break_glass(config: Config) -> Rules:
    found = config.breakglass
    return Rules(found.people, found.approvals, int(found.longest), int(found.review), config.bridge.name)


def next_end(config: Config, now: float) -> float:
    """When the next mode ends: a policy is to be made anew then. Infinity when none does."""
    ends = [one.mode_until for one in config.systems.values()] + [one.mode_until for one in config.grants]
    return min((end.timestamp() for end in ends if end is not None and end.timestamp() > now), default=math.inf)


def _mode(mode: str, until: datetime | None, now: float) -> Mode:
    return Mode.ENFORCE if until is not None and now >= until.timestamp() else Mode(mode)


def _grant(grant: Grant, adapters: Mapping[str, type[Adapter]], now: float) -> PolicyGrant:
    systems = set(grant.systems or ()) | ({grant.system} if grant.system else set())
    hours = grant.hours
    return PolicyGrant(
        id=grant.id,
        effect=Effect(grant.effect),
        agents=frozenset(grant.agents or ()),
        roles=frozenset(grant.roles or ()),
        owners=frozenset(grant.owners or ()),
        cost_centres=frozenset(grant.cost_centres or ()),
        systems=frozenset(systems),
        labels=frozenset(grant.labels or ()),
        account=grant.account,
        default=grant.default,
        actions=frozenset(grant.actions),
        targets={fact: _forms(fact, values, adapters) for fact, values in grant.targets.items()},
        environments=frozenset(grant.environments),
        delegated=Delegated(grant.delegated),
        sources=tuple(str(network) for network in grant.sources),
        hours=Hours.parse(hours.days, hours.begin, hours.end, hours.zone) if hours else None,
        expires=int(grant.expires.timestamp()) if grant.expires else None,
        mode=_mode(grant.mode, grant.mode_until, now) if grant.mode else None,
        reason=grant.reason,
        ticket=grant.ticket,
    )


def quotas(config: Config) -> list[PolicyQuota]:
    return [_quota(name, quota) for name, quota in config.quotas.items()]


def _quota(name: str, quota: Quota) -> PolicyQuota:
    limits = {
        Measure.SESSIONS: quota.sessions,
        Measure.STARTS: quota.session_starts,
        Measure.OPERATIONS: quota.operations_per_minute,
        Measure.ROWS: quota.rows_per_day,
        Measure.BYTES: quota.bytes_per_day,
        Measure.COST_DAY: _micros(quota.cost_per_day),
        Measure.COST_MONTH: _micros(quota.cost_per_month),
    }
    return PolicyQuota(
        name=name,
        limits={measure: limit for measure, limit in limits.items() if limit is not None},
        agents=frozenset(quota.agents or ()),
        roles=frozenset(quota.roles or ()),
        owners=frozenset(quota.owners or ()),
        cost_centres=frozenset(quota.cost_centres or ()),
        systems=frozenset(quota.systems or ()),
        labels=frozenset(quota.labels or ()),
        per=tuple(Per(one) for one in quota.per),
        period=quota.period,
        burst=quota.burst or 0,
        running=Running(quota.running),
    )


def prices(config: Config) -> dict[str, Price]:
    """Of the systems whose use costs something."""
    found = {name: system.price for name, system in config.systems.items()}
    micros = {
        name: Price(_whole(price.session), _whole(price.operation), _whole(price.megabyte), _whole(price.minute))
        for name, price in found.items()
    }
    return {name: price for name, price in micros.items() if price != Price()}


def _micros(cost: float | None) -> int | None:
    return None if cost is None else _whole(cost)


def _whole(cost: float) -> int:
    return round(cost * MICRO)


def _forms(fact: str, values: Iterable[str], adapters: Mapping[str, type[Adapter]]) -> frozenset[str]:
    """The values in the form that the operations of each protocol with this fact have."""
    about: list[object] = [one for one in adapters.values() if fact in one.targets | one.operation_targets]
    naming = [one for one in about if isinstance(one, Naming)]
    own = values if len(naming) < len(about) or not about else ()
    return frozenset([*own, *(one.names(fact, value)[0] for value in values for one in naming)])


def spelled(
    config: Config, adapters: Mapping[str, type[Adapter]], system: str, target: Mapping[str, str]
) -> dict[str, str | tuple[str, ...]]:
    """Facts that somebody wrote, as operations on the system have them. Raises ValueError."""
    known = config.systems.get(system)
    adapter: object = adapters[known.protocol] if known is not None else None
    if not isinstance(adapter, Naming):
        return dict(target)
    return {fact: adapter.names(fact, value) if value else "" for fact, value in target.items()}


def asking(config: Config, adapters: Mapping[str, type[Adapter]]) -> Asking:
    requests = config.requests
    terms = {name: _terms(config, system, adapters) for name, system in config.systems.items() if system.requests}
    return Asking(terms, int(requests.waiting), requests.pending)


def _terms(config: Config, system: System, adapters: Mapping[str, type[Adapter]]) -> Terms:
    own, adapter = system.requests, adapters[system.protocol]
    assert own is not None
    accounts = {name: one for name, one in system.accounts.items() if own.accounts is None or name in own.accounts}
    general = own.approvers or config.requests.approvers
    return Terms(
        approvers={name: frozenset(one.approvers or general) for name, one in accounts.items()},
        actions=frozenset(own.actions),
        facts=adapter.targets | adapter.operation_targets,
        longest=int(own.longest or config.requests.longest),
    )


def issuers(config: Config, builtin: BuiltinIssuer) -> list[IssuerSettings]:
    """The issuer records; agents' own keys are one more wherever the built-in issuer is on."""
    records = []
    for name, issuer in config.issuers.items():
        if issuer.profile == "builtin":
            records.append(builtin.settings(accept_bridge_audience=config.bridge.accept_bridge_audience))
            records.append(_agent_keys(config))
        elif issuer.profile != SSH_PROFILE:
            records.append(_issuer(config, name, issuer))
    return records


def _issuer(config: Config, name: str, issuer: Issuer) -> IssuerSettings:
    keys = issuer.keys
    location = KeyLocation()
    if keys is not None:
        location = KeyLocation(
            jwks_uri=keys.jwks_url or "",
            discovery=keys.discovery,
            jwks_file=str(keys.jwks_file or ""),
            origins=tuple(keys.origins),
            ca_file=str(issuer.ca or ""),
            http_loopback=True,  # plain http is taken from this machine only, never from elsewhere
        )
    return IssuerSettings(
        name=name,
        iss=issuer.issuer or "",
        profile=issuer.profile,
        algorithms=tuple(issuer.algorithms),
        audiences=frozenset(issuer.audiences),
        multiple_audiences=issuer.multiple_audiences,
        max_lifetime=int(issuer.max_lifetime),
        lifetime=issuer.lifetime,
        leeway=int(issuer.leeway),
        max_token_bytes=config.credentials.max_token,
        legacy_jwt=issuer.legacy_jwt,
        trust_domain=issuer.trust_domain or "",
        keys=location,
    )


def _agent_keys(config: Config) -> IssuerSettings:
    return IssuerSettings(
        name=KEY_ISSUER,
        iss="",
        profile="agent-key",
        algorithms=("EdDSA",),
        accept_bridge_audience=config.bridge.accept_bridge_audience,
        max_lifetime=int(config.credentials.max_lifetime),
        leeway=int(config.credentials.leeway),
        max_token_bytes=config.credentials.max_token,
    )


def accounts(system: System) -> Mapping[str, StaticAccount]:
    return {name: _account(name, account) for name, account in system.accounts.items()}


def _account(name: str, account: Account) -> StaticAccount:
    reference = SecretReference.parse(account.secret)
    passphrase = SecretReference.parse(account.passphrase) if account.passphrase else None
    return StaticAccount(name, account.user or name, reference, passphrase, frozenset(account.labels))


def audiences(config: Config, system: str) -> frozenset[str]:
    """That of the system; whether that of the whole bridge will do is a matter of the issuer record."""
    return frozenset({f"{bridge_audience(config)}/{system}"})


def bridge_audience(config: Config) -> str:
    return f"bridge:{config.bridge.name}"


def server_tls(config: Config) -> ServerTLS | None:
    """Raises TLSMisconfigured."""
    tls = config.tls
    if tls is None:
        return None
    return ServerTLS(tls.certificate, tls.key, tls.minimum, client_ca=tls.client_ca)


def upstream_tls(system: System) -> UpstreamTLS | None:
    """Raises TLSMisconfigured."""
    upstream = system.upstream
    if upstream.tls == "disable":
        return None
    name = upstream.server_name or upstream.host or ""
    return UpstreamTLS(upstream.tls, server_name=name, ca=upstream.ca, minimum=upstream.minimum)


def system_facts(config: Config, name: str, tls: Any) -> SystemFacts:
    system = config.systems[name]
    return SystemFacts(
        name=name,
        options=system.options,
        statements=system.statements,
        tls=tls,
        host=system.upstream.host or "",
        hosts=system.upstream.hosts,
        folder=str(config.bridge.state / "systems" / name),
        hello_timeout=config.limits.hello,
        auth_timeout=config.limits.auth,
        upstream_timeout=system.upstream.timeout,
    )


def accept_limits(config: Config) -> AcceptLimits:
    limits = config.limits
    return AcceptLimits(
        total=limits.connections, per_address=limits.per_address, unauthenticated=limits.unauthenticated
    )


def stream_limits(config: Config) -> StreamLimits:
    return StreamLimits(stall=config.limits.stall)


def retention(config: Config) -> Retention:
    return Retention(config.limits.recordings_age, config.limits.recordings_total)

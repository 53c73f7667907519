"""The sections of an event from plain values. FORMAT.md explains every field.

Empty values are left out, so that a field that is there says something. Everything goes through ``canonical``, which
keeps tokens and secrets out and refuses what cannot be written exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.translation.canonical import canonical, names_secret, quoted, shortened

_REFERENCE = re.compile(r"(?:env|file|store|vault):[^\s]+")


def section(**values: Any) -> str:
    """A section of the values that are not empty. ``class_`` stands for ``class``. False and 0 are kept."""
    return canonical({key.rstrip("_"): value for key, value in values.items() if not _empty(value)})


def _empty(value: Any) -> bool:
    return value is None or (not isinstance(value, int) and not value)


def agent_section(
    *,
    id: str,
    name: str = "",
    owner: str = "",
    owner_kind: str = "",
    purpose: str = "",
    roles: Sequence[str] = (),
    environment: str = "",
    cost_centre: str = "",
    external: str = "",
    revision: int | None = None,
) -> str:
    """Who: the registry's entry as it was then. ``external`` is the identity that its credential has."""
    return section(
        id=id,
        name=name,
        owner=owner,
        owner_kind=owner_kind,
        purpose=purpose,
        roles=sorted(roles),
        environment=environment,
        cost_centre=cost_centre,
        external=external,
        revision=revision,
    )


def credential_section(
    *,
    profile: str,
    issuer: str,
    iss: str = "",
    token_id: str = "",
    digest: str = "",
    kid: str = "",
    alg: str = "",
    audience: str = "",
    issued_at: int | None = None,
    expires_at: int | None = None,
    binding: str = "none",
    serial: str = "",
) -> str:
    """What proved it, without the proof itself. Times are Unix seconds, ``expires_at`` the effective end."""
    return section(
        profile=profile,
        issuer=issuer,
        iss=iss,
        jti=token_id,
        digest=digest,
        kid=kid,
        alg=alg,
        aud=audience,
        iat=issued_at,
        exp=expires_at,
        binding=binding,
        serial=serial,
    )


def delegation_section(
    *, mode: str = "autonomous", subject: str = "", subject_issuer: str = "", chain: Sequence[tuple[str, str]] = ()
) -> str:
    """For whom: ``chain`` holds (iss, sub) of earlier actors, nearest first."""
    who = {"iss": subject_issuer, "sub": subject} if subject else None
    return section(mode=mode, subject=who, chain=[{"iss": iss, "sub": sub} for iss, sub in chain])


def transport_section(
    *, protocol: str, source: str, listener: str = "", local: str = "", tls: str = "", client: str = "", peer: str = ""
) -> str:
    """By which way: ``source`` and ``local`` as host:port, ``tls`` the version (empty: plaintext), ``client`` the
    software as it named itself, ``peer`` the identity of its certificate."""
    return section(
        proto=protocol, src=source, listener=listener, dst=local, tls=tls, client=shortened(client), peer=peer
    )


def legacy_section(
    *,
    system: str,
    account: str = "",
    labels: Sequence[str] = (),
    target: Mapping[str, str] | None = None,
    upstream: str = "",
    facts: Mapping[str, str | int] | None = None,
) -> str:
    """Where to: ``upstream`` as host:port, ``facts`` what the legacy system's own logs show of the connection."""
    return section(
        system=system,
        account=account,
        class_=sorted(labels),
        target=dict(target or {}),
        upstream=upstream,
        facts=dict(facts or {}),
    )


def decision_section(
    *,
    effect: str,
    mode: str = "enforce",
    would: str = "",
    rules: Sequence[str] = (),
    policy: str = "",
    reason: str = "",
) -> str:
    """Why it was allowed or not: the deciding grants, and the digest of the policy they stood in."""
    return section(effect=effect, mode=mode, would=would or effect, rules=list(rules), policy=policy, reason=reason)


def node_section(*, id: str, version: str, clock_ms: int | None = None) -> str:
    return section(id=id, ver=version, clock_ms=clock_ms)


def actor_section(*, kind: str, id: str, via: str = "", source: str = "") -> str:
    """Who did something to the bridge itself: ``kind`` is "person", "agent" or "bridge"; ``via`` "cli", "api" …"""
    return section(kind=kind, id=id, via=via, source=source)


def change_section(subject: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """What changed. A member that names a secret keeps a reference (``env:PG_PASSWORD``) and nothing else."""
    return canonical(
        {"subject": subject}
        | ({"before": _without_secrets(before)} if before is not None else {})
        | ({"after": _without_secrets(after)} if after is not None else {})
    )


def detail_section(**values: Any) -> str:
    """Whatever else is worth knowing: a finer ``code``, a ``text`` for ops, counts."""
    return section(**{key: shortened(value) if isinstance(value, str) else value for key, value in values.items()})


def action_section(
    verb: str,
    kind: str,
    objects: Sequence[str] = (),
    text: str = "",
    digest: str = "",
    parameters: Sequence[str | None] | None = None,
    target: Mapping[str, str] | None = None,
    details: Mapping[str, str | int] | None = None,
) -> str:
    """What was asked of the legacy system (``bridge.adapter.Operation``). On the path of every statement: the common
    members are written directly, in sorted order; callers that know them to repeat may keep the result."""
    parts = []
    if details:
        parts.append(f'"details":{canonical(details)}')
    if digest:
        parts.append(f'"digest":{quoted(digest)}')
    parts.append(f'"kind":"{kind}"')
    if objects:
        parts.append(f'"objects":[{",".join(map(quoted, objects))}]')
    if parameters is not None:
        # A NULL is no string, and null is not in our subset of JSON: each value stands in a list, NULL as an empty one.
        values = ",".join("[]" if value is None else f"[{quoted(shortened(value))}]" for value in parameters)
        parts.append(f'"parameters":[{values}]')
    if target:
        parts.append(f'"target":{canonical(target)}')
    if text:
        parts.append(f'"text":{quoted(shortened(text))}')
        if len(text) > len(shortened(text)):
            parts.append(f'"text_length":{len(text)}')
    parts.append(f'"verb":{quoted(verb)}')
    return "{" + ",".join(parts) + "}"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(_member(str(key), item) for key, item in value.items() if item is not None)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_without_secrets(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, float):
        return str(value)
    return value


def _member(key: str, value: Any) -> tuple[str, Any]:
    if not names_secret(key):
        return key, _without_secrets(value)
    kept = isinstance(value, str) and _REFERENCE.fullmatch(value)
    return f"{key}_reference", value if kept else "<withheld>"

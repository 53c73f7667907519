"""OCSF objects from the sections of an event. What an event lacks is left out; see ``pruned``."""

from __future__ import annotations

from typing import Any

from bridge.translation.formats.endpoints import endpoint
from bridge.translation.parts import Fields, part

Object = dict[str, Any]

UNKNOWN_TYPE, PERSON, SERVICE = (0, "Unknown"), (1, "User"), (4, "Service")
PRODUCT = "identity-bridge"


def pruned(**values: Any) -> Object:
    """The values that are there. 0 and false are values; empty text, lists and objects are not."""
    return {name: value for name, value in values.items() if value is not None and value not in ("", [], {})}


def user(uid: object, name: object, kind: tuple[int, str], **more: Any) -> Object:
    return pruned(uid=_text(uid), name=_text(name), type_id=kind[0], type=kind[1], **more)


def agent_user(body: Fields) -> Object:
    """The agent; a stranger when it is not known who it was."""
    agent = part(body, "agent")
    if not agent.get("id"):
        return user("", "unknown", UNKNOWN_TYPE)
    owner = [pruned(name=_text(agent.get("owner")), type="owner")] if agent.get("owner") else []
    return user(agent["id"], agent.get("name") or agent["id"], SERVICE, groups=owner)


def legacy_user(body: Fields) -> Object:
    """The static account of the legacy system."""
    legacy = part(body, "legacy")
    return user("", legacy.get("account") or "unknown", SERVICE, domain=_text(legacy.get("system")))


def actor(body: Fields) -> Object:
    """Who acted: for changes of the bridge their actor; else the person behind a delegated agent, or the agent.

    ``app_uid`` is the agent in both of these, so that everything an agent did is found by it.
    """
    agent, own = part(body, "agent"), part(body, "actor")
    if own or not agent.get("id"):
        return _own_actor(own)
    credential, subject = part(body, "credential"), part(part(body, "delegation"), "subject")
    who = user(subject.get("sub"), subject.get("sub"), PERSON) if subject.get("sub") else agent_user(body)
    return pruned(
        user=who,
        app_uid=_text(agent["id"]),
        app_name=_text(agent.get("name") or agent["id"]),
        session=session(body),
        idp=pruned(name=_text(credential.get("issuer")), issuer=_text(credential.get("iss"))),
    )


def _own_actor(own: Fields) -> Object:
    kinds = {"person": PERSON, "agent": SERVICE}
    id = own.get("id") or PRODUCT
    if own.get("kind") in kinds:
        return {"user": user(id, id, kinds[own["kind"]])}
    return {"app_uid": _text(id), "app_name": PRODUCT}


def session(body: Fields) -> Object:
    corr, credential = part(body, "corr"), part(body, "credential")
    uid = _text(corr.get("session"))
    if not uid:
        return {}
    return pruned(uid=uid, issuer=_text(credential.get("iss")), is_remote=True)


def token(body: Fields) -> Object:
    """What proved the agent's identity, without the proof."""
    credential = part(body, "credential")
    if not credential:
        return {}
    issued, expires = credential.get("iat"), credential.get("exp")
    return pruned(
        uid=_text(credential.get("jti")),
        type_id=99,
        type=_text(credential.get("profile")),
        created_time=issued * 1000 if isinstance(issued, int) else None,
        expiration_time=expires * 1000 if isinstance(expires, int) else None,
    )


def source(body: Fields) -> Object:
    """Where the agent connected from; the bridge itself for what came from nowhere else."""
    found = network_endpoint(part(body, "transport").get("src"))
    return found or {"name": _text(part(body, "node").get("id")) or PRODUCT}


def target(body: Fields) -> Object:
    """The legacy system."""
    legacy = part(body, "legacy")
    host = part(legacy, "target").get("host") or legacy.get("upstream")
    name = _text(legacy.get("system"))
    return network_endpoint(host) | pruned(name=name, svc_name=name) if name else {}


def network_endpoint(text: object) -> Object:
    one = endpoint(text)
    if one.host in ("", "*"):
        return {}
    return pruned(**{"ip" if one.version else "hostname": one.host}, port=one.port or None)


def authorizations(body: Fields) -> list[Object]:
    """The decision, with the grants that made it and the digest of the policy they stood in."""
    decision = part(body, "decision")
    if not decision:
        return []
    rules = ", ".join(map(str, decision.get("rules", ())))
    applied = decision.get("mode") == "enforce"
    policy = pruned(uid=_text(decision.get("policy")), name=rules, is_applied=applied)
    known = "uid" in policy or "name" in policy
    return [pruned(decision=_text(decision.get("effect")), policy=policy if known else None)]


def _text(value: object) -> str:
    return "" if value is None else str(value)

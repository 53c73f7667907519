"""What the bridge does per login and per statement, without any network: a token verified, a decision made."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from measuring import microseconds

from bridge.adapter import Action
from bridge.identity.issuer import BuiltinIssuer
from bridge.identity.jwt import JWTVerifier
from bridge.identity.key_sets import FixedKeys
from bridge.policy import Effect, Grant, Hours, Policy, Request, Subject, SystemPolicy

AUDIENCES = frozenset({"bridge:bench/warehouse"})


def run(coroutine: Coroutine[Any, Any, Any]) -> None:
    """A coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise SystemExit("bench: the verifier waited for something")


def verification(folder: Path) -> tuple[float, float]:
    """µs to verify a token never seen, and one seen before (the signature is remembered, all else is checked)."""
    issuer = BuiltinIssuer.load_or_create(folder / "bench-issuer.key", "bench")
    settings = issuer.settings()
    verifier = JWTVerifier(
        [settings],
        {settings.name: FixedKeys(issuer.key_set())},
        bridge_audience="bridge:bench",
        is_agent=lambda name, claims: True,
    )
    now = time.time()
    token = issuer.mint("bench-1", audiences=["bridge:bench/warehouse"], ttl=600, now=now, jti="one").encode()

    def verify() -> None:
        run(verifier.verify(token, audiences=AUDIENCES, now=now))

    def forgetful() -> None:
        verifier.forget()
        verify()

    return microseconds(forgetful), microseconds(verify)


def decisions() -> tuple[float, float]:
    """µs to admit among 1,000 grants of which ten are about the agent, and to permit one operation of a session."""
    always = Hours.parse([], "00:00", "24:00")
    grants = [
        Grant(
            id=f"grant-{number}",
            roles=frozenset({f"role-{number % 95}"}),
            systems=frozenset({"warehouse"}),
            account=f"account-{number % 19}",
            actions=frozenset({Action.READ}),
            sources=("10.0.0.0/8",),
            hours=always if number % 3 == 0 else None,
        )
        for number in range(950)
    ]
    grants += [Grant(id=f"deny-{n}", effect=Effect.DENY, agents=frozenset({f"agent-{n}"})) for n in range(50)]
    policy = Policy(grants, [SystemPolicy("warehouse", tuple(f"account-{number}" for number in range(19)))])
    subject = Subject("bench-1", frozenset({"role-7"}))
    target = {"database": "app"}
    request = Request(subject, "warehouse", None, None, target, "10.1.2.3", 1e9)
    standing = policy.standing(request, "account-7")
    return (
        microseconds(lambda: policy.admit(request)),
        microseconds(lambda: standing.permit(Action.READ, target, 1e9)),
    )

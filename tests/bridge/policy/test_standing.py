"""What a live session may ask of the policy beside single decisions."""

from __future__ import annotations

from bridge.policy import Effect, Grant, Policy, Request, Subject, SystemPolicy

SYSTEM = SystemPolicy("directory", ("svc",), operation_targets=frozenset({"base", "attribute"}))


def narrowing(*grants: Grant, at: float = 0.0) -> frozenset[str]:
    request = Request(Subject("deploy-7", frozenset({"reader"})), "directory", "svc")
    return Policy(grants, [SYSTEM]).standing(request, "svc").narrowing(at)


def grant(id: str, role: str = "reader", **more: object) -> Grant:
    given = {"roles": frozenset({role}), "systems": frozenset({"directory"}), "account": "svc", **more}
    return Grant(id, **given)  # type: ignore[arg-type]


def test_narrowing_names_the_facts_of_every_grant_about_the_agent() -> None:
    assert narrowing(grant("all")) == frozenset()
    assert narrowing(grant("people", targets={"base": frozenset({"ou=people"})}), grant("all")) == {"base"}
    deny = grant("no", account=None, effect=Effect.DENY, targets={"attribute": frozenset({"mail"})})
    assert narrowing(grant("all"), deny) == {"attribute"}


def test_narrowing_leaves_out_what_is_about_others_or_over() -> None:
    assert narrowing(grant("others", "writer", targets={"base": frozenset({"x"})}), grant("all")) == frozenset()
    late = grant("late", targets={"base": frozenset({"x"})}, expires=10)
    assert narrowing(late, at=9.0) == {"base"}
    assert narrowing(late, at=10.0) == frozenset()

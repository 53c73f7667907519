"""Agents as values, their states, and the directory that finds one for a credential."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.identity.agents import Agent, Binding, Directory, Owner
from bridge.identity.lifecycle import STATES, TRANSITIONS, state_at
from bridge.identity.overlap import Overlaps
from bridge.identity.verifier import VerifiedCredential

NOW = 1_000_000


def agent(id, *bindings, state="active", expires=NOW + 100, keys=()):
    return Agent(
        id=id, name=id, owner=Owner("payments", "team", "p@corp"), purpose="p", roles=("r",), environment="prod",
        cost_centre="", data_classes=(), created=NOW, expires=expires, state=state, state_reason="",
        bindings=bindings, public_keys=tuple(keys), revision=1, origin="registry",
    )  # fmt: skip


def binding(issuer="corp", **claims):
    return Binding(issuer, tuple(sorted(claims.items())))


def credential(issuer="corp", profile="oidc", subject="s", **claims):
    return VerifiedCredential(
        issuer=issuer, profile=profile, iss="https://idp", subject=subject, claims=claims, jti="j", token_id="j",
        digest="sha256:0", kid="k", alg="ES256", audience="bridge:b", issued_at=NOW, expires_at=NOW + 60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "refusal"),
    [("active", ""), ("draft", "draft"), ("suspended", "suspended"), ("revoked", "revoked"), ("orphaned", "orphaned")],
)
def test_only_an_active_agent_is_not_refused(state, refusal):
    assert agent("a", state=state).refusal(NOW) == refusal


def test_an_active_agent_expires_to_the_second_and_by_itself():
    one = agent("a", expires=NOW + 10)
    assert one.refusal(NOW + 9.9) == ""
    assert one.refusal(NOW + 10) == "expired"


def test_time_does_not_change_a_state_that_was_set():
    assert [state_at(state, NOW, NOW + 1) for state in ("suspended", "revoked")] == ["suspended", "revoked"]


def test_revoked_is_for_good_and_every_other_state_can_be_revoked():
    assert all("revoked" not in allowed for allowed in TRANSITIONS.values())
    assert set(TRANSITIONS["revoke"]) == set(STATES) - {"revoked"}


@pytest.mark.parametrize("profile", ["builtin", "agent-key"])
def test_our_own_tokens_name_the_agent_itself(profile):
    directory = Directory([agent("deploy-7")])
    assert directory.resolve(credential("builtin", profile, "deploy-7")).id == "deploy-7"
    assert directory.resolve(credential("builtin", profile, "other")) is None


def test_a_foreign_token_cannot_name_an_agent_by_its_id():
    assert Directory([agent("deploy-7")]).resolve(credential(subject="deploy-7", sub="deploy-7")) is None


def test_a_binding_matches_when_all_its_claims_do():
    directory = Directory([agent("a", binding(repository_id="1", environment="prod"))])
    assert directory.resolve(credential(repository_id="1", environment="prod", ref="main")).id == "a"
    assert directory.resolve(credential(repository_id="1")) is None
    assert directory.resolve(credential(repository_id="1", environment="test")) is None


def test_the_same_claims_of_another_issuer_are_someone_else():
    assert Directory([agent("a", binding(sub="x"))]).resolve(credential("other", sub="x")) is None


def test_a_binding_without_claims_matches_nobody():
    assert Directory([agent("a", binding())]).resolve(credential(sub="x")) is None


def test_a_token_that_two_agents_match_is_nobody():
    """The registry refuses such bindings; if they are there all the same, nobody is let in as somebody else."""
    directory = Directory([agent("a", binding(sub="x")), agent("b", binding(client_id="y"))])
    assert directory.resolve(credential(sub="x", client_id="y")) is None
    assert directory.resolve(credential(sub="x", client_id="z")).id == "a"


def test_a_workload_registered_again_is_the_new_agent_not_the_revoked_one():
    gone, new = agent("old", binding(sub="x"), state="revoked"), agent("new", binding(sub="x"))
    assert Directory([gone, new]).resolve(credential(sub="x")).id == "new"


def test_a_revoked_agent_is_still_named_so_that_the_log_can_say_who_came():
    found = Directory([agent("old", binding(sub="x"), state="revoked")]).resolve(credential(sub="x"))
    assert (found.id, found.refusal(NOW)) == ("old", "revoked")


def test_the_directory_knows_bound_identities():
    directory = Directory([agent("a", binding(client_id="x"))])
    assert directory.knows("corp", {"client_id": "x"})
    assert not directory.knows("corp", {"client_id": "y"})
    assert not directory.knows("other", {"client_id": "x"})


claims = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), min_size=1)


@given(claims, claims)
def test_bindings_overlap_exactly_when_one_token_can_match_both(left, right):
    one, two = binding(**left), binding(**right)
    tokens = (dict(zip("abc", values, strict=True)) for values in itertools.product("12", repeat=3))
    assert one.overlaps(two) == any(one.matches(token) and two.matches(token) for token in tokens)
    assert one.overlaps(two) == two.overlaps(one)


@given(st.lists(st.lists(claims, max_size=2), max_size=6), st.lists(claims, min_size=1, max_size=2))
def test_the_overlap_index_agrees_with_comparing_all_pairs(others, mine):
    index, agents = Overlaps(), [agent(f"o{n}", *(binding(**c) for c in cs)) for n, cs in enumerate(others)]
    asked = agent("me", *(binding(**c) for c in mine))
    for other in agents:
        index.binding_of_another(asked)  # tables made early must learn of later agents
        index.add(other)
    index.add(asked)
    expected = any(a.overlaps(b) for a in asked.bindings for other in agents for b in other.bindings)
    assert (index.binding_of_another(asked) is not None) == expected

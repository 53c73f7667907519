"""The agent registry on a real SQLite file: required fields, every transition, bindings, leaving, declared agents."""

import base64
import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bridge.identity.agents import Binding
from bridge.identity.lifecycle import STATES, TRANSITIONS
from bridge.identity.registry import DAY, DEFAULT_LIFE, LONGEST_LIFE, Registry, RegistryError
from bridge.storage import open_engine, upgrade

START = 1_800_000_000


class Time:
    now = START

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def opened(tmp_path, time):
    engines = []

    def open_():
        engines.append(open_engine(tmp_path / "registry.db", kind="registry"))
        upgrade(engines[-1], "registry")
        return Registry(engines[-1], time)

    yield open_
    for engine in engines:
        engine.dispose()


@pytest.fixture
def registry(opened):
    made = opened()
    made.in_thread_create_owner("payments", kind="team", contact="payments@corp.example", on_call="+1 555 0100")
    return made


def create(registry, id="deploy-7", **given):
    fields = {"owner": "payments", "purpose": "deploys", "roles": ["deployer"], "environment": "prod", **given}
    return registry.in_thread_create(id, **fields)


def agent(registry, id="deploy-7"):
    return registry.in_thread_directory().by_id(id)


def new_key():
    return Ed25519PrivateKey.generate().public_key()


def x_of(key):
    return base64.urlsafe_b64encode(key.public_bytes_raw()).rstrip(b"=").decode()


def github(number):
    return Binding("github", (("repository_id", number),))


# -- creating


def test_a_new_agent_is_what_was_given_and_lives_ninety_days(registry):
    before, after = create(registry, bindings=[github("1")], data_classes=["pii"], cost_centre="cc-9", name="Deploy")
    assert before is None
    assert after == agent(registry).plain()
    assert json.loads(json.dumps(after)) == after
    assert (after["state"], after["expires"], after["revision"]) == ("active", START + 90 * DAY, 1)
    assert after["owner"] == {
        "id": "payments", "kind": "team", "contact": "payments@corp.example", "on_call": "+1 555 0100",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("purpose", " "), ("roles", []), ("environment", ""), ("owner", "nobody"), ("name", "a\nb"),
        ("purpose", "x\0y"),
        ("expires", START), ("expires", START + LONGEST_LIFE + 1), ("bindings", [Binding("", (("a", "b"),))]),
        ("bindings", [Binding("corp", ())]), ("bindings", [Binding("corp", (("a", "1"), ("a", "2")))]),
        ("public_keys", ["nonsense"]),
    ],
)  # fmt: skip
def test_a_missing_or_wrong_field_is_named_and_nothing_is_kept(registry, field, value):
    with pytest.raises(RegistryError) as caught:
        create(registry, **{field: value})
    assert caught.value.field in (field, "name")
    assert len(registry.in_thread_directory()) == 0


@pytest.mark.parametrize("id", ["", "Deploy", "a b", "-a", "a" * 64, "agent", "idbridge", "ä", "a\n"])
def test_an_id_is_a_plain_word_and_not_a_reserved_one(registry, id):
    with pytest.raises(RegistryError) as caught:
        create(registry, id)
    assert caught.value.field == "id"


def test_a_year_is_the_longest_life(registry):
    _, after = create(registry, expires=START + LONGEST_LIFE)
    assert after["expires"] == START + 365 * DAY


def test_an_id_is_never_used_again(registry):
    create(registry)
    registry.in_thread_move("deploy-7", "revoke")
    with pytest.raises(RegistryError, match="never used again"):
        create(registry)


def test_an_owner_says_who_and_how_to_reach_them(registry):
    for field, given in {"kind": {"kind": "robot"}, "contact": {"contact": " "}}.items():
        with pytest.raises(RegistryError) as caught:
            registry.in_thread_create_owner("x", **{"kind": "team", "contact": "c", **given})
        assert caught.value.field == field
    with pytest.raises(RegistryError, match="exists already"):
        registry.in_thread_create_owner("payments", kind="team", contact="c")


# -- states


def bring_to(registry, time, state):
    create(registry, draft=state == "draft", expires=START + DAY)
    verb = {"suspended": "suspend", "revoked": "revoke", "orphaned": "orphan"}.get(state)
    if verb:
        registry.in_thread_move("deploy-7", verb)
    if state == "expired":
        time.now += DAY
    assert agent(registry).state_at(time.now) == state


def act(registry, verb):
    if verb == "renew":
        return registry.in_thread_renew("deploy-7")
    if verb == "reassign":
        registry.in_thread_create_owner("ledger", kind="person", contact="l@corp")
        return registry.in_thread_reassign("deploy-7", owner="ledger")
    return registry.in_thread_move("deploy-7", verb, reason="why")


@pytest.mark.parametrize("verb", TRANSITIONS)
@pytest.mark.parametrize("state", STATES)
def test_every_transition_is_made_or_refused_as_the_table_says(registry, time, state, verb):
    bring_to(registry, time, state)
    before_it = agent(registry).plain()
    if state in TRANSITIONS[verb]:
        before, after = act(registry, verb)
        assert before == before_it
        assert after == agent(registry).plain()
        assert (after["state"], after["revision"]) == (TRANSITIONS[verb][state], before["revision"] + 1)
    else:
        with pytest.raises(RegistryError, match=f"agent deploy-7 is {state}; {verb} is for agents that are"):
            act(registry, verb)
        assert agent(registry).plain() == before_it


def test_an_expired_agent_that_is_renewed_may_act_again(registry, time):
    create(registry)
    time.now += DEFAULT_LIFE
    assert agent(registry).refusal(time.now) == "expired"
    registry.in_thread_renew("deploy-7", expires=time.now + DAY)
    assert agent(registry).refusal(time.now) == ""


def test_renewing_has_the_same_limit_as_creating(registry, time):
    create(registry)
    with pytest.raises(RegistryError) as caught:
        registry.in_thread_renew("deploy-7", expires=time.now + LONGEST_LIFE + 1)
    assert caught.value.field == "expires"


def test_an_unknown_agent_is_said_to_be_missing(registry):
    with pytest.raises(RegistryError, match="no agent nobody") as caught:
        registry.in_thread_move("nobody", "suspend")
    assert caught.value.missing


def test_a_change_based_on_an_older_revision_is_refused(registry):
    create(registry)
    registry.in_thread_move("deploy-7", "suspend", revision=1)
    with pytest.raises(RegistryError, match="changed meanwhile") as caught:
        registry.in_thread_renew("deploy-7", revision=1)
    assert caught.value.field == "revision"


# -- bindings and keys


def test_bindings_that_one_token_could_match_are_refused_and_the_other_agent_is_named(registry):
    create(registry, "a", bindings=[Binding("corp", (("sub", "x"), ("env", "prod")))])
    for claims in ((("sub", "x"),), (("env", "prod"), ("sub", "x")), (("other", "1"),)):
        with pytest.raises(RegistryError, match="could match the same token as one of a") as caught:
            create(registry, "b", bindings=[Binding("corp", claims)])
        assert caught.value.field == "bindings"
    create(registry, "b", bindings=[Binding("corp", (("sub", "y"),)), Binding("other", (("sub", "x"),))])


def test_a_revoked_agent_lets_its_workload_go_but_not_its_key(registry):
    x = x_of(new_key())
    create(registry, "a", bindings=[github("1")], public_keys=[x])
    registry.in_thread_move("a", "revoke")
    with pytest.raises(RegistryError, match="a key of a cannot be that of b too"):
        create(registry, "b", public_keys=[x])
    create(registry, "b", bindings=[github("1")])


def test_a_key_is_accepted_in_every_usual_form_and_kept_in_one(registry):
    key = new_key()
    forms = [
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " me@host\n",
        json.dumps({"kty": "OKP", "crv": "Ed25519", "x": x_of(key)}),
        x_of(key),
    ]
    _, after = create(registry, public_keys=forms)
    assert after["public_keys"] == [x_of(key)]


def test_a_private_key_is_refused_and_not_repeated(registry):
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(RegistryError, match="private key") as caught:
        create(registry, public_keys=[pem])
    assert pem.splitlines()[1] not in str(caught.value)


def test_another_kind_of_key_is_refused(registry):
    rsa = generate_private_key(65537, 2048).public_key()
    pem = rsa.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for bad in (pem, "ssh-rsa AAAA", '{"kty":"OKP"}', "[]", "{", "A" * 42, "A" * 5000, "é" * 43, ""):
        with pytest.raises(RegistryError) as caught:
            create(registry, public_keys=[bad])
        assert caught.value.field == "public_keys"


P = 2**255 - 19
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826


@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1, ORDER_8, P - ORDER_8])
@pytest.mark.parametrize("sign", [0, 1])
def test_keys_of_small_order_are_refused(registry, y, sign):
    """OpenSSL accepts forged signatures for them: with such a key anyone could be the agent."""
    raw = (y | sign << 255).to_bytes(32, "little")
    with pytest.raises(RegistryError, match="weak key"):
        create(registry, public_keys=[base64.urlsafe_b64encode(raw).rstrip(b"=").decode()])


def test_true_keys_are_not_taken_for_weak_ones(registry):
    for number in range(8):
        create(registry, f"a{number}", public_keys=[x_of(new_key())])


# -- leaving


def test_leaving_revokes_all_that_the_owner_has_after_a_dry_run_that_changes_nothing(registry):
    registry.in_thread_create_owner("other", kind="team", contact="o")
    create(registry, "a")
    create(registry, "b", draft=True)
    create(registry, "c")
    registry.in_thread_move("c", "revoke")
    create(registry, "d", owner="other")
    version = registry.in_thread_version()
    planned = registry.in_thread_leave("payments", reason="gone", dry_run=True)
    assert registry.in_thread_version() == version
    assert {agent(registry, id).state for id in "ab"} == {"active", "draft"}
    made = registry.in_thread_leave("payments", reason="gone", dry_run=False)
    assert made == planned
    assert [after["id"] for _, after in made] == ["a", "b"]
    assert {agent(registry, id).state for id in "abc"} == {"revoked"}
    assert agent(registry, "d").state == "active"


def test_an_owner_who_left_gets_no_agents(registry):
    create(registry, "a")
    registry.in_thread_create_owner("other", kind="team", contact="o")
    registry.in_thread_leave("other", reason="gone", dry_run=False)
    with pytest.raises(RegistryError, match="owner other has left"):
        create(registry, "b", owner="other")
    with pytest.raises(RegistryError, match="owner other has left"):
        registry.in_thread_reassign("a", owner="other")


def test_an_unknown_owner_cannot_leave(registry):
    with pytest.raises(RegistryError, match="no owner nobody"):
        registry.in_thread_leave("nobody", reason="", dry_run=True)


# -- what the configuration declares


def owners(**more):
    return {"web": SimpleNamespace(kind="team", contact="web@corp", on_call=""), **more}


def declared(owner="web", days=30, **given):
    fields = {
        "name": "", "owner": owner, "purpose": "p", "roles": ("r",), "environment": "prod", "cost_centre": "",
        "data_classes": (), "bindings": (), "public_keys": (),
        "expires": datetime.fromtimestamp(START + days * DAY, UTC),
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **given})


def at(number):
    return (SimpleNamespace(issuer="github", claims={"repository_id": number}),)


def sync(registry, **agents):
    return [
        (before and before.get("state"), after["id"], after.get("state"))
        for before, after in registry.in_thread_sync_declared(owners(), agents)
    ]


def test_declared_agents_are_created_once_changed_and_suspended_when_gone(registry):
    assert sync(registry, a=declared(bindings=at("1"))) == [(None, "web", None), (None, "a", "active")]
    version = registry.in_thread_version()
    assert sync(registry, a=declared(bindings=at("1"))) == []
    assert registry.in_thread_version() == version
    assert sync(registry, a=declared(bindings=at("1"), purpose="q")) == [("active", "a", "active")]
    assert (agent(registry, "a").purpose, agent(registry, "a").revision) == ("q", 2)
    assert sync(registry) == [("active", "a", "suspended")]
    assert sync(registry, a=declared(bindings=at("1"))) == [("suspended", "a", "active")]


def test_what_an_operator_did_outlives_a_reload(registry):
    sync(registry, a=declared(), b=declared())
    registry.in_thread_move("a", "suspend", reason="looks odd")
    registry.in_thread_move("b", "revoke")
    sync(registry, a=declared(purpose="new"), b=declared(purpose="new"))
    assert (agent(registry, "a").state, agent(registry, "a").purpose) == ("suspended", "new")
    assert agent(registry, "b").state == "revoked"


def test_declared_agents_may_exchange_their_bindings_and_keys(registry):
    x, y = x_of(new_key()), x_of(new_key())
    sync(registry, a=declared(bindings=at("1"), public_keys=(x,)), b=declared(bindings=at("2"), public_keys=(y,)))
    sync(registry, a=declared(bindings=at("2"), public_keys=(y,)), b=declared(bindings=at("1"), public_keys=(x,)))
    assert agent(registry, "a").bindings == (github("2"),)
    assert agent(registry, "b").public_keys == (x,)


def test_a_conflict_of_one_declared_agent_changes_nothing_at_all(registry):
    create(registry, bindings=[github("1")])
    weak = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
    for wrong in ({"b": declared(bindings=at("1"))}, {"deploy-7": declared()}, {"b": declared(public_keys=(weak,))}):
        with pytest.raises(RegistryError):
            sync(registry, a=declared(), **wrong)
        assert agent(registry, "a") is None


def test_the_configuration_cannot_bring_back_an_owner_who_left(registry):
    sync(registry, a=declared())
    registry.in_thread_leave("web", reason="gone", dry_run=False)
    sync(registry, a=declared(), b=declared())
    assert (agent(registry, "a").state, agent(registry, "b").state) == ("revoked", "orphaned")
    assert sync(registry, a=declared(), b=declared()) == []
    more = owners(new=SimpleNamespace(kind="person", contact="n", on_call=""))
    registry.in_thread_sync_declared(more, {"a": declared(), "b": declared(owner="new")})
    assert agent(registry, "b").state == "active"


# -- together


def test_two_processes_on_one_file_see_each_other_by_the_counter(registry, opened):
    other = opened()
    version = other.in_thread_version()
    create(registry)
    assert other.in_thread_version() > version
    assert agent(other) == agent(registry)


def test_two_processes_cannot_both_register_a_workload(registry, opened):
    outcomes = []

    def in_thread_create(which, id):
        try:
            create(which, id, bindings=[github("1")])
            outcomes.append("made")
        except RegistryError as error:
            outcomes.append(error.field)

    threads = [threading.Thread(target=in_thread_create, args=(opened(), f"a{n}")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["bindings"] * 3 + ["made"]


@pytest.mark.slow
def test_fifteen_thousand_agents_are_taken_over_and_loaded(registry):
    """About two seconds; comparing each agent with each other would take minutes."""
    many = {f"a{n}": declared(bindings=at(str(n))) for n in range(15_000)}
    assert len(registry.in_thread_sync_declared(owners(), many)) == 15_001
    assert len(registry.in_thread_directory()) == 15_000

"""The order of the door: what was durable, read and dialled by the time somebody is let in or turned away."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import CancelledError, Deferred

from bridge.adapter import (
    Action,
    Address,
    AdmissionRequest,
    BearerToken,
    ClientCertificate,
    Reason,
    Refused,
    Secret,
    SSHPublicKey,
    StatementLogging,
    StreamClosed,
    SystemFacts,
)
from bridge.admission.door import SystemDoor
from bridge.admission.texts import TEXTS
from bridge.policy import Effect, Grant, Mode
from bridge.policy.access_request import Asking, Terms
from bridge.policy.emergency import Emergency
from bridge.testing.stage import AGENT, GRANTS, PASSWORD, READER, START, SYSTEM, WRITER, Stage

ELSEWHERE = Address("127.0.0.9", 40007)
WISH = AdmissionRequest(None, {"database": "app"}, "psql")


def door(stage: Stage, client: Address | None = None) -> SystemDoor:
    return SystemDoor(stage.core, stage.system, stage.pair(*([client] if client else []))[1], lambda: None)


def bearer(stage: Stage, agent: str = AGENT, **changes: Any) -> BearerToken:
    return BearerToken(Secret(stage.token(agent, **changes)))


async def refused(stage: Stage, at: SystemDoor, credential: Any, request: AdmissionRequest = WISH) -> Refused:
    with pytest.raises(Refused) as caught:
        await at.admit(credential, request)
    assert not stage.legacy
    return caught.value


async def end(at: SystemDoor) -> None:
    for session in at.sessions:
        await session.close("ok")


@pytest_twisted.ensureDeferred
async def test_the_open_record_is_durable_before_the_secret_is_read(stage: Stage) -> None:
    seen: list[list[str]] = []
    read = stage.vault.in_thread_read
    stage.vault.in_thread_read = lambda path: (seen.append([e["type"] for e in stage.events()]), read(path))[1]  # type: ignore[method-assign]
    at = door(stage)
    session = await at.admit(bearer(stage), WISH)
    assert seen == [["session.open"]]
    assert (session.login.user, session.login.secret) == (f"{READER}_login", Secret(PASSWORD))
    assert (session.account, session.actions) == (READER, frozenset({Action.READ}))
    (event,) = stage.events()
    assert event["agent"]["id"] == AGENT
    assert event["agent"]["owner"] == "payments"
    assert event["legacy"]["account"] == READER
    assert event["transport"]["client"] == "psql"
    assert event["decision"]["rules"] == ["read"]
    await end(at)


def wrong(stage: Stage) -> dict[str, tuple[Any, Reason]]:
    """Every credential that proves nothing."""
    good = stage.token()
    return {
        "forged": (good[:-4] + b"AAAA", Reason.CREDENTIAL_INVALID),
        "garbage": (b"hunter2", Reason.CREDENTIAL_INVALID),
        "huge": (b"e" * 100_000, Reason.CREDENTIAL_INVALID),
        "another audience": (stage.token(audiences=["bridge:stage/other"]), Reason.CREDENTIAL_INVALID),
        "unknown agent": (stage.token("nobody-9"), Reason.CREDENTIAL_INVALID),
        "expired": (stage.token(now=stage.time - 700), Reason.CREDENTIAL_EXPIRED),
        "empty": (b"", Reason.CREDENTIAL_MISSING),
    }


@pytest.mark.parametrize("kind", ["forged", "garbage", "huge", "another audience", "unknown agent", "expired", "empty"])
@pytest_twisted.ensureDeferred
async def test_a_bad_credential_is_recorded_before_the_client_hears(stage: Stage, kind: str) -> None:
    """The refused record is durable when Refused is raised; nothing is read or dialled; no token stands in the log."""
    token, reason = wrong(stage)[kind]
    why = await refused(stage, door(stage), BearerToken(Secret(token)))
    (event,) = stage.events()
    assert (why.reason, why.text) == (reason, TEXTS[reason][0])
    assert (event["type"], event["outcome"], event["reason"]) == ("session.refused", "denied", reason.value)
    assert event["corr"]["session"] == why.reference
    assert why.reference.startswith("ref_")
    assert stage.story == []
    assert not token or token.decode() not in str(event)
    assert len(stage.core.live) == 0


@pytest_twisted.ensureDeferred
async def test_an_unknown_agent_and_a_forged_token_sound_the_same(stage: Stage) -> None:
    """Whoever has not proven itself learns not even whether an agent exists; the log tells them apart."""
    tokens = wrong(stage)
    heard = {}
    for kind in ("forged", "unknown agent", "another audience"):
        why = await refused(stage, door(stage), BearerToken(Secret(tokens[kind][0])))
        heard[kind] = (why.reason, why.text, why.hint)
    assert len(set(heard.values())) == 1
    assert len({event["detail"]["code"] for event in stage.events()}) == 3


@pytest_twisted.ensureDeferred
async def test_certificates_go_the_same_way(stage: Stage) -> None:
    why = await refused(stage, door(stage), ClientCertificate((b"der",)))
    assert (why.reason, why.code) == (Reason.CREDENTIAL_INVALID, "certificate")


@pytest_twisted.ensureDeferred
async def test_a_credential_on_a_plaintext_connection_is_not_even_looked_at(stage: Stage) -> None:
    why = await refused(stage, door(stage, Address("192.0.2.7", 1)), bearer(stage))
    assert why.reason is Reason.PLAINTEXT
    stage.replace_system(loopback_plaintext=False)
    why = await refused(stage, door(stage), bearer(stage))
    assert why.reason is Reason.PLAINTEXT
    assert all("credential" not in event for event in stage.events())


@pytest.mark.parametrize(("verb", "word"), [("suspend", "suspended"), ("revoke", "revoked")])
@pytest_twisted.ensureDeferred
async def test_an_agent_that_may_not_act_hears_its_state(stage: Stage, verb: str, word: str) -> None:
    stage.move(verb)
    why = await refused(stage, door(stage), bearer(stage))
    assert (why.reason, why.code) == (Reason.AGENT_INACTIVE, f"agent-{word}")
    assert why.text == f"the agent {AGENT} is {word}"
    assert stage.events()[-1]["agent"]["id"] == AGENT


@pytest_twisted.ensureDeferred
async def test_an_expired_agent_is_refused_without_anybody_changing_it(stage: Stage) -> None:
    stage.time += 90 * 86_400
    why = await refused(stage, door(stage), bearer(stage))
    assert why.code == "agent-expired"


@pytest_twisted.ensureDeferred
async def test_a_denied_token_is_refused(stage: Stage) -> None:
    credential = bearer(stage, jti="stolen-1")
    stage.deny_list.in_thread_add(stage.issuer.iss, "stolen-1", int(stage.time) + 900, "stolen", "ops")
    why = await refused(stage, door(stage), credential)
    assert why.reason is Reason.CREDENTIAL_REVOKED


@pytest_twisted.ensureDeferred
async def test_a_token_is_bound_to_the_address_that_used_it_first(stage: Stage) -> None:
    """A pool opens many connections with one token; a stolen one used from elsewhere fails, and ops hear of it."""
    credential, first, again = bearer(stage), door(stage), door(stage)
    await first.admit(credential, WISH)
    await again.admit(credential, WISH)
    why = await refused(stage, door(stage, ELSEWHERE), credential)
    assert (why.reason, why.text, why.code) == (
        Reason.CREDENTIAL_INVALID,
        TEXTS[Reason.CREDENTIAL_INVALID][0],
        "replay",
    )
    assert any("127.0.0.9" in warning for warning in stage.warnings)
    await end(first)
    await end(again)


@pytest_twisted.ensureDeferred
async def test_sessions_of_one_agent_are_limited(stage: Stage) -> None:
    """Counted when admission begins, so that many at once do not slip through together."""
    stage.core.sessions_per_agent = 2
    doors = [door(stage) for _ in range(4)]
    results: list[Any] = []
    for at in doors:
        Deferred.fromCoroutine(at.admit(bearer(stage), WISH)).addBoth(results.append)
    await stage.until(lambda: len(results) == 4)
    assert sorted(type(getattr(one, "value", one)).__name__ for one in results) == [
        "Refused",
        "Refused",
        "Session",
        "Session",
    ]
    why = next(one.value for one in results if hasattr(one, "value"))
    assert (why.reason, why.code) == (Reason.QUOTA, "sessions-per-agent")
    for at in doors:
        await end(at)
    at = door(stage)
    await at.admit(bearer(stage), WISH)
    await end(at)


@pytest.mark.parametrize("account", [WRITER, "no_such_account"])
@pytest_twisted.ensureDeferred
async def test_an_account_that_is_not_granted_sounds_like_one_that_does_not_exist(stage: Stage, account: str) -> None:
    why = await refused(stage, door(stage), bearer(stage), AdmissionRequest(account))
    assert (why.reason, why.text) == (Reason.NOT_GRANTED, TEXTS[Reason.NOT_GRANTED][0])
    assert stage.events()[0]["detail"]["text"]


@pytest_twisted.ensureDeferred
async def test_ones_own_id_as_account_means_the_default(stage: Stage) -> None:
    at = door(stage)
    assert (await at.admit(bearer(stage), AdmissionRequest(AGENT))).account == READER
    await end(at)


@pytest_twisted.ensureDeferred
async def test_several_accounts_and_none_named_is_told(staged: Any) -> None:
    grants = [
        Grant(name, agents=frozenset({AGENT}), systems=frozenset({SYSTEM}), account=name) for name in (READER, WRITER)
    ]
    stage = await staged(grants=grants)
    why = await refused(stage, door(stage), bearer(stage))
    assert why.reason is Reason.NOT_GRANTED
    assert "several accounts" in why.text
    at = door(stage)
    assert (await at.admit(bearer(stage), AdmissionRequest(WRITER))).account == WRITER
    await end(at)


@pytest_twisted.ensureDeferred
async def test_a_system_that_observes_lets_in_what_it_would_refuse_and_says_so_in_the_log(
    staged: Any,
) -> None:
    stage = await staged(mode=Mode.OBSERVE, roles=("stranger",))
    at = door(stage)
    await at.admit(bearer(stage), AdmissionRequest(READER))
    assert stage.events()[0]["decision"]["would"] == "deny"
    await end(at)


@pytest_twisted.ensureDeferred
async def test_a_deny_grant_wins(staged: Any) -> None:
    from bridge.testing.stage import GRANTS

    deny = Grant("never", effect=Effect.DENY, agents=frozenset({AGENT}), systems=frozenset({SYSTEM}))
    stage = await staged(grants=[*GRANTS, deny])
    why = await refused(stage, door(stage), bearer(stage))
    assert why.reason is Reason.NOT_GRANTED
    assert "never" in stage.events()[0]["decision"]["rules"] if "decision" in stage.events()[0] else why.detail


@pytest_twisted.ensureDeferred
async def test_an_open_circuit_refuses_before_the_open_record(stage: Stage) -> None:
    stage.core.breaker.refused(SYSTEM, READER, Secret("old"), stage.time)
    why = await refused(stage, door(stage), bearer(stage))
    assert (why.reason, why.code) == (Reason.UPSTREAM_UNAVAILABLE, "circuit-open")
    assert [event["type"] for event in stage.events()] == ["session.refused"]
    assert stage.story == []


@pytest_twisted.ensureDeferred
async def test_without_a_log_nobody_is_let_in_and_nothing_is_touched(stage: Stage) -> None:
    """No reference either: it would lead to nothing."""
    stage.break_log()
    why = await refused(stage, door(stage), bearer(stage))
    assert (why.reason, why.reference) == (Reason.LOG_UNAVAILABLE, "")
    assert stage.story == []
    assert (len(stage.core.live), stage.core.live.of_agent(AGENT)) == (0, 0)
    assert stage.events() == []


@pytest_twisted.ensureDeferred
async def test_a_secret_that_cannot_be_read_ends_the_session_that_was_opened(stage: Stage) -> None:
    """The agent hears no cause and no reference of a vault; ops hear both; the end is in the log."""
    stage.vault.fault = "the vault is sealed"
    at = door(stage)
    why = await refused(stage, at, bearer(stage))
    assert (why.reason, why.code) == (Reason.UPSTREAM_UNAVAILABLE, "secret-unavailable")
    assert "vault" not in str(why)
    assert any("sealed" in warning for warning in stage.warnings)
    for session in at.sessions:
        await session.close(why.reason.value, failed=True)
    assert [event["type"] for event in await stage.written()] == ["session.open", "session.close"]
    assert len(stage.core.live) == 0


@pytest_twisted.ensureDeferred
async def test_revoked_while_the_open_record_was_written(stage: Stage) -> None:
    """The secret stays unread, and the agent hears that it was revoked."""
    at = door(stage)
    admitting = Deferred.fromCoroutine(at.admit(bearer(stage), WISH))
    await stage.until(lambda: len(stage.core.live) == 1)
    stage.core.live.cut(lambda session: True, Reason.SESSION_REVOKED, "")
    with pytest.raises(Refused) as caught:
        await admitting
    assert caught.value.reason is Reason.SESSION_REVOKED
    assert stage.story == []
    await end(at)
    close = (await stage.written())[-1]
    assert (close["type"], close["reason"]) == ("session.close", "session-revoked")


@pytest_twisted.ensureDeferred
async def test_cancelled_while_the_open_record_was_written(stage: Stage) -> None:
    """At a shutdown: the session is not left among the living, and what was opened is closed."""
    at = door(stage)
    admitting = Deferred.fromCoroutine(at.admit(bearer(stage), WISH))
    await stage.until(lambda: len(stage.core.live) == 1)
    admitting.cancel()
    with pytest.raises(CancelledError):
        await admitting
    for session in at.sessions:
        await session.close("shutdown")
    assert [event["type"] for event in await stage.written()] == ["session.open", "session.close"]
    assert (len(stage.core.live), stage.core.live.of_agent(AGENT)) == (0, 0)


@pytest_twisted.ensureDeferred
async def test_strangers_cannot_fill_the_log(stage: Stage) -> None:
    """Beyond the burst they are only counted; the next record says how many were not written."""
    at = door(stage)
    for _ in range(50):
        await refused(stage, at, BearerToken(Secret("nonsense")))
    waiting = [Deferred.fromCoroutine(refused(stage, at, BearerToken(Secret("nonsense")))) for _ in range(10)]
    assert not any(one.called for one in waiting), "who tries too often waits for the answer"
    assert (await at.admit(bearer(stage), WISH)).agent.id == AGENT, "and locks nobody out"
    await end(at)
    stage.clock.advance(1)
    for one in waiting:
        assert not (await one).reference

    def recorded() -> list[dict[str, Any]]:
        return [event for event in stage.events() if event["type"] == "session.refused"]

    assert len(recorded()) == 50
    why = await refused(stage, at, BearerToken(Secret("nonsense")))
    assert why.reference
    assert recorded()[-1]["detail"]["unrecorded"] == 10
    assert stage.core.tally.refused[SYSTEM, "credential-invalid"] == 61


@pytest_twisted.ensureDeferred
async def test_an_agent_whose_proofs_fail_too_often_waits(stage: Stage) -> None:
    """Its refusals are recorded all the same, wherever they come from."""
    stage.move("suspend")
    for number in range(50):
        await refused(stage, door(stage, Address(f"192.0.2.{number}", 1)), bearer(stage))
    waiting = Deferred.fromCoroutine(refused(stage, door(stage, ELSEWHERE), bearer(stage)))
    assert not waiting.called
    stage.clock.advance(1)
    assert (await waiting).reference
    assert len(stage.events()) == 51


@pytest_twisted.ensureDeferred
async def test_what_an_adapter_turns_away_is_recorded(stage: Stage) -> None:
    at = door(stage)
    why = await at.turn_away(Reason.PROTOCOL, detail="a length of 1 GiB")
    (event,) = stage.events()
    assert (event["reason"], event["detail"]["text"]) == ("protocol", "a length of 1 GiB")
    assert at.turned_away
    assert str(why) == f"the client broke the protocol (reference {why.reference})"


@pytest_twisted.ensureDeferred
async def test_an_agent_is_proven_without_a_session(stage: Stage) -> None:
    at = door(stage)
    found = await at.verify(bearer(stage))
    assert (found.id, found.owner) == (AGENT, "payments")
    assert stage.events() == []
    with pytest.raises(Refused) as caught:
        await at.verify(BearerToken(Secret(b"no.to.ken")))
    (event,) = stage.events("session.refused")
    assert event["corr"]["session"] == caught.value.reference
    session = await at.admit(bearer(stage), WISH)
    assert session.account == READER
    await end(at)


@pytest_twisted.ensureDeferred
async def test_one_session_can_end_while_the_connection_lives(stage: Stage) -> None:
    at = door(stage)
    first = await at.admit(bearer(stage), WISH)
    upstream = await first.connect()
    await first.end("rebound")
    assert [event["type"] for event in await stage.written()] == ["session.open", "session.close"]
    assert stage.legacy[0].other is upstream
    assert stage.legacy[0].other.ended
    assert not first.may(Action.READ, {})
    second = await at.admit(bearer(stage), WISH)
    assert second.session != first.session
    assert second.may(Action.READ, {})
    assert not second.may(Action.WRITE, {})
    assert len(stage.core.live) == 1
    await end(at)
    assert [event["type"] for event in await stage.written()][2:] == ["session.open", "session.close"]


HOSTS = SystemFacts(SYSTEM, None, hosts=("web-*.corp", "10.0.0.7"))


@pytest.mark.parametrize("host", ["web-1.corp", "WEB-2.corp", "10.0.0.7"])
@pytest_twisted.ensureDeferred
async def test_a_host_of_the_fleet_is_dialled(staged: Any, host: str) -> None:
    dialled: list[str] = []

    async def dial(name: str) -> Any:
        dialled.append(name)
        raise StreamClosed("played")

    stage = await staged(facts=HOSTS, dial=dial)
    at = door(stage)
    session = await at.admit(bearer(stage), AdmissionRequest(None, {"host": host}))
    with pytest.raises(Refused):
        await session.connect()
    assert dialled == [host.lower()]
    await end(at)


@pytest.mark.parametrize("target", [{}, {"host": ""}, {"host": "db.corp"}, {"host": "web-1.corp.evil"}])
@pytest_twisted.ensureDeferred
async def test_other_hosts_are_refused_like_those_that_are_not_granted(staged: Any, target: dict[str, str]) -> None:
    stage = await staged(facts=HOSTS)
    refusal = await refused(stage, door(stage), bearer(stage), AdmissionRequest(None, target))
    assert (refusal.reason, refusal.text) == (Reason.NOT_GRANTED, TEXTS[Reason.NOT_GRANTED][0])


@pytest_twisted.ensureDeferred
async def test_a_system_that_is_no_fleet_has_no_hosts(stage: Stage) -> None:
    refusal = await refused(stage, door(stage), bearer(stage), AdmissionRequest(None, {"host": "web-1.corp"}))
    assert refusal.reason is Reason.NOT_GRANTED


@pytest_twisted.ensureDeferred
async def test_the_circuit_of_one_host_does_not_close_off_the_others(staged: Any) -> None:
    stage = await staged(facts=HOSTS)
    first = door(stage)
    session = await first.admit(bearer(stage), AdmissionRequest(None, {"host": "web-1.corp"}))
    await session.connect()
    await session.login_refused("permission denied")
    await end(first)
    with pytest.raises(Refused) as caught:
        await door(stage).admit(bearer(stage), AdmissionRequest(None, {"host": "web-1.corp"}))
    assert caught.value.code == "circuit-open"
    second = door(stage)
    await second.admit(bearer(stage), AdmissionRequest(None, {"host": "web-2.corp"}))
    await end(second)


@pytest_twisted.ensureDeferred
async def test_a_protocol_that_encrypts_by_itself_needs_no_tls(staged: Any) -> None:
    stage = await staged(encrypts=True, loopback_plaintext=False)
    at = door(stage, Address("192.0.2.7", 4000))
    assert (await at.admit(bearer(stage), WISH)).account == READER
    await end(at)


@pytest_twisted.ensureDeferred
async def test_a_key_that_the_agent_has_registered(stage: Stage) -> None:
    public = Ed25519PrivateKey.from_private_bytes(b"k" * 32).public_key().public_bytes_raw()
    stage.add_agent("key-9", public_keys=[base64.urlsafe_b64encode(public).decode().rstrip("=")])
    stage.refresh()
    at = door(stage)
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + public
    session = await at.admit(SSHPublicKey(blob), WISH)
    assert session.agent.id == "key-9"
    (event,) = stage.events("session.open")
    assert event["credential"]["binding"].startswith("SHA256:")
    await end(at)


@pytest_twisted.ensureDeferred
async def test_a_token_bound_to_a_key_needs_that_key(stage: Stage) -> None:
    token = stage.token(confirmation="thumb")
    refusal = await refused(stage, door(stage), BearerToken(Secret(token)))
    assert (refusal.reason, refusal.code) == (Reason.CREDENTIAL_INVALID, "cnf")
    assert (await refused(stage, door(stage), BearerToken(Secret(token), "another"))).code == "cnf"
    at = door(stage)
    await at.admit(BearerToken(Secret(token), "thumb"), WISH)
    assert stage.events("session.open")[0]["credential"]["binding"] == "jkt"
    await end(at)


def emergency(stage: Stage, id: str = "bg_1") -> BearerToken:
    return bearer(stage, emergency=id)


@pytest_twisted.ensureDeferred
async def test_a_token_of_an_emergency_opens_its_account_alone_and_is_recorded_in_full(staged: Any) -> None:
    opened = Emergency("bg_1", SYSTEM, WRITER, AGENT, "alice", "INC-7", 600, 0, began=int(START)).grant()
    stage = await staged(grants=[*GRANTS, opened])
    at = door(stage)
    session = await at.admit(emergency(stage), AdmissionRequest(WRITER, WISH.target))
    assert (session.account, session.actions) == (WRITER, frozenset(Action))
    assert (at.system.statements, at.system.record_all) == (StatementLogging.FULL, True)
    usual = await at.admit(bearer(stage), WISH)
    assert usual.account == READER
    assert (at.system.statements, at.system.record_all) == (StatementLogging.REDACTED, False)
    await end(at)
    for credential, wish in (
        (emergency(stage), AdmissionRequest(READER, WISH.target)),  # what the agent may do anyway
        (emergency(stage, "bg_2"), AdmissionRequest(READER, WISH.target)),
        (emergency(stage, "bg_2"), AdmissionRequest(WRITER, WISH.target)),
        (bearer(stage), AdmissionRequest(WRITER, WISH.target)),  # not with a usual token
    ):
        assert (await refused(stage, door(stage), credential, wish)).reason is Reason.NOT_GRANTED


@pytest_twisted.ensureDeferred
async def test_an_agent_with_a_role_named_like_an_emergency_gains_nothing(staged: Any) -> None:
    opened = Emergency("bg_1", SYSTEM, WRITER, "role-9", "alice", "INC-7", 600, 0, began=int(START)).grant()
    stage = await staged(grants=[*GRANTS, opened])
    stage.add_agent("role-9", roles=["breakglass:bg_1"])
    stage.refresh()
    wish = AdmissionRequest(WRITER, WISH.target)
    assert (await refused(stage, door(stage), bearer(stage, "role-9"), wish)).reason is Reason.NOT_GRANTED


@pytest_twisted.ensureDeferred
async def test_a_known_agent_hears_that_it_may_ask_and_a_stranger_never_does(stage: Stage) -> None:
    stage.core.asking = Asking({SYSTEM: Terms({WRITER: frozenset({"lead"})})})
    why = await refused(stage, door(stage), bearer(stage), AdmissionRequest(WRITER))
    assert why.marks == f"reason=not-granted reference={why.reference} request=possible"
    assert why.in_one("usual").endswith(f". {why.hint} [{why.marks}]")
    other = await refused(stage, door(stage), bearer(stage), AdmissionRequest("svc_other"))
    assert (other.marks, other.hint) == (f"reason=not-granted reference={other.reference}", TEXTS[other.reason][1])
    stranger = await refused(stage, door(stage), BearerToken(Secret("no")), AdmissionRequest(WRITER))
    assert stranger.marks == f"reason=credential-invalid reference={stranger.reference}"
    stage.break_log()
    lost = await refused(stage, door(stage), bearer(stage), AdmissionRequest(WRITER))
    assert (lost.marks, lost.hint) == ("reason=not-granted", TEXTS[lost.reason][1])  # nobody would find it

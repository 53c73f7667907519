"""A play demands exactly what it says; the fake door writes down what was asked of it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from bridge.adapter import Action, AdmissionRequest, BearerToken, Operation, Outcome, Reason, Refused, Result, Secret
from bridge.testing import FakeDoor, MemoryStream, Voice, memory_pair, now


async def echo(stream: MemoryStream) -> None:
    while data := await stream.receive():
        await stream.send(data.upper())
    await stream.close()


def begun() -> Voice:
    far, near = memory_pair()
    Deferred.fromCoroutine(echo(near)).addErrback(lambda failure: None)
    return Voice("client", far)


def test_a_conversation_as_expected_passes() -> None:
    begun().says(b"hello").hears(b"HE", b"LLO").hears_nothing().hangs_up()


@pytest.mark.parametrize("expected", [b"hello", b"HELLO!", b""])
def test_another_answer_fails(expected: bytes) -> None:
    client = begun()
    with pytest.raises(AssertionError, match="client heard b'HELLO'"):
        client.says(b"hello").hears(expected)
    client.resets()


def test_an_open_connection_has_not_ended() -> None:
    client = begun()
    with pytest.raises(AssertionError, match="never comes"):
        client.hears_the_end()
    client.resets()


def test_the_fake_door_keeps_the_story() -> None:
    """Refusals as scripted, then an admission whose permits each want one outcome."""
    door = FakeDoor(script=[Refused(Reason.CREDENTIAL_INVALID, "no")], actions=[Action.READ])
    credential = BearerToken(Secret("t"))
    with pytest.raises(Refused):
        now(door.admit(credential, AdmissionRequest()))
    admission = now(door.admit(credential, AdmissionRequest("svc")))
    now(admission.connect())
    now(admission.established({"backend": 7}))
    permit = now(admission.permit(Operation("sql.select", Action.READ)))
    assert admission.open_permits == ["sql.select"]
    admission.outcome(permit, Outcome(Result.SUCCESS))
    admission.refuse[Action.WRITE] = Refused(Reason.ACTION_DENIED, "no")
    with pytest.raises(Refused):
        now(admission.permit(Operation("sql.insert", Action.WRITE)))
    with pytest.raises(AssertionError, match="two outcomes"):
        admission.outcome(permit, Outcome(Result.SUCCESS))
    assert door.story[:6] == [
        "refuse credential-invalid", "admit", "connect", "established", "permit sql.select",
        "outcome sql.select success",
    ]  # fmt: skip

"""The agents' door: who gets through to a command, and as whom; every wait has an end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.defer import Deferred, succeed

from bridge.adapter import Address, PeerFault, TimedOut
from bridge.api.asking import LONGEST, AskingDoor
from bridge.api.services import Actor
from bridge.testing.stage import AGENT, BRIDGE, SYSTEM, Stage

AUDIENCE = f"bridge:{BRIDGE}/{SYSTEM}"


class Desk:
    """The real core; commands are played: ``asked`` has who gave which, with what."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.asked: list[tuple[Actor, str, Any]] = []
        self.admitted = 0
        nothing: Any = None
        self.door = AskingDoor(stage.core, nothing, self.run, lambda: None, lambda: frozenset({AUDIENCE}))

    def run(self, _call: Any, _services: Any, actor: Actor, name: str, parameters: Any) -> Deferred[Any]:
        self.asked.append((actor, name, parameters))
        return succeed({"done": name})

    def admit(self) -> None:
        self.admitted += 1

    def begin(self, sent: bytes, **place: Any) -> tuple[Any, Deferred[None]]:
        client, near = self.stage.pair(**place)
        running = Deferred.fromCoroutine(self.door.serve(near, self.admit))
        sending = Deferred.fromCoroutine(client.send(sent))
        sending.addErrback(lambda _: None)
        return client, running

    async def ask(self, token: bytes, body: bytes = b"{}", command: bytes = b"request.list", **place: Any) -> Any:
        """Status, headers and value of the answer."""
        head = b"POST /v1/%s HTTP/1.1\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
        client, running = self.begin(head % (command, token, len(body)) + body, **place)
        await self.stage.within(running)
        answer = bytes(client.other.sent)
        headers, _, value = answer.partition(b"\r\n\r\n")
        return int(headers.split()[1]), headers.decode(), json.loads(value)


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    stage = pytest_twisted.blockon(Deferred.fromCoroutine(Stage.open(tmp_path, reactor)))
    yield Desk(stage)
    pytest_twisted.blockon(Deferred.fromCoroutine(stage.close()))


@pytest_twisted.ensureDeferred
async def test_a_token_says_who_asks(desk: Desk) -> None:
    status, headers, value = await desk.ask(desk.stage.token(), b'{"state": "pending"}', split=7)
    assert (status, value, desk.admitted) == (200, {"done": "request.list"}, 1)
    assert "Connection: close" in headers
    ((actor, name, parameters),) = desk.asked
    assert (actor.id, actor.kind, actor.via, actor.name) == (AGENT, "agent", "api", AGENT)
    assert (actor.source, actor.behalf) == ("127.0.0.1:40007", "")
    assert (name, parameters) == ("request.list", {"state": "pending"})


@pytest_twisted.ensureDeferred
async def test_whoever_proves_nothing_gets_to_no_command_and_hears_the_same(desk: Desk) -> None:
    stage = desk.stage
    stage.add_agent("gone-1")
    stage.registry.in_thread_move("gone-1", "revoke", reason="a test")
    stage.refresh()
    other = stage.token(audiences=["bridge:other/orders"])
    answers = [
        await desk.ask(token, command=command)
        for token in (b"x", stage.token("nobody-9"), other, stage.token(emergency="bg_1"))
        for command in (b"request.show", b"agent.revoke")
    ]
    heard = {(status, value["error"], value["reason"], value["hint"]) for status, _, value in answers}
    assert len(heard) == 1
    assert all("WWW-Authenticate: Bearer" in headers for _, headers, _ in answers)
    status, _, value = await desk.ask(stage.token("gone-1"))
    assert (status, value["reason"]) == (403, "agent-inactive")
    assert (desk.asked, desk.admitted) == ([], 0)
    codes = [event["detail"]["code"] for event in stage.events("access.request")]
    assert codes[::2][:4] == ["jwt-form", "agent-unknown", "aud", "break-glass"]
    assert {event["outcome"] for event in stage.events("access.request")} == {"denied"}


@pytest_twisted.ensureDeferred
async def test_without_a_log_the_answer_is_the_same_without_a_reference(desk: Desk) -> None:
    desk.stage.break_log()
    status, _, value = await desk.ask(b"x")
    assert (status, value["reason"], value["reference"]) == (401, "credential-invalid", "")


@pytest_twisted.ensureDeferred
async def test_a_command_that_is_not_for_agents_is_not_there(desk: Desk) -> None:
    status, _, value = await desk.ask(desk.stage.token(), command=b"agent.revoke")
    assert (status, value["error"].startswith("no command agent.revoke; one of request.approve")) == (404, True)
    status, _, value = await desk.ask(desk.stage.token(), b"[1]")
    assert (status, value["error"]) == (400, "the parameters are not a JSON object")
    desk.stage.core.withheld = lambda: "a sink is behind"
    assert (await desk.ask(desk.stage.token()))[0] == 503
    assert desk.asked == []


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1/request.list HT", b"POST /v1/request.list HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"]
)
@pytest_twisted.ensureDeferred
async def test_a_request_that_does_not_come_is_not_waited_for(desk: Desk, sent: bytes) -> None:
    _, running = desk.begin(sent)
    desk.stage.clock.advance(LONGEST - 1)
    assert not running.called
    desk.stage.clock.advance(1)
    with pytest.raises(TimedOut):
        await desk.stage.within(running)
    client, running = desk.begin(sent)
    await client.close()
    with pytest.raises(PeerFault, match="ended early"):
        await desk.stage.within(running)


@pytest_twisted.ensureDeferred
async def test_a_token_in_plaintext_is_taken_from_this_machine_alone(desk: Desk) -> None:
    client, running = desk.begin(b"", client=Address("192.0.2.7", 4000))
    with pytest.raises(PeerFault, match="encrypted"):
        await desk.stage.within(running)
    assert not client.other.sent


@pytest_twisted.ensureDeferred
async def test_a_flood_from_one_address_reaches_neither_verifier_nor_log(desk: Desk) -> None:
    statuses = [(await desk.ask(desk.stage.token()))[0] for _ in range(60)]
    assert statuses == [200] * 50 + [429] * 10
    desk.stage.clock.advance(1)
    assert (await desk.ask(desk.stage.token()))[0] == 200

"""The shared relay: each way it can end, and that nothing of it is left running."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from bridge.adapter import PeerFault, StreamClosed
from bridge.adapter.relay import RelayEnd, Side, relay
from bridge.testing import MemoryStream, memory_pair


class Session:
    """A relay between two memory connections; ``agent`` and ``legacy`` are the far ends."""

    def __init__(self, **functions: Any) -> None:
        self.agent, client = memory_pair()
        upstream, self.legacy = memory_pair()
        self.end: Any = None
        wanted = {"to_upstream": upstream.send, "to_client": client.send, **functions}
        self.running = Deferred.fromCoroutine(relay(client, upstream, **wanted))
        self.running.addBoth(self._ended)

    def _ended(self, result: Any) -> None:
        self.end = getattr(result, "value", result)


def run(coroutine: Any) -> Any:
    return Deferred.fromCoroutine(coroutine).result


def heard(stream: MemoryStream) -> bytes:
    return stream.waiting


def test_bytes_pass_both_ways_and_upstream_end_of_file_ends_it() -> None:
    """What upstream sent before its end of file has reached the client when the relay ends."""
    session = Session()
    run(session.agent.send(b"question"))
    assert heard(session.legacy) == b"question"
    run(session.legacy.send(b"answer"))
    run(session.legacy.close())
    assert heard(session.agent) == b"answer"
    assert session.end == RelayEnd(Side.UPSTREAM)


def test_client_end_of_file_half_closes_upstream_and_the_answer_still_comes() -> None:
    """A client that has asked its last question still hears the answer."""
    session = Session()
    run(session.agent.send_eof())
    assert run(session.legacy.receive()) == b""
    assert session.end is None
    run(session.legacy.send(b"last answer"))
    run(session.legacy.close())
    assert heard(session.agent) == b"last answer"
    assert session.end == RelayEnd(Side.CLIENT)


def test_client_reset_ends_it_at_once() -> None:
    """Nobody is left to answer."""
    session = Session()
    session.agent.abort()
    assert session.end == RelayEnd(Side.CLIENT, "the peer reset the connection")


def test_upstream_reset_ends_it() -> None:
    """The words of the break are the cause."""
    session = Session()
    session.legacy.abort()
    assert session.end == RelayEnd(Side.UPSTREAM, "the peer reset the connection")


@pytest.mark.parametrize("direction", ["to_upstream", "to_client"])
def test_exception_in_a_function_ends_both_directions(direction: str) -> None:
    """The exception goes on to the caller, and neither side is read any more."""

    async def refuse(data: bytes) -> None:
        raise PeerFault("not allowed")

    session = Session(**{direction: refuse})
    sender = session.agent if direction == "to_upstream" else session.legacy
    run(sender.send(b"x"))
    assert isinstance(session.end, PeerFault)
    run(session.agent.send(b"more"))
    run(session.legacy.send(b"more"))
    assert b"more" not in heard(session.legacy) + heard(session.agent)


@pytest.mark.parametrize("woken", ["to_upstream", "to_client"])
def test_a_function_that_is_woken_by_the_other_and_fails_ends_both(woken: str) -> None:
    """The other direction is in the middle of its own step then, where a cancel would be lost."""
    waiting: Deferred[None] = Deferred()
    seen: list[bytes] = []

    async def wait_and_fail(data: bytes) -> None:
        await waiting
        raise PeerFault("not allowed")

    async def wake(data: bytes) -> None:
        seen.append(data)
        waiting.callback(None)

    waking = "to_client" if woken == "to_upstream" else "to_upstream"
    session = Session(**{woken: wait_and_fail, waking: wake})
    senders = {"to_upstream": session.agent, "to_client": session.legacy}
    run(senders[woken].send(b"x"))
    run(senders[waking].send(b"y"))
    assert isinstance(session.end, PeerFault)
    Deferred.fromCoroutine(senders[waking].send(b"more"))
    assert seen == [b"y"]


@pytest.mark.parametrize("woken", ["to_upstream", "to_client"])
def test_so_it_is_when_the_waking_function_is_a_plain_one(woken: str) -> None:
    waiting: Deferred[None] = Deferred()
    seen: list[bytes] = []

    async def wait_and_fail(data: bytes) -> None:
        await waiting
        raise PeerFault("not allowed")

    def wake(data: bytes) -> None:
        seen.append(data)
        if not waiting.called:
            waiting.callback(None)

    waking = "to_client" if woken == "to_upstream" else "to_upstream"
    session = Session(**{woken: wait_and_fail, waking: wake})
    senders = {"to_upstream": session.agent, "to_client": session.legacy}
    run(senders[woken].send(b"x"))
    run(senders[waking].send(b"y"))
    assert isinstance(session.end, PeerFault)
    Deferred.fromCoroutine(senders[waking].send(b"more"))
    assert seen == [b"y"]


def test_cancelling_cancels_what_a_function_waits_for() -> None:
    """A function that waits (for a permit) hears the cancellation before the relay has ended."""
    order: list[str] = []

    async def wait(data: bytes) -> None:
        try:
            await Deferred()
        finally:
            order.append("function ended")

    session = Session(to_upstream=wait)
    run(session.agent.send(b"x"))
    session.running.cancel()
    order.append("relay ended")
    assert isinstance(session.end, CancelledError)
    assert order == ["function ended", "relay ended"]


def test_stream_closed_out_of_a_function_is_the_end_of_the_side_it_sends_to() -> None:
    """Sending failed: upstream is what ended, and its last words are still pumped."""

    async def broken(data: bytes) -> None:
        raise StreamClosed("broken pipe")

    session = Session(to_upstream=broken)
    run(session.agent.send(b"x"))
    run(session.legacy.send(b"shutting down"))
    run(session.legacy.close())
    assert heard(session.agent) == b"shutting down"
    assert session.end == RelayEnd(Side.UPSTREAM, "broken pipe")


def test_slow_client_stops_the_reading_of_upstream() -> None:
    """Back-pressure: while ``to_client`` waits, upstream's bytes stay where they are."""
    session = Session()
    run(session.legacy.send(bytes(200_000)))
    run(session.legacy.send(bytes(200_000)))
    sending = Deferred.fromCoroutine(session.legacy.send(bytes(300_000)))
    assert not sending.called
    taken = 0
    while taken < 700_000:
        taken += len(run(session.agent.receive()))
    assert sending.called
    run(session.legacy.close())
    assert session.end == RelayEnd(Side.UPSTREAM)

"""One set of promises, kept by memory streams, TCP and TLS connections alike (``bridge.adapter.Stream``)."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor, task  # noqa: TID251
from twisted.internet.defer import Deferred

from bridge.adapter import PeerFault, StreamClosed, TimedOut
from bridge.net import Connection, ServerTLS, UpstreamTLS
from bridge.testing import FakeTLS, memory_pair

Pair = tuple[Any, Any]
Make = Callable[[], Awaitable[Pair]]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for ``db.test`` and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("db.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def tcp_pair() -> tuple[Connection, Connection]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far = listening.accept()[0]
    return Connection(reactor, near), Connection(reactor, far)


async def both(one: Any, other: Any) -> tuple[Any, Any]:
    first, second = Deferred.fromCoroutine(one), Deferred.fromCoroutine(other)
    return await first, await second


@pytest.fixture(params=["memory", "tcp", "tls"])
def make(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Any:
    made: list[Any] = []

    async def pair() -> Pair:
        near, far = memory_pair(reactor) if request.param == "memory" else tcp_pair()
        made.extend((near, far))
        if request.param == "tls":
            await both(
                near.start_tls(UpstreamTLS("verify-full", "db.test", certificate[0])),
                far.start_tls(ServerTLS(*certificate)),
            )
        return near, far

    yield pair
    for stream in made:
        stream.abort()


async def read_all(stream: Any) -> bytes:
    parts = []
    while chunk := await stream.receive(5):
        parts.append(chunk)
    return b"".join(parts)


async def wait_until(holds: Callable[[], bool]) -> None:
    end = reactor.seconds() + 5  # type: ignore[attr-defined]
    while not holds():
        assert reactor.seconds() < end  # type: ignore[attr-defined]
        await task.deferLater(reactor, 0.005, lambda: None)


async def read_exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive(5)
    return data


@pytest_twisted.ensureDeferred
async def test_bytes_arrive_in_order_and_end_of_file_stays(make: Make) -> None:
    """All bytes, then ``b""`` once and ever after."""
    near, far = await make()
    await near.send(b"one ")
    await near.send(memoryview(b"two "))
    await near.send(bytearray(b"three"))
    await near.close()
    assert await read_all(far) == b"one two three"
    assert await far.receive(1) == b""


@pytest_twisted.ensureDeferred
async def test_a_late_receive_leaves_the_stream_usable(make: Make) -> None:
    """TimedOut, then the bytes that came later."""
    near, far = await make()
    with pytest.raises(TimedOut):
        await far.receive(0.02)
    await near.send(b"late")
    assert await far.receive(5) == b"late"


@pytest_twisted.ensureDeferred
async def test_unread_bytes_come_first(make: Make) -> None:
    """What was put back is what the next receive returns."""
    near, far = await make()
    await near.send(b"hello")
    data = await read_exactly(far, 5)
    far.unread(data[1:])
    assert await far.receive(5) == b"ello"


@pytest_twisted.ensureDeferred
async def test_half_close_leaves_the_other_direction_open(make: Make) -> None:
    """After ``send_eof`` the peer sees the end of file and can still answer; sending is over for us."""
    near, far = await make()
    await near.send(b"question")
    await near.send_eof()
    assert await read_all(far) == b"question"
    await far.send(b"answer")
    await far.close()
    assert await read_all(near) == b"answer"
    with pytest.raises(StreamClosed):
        await near.send(b"more")


@pytest_twisted.ensureDeferred
async def test_an_end_that_could_not_be_sent_is_no_half_close() -> None:
    """The peer reset the connection, which we meet in ``send_eof``: what was sent before was not all taken."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = Connection(reactor, socket.create_connection(listening.getsockname()))
        far = listening.accept()[0]
    await near.send(b"question")
    far.close()  # with bytes unread: RST
    with pytest.raises(StreamClosed):
        await near.send_eof()
    near.abort()


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_send_waits_for_a_slow_peer_and_loses_nothing(make: Make) -> None:
    """32 MiB are not taken before the peer reads; then all of it arrives."""
    near, far = await make()
    data = bytes(range(256)) * (32 * 4096)
    sending = Deferred.fromCoroutine(near.send(data))
    await task.deferLater(reactor, 0.05, lambda: None)
    assert not sending.called
    assert await read_exactly(far, len(data)) == data
    await sending


@pytest_twisted.ensureDeferred
async def test_each_chunk_is_given_to_a_plain_function_that_may_ask_to_wait(make: Make) -> None:
    """While what it returned has not run, it gets nothing more."""
    near, far = await make()
    got: list[bytes] = []
    waiting: Deferred[None] = Deferred()

    async def wait() -> None:
        await waiting
        got.append(b"|")

    def take(data: bytes) -> Any:
        got.append(data)
        return wait() if data.endswith(b"?") and b"|" not in got else None

    reading = Deferred.fromCoroutine(far.each(take))
    for said in (b"one", b"two?", b"three"):
        await near.send(said)
        await task.deferLater(reactor, 0.01, lambda: None)
    await wait_until(lambda: b"".join(got).endswith(b"two?"))
    waiting.callback(None)
    await near.close()
    assert await reading == ""
    assert b"".join(got) == b"onetwo?|three"


@pytest_twisted.ensureDeferred
async def test_what_a_plain_function_raises_comes_out_of_each(make: Make) -> None:
    near, far = await make()

    def take(data: bytes) -> None:
        raise PeerFault(data.decode())

    reading = Deferred.fromCoroutine(far.each(take))
    await near.send(b"no")
    with pytest.raises(PeerFault, match="no"):
        await reading
    await near.send(b" more")
    assert await far.receive(5) == b" more"


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_send_or_wait_waits_only_for_a_slow_peer(make: Make) -> None:
    near, far = await make()
    data = bytes(range(256)) * (32 * 4096)
    first = near.send_or_wait(b"little")
    if first is not None:
        await first
    assert await read_exactly(far, 6) == b"little"
    waits = near.send_or_wait(data)
    assert waits is not None
    sending = Deferred.fromCoroutine(waits)
    assert await read_exactly(far, len(data)) == data
    await sending
    near.abort()
    with pytest.raises(StreamClosed):
        await (near.send_or_wait(b"more") or task.deferLater(reactor, 0, lambda: None))


@pytest_twisted.ensureDeferred
async def test_abort_wakes_everybody_with_stream_closed(make: Make) -> None:
    """Our own waits and the peer's hear it."""
    near, far = await make()
    ours, theirs = Deferred.fromCoroutine(near.receive()), Deferred.fromCoroutine(far.receive())
    near.abort()
    for waiting in (ours, theirs):
        with pytest.raises(StreamClosed):
            await waiting
    with pytest.raises(StreamClosed):
        await near.send(b"x")


@pytest_twisted.ensureDeferred
async def test_cancelled_receive_loses_no_bytes(make: Make) -> None:
    """A receive that was cancelled leaves the next bytes for the next receive."""
    near, far = await make()
    waiting = Deferred.fromCoroutine(far.receive())
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    await near.send(b"kept")
    assert await far.receive(5) == b"kept"


@pytest_twisted.ensureDeferred
async def test_close_never_raises_and_can_be_repeated(make: Make) -> None:
    """Closing twice, or after the peer has gone."""
    near, far = await make()
    await near.close()
    await near.close()
    await far.close()
    with pytest.raises(StreamClosed):
        await near.receive(1)


@pytest.fixture(params=["memory", "tcp"])
def plain(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Any:
    """A plaintext pair and TLS settings for each end."""
    near, far = memory_pair(reactor) if request.param == "memory" else tcp_pair()
    if request.param == "memory":
        settings: tuple[Any, Any] = (FakeTLS(False), FakeTLS(True, chain=(b"der",)))
    else:
        settings = (UpstreamTLS("verify-full", "db.test", certificate[0]), ServerTLS(*certificate))
    yield near, far, *settings
    near.abort()
    far.abort()


@pytest_twisted.ensureDeferred
async def test_tls_facts_alpn_and_certificate(plain: Any) -> None:
    """Both ends know the version and the protocol agreed on; the client knows the server's certificate."""
    near, far, client, server = plain
    names = ("postgresql",)
    mine, theirs = await both(
        near.start_tls(client.with_alpn(names, required=True)), far.start_tls(server.with_alpn(names, required=True))
    )
    assert (mine.version, mine.alpn, theirs.alpn) == ("TLSv1.3", "postgresql", "postgresql")
    assert len(mine.peer_chain) == 1
    assert theirs.peer_chain == ()
    assert near.tls == mine
    await near.send(b"secret")
    assert await far.receive(5) == b"secret"


@pytest_twisted.ensureDeferred
async def test_a_client_that_is_asked_for_a_certificate_and_sends_none(certificate: tuple[Path, Path]) -> None:
    near, far = tcp_pair()
    client = UpstreamTLS("verify-full", "db.test", certificate[0])
    server = ServerTLS(*certificate, client_ca=certificate[0])
    _, theirs = await both(near.start_tls(client), far.start_tls(server))
    assert theirs.peer_chain == ()
    near.abort()
    far.abort()


@pytest_twisted.ensureDeferred
async def test_required_alpn_that_is_not_offered_fails(plain: Any) -> None:
    """The server's end raises PeerFault."""
    near, far, client, server = plain
    asking = Deferred.fromCoroutine(near.start_tls(client, timeout=2))
    asking.addErrback(lambda failure: None)
    with pytest.raises(PeerFault, match="NO_APPLICATION_PROTOCOL"):
        await far.start_tls(server.with_alpn(("postgresql",), required=True))
    await asking


@pytest_twisted.ensureDeferred
async def test_plaintext_before_the_handshake_is_an_injection(plain: Any) -> None:
    """Bytes that arrived before ``start_tls`` are refused, not decrypted nor believed."""
    near, far, _, server = plain
    await near.send(b"injected")
    far.unread(await far.receive(5))
    with pytest.raises(PeerFault, match="plaintext"):
        await far.start_tls(server)


@pytest_twisted.ensureDeferred
async def test_sniffed_hello_is_replayed(plain: Any) -> None:
    """Direct TLS: the first bytes were received to look at them."""
    near, far, client, server = plain
    asking = Deferred.fromCoroutine(near.start_tls(client))
    first = await far.receive(5)
    assert first[0] == 0x16
    facts = await far.start_tls(server, replay=first)
    assert (await asking).version == facts.version


@pytest_twisted.ensureDeferred
async def test_handshake_with_garbage_is_a_peer_fault(plain: Any) -> None:
    """Something that is no TLS."""
    near, far, _, server = plain
    await near.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(PeerFault, match="TLS handshake failed"):
        await far.start_tls(server, replay=await far.receive(5))


@pytest_twisted.ensureDeferred
async def test_handshake_that_does_not_come_times_out(plain: Any) -> None:
    """A silent client costs no more than the timeout."""
    _, far, _, server = plain
    with pytest.raises(TimedOut):
        await far.start_tls(server, timeout=0.05)

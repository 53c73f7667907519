"""TLS on real sockets: hellos in crumbs, libpq's modes, files that are no certificates."""

from __future__ import annotations

import datetime
import socket
import ssl
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

from bridge.adapter import PeerFault, StreamClosed
from bridge.net import Connection, ServerTLS, TLSMisconfigured, UpstreamTLS


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes a self-signed certificate with this common name and these alternative names."""

    def make(name: str, *others: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(subject, subject, key.public_key(), 7)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        )
        if others:
            names = x509.SubjectAlternativeName([x509.DNSName(other) for other in others])
            builder = builder.add_extension(names, critical=False)
        folder = tmp_path_factory.mktemp("issued")
        certificate, secret = folder / "cert.pem", folder / "key.pem"
        certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        pkcs8 = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption()))
        return certificate, secret

    return make


async def handshake(client: UpstreamTLS, server: ServerTLS) -> Any:
    """The client's facts, or the client's fault."""
    near_socket, far_socket = socket.socketpair()
    near, far = Connection(reactor, near_socket), Connection(reactor, far_socket)
    serving = Deferred.fromCoroutine(far.start_tls(server))
    serving.addErrback(lambda failure: failure.trap(PeerFault))
    try:
        return await near.start_tls(client)
    except PeerFault as fault:
        return str(fault)
    finally:
        near.abort()
        far.abort()
        await serving


@pytest.mark.parametrize(
    ("mode", "name", "trusted", "works"),
    [
        ("prefer", "anything", False, True),
        ("require", "anything", False, True),
        ("require", "anything", "other", False),  # a CA file makes require verify, as in libpq
        ("verify-ca", "other.name", True, True),
        ("verify-ca", "db.test", "other", False),
        ("verify-full", "db.test", True, True),
        ("verify-full", "other.name", True, False),
        ("verify-full", "db.test", "other", False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_modes_verify_what_libpq_verifies(issued: Any, mode: Any, name: str, trusted: Any, works: bool) -> None:
    """Chain, name, both or nothing."""
    certificate, key = issued("db.test", "db.test")
    ca = {True: certificate, False: None, "other": issued("else")[0]}[trusted]
    result = await handshake(UpstreamTLS(mode, name, ca), ServerTLS(certificate, key))
    if works:
        assert result.version == "TLSv1.3"
    else:
        assert "CERTIFICATE_VERIFY_FAILED" in result


@pytest_twisted.ensureDeferred
async def test_common_name_counts_when_there_is_no_alternative_name(issued: Any) -> None:
    """Legacy certificates; libpq does so too."""
    certificate, key = issued("old.test")
    assert (await handshake(UpstreamTLS("verify-full", "old.test", certificate), ServerTLS(certificate, key))).cipher


@pytest_twisted.ensureDeferred
async def test_client_hello_byte_by_byte_and_plaintext_with_the_finished(issued: Any) -> None:
    """A client that sends one byte per segment, and data right behind its handshake."""
    certificate, key = issued("db.test", "db.test")
    near, far_socket = socket.socketpair()
    near.setblocking(False)
    far = Connection(reactor, far_socket)
    serving = Deferred.fromCoroutine(far.start_tls(ServerTLS(certificate, key)))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(certificate))
    client = context.wrap_bio(incoming, outgoing, server_hostname="db.test")
    done = False
    while not done:
        try:
            client.do_handshake()
            client.write(b"right behind")
            done = True
        except ssl.SSLWantReadError:
            pass
        for byte in outgoing.read():
            near.send(bytes([byte]))
            await task.deferLater(reactor, 0)
        if not done:
            await task.deferLater(reactor, 0.002)
            try:
                incoming.write(near.recv(65536))
            except BlockingIOError:
                continue
    assert (await serving).version == "TLSv1.3"
    assert await far.receive(5) == b"right behind"
    near.close()
    far.abort()


@pytest_twisted.ensureDeferred
async def test_garbage_inside_tls_breaks_the_stream(issued: Any) -> None:
    """What no longer decrypts ends the connection; nothing of it is delivered, and nothing is sent in plaintext."""
    certificate, key = issued("db.test", "db.test")
    near_socket, far_socket = socket.socketpair()
    near, far = Connection(reactor, near_socket), Connection(reactor, far_socket)
    serving = Deferred.fromCoroutine(far.start_tls(ServerTLS(certificate, key)))
    await near.start_tls(UpstreamTLS("require"))
    await serving
    near_socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(StreamClosed):
        await far.receive(5)
    with pytest.raises(StreamClosed):
        await far.send(b"x")
    near.abort()
    far.abort()


def test_files_that_cannot_be_used_are_named(issued: Any, tmp_path: Path) -> None:
    """Missing, not PEM, of another key, and verify-full without a name."""
    certificate, key = issued("db.test")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for attempt in (
        lambda: ServerTLS(tmp_path / "missing.pem", key),
        lambda: ServerTLS(nonsense, key),
        lambda: ServerTLS(certificate, issued("else")[1]),
        lambda: UpstreamTLS("verify-ca", "db.test", nonsense),
    ):
        with pytest.raises(TLSMisconfigured, match=r"\.pem: "):
            attempt()
    with pytest.raises(TLSMisconfigured, match="needs the server's name"):
        UpstreamTLS("verify-full", ca=certificate)

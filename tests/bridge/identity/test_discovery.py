"""Fetching from a real HTTP and HTTPS server on this machine, with everything an issuer may do wrong."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet import (
    reactor,  # noqa: TID251  # a real server and client need the real reactor
    ssl,
    task,
)
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from bridge.https import MAX_DOCUMENT, Fetcher, FetchFailed, check_url, https_agent
from bridge.identity.discovery import locate_keys
from bridge.identity.key_sets import RemoteKeys, remote_keys
from bridge.identity.settings import IssuerSettings, KeyLocation

NO_KEYS = b'{"keys":[]}'


class Issuer(Resource):
    """Answers by path; ``metadata`` is the discovery document."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.metadata: dict[str, Any] = {}
        self.asked: list[bytes] = []

    def render_GET(self, request: Any) -> Any:
        self.asked.append(request.path)
        if request.path == b"/.well-known/openid-configuration":
            return json.dumps(self.metadata).encode()
        if request.path == b"/slow":
            return NOT_DONE_YET
        if request.path == b"/redirect":
            request.redirect(b"/keys")
            return NO_KEYS
        if request.path == b"/huge":
            return b" " * (MAX_DOCUMENT + 1)
        if request.path == b"/error":
            request.setResponseCode(500)
            return NO_KEYS
        if request.path == b"/dribble":
            request.write(b"{")
            return NOT_DONE_YET
        request.setHeader(b"cache-control", b"public, max-age=120, must-revalidate")
        return NO_KEYS


def certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    port = reactor.listenTCP(0, Site(made), interface="127.0.0.1")  # type: ignore[attr-defined]
    made.base = f"http://127.0.0.1:{port.getHost().port}"
    made.metadata = {"issuer": made.base, "jwks_uri": made.base + "/keys"}
    yield made
    pytest_twisted.blockon(port.stopListening())


def fetcher(timeout: float = 5.0) -> Fetcher:
    return Fetcher(https_agent(reactor), reactor, http_loopback=True, timeout=timeout)  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_a_document_and_its_age(issuer: Issuer) -> None:
    found = await fetcher().get(issuer.base + "/keys")
    assert (found.body, found.max_age) == (NO_KEYS, 120)


@pytest.mark.parametrize(
    ("path", "why"), [("/redirect", "status 302"), ("/error", "status 500"), ("/huge", "longer than 262144")]
)
@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_not_the_document(issuer: Issuer, path: str, why: str) -> None:
    with pytest.raises(FetchFailed, match=why):
        await fetcher().get(issuer.base + path)
    assert issuer.asked == [path.encode()]


@pytest.mark.parametrize("path", ["/slow", "/dribble"])
@pytest_twisted.ensureDeferred
async def test_an_issuer_that_does_not_finish(issuer: Issuer, path: str) -> None:
    with pytest.raises(FetchFailed, match="no whole answer"):
        await fetcher(0.2).get(issuer.base + path)


@pytest.mark.parametrize(
    "url",
    ["http://idp.example/keys", "http://10.0.0.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "https://", "https://a:b@c/",
     "https://ex\u00e4mple/", "https://h/#f", "https://h:99999/", "http://127.0.0.1.evil.example/", "keys"],
)  # fmt: skip
def test_urls_that_are_never_fetched(url: str) -> None:
    with pytest.raises(FetchFailed):
        check_url(url, http_loopback=True)


def test_plain_http_to_this_machine_must_be_allowed() -> None:
    with pytest.raises(FetchFailed):
        check_url("http://127.0.0.1/")
    for url in ("http://127.0.0.1:8/", "http://[::1]/", "http://localhost/"):
        check_url(url, http_loopback=True)


async def locate(issuer: Issuer, **more: Any) -> str:
    return await locate_keys(fetcher(), issuer.base, http_loopback=True, **more)


@pytest_twisted.ensureDeferred
async def test_discovery_leads_to_the_keys(issuer: Issuer) -> None:
    assert await locate(issuer) == issuer.base + "/keys"


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://other.example"}, {"issuer": None}, {"jwks_uri": None}, {"jwks_uri": 5}, {"jwks_uri": "http://x/"},
     {"jwks_uri": "https://keys.example/"}, {"jwks_uri": "http://127.0.0.1:1/keys"}],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_discovery_that_leads_elsewhere(issuer: Issuer, change: dict[str, Any]) -> None:
    issuer.metadata.update(change)
    with pytest.raises(FetchFailed):
        await locate(issuer)


@pytest_twisted.ensureDeferred
async def test_the_issuer_is_compared_to_the_letter(issuer: Issuer) -> None:
    issuer.metadata["issuer"] += "/"
    with pytest.raises(FetchFailed, match="another issuer"):
        await locate(issuer)


@pytest_twisted.ensureDeferred
async def test_a_listed_origin_may_have_the_keys(issuer: Issuer) -> None:
    issuer.metadata["jwks_uri"] = "https://keys.example:443/jwks"
    assert await locate(issuer, origins=["https://keys.example"]) == "https://keys.example:443/jwks"


async def settled(keys: RemoteKeys, failures: list[str]) -> None:
    for _ in range(200):
        if keys.ready() or failures:
            return
        await task.deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_the_whole_way_by_discovery(issuer: Issuer) -> None:
    where = KeyLocation(discovery=True, http_loopback=True)
    failures: list[str] = []
    keys = remote_keys(
        IssuerSettings("corp", issuer.base, "oidc", keys=where),
        https_agent(reactor),
        reactor,  # type: ignore[arg-type]
        on_failure=lambda name, cause: failures.append(cause),
    )
    keys.start()
    try:
        await settled(keys, failures)
        assert (keys.ready(), failures) == (True, [])
        assert issuer.asked == [b"/.well-known/openid-configuration", b"/keys"]
    finally:
        keys.stop()


@pytest_twisted.async_yield_fixture
async def secure() -> AsyncIterator[tuple[str, bytes]]:
    cert, key = certificate()
    context = ssl.PrivateCertificate.loadPEM(cert + key).options()
    port = reactor.listenSSL(0, Site(Issuer()), context, interface="127.0.0.1")  # type: ignore[attr-defined]
    yield f"https://127.0.0.1:{port.getHost().port}/keys", cert
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_https_with_an_authority_of_ones_own(secure: tuple[str, bytes]) -> None:
    url, authority = secure
    trusting = Fetcher(https_agent(reactor, authority), reactor)  # type: ignore[arg-type]
    assert (await trusting.get(url)).body == NO_KEYS


@pytest_twisted.ensureDeferred
async def test_https_with_an_authority_nobody_knows(secure: tuple[str, bytes]) -> None:
    url, _ = secure
    for authority in (None, certificate()[0]):
        failures: list[str] = []
        settings = IssuerSettings("corp", "https://idp", "oidc", keys=KeyLocation(jwks_uri=url))
        keys = remote_keys(
            settings,
            https_agent(reactor, authority),
            reactor,  # type: ignore[arg-type]
            on_failure=lambda name, cause, heard=failures: heard.append(cause),  # type: ignore[misc]
        )
        keys.start()
        await settled(keys, failures)
        keys.stop()
        assert not keys.ready()
        assert len(failures) == 1


def test_an_authority_file_without_a_certificate() -> None:
    with pytest.raises(ValueError):
        https_agent(reactor, b"nothing")

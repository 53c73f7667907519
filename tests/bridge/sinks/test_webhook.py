"""The webhook against a real HTTPS server of twisted.web: signed, the same key for the same events, certificates
verified, and every way to say no."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet import reactor, ssl  # noqa: TID251 - tests own the process
from twisted.internet.defer import maybeDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from bridge.accounts.vaults import EnvironmentVault, SecretReference, SecretUnavailable, Vaults
from bridge.sinks import Batch, DeliveryFailed, WebhookDestination
from bridge.storage import ThreadPool

SECRET = "webhook-secret-4f1c"
BATCH = Batch("prod-1", 101, 102, ('{"seq":101}', '{"seq":102,"text":"ä"}'), "00")


class Receiver(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.silent = False

    def render_POST(self, request: Any) -> Any:
        raw = request.requestHeaders.getAllRawHeaders()
        headers = {name.decode().lower(): values[0].decode() for name, values in raw}
        self.got.append((headers, request.content.read()))
        if self.silent:
            request.notifyFinish().addErrback(lambda _: None)
            return NOT_DONE_YET
        request.setResponseCode(self.status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return b"thanks"


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "localhost.pem", folder / "localhost.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


class Hook:
    def __init__(self, folder: Path) -> None:
        self.receiver = Receiver()
        self.ca, key = self_signed(folder)
        context = ssl.DefaultOpenSSLContextFactory(str(key), str(self.ca))
        self.port = reactor.listenSSL(0, Site(self.receiver), context, interface="127.0.0.1")
        self.pool = ThreadPool("test", 2, reactor)
        self.vaults = Vaults({"env": EnvironmentVault()}, self.pool, reactor)

    def destination(
        self, *, format: str = "jsonl", ca: Path | None = None, timeout: float = 5.0, host: str = "localhost",
        secret: str = "env:HOOK_SECRET",
    ) -> WebhookDestination:  # fmt: skip
        url = f"https://{host}:{self.port.getHost().port}/hooks/idbridge"
        return WebhookDestination(
            reactor, "soc", format, url, SecretReference.parse(secret), self.vaults, self.pool, lambda: 1_795_615_909.5,
            ca or self.ca, timeout,
        )  # fmt: skip


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    made = Hook(tmp_path)
    yield made
    pytest_twisted.blockon(maybeDeferred(made.port.stopListening))
    pytest_twisted.blockon(made.pool.stop())


async def failure(destination: WebhookDestination, kind: type[Exception] = DeliveryFailed) -> Exception:
    with pytest.raises(kind) as caught:
        await destination.deliver(BATCH)
    assert SECRET not in str(caught.value)
    return caught.value


@pytest_twisted.ensureDeferred
async def test_a_receiver_can_check_who_sent_what(hook: Hook) -> None:
    await hook.destination().deliver(BATCH)
    (headers, body) = hook.receiver.got[0]
    assert json.loads(body) == {
        "log": "prod-1", "sink": "soc", "first": 101, "last": 102, "format": "jsonl",
        "events": [{"seq": 101}, {"seq": 102, "text": "ä"}],
    }  # fmt: skip
    assert b'"events":[{"seq":101},{"seq":102,"text":"\xc3\xa4"}]' in body  # the exact text
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("prod-1.soc.101-102", "1795615909")
    assert headers["idempotency-key"] == '"prod-1.soc.101-102"'
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    assert headers["content-type"] == "application/json"


@pytest_twisted.ensureDeferred
async def test_the_same_events_have_the_same_key(hook: Hook) -> None:
    for _ in range(2):
        await hook.destination().deliver(BATCH)
    first, second = (headers["webhook-id"] for headers, _ in hook.receiver.got)
    assert first == second


@pytest_twisted.ensureDeferred
async def test_a_secret_in_the_form_of_the_standard(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + base64.b64encode(b"raw-bytes").decode())
    await hook.destination().deliver(BATCH)
    (headers, body) = hook.receiver.got[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(b"raw-bytes", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    monkeypatch.setenv("HOOK_SECRET", "whsec_***")
    assert "not base64" in str(await failure(hook.destination()))


@pytest_twisted.ensureDeferred
async def test_lines_that_are_no_json_are_strings(hook: Hook) -> None:
    line = 'CEF:0|a "b"|\\n'
    await hook.destination(format="cef").deliver(Batch("prod-1", 1, 1, (line,), "00"))
    assert json.loads(hook.receiver.got[0][1])["events"] == [line]


@pytest_twisted.ensureDeferred
async def test_an_event_that_was_altered_does_not_spoil_the_others(hook: Hook) -> None:
    await hook.destination().deliver(Batch("prod-1", 1, 2, ('{"seq":1', '{"seq":2}'), "00"))
    assert json.loads(hook.receiver.got[0][1])["events"] == ['{"seq":1', {"seq": 2}]


@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 503])
@pytest_twisted.ensureDeferred
async def test_anything_but_2xx_is_not_taken(hook: Hook, status: int) -> None:
    hook.receiver.status = status
    hook.receiver.headers = {"Retry-After": "17", "Location": "https://elsewhere.example"}
    found = await failure(hook.destination())
    assert str(found) == f"the receiver answered with status {status}"
    assert isinstance(found, DeliveryFailed)
    assert found.retry_after == 17
    assert len(hook.receiver.got) == 1


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_does_not_answer(hook: Hook) -> None:
    hook.receiver.silent = True
    assert "0.5 seconds" in str(await failure(hook.destination(timeout=0.5)))


@pytest_twisted.ensureDeferred
async def test_a_certificate_of_another_authority_is_refused(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other, _ = self_signed(tmp_path / "other")
    assert "certificate verify failed" in str(await failure(hook.destination(ca=other)))
    assert hook.receiver.got == []


@pytest_twisted.ensureDeferred
async def test_a_certificate_for_another_name_is_refused(hook: Hook) -> None:
    await failure(hook.destination(host="127.0.0.2"))
    assert hook.receiver.got == []


@pytest_twisted.ensureDeferred
async def test_nobody_listens(hook: Hook) -> None:
    destination = hook.destination()
    await hook.port.stopListening()
    assert "refused" in str(await failure(destination))


@pytest_twisted.ensureDeferred
async def test_a_secret_that_cannot_be_read(hook: Hook) -> None:
    assert "HOOK_ELSEWHERE" in str(await failure(hook.destination(secret="env:HOOK_ELSEWHERE"), SecretUnavailable))
    assert hook.receiver.got == []


@pytest_twisted.ensureDeferred
async def test_a_ca_file_that_is_none(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    assert "no certificate" in str(await failure(hook.destination(ca=tmp_path / "empty.pem")))
    await failure(hook.destination(ca=tmp_path / "missing.pem"), OSError)

"""Secrets of a Vault's KV engine, asked over real HTTP as its API documents it: logins, leases, the cache, refusals."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251  a real server and client need the real reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from bridge.accounts.vaults import (
    EnvironmentVault,
    KeyValueVault,
    KeyValueVaults,
    KVSettings,
    SecretReference,
    SecretUnavailable,
    VaultLogin,
    Vaults,
)
from bridge.adapter import Secret
from bridge.https import https_agent
from bridge.storage import ThreadPool

CANARY = "canary-kv-8a31"
SECRET_ID = "canary-secret-id-77"
JWT = "canary.service.account"


class PlayedVault(Resource):
    """Answers as the API pages of KV version 2, AppRole and Kubernetes show it."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.asked = []
        self.logins = 0
        self.lease = 3600
        self.valid = {"static-token"}
        self.secrets = {"warehouse/reader": {"password": CANARY, "user": "svc", "number": 7, "empty": ""}}
        self.status = 0
        self.hang = False

    def render_POST(self, request):
        path, body = request.path.decode(), json.loads(request.content.read())
        self.asked.append(path)
        assert request.getHeader("x-vault-request") == "true"
        good = {
            "/v1/auth/approle/login": {"role_id": "role-1", "secret_id": SECRET_ID},
            "/v1/auth/clusters/one/login": {"role": "idbridge", "jwt": JWT},
        }
        if body != good.get(path):
            return self.refuse(request, 400, "invalid role or secret ID")
        self.logins += 1
        token = f"lease-{self.logins}"
        self.valid.add(token)
        return json.dumps({"auth": {"client_token": token, "lease_duration": self.lease, "renewable": True}}).encode()

    def render_GET(self, request):
        path = request.path.decode()
        self.asked.append(path)
        if self.hang:
            return NOT_DONE_YET
        if self.status:
            return self.refuse(request, self.status, "as told")
        if request.getHeader("x-vault-token") not in self.valid:
            return self.refuse(request, 403, "permission denied")
        namespace = request.getHeader("x-vault-namespace") or ""
        values = self.secrets.get(namespace + path.removeprefix("/v1/secret/data/"))
        if values is None:
            return self.refuse(request, 404, "")
        return json.dumps({"data": {"data": values, "metadata": {"version": 2, "destroyed": False}}}).encode()

    @staticmethod
    def refuse(request, status, text):
        request.setResponseCode(status)
        if status in (301, 302, 307):
            request.setHeader("location", "http://127.0.0.1:9/")
        return json.dumps({"errors": [text]}).encode()


@pytest.fixture
def played():
    played = PlayedVault()
    port = reactor.listenTCP(0, Site(played), interface="127.0.0.1")
    played.address = f"http://127.0.0.1:{port.getHost().port}"
    yield played
    pytest_twisted.blockon(port.stopListening())


APPROLE = VaultLogin("approle", role="role-1", credential=SecretReference("env", "ID"))
TOKEN = VaultLogin("token", credential=SecretReference("env", "TOKEN"))
ENVIRONMENT = {"ID": SECRET_ID, "TOKEN": "static-token", "WRONG": "not-the-secret-id"}


def vault(played, login=APPROLE, clock=None, **settings):
    async def local(reference):
        return EnvironmentVault(ENVIRONMENT).in_thread_read(reference.path)

    one = KeyValueVault(
        "corp", KVSettings(played.address, login, **settings), https_agent(reactor), clock or reactor, local, 5.0
    )
    return KeyValueVaults({"corp": one})


async def cause(vaults, path="corp/warehouse/reader"):
    with pytest.raises(SecretUnavailable) as caught:
        await vaults.read(path)
    text = str(caught.value)
    assert text.startswith(f"vault:{path}: ")
    for canary in (CANARY, SECRET_ID, JWT, "lease-", "static-token"):
        assert canary not in text
    return text.removeprefix(f"vault:{path}: ")


@pytest_twisted.ensureDeferred
async def test_approle_logs_in_once_and_reads_with_its_token(played):
    vaults = vault(played)
    assert await vaults.read("corp/warehouse/reader") == Secret(CANARY)
    assert await vaults.read("corp/warehouse/reader#user") == Secret("svc")
    read = "/v1/secret/data/warehouse/reader"
    assert played.asked == ["/v1/auth/approle/login", read, read]


@pytest_twisted.ensureDeferred
async def test_kubernetes_logs_in_with_the_service_account_token_of_the_moment(played, tmp_path):
    file = tmp_path / "token"
    login = VaultLogin("kubernetes", mount="clusters/one", role="idbridge", jwt_file=file)
    vaults = vault(played, login)
    assert (await cause(vaults)).endswith(f"the service account token {file} cannot be read")
    file.write_text(JWT + "\n")
    assert await vaults.read("corp/warehouse/reader") == Secret(CANARY)


@pytest_twisted.ensureDeferred
async def test_a_given_token_is_read_anew_each_time(played):
    vaults = vault(played, TOKEN)
    assert await vaults.read("corp/warehouse/reader") == Secret(CANARY)
    played.valid = {"renewed"}
    assert "not permitted" in await cause(vaults)
    ENVIRONMENT["TOKEN"] = "renewed"
    try:
        assert await vaults.read("corp/warehouse/reader") == Secret(CANARY)
    finally:
        ENVIRONMENT["TOKEN"] = "static-token"
    assert played.logins == 0


@pytest_twisted.ensureDeferred
async def test_a_new_login_is_made_before_the_lease_ends(played):
    clock = Clock()
    vaults = vault(played, clock=clock)
    played.lease = 100
    for at, logins in ((0, 1), (79, 1), (81, 2)):
        clock.advance(at - clock.seconds())
        await vaults.read("corp/warehouse/reader")
        assert played.logins == logins


@pytest_twisted.ensureDeferred
async def test_a_login_that_was_revoked_is_made_again_once(played):
    vaults = vault(played)
    await vaults.read("corp/warehouse/reader")
    played.valid = set()
    assert await vaults.read("corp/warehouse/reader") == Secret(CANARY)
    assert played.logins == 2
    played.status = 403
    assert await cause(vaults) == "not permitted: the bridge's policy needs read on secret/data/warehouse/reader"
    assert played.logins == 3


@pytest_twisted.ensureDeferred
async def test_a_secret_is_served_from_memory_as_long_as_the_cache_says(played):
    clock = Clock()
    vaults = vault(played, clock=clock, cache=10.0)
    await vaults.read("corp/warehouse/reader")
    played.secrets["warehouse/reader"] = {"password": "rotated"}
    clock.advance(9.9)
    assert await vaults.read("corp/warehouse/reader") == Secret(CANARY)
    clock.advance(0.2)
    assert await vaults.read("corp/warehouse/reader") == Secret("rotated")


@pytest_twisted.ensureDeferred
async def test_a_crowd_is_one_login_and_one_read(played):
    vaults = vault(played, cache=10.0)
    reads = [Deferred.fromCoroutine(vaults.read("corp/warehouse/reader")) for _ in range(20)]
    assert await gatherResults(reads) == [Secret(CANARY)] * 20
    assert len(played.asked) == 2


@pytest_twisted.ensureDeferred
async def test_a_namespace_goes_with_every_request(played):
    played.secrets = {"team-awarehouse/reader": {"password": CANARY}}
    assert await vault(played, namespace="team-a").read("corp/warehouse/reader") == Secret(CANARY)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "no such secret, or its newest version is deleted"),
        (307, "give the address of the active node"),
        (429, "give the address of the active node"),
        (473, "give the address of the active node"),
        (500, "status 500"),
        (503, "sealed or down for maintenance"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_the_vault_refuses_is_said_and_not_its_words(played, status, words):
    played.status = status
    text = await cause(vault(played, TOKEN))
    assert words in text
    assert "as told" not in text


@pytest_twisted.ensureDeferred
async def test_a_refused_login_reads_nothing(played):
    wrong = VaultLogin("approle", role="role-1", credential=SecretReference("env", "WRONG"))
    assert await cause(vault(played, wrong)) == "the vault refused the bridge's login (status 400)"
    assert played.asked == ["/v1/auth/approle/login"]
    unread = VaultLogin("approle", role="role-1", credential=SecretReference("env", "ABSENT"))
    with pytest.raises(SecretUnavailable, match="env:ABSENT: the variable is not set"):
        await vault(played, unread).read("corp/warehouse/reader")


@pytest.mark.parametrize("field", ["absent", "number", "empty"])
@pytest_twisted.ensureDeferred
async def test_a_field_that_holds_no_text_is_named(played, field):
    assert f"no text in its field '{field}'" in await cause(vault(played), f"corp/warehouse/reader#{field}")


@pytest.mark.parametrize(
    "answer", ["", "[]", "{", '{"data": {"password": "v1"}}', '{"data": {"data": null}}', "\udcff"]
)
@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_none_is_no_secret(played, answer):
    played.render_GET = lambda request: answer.encode("utf-8", "surrogateescape")
    assert "not a secret of the KV engine, version 2" in await cause(vault(played, TOKEN))


@pytest_twisted.ensureDeferred
async def test_a_vault_that_is_not_there_or_not_configured_is_a_secret_unavailable(played):
    played.address = "http://127.0.0.1:9"
    assert "no connection to the vault" in await cause(vault(played, TOKEN))
    with pytest.raises(SecretUnavailable, match="no vault 'other' is configured"):
        await vault(played).read("other/x")


@pytest_twisted.ensureDeferred
async def test_a_vault_that_hangs_holds_up_nobody_longer_than_the_limit(played):
    played.hang = True
    pool, clock = ThreadPool("vault", 1, reactor), Clock()
    vaults = Vaults({}, pool, clock)
    vaults.remote = {"vault": vault(played, TOKEN)}
    reading = Deferred.fromCoroutine(vaults.read(SecretReference("vault", "corp/warehouse/reader")))
    waiting = Deferred.fromCoroutine(vaults.read(SecretReference("vault", "corp/warehouse/reader")))
    while not played.asked:
        await deferLater(reactor, 0.01)
    clock.advance(5.1)
    for one in (reading, waiting):
        with pytest.raises(SecretUnavailable, match="no answer within 5 s"):
            await one
    played.hang = False
    assert await vaults.read(SecretReference("vault", "corp/warehouse/reader")) == Secret(CANARY)
    await pool.stop(1)

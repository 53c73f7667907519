"""A static password that lies in a Vault: HTTPS with an authority of its own, AppRole, a sealed vault, a stranger."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.place import Place
from rig.postgres import Server


class KV(ThreadingHTTPServer):
    """As much of Vault's HTTP API as the bridge asks for: AppRole login, and reads of KV version 2 below ``secret``."""

    def __init__(self, place: Place, certificate: Path, key: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.secret_id, self.token = place.new_secret("AppRole secret_id"), place.new_secret("vault token")
        self.values: dict[str, dict[str, str]] = {}
        self.sealed = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: KV

    def do_POST(self) -> None:
        fields = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/auth/approle/login" and fields == {
            "role_id": "bridge",
            "secret_id": self.server.secret_id,
        }:
            self.answer(200, {"auth": {"client_token": self.server.token, "lease_duration": 3600}})
        else:
            self.answer(400, {"errors": ["invalid role or secret ID"]})

    def do_GET(self) -> None:
        values = self.server.values.get(self.path.removeprefix("/v1/secret/data/"))
        if self.server.sealed:
            self.answer(503, {"errors": ["Vault is sealed"]})
        elif self.headers["x-vault-token"] != self.server.token:
            self.answer(403, {"errors": ["permission denied"]})
        elif values is None:
            self.answer(404, {"errors": []})
        else:
            self.answer(200, {"data": {"data": values, "metadata": {"version": 1}}})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def vault(place: Place, authority: Authority) -> Iterator[KV]:
    certificate, key = authority.issue(place.folder, "vault")
    place.secret_files.add(key)
    server = KV(place, certificate, key)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def kept_in_vault(
    request: pytest.FixtureRequest, vault: KV, make_bridge: Any, postgres: Server, authority: Authority
) -> Bridge:
    """Without a cache, so that the next session sees what the vault holds."""
    auth = {"method": "approle", "role_id": "bridge", "secret_id": "store:vault/secret-id"}
    corp = {"address": vault.address, "ca": str(authority.ca), "cache": "0s", "auth": auth}
    bridge: Bridge = make_bridge(request.node.name.replace("test_a_", "")[:20], start=False, vaults={"corp": corp})
    bridge.document["systems"]["warehouse"]["accounts"]["svc_reader"]["secret"] = "vault:corp/warehouse/reader"
    bridge.write()
    vault.values["warehouse/reader"] = {"password": postgres.passwords["svc_reader"]}
    bridge.start()
    bridge.agent("reader-1", "reader")
    bridge.cli("secret", "set", "vault/secret-id", stdin=vault.secret_id)
    return bridge


def test_a_session_is_opened_with_the_password_of_the_vault(kept_in_vault: Bridge, vault: KV) -> None:
    bridge, token = kept_in_vault, kept_in_vault.token("reader-1")
    with bridge.connect(token) as living:
        assert living.execute("select current_user").fetchone() == ("svc_reader",)
        vault.sealed = True
        with pytest.raises(psycopg.OperationalError, match="unavailable"):
            bridge.connect(token)
        assert living.execute("select 1").fetchone() == (1,)  # who is in stays in
    assert "the vault is sealed or down for maintenance" in bridge.daemon_log.read_text()
    vault.sealed = False
    with bridge.connect(token) as again:
        assert again.execute("select 1").fetchone() == (1,)


def test_a_vault_of_another_authority_is_not_asked(kept_in_vault: Bridge, tmp_path: Path) -> None:
    bridge, other = kept_in_vault, Authority.create(tmp_path)
    bridge.document["vaults"]["corp"]["ca"] = str(other.ca)
    bridge.write()
    bridge.cli("reload")
    with pytest.raises(psycopg.OperationalError, match="unavailable"):
        bridge.connect(bridge.token("reader-1"))
    assert "no connection to the vault" in bridge.daemon_log.read_text()


def test_scan_looks_for_what_lies_in_the_vault(kept_in_vault: Bridge, vault: KV, postgres: Server) -> None:
    """Read when it scans and never printed; a vault that gives nothing is told."""
    bridge = kept_in_vault
    code = bridge.folder / "code"
    code.mkdir()
    job = code / "job.sh"
    job.write_text(f"\nPGPASSWORD={postgres.passwords['svc_reader']} psql\n")
    try:
        said = bridge.cli("scan", str(code), status=1)
        answer = bridge.cli_json("scan", str(code), status=1)
        vault.sealed = True
        sealed = bridge.cli_json("scan", str(code))
        bridge.document["vaults"]["corp"]["ca"] = str(bridge.folder / "nowhere.pem")
        bridge.write()
        misconfigured = bridge.cli_json("scan", str(code))
    finally:
        job.unlink()  # the test that looks for secrets in everything that a run leaves would find it
    assert postgres.passwords["svc_reader"] not in said
    found = ("warehouse/svc_reader", str(job), 2, "plain")
    assert [(row["account"], row["path"], row["line"], row["form"]) for row in answer["findings"]] == [found]
    assert answer["not_looked_for"] == []
    (missed,) = sealed["not_looked_for"]
    assert (sealed["findings"], missed["account"]) == ([], "warehouse/svc_reader")
    assert "vault:corp/warehouse/reader: the vault is sealed" in missed["cause"]
    assert "vault corp" in misconfigured["not_looked_for"][0]["cause"]

"""Real clients of LDAP that prove themselves with a client certificate (SASL EXTERNAL)."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import ldap3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import document, environment, grant, system
from rig.place import Place
from rig.slapd import Slapd

CLIENTS = Path(__file__).parent / "clients"
MODULES = Path(__file__).parent / "node" / "node_modules"
WHO = "u:cert-1"


@pytest.fixture(scope="module")
def door(place: Place, authority: Authority, slapd: Slapd) -> Iterator[Bridge]:
    systems = {"directory": system(slapd, "svc_reader")}
    grants = [grant("reader", "directory", "svc_reader", "read")]
    running = Bridge(place, authority, "certificates", document(systems, grants), environment(slapd))
    running.document["tls"]["client_ca"] = str(authority.ca)
    running.write()
    try:
        running.start()
        binding = {"issuer": "certificate", "claims": {"sub": "CN=certified", "issuer_dn": "CN=test CA"}}
        running.agent("cert-1", "reader", bindings=[binding])
        yield running
    finally:
        assert running.stop() == 0


@pytest.fixture(scope="module")
def pair(authority: Authority, place: Place) -> tuple[Path, Path]:
    """Certificate and key."""
    files = authority.issue_for_client(place.folder, "certified")
    place.secret_files.add(files[1])
    return files


def run(door: Bridge, pair: tuple[Path, Path], *command: str) -> str:
    certificate, key = map(str, pair)
    values = {
        **os.environ, "PORT": str(door.ports["directory"]), "CA": str(door.authority.ca), "CERTIFICATE": certificate,
        "KEY": key, "LDAPTLS_CACERT": str(door.authority.ca), "LDAPTLS_CERT": certificate, "LDAPTLS_KEY": key,
        "NODE_PATH": str(MODULES),
    }  # fmt: skip
    done = subprocess.run(
        command, env=values, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, text=True, check=False
    )
    door.place.keep(f"certificate-{Path(command[0]).name}", done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def needs(present: object) -> None:
    if not present and not os.environ.get("IDBRIDGE_ALL_CLIENTS"):
        pytest.skip("this client is not installed: scripts/setup --all")


def test_openldap_tools(door: Bridge, pair: tuple[Path, Path]) -> None:
    needs(shutil.which("ldapwhoami"))
    url = f"ldaps://127.0.0.1:{door.ports['directory']}"
    assert run(door, pair, "ldapwhoami", "-Q", "-Y", "EXTERNAL", "-H", url) == WHO


def test_ldap3(door: Bridge, pair: tuple[Path, Path]) -> None:
    certificate, key = map(str, pair)
    tls = ldap3.Tls(
        local_certificate_file=certificate, local_private_key_file=key, validate=ssl.CERT_REQUIRED,
        ca_certs_file=str(door.authority.ca),
    )  # fmt: skip
    server = ldap3.Server("127.0.0.1", door.ports["directory"], use_ssl=True, tls=tls, connect_timeout=10)
    connection = ldap3.Connection(
        server, authentication=ldap3.SASL, sasl_mechanism=ldap3.EXTERNAL, sasl_credentials=(), receive_timeout=30
    )
    try:
        assert connection.bind(), connection.result
        assert connection.extend.standard.who_am_i() == WHO
    finally:
        connection.unbind()


def test_python_ldap(door: Bridge, pair: tuple[Path, Path]) -> None:
    needs(Path("/usr/lib/python3/dist-packages/ldap/__init__.py").exists())
    assert run(door, pair, "/usr/bin/python3", str(CLIENTS / "ldap_certificate.py")) == WHO


def test_jndi(door: Bridge, pair: tuple[Path, Path], tmp_path: Path) -> None:
    needs(shutil.which("java"))
    certificate, key = pair
    store, trusted = tmp_path / "own.p12", tmp_path / "trusted.p12"
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    public = x509.load_pem_x509_certificate(certificate.read_bytes())
    store.write_bytes(pkcs12.serialize_key_and_certificates(
        b"own", private, public, None, serialization.BestAvailableEncryption(b"changeit")
    ))  # fmt: skip
    run(door, pair, "keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", str(door.authority.ca), "-keystore",
        str(trusted), "-storetype", "PKCS12", "-storepass", "changeit")  # fmt: skip
    settings = [
        f"-Djavax.net.ssl.{name}={value}"
        for name, value in (
            ("trustStore", trusted), ("trustStorePassword", "changeit"), ("keyStore", store),
            ("keyStorePassword", "changeit"),
        )
    ]  # fmt: skip
    assert run(door, pair, "java", *settings, str(CLIENTS / "LdapCertificate.java")) == WHO


def test_ldapts(door: Bridge, pair: tuple[Path, Path]) -> None:
    needs(shutil.which("node") and (MODULES / "ldapts").exists())
    assert run(door, pair, "node", str(CLIENTS / "ldap_certificate.js")) == WHO

"""What the tour runs on: a directory, certificates, a real PostgreSQL and the bridge before it, all on loopback."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hosts
import people
import shop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

IDBRIDGE = str(Path(sys.executable).parent / "idbridge")
START_LIMIT = 30.0  # seconds for a server to answer; a loaded CI machine needs a few

CONFIG = """\
bridge: {{name: demo, state: state, drain: 2s}}
tls: {{certificate: bridge.crt, key: bridge.key}}
limits: {{hello: 10s}}
owners:
  payments: {{kind: team, contact: payments@example.org, on_call: "https://oncall.example.org/payments"}}
  research: {{kind: team, contact: research@example.org}}
roles:
  reader: {{description: looks and does not touch}}
  writer: {{description: changes invoices}}
  visitor: {{description: has no grant anywhere}}
systems:
  warehouse:
    protocol: postgres
    listen: 127.0.0.1:{bridge_port}
    upstream: {{host: 127.0.0.1, port: {postgres_port}, tls: verify-full, ca: ca.pem}}
    labels: [pii, finance]
    accounts:
      svc_reader: {{secret: "store:warehouse/svc_reader"}}
      svc_writer: {{secret: "store:warehouse/svc_writer"}}
{hosts}{shop}{people}grants:
  - {{id: look-at-warehouse, roles: [reader], system: warehouse, account: svc_reader, actions: [read], default: true}}
  - {{id: change-warehouse, roles: [writer], system: warehouse, account: svc_writer, actions: [read, write],
     default: true}}
{host_grants}{shop_grants}{people_grants}"""

TABLES = """
create table invoices (id int primary key, customer text, amount numeric);
insert into invoices select i, 'customer ' || i, i * 10 from generate_series(1, 1000) i;
grant select on invoices to svc_reader;
grant select, insert, update, delete on invoices to svc_writer;
"""


class Place:
    """Starts everything; ``close`` stops it and removes the directory."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="idbridge-demo-"))
        self.root.chmod(0o755)
        self.postgres_port, self.bridge_port = free_port(), free_port()
        self.host = hosts.Host(self.root, free_port(), free_port())
        self.shop = shop.Shop(self.root, free_port(), free_port())
        self.people = people.People(self.root, free_port(), free_port())
        self.config = self.root / "bridge.yaml"
        self.environment = {**os.environ, "IDBRIDGE_CONFIG": str(self.config)}
        self.environment.pop("PGPASSWORD", None)
        self.passwords = {name: secrets.token_urlsafe(18) for name in ("postgres", "svc_reader", "svc_writer")}
        self.bridge: subprocess.Popen[bytes] | None = None

    # -- certificates

    def make_certificates(self) -> None:
        """A certificate authority of the demo's own, and one certificate each for the bridge and the servers."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = _certificate("demo authority", key.public_key(), "demo authority", key, ca=True)
        (self.root / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        for name in ("bridge", "postgres", "mariadb", "slapd"):
            own = ec.generate_private_key(ec.SECP256R1())
            certificate = _certificate(name, own.public_key(), "demo authority", key, ca=False)
            (self.root / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            path = self.root / f"{name}.key"
            path.touch(mode=0o600)
            path.write_bytes(
                own.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )

    # -- PostgreSQL

    def start_postgres(self) -> None:
        data = self.root / "postgres"
        data.mkdir()
        password_file = self.root / "password"
        password_file.write_text(self.passwords["postgres"])
        for path in (data, password_file):
            self._give_away(path)
        self._server(
            "initdb", "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password_file}", "-N"
        )
        password_file.unlink()
        for name in ("postgres.crt", "postgres.key"):
            shutil.copy(self.root / name, data / name.replace("postgres", "server"))
            (data / name.replace("postgres", "server")).chmod(0o600)
            self._give_away(data / name.replace("postgres", "server"))
        options = (
            f"-p {self.postgres_port} -k '' -c listen_addresses=127.0.0.1 -c ssl=on -c fsync=off"
            " -c log_connections=on -c log_line_prefix='%m [%p] %u@%d %a '"
        )
        self._server("pg_ctl", "-D", str(data), "-o", options, "-l", str(data / "log"), "-w", "start")
        self.as_superuser("postgres", "create database app")
        for account in ("svc_reader", "svc_writer"):
            self.as_superuser("postgres", f"create role {account} login password '{self.passwords[account]}'")
        self.as_superuser("app", TABLES)

    def as_superuser(self, database: str, sql: str) -> str:
        """Past the bridge, as PostgreSQL's own administrator."""
        where = f"host=127.0.0.1 port={self.postgres_port} user=postgres dbname={database}"
        done = subprocess.run(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", where],
            input=sql, text=True, capture_output=True, check=False, timeout=60,
            env={**self.environment, "PGPASSWORD": self.passwords["postgres"]},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def _server(self, program: str, *arguments: str) -> None:
        binary = newest_postgres() / program
        command = [str(binary), *arguments]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["setpriv", "--reuid=nobody", "--clear-groups", *command]
        # Into a file, not a pipe: the server that pg_ctl starts keeps it open, and a pipe would never end.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(command, cwd="/", stdout=said, stderr=said, check=False, timeout=120)
            if done.returncode:
                said.seek(0)
                raise RuntimeError(f"{program} failed: {said.read()}")

    def _give_away(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, "nobody")

    # -- the bridge

    def start_bridge(self) -> None:
        self.config.write_text(
            CONFIG.format(
                bridge_port=self.bridge_port, postgres_port=self.postgres_port, hosts=self.host.system(),
                host_grants=hosts.GRANTS, shop=self.shop.system(), shop_grants=shop.GRANTS,
                people=self.people.system(), people_grants=people.GRANTS,
            )
        )  # fmt: skip
        self.idbridge("secret", "set", "hosts/svc_deploy", stdin=self.host.account_key)
        for account in ("svc_reader", "svc_writer"):
            self.idbridge("secret", "set", f"warehouse/{account}", stdin=self.passwords[account])
        for account, password in self.shop.passwords.items():
            self.idbridge("secret", "set", f"shop/{account}", stdin=password)
        for account, password in self.people.passwords.items():
            self.idbridge("secret", "set", f"people/{account}", stdin=password)
        log = (self.root / "bridge.log").open("wb")
        self.bridge = subprocess.Popen([IDBRIDGE, "run", "--log-format", "text"], env=self.environment, stderr=log)
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline and self.bridge.poll() is None:
            if self.run([IDBRIDGE, "status", "--json"]).returncode == 0 and accepts(self.bridge_port):
                return
            time.sleep(0.2)
        raise RuntimeError("the bridge did not start:\n" + (self.root / "bridge.log").read_text())

    def idbridge(self, *arguments: str, stdin: str = "") -> str:
        done = self.run([IDBRIDGE, *arguments], stdin=stdin)
        if done.returncode:
            raise RuntimeError(f"idbridge {' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout.strip()

    def run(
        self, command: list[str], *, stdin: str = "", password: str | None = None, timeout: float = 60.0, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """``more``: further variables of the environment."""
        environment = {**self.environment, **more}
        if password is not None:
            environment["PGPASSWORD"] = password
        return subprocess.run(
            command, input=stdin, text=True, capture_output=True, check=False, timeout=timeout, env=environment
        )

    def close(self) -> None:
        if self.bridge is not None and self.bridge.poll() is None:
            self.bridge.send_signal(signal.SIGTERM)
            try:
                self.bridge.wait(20)
            except subprocess.TimeoutExpired:
                self.bridge.kill()
        self.host.close()
        self.shop.close()
        self.people.close()
        data = self.root / "postgres"
        if (data / "postmaster.pid").exists():  # also when the start was interrupted
            self._server("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(self.root, ignore_errors=True)


def newest_postgres() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not found:
        raise RuntimeError("no PostgreSQL server is installed; scripts/setup installs it")
    return found[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _certificate(
    name: str, public: ec.EllipticCurvePublicKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(signer, hashes.SHA256())

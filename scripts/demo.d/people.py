"""A legacy directory for the tour: a real OpenLDAP on loopback with LDAPS and two static accounts."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

PATH = f"/usr/sbin:{os.environ.get('PATH', '')}"
START_LIMIT = 30.0
SUFFIX = "dc=example,dc=org"
PEOPLE = f"ou=people,{SUFFIX}"

SYSTEM = """\
  people:
    protocol: ldap
    listen: 127.0.0.1:{bridge_port}
    upstream: {{host: 127.0.0.1, port: {port}, tls: verify-full, ca: ca.pem}}
    labels: [pii]
    accounts:
      svc_phonebook: {{user: "cn=svc_phonebook,ou=svc,dc=example,dc=org", secret: "store:people/svc_phonebook"}}
      svc_registrar: {{user: "cn=svc_registrar,ou=svc,dc=example,dc=org", secret: "store:people/svc_registrar"}}
"""

GRANTS = """\
  - {id: look-up-people, roles: [reader], system: people, account: svc_phonebook, actions: [read], default: true}
  - {id: change-people, roles: [writer], system: people, account: svc_registrar, actions: [read, write],
     bases: ["ou=people,dc=example,dc=org"], default: true}
"""

SETTINGS = f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_monitor
TLSCACertificateFile ../ca.pem
TLSCertificateFile slapd.crt
TLSCertificateKeyFile slapd.key
access to dn.base="" by * read
access to dn.base="cn=Subschema" by * read
database monitor
access to * by dn.subtree="ou=svc,{SUFFIX}" read by * none
database mdb
suffix "{SUFFIX}"
directory data
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="{PEOPLE}" by dn.exact="cn=svc_registrar,ou=svc,{SUFFIX}" write by users read by * none
access to * by users read by * none
"""


class People:
    """``root`` has the certificate of ``slapd``; ``folder`` is made in it."""

    def __init__(self, root: Path, port: int, bridge_port: int) -> None:
        self.root = root
        self.folder = root / "slapd"
        self.port = port
        self.bridge_port = bridge_port
        self.passwords = {name: secrets.token_urlsafe(18) for name in ("svc_phonebook", "svc_registrar")}
        self.server: subprocess.Popen[bytes] | None = None
        self._as_user = ["setpriv", "--reuid=nobody", "--clear-groups"] if os.geteuid() == 0 else []

    def system(self) -> str:
        return SYSTEM.format(bridge_port=self.bridge_port, port=self.port)

    def start(self) -> None:
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "slapd.conf").write_text(SETTINGS)
        for name in ("slapd.crt", "slapd.key"):
            shutil.copy(self.root / name, self.folder / name)
        if self._as_user:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "nobody")
        command = [*self._as_user, _program("slapadd"), "-q", "-f", "slapd.conf", "-b", SUFFIX]
        subprocess.run(command, input=self._entries(), text=True, check=True, capture_output=True, cwd=self.folder,
                       timeout=60)  # fmt: skip
        address = f"ldaps://127.0.0.1:{self.port}/"
        command = [*self._as_user, _program("slapd"), "-d", "stats", "-h", address, "-f", "slapd.conf"]
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            if time.monotonic() > deadline or self.server.poll() is not None:
                raise RuntimeError("OpenLDAP did not start:\n" + self.log())
            time.sleep(0.05)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _entries(self) -> str:
        entries = [
            f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n",
            *(f"dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\nou: {unit}\n" for unit in ("people", "svc")),
        ]
        for name, password in self.passwords.items():
            entries.append(
                f"dn: cn={name},ou=svc,{SUFFIX}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
                f"cn: {name}\nuserPassword: {_hashed(password)}\n"
            )
        for number in range(1, 101):
            entries.append(
                f"dn: uid=user{number},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: user{number}\ncn: User {number}\n"
                f"sn: {number}\nmail: user{number}@example.org\ntelephoneNumber: +49 30 {number:04}\n"
                f"userPassword: {_hashed(secrets.token_urlsafe(9))}\n"
            )
        return "\n".join(entries)

    def log(self) -> str:
        """OpenLDAP's own: connections, and one line for each operation and its result."""
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()


def _program(name: str) -> str:
    return shutil.which(name, path=PATH) or name


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()

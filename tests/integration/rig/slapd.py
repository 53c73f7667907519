"""A real OpenLDAP server with TLS, static accounts, a password policy, ``cn=Monitor`` and a stats log.

Below ``dc=example,dc=org``: twenty ``ou=people``, a group, ``ou=hidden`` for what a policy leaves out, ``ou=svc`` with
the static accounts, an alias out of ``ou=people`` into ``ou=svc``, a referral, as many in ``ou=many`` as are wished.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ldap3
from rig.certificates import Authority
from rig.place import Place, free_port

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
START = 30.0

SUFFIX = "dc=example,dc=org"
ACCOUNTS = ("svc_reader", "svc_writer", "svc_locked", "svc_expired", "svc_narrow")
"""``svc_locked`` and ``svc_expired`` cannot log in whatever the password; ``svc_narrow`` reads ``ou=people`` only."""

PEOPLE = 20
LOCKED_AFTER = 3
"""Wrong passwords in a row."""

SETTINGS = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_ldap
moduleload back_monitor
moduleload ppolicy
moduleload syncprov
loglevel stats
sizelimit unlimited
threads 8
TLSCACertificateFile ca.pem
TLSCertificateFile server.crt
TLSCertificateKeyFile server.key
TLSVerifyClient try
access to dn.base="" by * read
access to dn.base="cn=Subschema" by * read
"""

DATABASE = f"""\
database monitor
access to dn.subtree="cn=Monitor"
  by dn.exact="cn=svc_reader,ou=svc,{SUFFIX}" read
  by dn.exact="cn=admin,{SUFFIX}" read
  by * none

database mdb
suffix "{SUFFIX}"
rootdn "cn=admin,{SUFFIX}"
directory data
maxsize 1073741824
dbnosync
index objectClass,uid,cn,mail eq
overlay ppolicy
ppolicy_default "cn=default,ou=policies,{SUFFIX}"
ppolicy_use_lockout
overlay syncprov
access to attrs=userPassword
  by dn.exact="cn=svc_writer,ou=svc,{SUFFIX}" write
  by self write
  by anonymous auth
  by * none
access to dn.subtree="ou=people,{SUFFIX}"
  by dn.exact="cn=svc_writer,ou=svc,{SUFFIX}" write
  by users read
  by * none
access to *
  by dn.exact="cn=svc_narrow,ou=svc,{SUFFIX}" none
  by dn.exact="cn=svc_writer,ou=svc,{SUFFIX}" write
  by users read
  by * none
"""


def available() -> bool:
    return shutil.which("slapd", path=_PATH) is not None


def dn(account: str) -> str:
    return f"cn={account},ou=svc,{SUFFIX}"


class Slapd:
    """``port`` speaks plaintext and StartTLS, ``tls_port`` LDAPS. ``many``: entries below ``ou=many``, about 1 kB each.

    Runs as an unprivileged user when the tests run as root.
    """

    def __init__(self, place: Place, authority: Authority, name: str = "slapd", *, many: int = 0) -> None:
        self.place = place
        self.authority = authority
        self.many = many
        self.port = free_port()
        self.tls_port = free_port()
        self.folder = place.folder / name
        self.log = self.folder / "stats.log"
        self.passwords = {account: place.new_secret(f"{name} password of {account}") for account in ACCOUNTS}
        self.admin_password = place.new_secret(f"{name} administrator")
        self.process: subprocess.Popen[bytes] | None = None
        self._config = self.folder / "slapd.conf"
        self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []

    def create(self) -> None:
        self.folder.mkdir()
        (self.folder / "data").mkdir()
        self._place_certificate()
        self._config.write_text(SETTINGS + DATABASE + f"rootpw {hashed(self.admin_password)}\n")
        ldif = self.folder / "entries.ldif"
        with ldif.open("w") as out:
            out.writelines(self._entries())
        if self._as_user:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
        self._run("slapadd", "-q", "-f", str(self._config), "-b", SUFFIX, "-l", str(ldif))
        ldif.unlink()
        self.start()

    def _place_certificate(self) -> None:
        certificate, key = self.authority.issue(self.place.folder, self.folder.name)
        for source, target in ((certificate, "server.crt"), (key, "server.key"), (self.authority.ca, "ca.pem")):
            shutil.copy(source, self.folder / target)
        (self.folder / "server.key").chmod(0o600)
        self.place.secret_files |= {key, self.folder / "server.key"}

    def _run(self, *command: str) -> None:
        program = shutil.which(command[0], path=_PATH) or command[0]
        done = subprocess.run(
            [*self._as_user, program, *command[1:]], cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-2000:]

    def _entries(self) -> Iterator[str]:
        yield from _tree(self.passwords)
        for number in range(self.many):
            yield big_entry(number)

    # -- life

    def start(self) -> None:
        addresses = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        command = [*self._as_user, shutil.which("slapd", path=_PATH) or "slapd", "-d", "stats", "-h", addresses,
                   "-f", str(self._config)]  # fmt: skip
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        wait_for_port(self.process, self.tls_port, self.log)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    # -- past the bridge

    def admin(self) -> ldap3.Connection:
        """The administrator's connection past the bridge."""
        return self.login(f"cn=admin,{SUFFIX}", self.admin_password)

    def login(self, name: str, password: str, **more: Any) -> ldap3.Connection:
        """Over LDAPS; raises LDAPException when it is refused."""
        return client(self.tls_port, self.authority.ca, name, password, **more)

    def lines(self, text: str) -> list[str]:
        """Of the stats log that hold ``text``."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if text in line]


def client(port: int, ca: Path, name: str, password: str, **more: Any) -> ldap3.Connection:
    """ldap3 over LDAPS, logged in; raises LDAPException when it is refused."""
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(ca))
    server = ldap3.Server("127.0.0.1", port, use_ssl=True, tls=tls, connect_timeout=10)
    settings: dict[str, Any] = {
        "auto_bind": True, "raise_exceptions": True, "receive_timeout": 30, "auto_referrals": False,
    }  # fmt: skip
    return ldap3.Connection(server, name, password, **{**settings, **more})


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = START) -> None:
    end = time.monotonic() + seconds
    while True:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nothing listens on {port}: {log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.05)


def hashed(password: str) -> str:
    """``{SSHA}``, as OpenLDAP stores passwords."""
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


# -- what is in it -----------------------------------------------------------------------------------------------------


def _entry(dn: str, classes: str, **values: object) -> str:
    lines = [f"dn: {dn}", *(f"objectClass: {name}" for name in classes.split())]
    for name, value in values.items():
        lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n\n"


def _tree(passwords: dict[str, str]) -> Iterator[str]:
    yield _entry(SUFFIX, "dcObject organization", dc="example", o="Example")
    for unit in ("people", "groups", "hidden", "svc", "many", "policies"):
        yield _entry(f"ou={unit},{SUFFIX}", "organizationalUnit", ou=unit)
    yield from _policies()
    yield from _accounts(passwords)
    for number in range(1, PEOPLE + 1):
        yield person(number)
    members = [f"uid=user{number:02},ou=people,{SUFFIX}" for number in range(1, PEOPLE + 1)]
    yield _entry(f"cn=staff,ou=groups,{SUFFIX}", "groupOfNames", cn="staff", member=members)
    yield _entry(f"cn=board,ou=hidden,{SUFFIX}", "organizationalRole", cn="board", description="hidden")
    leak = f"cn=leak,ou=people,{SUFFIX}"
    yield _entry(leak, "alias extensibleObject", cn="leak", aliasedObjectName=dn("svc_reader"))
    elsewhere = f"ou=elsewhere,{SUFFIX}"
    yield _entry(elsewhere, "referral extensibleObject", ou="elsewhere", ref=f"ldap://127.0.0.1:1/{elsewhere}")


def _policies() -> Iterator[str]:
    classes = "pwdPolicy organizationalRole"
    where = f"ou=policies,{SUFFIX}"
    yield _entry(
        f"cn=default,{where}", classes, cn="default", pwdAttribute="userPassword", pwdLockout="TRUE",
        pwdMaxFailure=LOCKED_AFTER, pwdLockoutDuration=0,
    )  # fmt: skip
    yield _entry(
        f"cn=short,{where}", classes, cn="short", pwdAttribute="userPassword", pwdMaxAge=60, pwdGraceAuthNLimit=0
    )


def _accounts(passwords: dict[str, str]) -> Iterator[str]:
    states = {
        "svc_locked": {"pwdAccountLockedTime": "000001010000Z"},
        "svc_expired": {
            "pwdPolicySubentry": f"cn=short,ou=policies,{SUFFIX}",
            "pwdChangedTime": "20200101000000Z",
        },
    }
    for account, password in passwords.items():
        classes = "organizationalRole simpleSecurityObject"
        more = {"userPassword": hashed(password), "description": "a static account", **states.get(account, {})}
        yield _entry(dn(account), classes, cn=account, **more)


def person(number: int) -> str:
    uid = f"user{number:02}"
    return _entry(
        f"uid={uid},ou=people,{SUFFIX}", "inetOrgPerson", uid=uid, cn=f"User {number}", sn=f"Number {number}",
        mail=f"{uid}@example.org", employeeNumber=1000 + number, telephoneNumber=f"+49 30 {number:04}",
        userPassword=hashed(f"password of {uid}"), **{"jpegPhoto:": base64.b64encode(bytes(range(256))).decode()},
    )  # fmt: skip


def big_entry(number: int) -> str:
    uid = f"many{number:05}"
    filling = {name: f"{name} of number {number:05} to be found" for name in (
        "title", "street", "l", "st", "postalCode", "roomNumber", "homePhone", "departmentNumber", "employeeType",
        "displayName", "givenName", "initials", "physicalDeliveryOfficeName", "postOfficeBox", "description",
    )}  # fmt: skip
    filling["homePhone"] = f"+49 30 {number:05}"
    return _entry(
        f"uid={uid},ou=many,{SUFFIX}", "inetOrgPerson", uid=uid, cn=f"Many {number}", sn=f"Number {number}",
        mail=f"{uid}@example.org", employeeNumber=number, **filling,
    )  # fmt: skip

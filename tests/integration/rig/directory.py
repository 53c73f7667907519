"""What the LDAP servers of the tests have in common: how they are run and asked, and what is in them.

Below ``dc=example,dc=org``: twenty ``ou=people``, a group, ``ou=hidden`` for what a policy leaves out, ``ou=svc`` with
the static accounts, and as many in ``ou=many`` as are wished.
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
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import ldap3
from rig.certificates import Authority
from rig.place import Place, free_port

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
START = 60.0

SUFFIX = "dc=example,dc=org"
PEOPLE = 20


def found(program: str) -> str:
    return shutil.which(program, path=PATH) or program


def dn(account: str) -> str:
    return f"cn={account},ou=svc,{SUFFIX}"


class Directory:
    """``port`` speaks plaintext and StartTLS, ``tls_port`` LDAPS, both on ``host``; ``log`` names connections.

    A subclass makes the server in ``create`` and says in ``_command`` how it is started. It runs as an unprivileged
    user when the tests run as root.
    """

    host = "127.0.0.1"
    suffix = SUFFIX
    administrator = f"cn=admin,{SUFFIX}"

    def __init__(self, place: Place, authority: Authority, name: str, accounts: tuple[str, ...]) -> None:
        self.place = place
        self.authority = authority
        self.port = free_port()
        self.tls_port = free_port()
        self.folder = place.folder / name
        self.output = place.folder / f"{name}.output"
        self.log = self.output
        self.passwords = {account: place.new_secret(f"{name} password of {account}") for account in accounts}
        self.admin_password = place.new_secret(f"{name} administrator")
        self.process: subprocess.Popen[bytes] | None = None
        self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []

    def _command(self) -> list[str]:
        raise NotImplementedError

    def dn(self, account: str) -> str:
        """The login name of a static account."""
        return dn(account)

    def _run(self, *command: str, stdin: bytes = b"", seconds: float = 120, as_user: bool = True) -> None:
        done = subprocess.run(
            [*(self._as_user if as_user else ()), found(command[0]), *command[1:]], cwd=self.folder, input=stdin,
            capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-2000:]

    def _give_away(self) -> None:
        """Lets the unprivileged user have what was made."""
        if self._as_user:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, "nobody", "nogroup")

    def _certificate(self) -> tuple[Path, Path]:
        """Certificate and key files beside the others of this run."""
        certificate, key = self.authority.issue(self.place.folder, self.folder.name, self.host)
        self.place.secret_files.add(key)
        return certificate, key

    # -- life

    def start(self) -> None:
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                self._command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + START
        while True:
            assert self.process.poll() is None, self._last_words()
            try:
                socket.create_connection((self.host, self.tls_port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end, f"nothing listens on {self.tls_port}: {self._last_words()}"
                time.sleep(0.05)

    def _last_words(self) -> str:
        return self.output.read_text(errors="replace")[-2000:]

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

    def admin(self) -> AbstractContextManager[ldap3.Connection]:
        """The administrator's connection past the bridge."""
        return self.login(self.administrator, self.admin_password)

    def login(self, name: str, password: str, **more: Any) -> AbstractContextManager[ldap3.Connection]:
        """Over LDAPS; raises LDAPException when it is refused."""
        return client(self.tls_port, self.authority.ca, name, password, host=self.host, **more)

    def lines(self, text: str) -> list[str]:
        """Of the log that hold ``text``."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if text in line]


@contextmanager
def client(
    port: int, ca: Path, name: str, password: str, *, host: str = "127.0.0.1", get_info: str = ldap3.SCHEMA, **more: Any
) -> Iterator[ldap3.Connection]:
    """ldap3 over LDAPS, logged in; raises LDAPException when it is refused. ``get_info``: what it checks names by."""
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(ca))
    server = ldap3.Server(host, port, use_ssl=True, tls=tls, connect_timeout=10, get_info=get_info)
    settings: dict[str, Any] = {"raise_exceptions": True, "receive_timeout": 30, "auto_referrals": False}
    connection = ldap3.Connection(server, name, password, **{**settings, **more})
    try:  # its own context manager leaves open what was open, and what was refused
        connection.bind()
        yield connection
    finally:
        connection.unbind()


def hashed(password: str) -> str:
    """``{SSHA}``, as directories store passwords."""
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


# -- what is in it, in LDIF (RFC 2849) ---------------------------------------------------------------------------------


def entry(dn: str, classes: str, **values: object) -> str:
    lines = [f"dn: {dn}", *(f"objectClass: {name}" for name in classes.split())]
    for name, value in values.items():
        lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value])]
    return "\n".join(lines) + "\n\n"


def tree(passwords: Mapping[str, str], more: Mapping[str, Mapping[str, object]], **top: object) -> Iterator[str]:
    """``more``: further attributes of a static account; ``top``: of the uppermost entry."""
    yield entry(SUFFIX, "dcObject organization", dc="example", o="Example", **top)
    for unit in ("people", "groups", "hidden", "svc", "many", "policies"):
        yield entry(f"ou={unit},{SUFFIX}", "organizationalUnit", ou=unit)
    for account, password in passwords.items():
        values = {"userPassword": hashed(password), "description": "a static account", **more.get(account, {})}
        yield entry(dn(account), "organizationalRole simpleSecurityObject", cn=account, **values)
    for number in range(1, PEOPLE + 1):
        yield person(number)
    members = [f"uid=user{number:02},ou=people,{SUFFIX}" for number in range(1, PEOPLE + 1)]
    yield entry(f"cn=staff,ou=groups,{SUFFIX}", "groupOfNames", cn="staff", member=members)
    yield entry(f"cn=board,ou=hidden,{SUFFIX}", "organizationalRole", cn="board", description="hidden")


def person(number: int) -> str:
    uid = f"user{number:02}"
    return entry(
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
    return entry(
        f"uid={uid},ou=many,{SUFFIX}", "inetOrgPerson", uid=uid, cn=f"Many {number}", sn=f"Number {number}",
        mail=f"{uid}@example.org", employeeNumber=number, **filling,
    )  # fmt: skip


# -- a bridge in front of it -------------------------------------------------------------------------------------------


def system(directory: Directory, *accounts: str, **options: Any) -> dict[str, Any]:
    """Its entry in the bridge's file, over LDAPS."""
    upstream = {"host": directory.host, "port": directory.tls_port, "tls": "verify-full"}
    return {
        "protocol": "ldap",
        "upstream": {**upstream, "ca": str(directory.authority.ca)},
        "options": options,
        "accounts": {name: {"user": directory.dn(name), "secret": f"env:PW_{name.upper()}"} for name in accounts},
    }


def environment(directory: Directory) -> dict[str, str]:
    return {f"PW_{name.upper()}": password for name, password in directory.passwords.items()}


def document(systems: dict[str, Any], grants: list[dict[str, Any]]) -> dict[str, Any]:
    team = {"kind": "team", "contact": "people@example.org", "on_call": "https://oncall.example.org/people"}
    return {
        "bridge": {"drain": "0s"},
        "owners": {"payments": team},
        "roles": {"reader": {"description": "reads"}, "writer": {"description": "writes"}},
        "systems": systems,
        "grants": grants,
    }


def grant(role: str, system: str, account: str, *actions: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{role}-{system}-{account.replace('_', '-')}", "roles": [role], "system": system,
            "account": account, "actions": list(actions), "default": True, **more}  # fmt: skip

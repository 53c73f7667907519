"""Real clients of LDAP log in by token and work on real directories; the log says which agent did what."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import LDAPInsufficientAccessRightsResult
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import PEOPLE, Directory, client, document, environment, grant, system
from rig.place import Place

CLIENTS = Path(__file__).parent / "clients"
SYSTEM_PYTHON = "/usr/bin/python3"
WANTED = "(&(|(uid=user03)(cn=user03))(!(description=none)))"
ALL_PEOPLE = "(|(uid=user*)(cn=user0*)(cn=user1*)(cn=user2*))"
CHANGES = ["ldap.add", "ldap.modify", "ldap.modify_dn", "ldap.delete"]


@dataclass(frozen=True)
class Door:
    """A bridge before one directory, and tokens of an agent that may write and of one that may read."""

    bridge: Bridge
    directory: Directory
    writer: str
    reader: str

    @property
    def base(self) -> str:
        return f"ou=people,{self.directory.suffix}"

    @property
    def port(self) -> int:
        return self.bridge.ports["directory"]

    def operations(self, client: str) -> list[dict[str, Any]]:
        """What was done to the entry that this client makes; oldest first."""

        def found() -> list[dict[str, Any]]:
            events = self.bridge.events(type="operation", system="directory")
            return [one for one in events if one["phase"] != "intent" and f"ou={client}" in json.dumps(one).lower()]

        self.bridge.wait(lambda: len(found()) >= len(CHANGES), 10, f"logged: {client}")
        return found()


@pytest.fixture(scope="module", params=["slapd", "ds389", "samba"])
def door(request: pytest.FixtureRequest, place: Place, authority: Authority) -> Iterator[Door]:
    directory: Directory = request.getfixturevalue(request.param)
    grants = [
        grant("reader", "directory", "svc_reader", "read"),
        grant("writer", "directory", "svc_writer", "read", "write", "admin"),
    ]
    systems = {"directory": system(directory, "svc_reader", "svc_writer")}
    running = Bridge(place, authority, f"clients-{request.param}", document(systems, grants), environment(directory))
    try:
        running.start()
        for role in ("reader", "writer"):
            running.agent(f"{role}-1", role)
        yield Door(running, directory, running.token("writer-1"), running.token("reader-1"))
    finally:
        assert running.stop() == 0


def run(door: Door, name: str, *command: str, stdin: str = "", status: int = 0, **more: str) -> str:
    values = {
        **os.environ, "PORT": str(door.port), "BASE": door.base, "CA": str(door.bridge.authority.ca),
        "LDAPTLS_CACERT": str(door.bridge.authority.ca), "TOKEN": door.writer, "READER": door.reader,
        "READER_ID": "reader-1", "WANTED": WANTED, "PEOPLE": ALL_PEOPLE, **more,
    }  # fmt: skip
    done = subprocess.run(command, env=values, input=stdin, capture_output=True, timeout=120, text=True, check=False)
    door.bridge.place.keep(name, done.stdout + done.stderr)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def worked(door: Door, name: str, found: dict[str, Any]) -> None:
    """What the client saw is right, and what it did is in the log as the agent's."""
    assert found["found"] == ["user03@example.org"]
    assert (found["pages"], found["compared"], found["refused"]) == (PEOPLE, True, 50)
    done = door.operations(name)
    assert sorted(one["action"]["verb"] for one in done if one["action"]["kind"] == "write") == sorted(CHANGES)
    assert {(one["agent"]["id"], one["legacy"]["account"], one["outcome"]) for one in done} == {
        ("writer-1", "svc_writer", "success")
    }


def needs(program: str) -> None:
    if shutil.which(program) is None and not os.environ.get("IDBRIDGE_ALL_CLIENTS"):
        pytest.skip(f"no {program} here")


def test_ldap3(door: Door) -> None:
    dn = f"ou=ldap3,{door.base}"
    with client(door.port, door.bridge.authority.ca, "agent", door.writer) as connection:
        connection.search(door.base, WANTED, attributes=["mail"])
        mails = [str(entry.mail) for entry in connection.entries]
        victim = connection.entries[0].entry_dn
        found = connection.extend.standard.paged_search(door.base, ALL_PEOPLE, paged_size=7, generator=False)
        pages = len([one for one in found if one["type"] == "searchResEntry"])
        connection.add(dn, "organizationalUnit", {"description": "made"})
        connection.modify(dn, {"description": [(ldap3.MODIFY_REPLACE, ["changed"])]})
        compared = connection.compare(dn, "description", "changed")
        connection.modify_dn(dn, "ou=ldap3-2")
        connection.delete(f"ou=ldap3-2,{door.base}")
        assert connection.extend.standard.who_am_i() == "u:writer-1"
    plain = {"authentication": ldap3.SASL, "sasl_mechanism": ldap3.PLAIN}
    credentials = (None, "reader-1", door.reader)
    with (
        client(door.port, door.bridge.authority.ca, "", "", **plain, sasl_credentials=credentials) as connection,
        pytest.raises(LDAPInsufficientAccessRightsResult),
    ):
        connection.delete(victim)
    worked(door, "ldap3", {"found": mails, "pages": pages, "compared": compared, "refused": 50})


def test_ldap3_by_starttls(door: Door) -> None:
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(door.bridge.authority.ca))
    server = ldap3.Server("127.0.0.1", door.port, tls=tls, connect_timeout=10)
    connection = ldap3.Connection(server, "agent", door.reader, receive_timeout=30)
    try:
        assert connection.start_tls()
        assert connection.bind()
        assert connection.search(door.base, WANTED)
    finally:
        connection.unbind()


def test_openldap_tools(door: Door, tmp_path: Path) -> None:
    needs("ldapsearch")
    token = tmp_path / "token"
    token.write_text(door.writer + "\n")  # as an editor leaves it
    token.chmod(0o600)
    common = ["-H", f"ldaps://127.0.0.1:{door.port}", "-x", "-D", "agent", "-y", str(token)]
    dn = f"ou=openldap,{door.base}"

    def tool(name: str, *arguments: str, **more: Any) -> str:
        return run(door, name, name, *common, *arguments, **more)

    mails = tool("ldapsearch", "-LLL", "-b", door.base, WANTED, "mail").splitlines()
    found = [line.removeprefix("mail: ") for line in mails if line.startswith("mail: ")]
    victim = next(line.removeprefix("dn: ") for line in mails if line.startswith("dn: "))
    paged = tool("ldapsearch", "-LLL", "-E", "pr=7/noprompt", "-b", door.base, ALL_PEOPLE, "1.1")
    tool("ldapadd", stdin=f"dn: {dn}\nobjectClass: organizationalUnit\ndescription: made\n")
    change = f"dn: {dn}\nchangetype: modify\nreplace: description\ndescription: changed\n"
    tool("ldapmodify", stdin=change)
    tool("ldapcompare", dn, "description:changed", status=6)
    tool("ldapmodrdn", "-r", dn, "ou=openldap-2")
    tool("ldapdelete", f"ou=openldap-2,{door.base}")
    assert tool("ldapwhoami") == "u:writer-1\n"
    token.write_text(door.reader)
    tool("ldapdelete", victim, status=50)
    sasl = ["-Y", "PLAIN", "-U", "reader-1", "-y", str(token), "-Q"]
    run(door, "plain", "ldapsearch", "-H", f"ldaps://127.0.0.1:{door.port}", *sasl, "-b", door.base, WANTED, "mail")
    start = ["-H", f"ldap://127.0.0.1:{door.port}", "-ZZ", "-x", "-D", "agent", "-y", str(token)]
    run(door, "starttls", "ldapsearch", *start, "-b", door.base, WANTED, "mail")
    worked(door, "openldap", {"found": found, "pages": paged.count("dn: "), "compared": True, "refused": 50})


def test_python_ldap(door: Door) -> None:
    if not Path("/usr/lib/python3/dist-packages/ldap/__init__.py").exists():
        pytest.skip("no python-ldap here")
    found = json.loads(run(door, "python-ldap", SYSTEM_PYTHON, str(CLIENTS / "ldap_python_ldap.py")))
    assert found["who"] == "u:writer-1"
    worked(door, "pythonldap", found)


def test_jndi(door: Door, tmp_path: Path) -> None:
    needs("java")
    trusted = tmp_path / "trusted.p12"
    run(door, "keytool", "keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", str(door.bridge.authority.ca),
        "-keystore", str(trusted), "-storetype", "PKCS12", "-storepass", "changeit")  # fmt: skip
    trust = [f"-Djavax.net.ssl.trustStore={trusted}", "-Djavax.net.ssl.trustStorePassword=changeit"]
    out = run(door, "jndi", "java", "-XX:TieredStopAtLevel=1", *trust, str(CLIENTS / "LdapNaming.java"))
    worked(door, "jndi", json.loads(out))


def test_ldapts(door: Door) -> None:
    needs("node")
    modules = str(Path(__file__).parent / "node" / "node_modules")
    if not (Path(modules) / "ldapts").exists():
        pytest.skip("ldapts is not installed: scripts/setup --all")
    found = json.loads(run(door, "ldapts", "node", str(CLIENTS / "ldap_ldapts.js"), NODE_PATH=modules))
    worked(door, "ldapts", found)

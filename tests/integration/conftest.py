"""One real PostgreSQL and one real bridge for all integration tests; ``make_bridge`` starts further ones."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `rig`: --import-mode=importlib adds nothing itself

from rig import ds389 as ds389_rig
from rig import samba as samba_rig
from rig import slapd as slapd_rig
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import Directory
from rig.mariadb import MariaDB, available, shop_document, shop_environment
from rig.place import Place, free_port
from rig.postgres import Server, binaries
from rig.ssh_clients import Client, hosts_document, hosts_environment
from rig.sshd import LEGACY, Account, Sshd
from rig.sshd import available as sshd_available

MakeBridge = Callable[..., Bridge]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="idbridge-integration-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    yield Place(folder)
    if not os.environ.get("IDBRIDGE_KEEP_ARTEFACTS"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(place: Place) -> Authority:
    return Authority.create(place.folder)


@pytest.fixture(scope="session")
def postgres(place: Place, authority: Authority) -> Iterator[Server]:
    if binaries() is None:
        pytest.skip("no PostgreSQL server here")
    server = Server(place, authority)
    server.create()
    yield server
    server.stop()


def system(postgres: Server, account: str, tls: str = "verify-full", **more: Any) -> dict[str, Any]:
    upstream: dict[str, Any] = {"host": "127.0.0.1", "port": postgres.port, "tls": tls}
    if tls.startswith("verify"):
        upstream["ca"] = str(postgres.authority.ca)
    return {
        "protocol": "postgres",
        "upstream": upstream,
        "options": {"default_database": "app"},
        "accounts": {account: {"secret": f"env:PW_{account.upper()}"}},
        **more,
    }


def grant(id: str, role: str, system: str, account: str, *actions: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "roles": [role], "system": system, "account": account, "actions": list(actions),
            "default": True, **more}  # fmt: skip


def document(systems: dict[str, Any], grants: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "bridge": {"drain": "0s"},
        "owners": {
            "payments": {"kind": "team", "contact": "pay@example.org", "on_call": "https://oncall.example.org/pay"}
        },
        "roles": {
            "reader": {"description": "reads"},
            "writer": {"description": "writes"},
            "nothing": {"description": "-"},
        },
        "systems": systems,
        "grants": grants,
        **more,
    }


ALL = ("read", "write", "admin")


def whole_document(postgres: Server) -> dict[str, Any]:
    """A system for each way in which they differ."""
    warehouse = system(postgres, "svc_reader", labels=["pii"])
    warehouse["accounts"]["svc_writer"] = {"secret": "env:PW_SVC_WRITER"}
    dead = system(postgres, "svc_reader")
    dead["upstream"]["port"] = free_port()
    wrong = system(postgres, "svc_wrong")
    wrong["accounts"]["svc_wrong"]["secret"] = "env:PW_NOT_SVC_WRONG"
    systems = {
        "warehouse": warehouse,
        "md5": system(postgres, "svc_md5"),
        "clear": system(postgres, "svc_clear"),
        "loopback": system(postgres, "svc_reader", tls="disable", plaintext="loopback-only"),
        "guarded": system(postgres, "svc_writer", tls="disable"),
        "observed": system(postgres, "svc_writer", tls="disable", mode="observe"),
        "warned": system(postgres, "svc_writer", tls="disable", mode="warn"),
        "strict": system(postgres, "svc_writer", tls="disable", audit="strict"),
        "idle": system(postgres, "svc_reader", tls="disable", idle="1s"),
        "dead": dead,
        "wrong": wrong,
    }
    grants = [
        grant("reads", "reader", "warehouse", "svc_reader", "read"),
        grant("writes", "writer", "warehouse", "svc_writer", *ALL),
        grant("reads-md5", "reader", "md5", "svc_md5", "read"),
        grant("reads-clear", "reader", "clear", "svc_clear", "read"),
        grant("reads-loopback", "reader", "loopback", "svc_reader", "read"),
        grant("reads-guarded", "reader", "guarded", "svc_writer", "read"),
        grant("reads-observed", "reader", "observed", "svc_writer", "read"),
        grant("reads-warned", "reader", "warned", "svc_writer", "read"),
        grant("writes-strict", "writer", "strict", "svc_writer", *ALL),
        grant("reads-idle", "reader", "idle", "svc_reader", "read"),
        grant("reads-dead", "reader", "dead", "svc_reader", "read"),
        grant("reads-wrong", "reader", "wrong", "svc_wrong", "read"),
    ]
    return document(systems, grants)


def secret_environment(place: Place, postgres: Server) -> dict[str, str]:
    environment = {f"PW_{account.upper()}": password for account, password in postgres.passwords.items()}
    place.secrets.setdefault("wrong static password", b"not-the-password-3f9a1c7e55")
    environment["PW_NOT_SVC_WRONG"] = place.secrets["wrong static password"].decode()
    return environment


@pytest.fixture(scope="session")
def bridge(place: Place, authority: Authority, postgres: Server) -> Iterator[Bridge]:
    """The one that most tests share; whoever breaks it uses ``make_bridge``."""
    running = Bridge(place, authority, "shared", whole_document(postgres), secret_environment(place, postgres))
    try:
        running.start()
        for id, role in (
            ("reader-1", "reader"),
            ("writer-1", "writer"),
            ("stranger-1", "nothing"),
            ("held-1", "reader"),
        ):
            running.agent(id, role)
        yield running
    finally:
        assert running.stop() == 0


@pytest.fixture
def make_bridge(place: Place, authority: Authority, postgres: Server) -> Iterator[MakeBridge]:
    """Starts a bridge with the systems named ``only`` of the whole document and keys of the top level replaced."""
    made: list[Bridge] = []

    def make(name: str, only: tuple[str, ...] = ("warehouse",), *, start: bool = True, **more: Any) -> Bridge:
        whole = whole_document(postgres)
        systems = {key: value for key, value in whole["systems"].items() if key in only}
        grants = [one for one in whole["grants"] if one["system"] in only]
        made.append(
            Bridge(place, authority, name, document(systems, grants, **more), secret_environment(place, postgres))
        )
        if start:
            made[-1].start()
            made[-1].agent("reader-1", "reader")
            made[-1].agent("writer-1", "writer")
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def reader(bridge: Bridge) -> str:
    """A token of an agent that may read."""
    return bridge.token("reader-1")


@pytest.fixture(scope="session")
def writer(bridge: Bridge) -> str:
    return bridge.token("writer-1")


# -- MySQL -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mariadb(place: Place, authority: Authority) -> Iterator[MariaDB]:
    if not available():
        pytest.skip("no MariaDB server here")
    server = MariaDB(place, authority)
    server.create()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shop(place: Place, authority: Authority, mariadb: MariaDB) -> Iterator[Bridge]:
    """A bridge in front of MariaDB: a system for each way in which they differ."""
    running = Bridge(place, authority, "shop", shop_document(mariadb), shop_environment(mariadb))
    try:
        running.start()
        for id, role in (
            ("clerk-1", "reader"),
            ("clerk-2", "reader"),
            ("manager-1", "writer"),
            ("manager-2", "writer"),
        ):
            running.agent(id, role)
        yield running
    finally:
        assert running.stop() == 0


# -- SSH ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def account(place: Place) -> Iterator[Account]:
    if not sshd_available():
        pytest.skip("a real sshd with a system user of its own needs root")
    made = Account(place)
    try:
        made.create()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def modern(place: Place, account: Account) -> Iterator[Sshd]:
    host = Sshd(place, account, "sshd-modern", "RekeyLimit 8M\n", "ed25519 rsa ecdsa")
    host.start()
    yield host
    host.stop()


@pytest.fixture(scope="session")
def old(place: Place, account: Account) -> Iterator[Sshd]:
    host = Sshd(place, account, "sshd-legacy", LEGACY, "rsa")
    host.start()
    yield host
    host.stop()


@pytest.fixture(scope="session")
def gate(place: Place, authority: Authority, account: Account, modern: Sshd, old: Sshd) -> Iterator[Bridge]:
    """A bridge in front of both hosts: a system for each way in which they differ."""
    document = hosts_document(account, modern, old)
    running = Bridge(place, authority, "gate", document, hosts_environment(account))
    try:
        running.start()
        running.agent("operator-1", "operator")
        running.agent("auditor-1", "reader")
        yield running
    finally:
        assert running.stop() == 0


@pytest.fixture(scope="session")
def operator(gate: Bridge) -> Client:
    """May do everything on the hosts."""
    return Client(gate, "operator-1")


@pytest.fixture(scope="session")
def auditor(gate: Bridge) -> Client:
    """May read."""
    return Client(gate, "auditor-1")


# -- LDAP --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def slapd(place: Place, authority: Authority) -> Iterator[slapd_rig.Slapd]:
    if not slapd_rig.available():
        pytest.skip("no OpenLDAP server here")
    yield from running(slapd_rig.Slapd(place, authority))


@pytest.fixture(scope="session")
def ds389(place: Place, authority: Authority) -> Iterator[ds389_rig.DS389]:
    if not ds389_rig.available():
        pytest.skip("no 389 Directory Server here")
    yield from running(ds389_rig.DS389(place, authority))


@pytest.fixture(scope="session")
def samba(place: Place, authority: Authority) -> Iterator[samba_rig.Samba]:
    if not samba_rig.available():
        pytest.skip("a Samba domain controller needs root")
    yield from running(samba_rig.Samba(place, authority))


SomeDirectory = TypeVar("SomeDirectory", bound=Directory)


def running(server: SomeDirectory) -> Iterator[SomeDirectory]:
    try:
        server.create()
        yield server
    finally:
        server.stop()

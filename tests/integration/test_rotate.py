"""``idbridge account rotate`` with real servers: agents notice nothing, nobody else knows it, crashes are settled."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pymysql
import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.mariadb import MariaDB, shop_document, shop_environment
from rig.place import Place
from rig.postgres import Server
from rig.store import keep, names, stored

MakeBridge = Callable[..., Bridge]
_NUMBERS = itertools.count()


def works(postgres: Server, user: str, password: str) -> bool:
    try:
        psycopg.connect(host="127.0.0.1", port=postgres.port, user=user, password=password, dbname="app").close()
    except psycopg.OperationalError:
        return False
    return True


def create_role(postgres: Server, role: str, password: str, encryption: str) -> None:
    with postgres.admin() as admin:
        admin.execute("set log_statement = 'none'")  # the canary searches the server's log
        admin.execute(f"set password_encryption = '{encryption}'".encode())
        admin.execute(f"create role {role} login password '{password}'".encode())
        admin.execute(f"alter role {role} set default_transaction_read_only = on".encode())
        admin.execute(f"alter role {role} set password_encryption = '{encryption}'".encode())
        admin.execute(f"grant select on invoices to {role}".encode())


@pytest.fixture
def rotating(make_bridge: MakeBridge, postgres: Server, place: Place, request: Any) -> tuple[Bridge, str, str]:
    """A bridge whose only account is a new role of PostgreSQL; the role, and its password."""
    number = next(_NUMBERS)
    role, password = f"svc_turn{number}", place.new_secret(f"turn {number}")
    encryption = getattr(request, "param", "scram-sha-256")
    create_role(postgres, role, password, encryption)
    bridge = make_bridge("turning", start=False)
    accounts = bridge.document["systems"]["warehouse"]["accounts"]
    accounts[role] = {"secret": "store:warehouse/turn"}
    bridge.document["grants"] = [
        {"id": "g", "roles": ["reader"], "system": "warehouse", "account": role, "actions": ["read"], "default": True}
    ]
    bridge.write()
    bridge.start()
    bridge.cli("secret", "set", "warehouse/turn", stdin=password)
    bridge.agent("reader-1", "reader")
    return bridge, role, password


def read(bridge: Bridge) -> None:
    with bridge.connect(bridge.token("reader-1")) as connection:
        connection.execute("select count(*) from invoices")


def test_a_new_password_that_nobody_else_knows(rotating: tuple[Bridge, str, str], postgres: Server) -> None:
    bridge, role, old = rotating
    with bridge.connect(bridge.token("reader-1")) as connection:
        answer = bridge.cli_json("account", "rotate", "warehouse", role)
        connection.execute("select count(*) from invoices")  # a session that lives goes on
    assert (answer["reference"], answer["revision"], answer["recovered"]) == ("store:warehouse/turn", 2, "")
    new = stored(bridge, "warehouse/turn")
    assert (works(postgres, role, old), works(postgres, role, new), len(new)) == (False, True, 32)
    assert names(bridge) == {"warehouse/turn"}
    read(bridge)
    intent, outcome = bridge.events(type="secret.change")[-2:]
    assert (intent["phase"], intent["actor"]["kind"]) == ("intent", "person")
    assert (outcome["change"]["before"], outcome["change"]["after"]) == ({"revision": 1}, {"revision": 2})
    assert outcome["change"]["subject"] == f"warehouse/{role}"
    everything = postgres.log.read_text() + bridge.daemon_log.read_text() + str(bridge.events())
    assert new not in everything


@pytest.mark.parametrize("rotating", ["md5"], indirect=True)
def test_an_account_that_cannot_log_in_is_left_as_it_is(rotating: tuple[Bridge, str, str]) -> None:
    """pg_hba.conf asks for SCRAM, which a password that is kept as md5 cannot answer."""
    bridge, role, old = rotating
    assert "28P01" in bridge.cli("account", "rotate", "warehouse", role, status=1)
    assert (names(bridge), stored(bridge, "warehouse/turn")) == ({"warehouse/turn"}, old)


def test_agents_that_log_in_meanwhile_notice_nothing(rotating: tuple[Bridge, str, str]) -> None:
    bridge, role, _ = rotating
    failures: list[str] = []
    going = threading.Event()

    def log_in() -> None:
        while not going.is_set():
            try:
                read(bridge)
            except psycopg.Error as error:
                failures.append(str(error))

    threads = [threading.Thread(target=log_in) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        bridge.cli("account", "rotate", "warehouse", role)
    going.set()
    for thread in threads:
        thread.join(30)
    assert failures == []


@pytest.mark.parametrize("was_set", [True, False])
def test_a_change_that_a_crash_cut_off_is_settled_first(
    rotating: tuple[Bridge, str, str], postgres: Server, was_set: bool
) -> None:
    """By itself, when the bridge is there again; where the new one was not set, that is one login that fails."""
    bridge, role, _ = rotating
    other = bridge.place.new_secret(f"half way {was_set}")
    bridge.kill()
    keep(bridge, "warehouse/turn.next", other)
    if was_set:
        with postgres.admin() as admin:
            admin.execute("set log_statement = 'none'")
            admin.execute(f"alter role {role} password '{other}'".encode())
    bridge.start()
    Bridge.wait(lambda: names(bridge) == {"warehouse/turn"}, 15, "settled")
    assert postgres.failures(role) == (0 if was_set else 1)
    assert (stored(bridge, "warehouse/turn") == other) is was_set
    assert works(postgres, role, stored(bridge, "warehouse/turn"))
    assert bridge.events(type="secret.change")[-1]["actor"] == {"kind": "bridge", "id": "schedule"}
    read(bridge)


def test_doctor_meanwhile_sees_one_password_or_the_other(rotating: tuple[Bridge, str, str], postgres: Server) -> None:
    """It logs in to each database by itself, and is not overtaken between two of them."""
    bridge, role, _ = rotating
    going = threading.Event()
    found: list[dict[str, str]] = []

    def look() -> None:
        while not going.is_set():
            found.extend(bridge.call("doctor", system="warehouse", account=role))

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(3):
        bridge.cli("account", "rotate", "warehouse", role)
    going.set()
    looking.join(30)
    assert [row for row in found if "cannot log in" in row["title"]] == []
    assert (bool(found), postgres.failures(role)) == (True, 0)


def test_when_no_password_works_both_are_kept_and_no_more_is_tried(
    rotating: tuple[Bridge, str, str], postgres: Server
) -> None:
    bridge, role, old = rotating
    bridge.kill()
    keep(bridge, "warehouse/turn.next", bridge.place.new_secret("no good"))
    with postgres.admin() as admin:
        admin.execute(f"alter role {role} password 'something else'".encode())
    bridge.start()
    Bridge.wait(lambda: "both are kept" in bridge.daemon_log.read_text(), 15, "told")
    assert (postgres.failures(role), names(bridge)) == (2, {"warehouse/turn", "warehouse/turn.next"})
    assert "both are kept" in bridge.cli("account", "rotate", "warehouse", role, status=1)
    assert postgres.failures(role) == 4  # a person may have mended it meanwhile; nobody else tries
    assert stored(bridge, "warehouse/turn") == old
    assert bridge.events(type="secret.change")[-1]["outcome"] == "failure"


def test_what_cannot_be_changed_is_said(rotating: tuple[Bridge, str, str]) -> None:
    bridge, role, _ = rotating
    assert "only what is in the store" in bridge.cli("account", "rotate", "warehouse", "svc_reader", status=1)
    bridge.document["systems"]["warehouse"]["accounts"]["svc_writer"]["secret"] = "store:warehouse/turn"
    bridge.write()
    bridge.cli("reload")
    assert "also the secret of warehouse/svc_writer" in bridge.cli("account", "rotate", "warehouse", role, status=1)
    assert "has no account nobody" in bridge.cli("account", "rotate", "warehouse", "nobody", status=1)


def test_on_a_schedule(rotating: tuple[Bridge, str, str], postgres: Server) -> None:
    """Of two accounts the one whose password is old enough."""
    bridge, young, kept = rotating
    role, old = f"{young}_old", bridge.place.new_secret(f"{young} old")
    create_role(postgres, role, old, "scram-sha-256")
    bridge.cli("secret", "set", "warehouse/old", stdin=old)
    with sqlite3.connect(bridge.state / "registry.db") as database:
        database.execute("UPDATE stored_secret SET updated = updated - 3601 WHERE name = 'warehouse/old'")
    database.close()
    accounts = bridge.document["systems"]["warehouse"]["accounts"]
    accounts[young]["rotate"] = "1h"
    accounts[role] = {"secret": "store:warehouse/old", "rotate": "1h"}
    bridge.write()
    bridge.cli("reload")
    Bridge.wait(lambda: not works(postgres, role, old), 30, "changed")
    assert works(postgres, young, kept)
    Bridge.wait(lambda: bridge.events(type="secret.change")[-1]["outcome"] == "success", 5, "recorded")
    assert bridge.events(type="secret.change")[-1]["actor"] == {"kind": "bridge", "id": "schedule"}
    read(bridge)


def test_mariadb_with_each_of_its_plugins(place: Place, authority: Authority, mariadb: MariaDB) -> None:
    document = shop_document(mariadb)
    made = {"svc_turn_native": "mysql_native_password", "svc_turn_ed25519": "ed25519"}
    accounts = document["systems"]["shop"]["accounts"]
    passwords = {name: place.new_secret(name) for name in made}
    with mariadb.admin() as admin, admin.cursor() as cursor:
        cursor.execute("set sql_log_off = on")  # of this connection
        for name, plugin in made.items():
            cursor.execute(
                f"create user {name}@'127.0.0.1' identified via {plugin} using password('{passwords[name]}')"
            )
            cursor.execute(f"grant select on app.* to {name}@'127.0.0.1'")
            accounts[name] = {"secret": f"store:{name}"}
            document["grants"].append(
                {"id": name, "roles": ["reader"], "system": "shop", "account": name, "actions": ["read"]}
            )
    bridge = Bridge(place, authority, "turning-shop", document, shop_environment(mariadb))
    bridge.start()
    try:
        bridge.agent("clerk-1", "reader")
        for name, plugin in made.items():
            bridge.cli("secret", "set", name, stdin=passwords[name])
            bridge.cli("account", "rotate", "shop", name)
            with pymysql.connect(
                host="127.0.0.1", port=bridge.ports["shop"], user=name, password=bridge.token("clerk-1"),
                ssl_ca=str(authority.ca), ssl_verify_cert=True,
            ) as connection, connection.cursor() as cursor:  # fmt: skip
                cursor.execute("select current_user()")
                assert cursor.fetchone() == (f"{name}@127.0.0.1",)
            assert mariadb.ask("select plugin from mysql.user where user = %s", name) == [(plugin,)]
            assert stored(bridge, name) not in mariadb.general_log.read_text(errors="replace")
    finally:
        assert bridge.stop() == 0


def test_the_bridge_is_killed_in_the_middle(rotating: tuple[Bridge, str, str], postgres: Server) -> None:
    """Whenever it dies, the next change settles it, and the password is never lost."""
    bridge, role, _ = rotating
    for delay in (0.0, 0.05, 0.1, 0.2, 0.4):
        turning = threading.Thread(target=_try, args=(bridge, role))
        turning.start()
        time.sleep(delay)
        bridge.kill()
        turning.join(30)
        bridge.start()
        Bridge.wait(lambda: names(bridge) == {"warehouse/turn"}, 15, "settled")
        bridge.cli("account", "rotate", "warehouse", role)
        assert works(postgres, role, stored(bridge, "warehouse/turn"))
        assert names(bridge) == {"warehouse/turn"}


def _try(bridge: Bridge, role: str) -> None:
    with contextlib.suppress(Exception):  # killed meanwhile
        bridge.call("account.rotate", system="warehouse", account=role)

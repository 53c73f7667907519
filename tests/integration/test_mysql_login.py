"""Logins through a real bridge at a real MariaDB: carriers, plugins, stamps, and every kind of no."""

from __future__ import annotations

import re
from typing import Any

import pymysql
import pytest
from rig.bridge import Bridge
from rig.mariadb import MariaDB, ask, connect
from rig.mysql_wire import FLAGS, MySQLTalk, error

REFERENCE = re.compile(r"\(reference (\w+)\)")


@pytest.fixture(scope="session")
def clerk(shop: Bridge) -> str:
    """A token of an agent that may read."""
    return shop.token("clerk-1")


@pytest.fixture(scope="session")
def manager(shop: Bridge) -> str:
    return shop.token("manager-1")


def refused(shop: Bridge, token: str, **more: Any) -> tuple[int, str, dict[str, Any]]:
    """Code and text that the client hears, and the event that its reference leads to."""
    with pytest.raises(pymysql.err.MySQLError) as caught:
        connect(shop, token, **more)
    code, text = caught.value.args
    found = REFERENCE.search(text)
    assert found is not None, text
    return code, text, shop.refusal(found[1])


@pytest.mark.parametrize(
    ("system", "account"),
    [("shop", "svc_reader"), ("ed25519", "svc_ed25519"), ("tls", "svc_tls"), ("plain", "svc_reader")],
)
def test_each_kind_of_static_account(shop: Bridge, clerk: str, mariadb: MariaDB, system: str, account: str) -> None:
    """mysql_native_password and client_ed25519, with and without TLS; the log names agent and account."""
    with connect(shop, clerk, system) as connection:
        (row,) = ask(connection, "select user(), connection_id(), id from t where id = 3")
        assert row[0] == f"{account}@127.0.0.1"
        session = mariadb.attributes(row[1])["_idbridge_session"].removeprefix("ib:")
    opened, established, *_ = shop.session_events(session, closed=True)
    assert (opened["agent"]["id"], opened["legacy"]["account"]) == ("clerk-1", account)
    assert established["type"] == "session.established"
    assert str(row[1]) in str(established["legacy"])


def test_an_account_by_name_and_one_that_is_not_granted(shop: Bridge, manager: str, clerk: str) -> None:
    with connect(shop, manager, user="svc_writer") as connection:
        assert ask(connection, "select user()") == [("svc_writer@127.0.0.1",)]
    code, _, event = refused(shop, clerk, user="svc_writer")
    assert (code, event["reason"]) == (1044, "not-granted")


def test_the_greeting_shows_the_server_as_it_is(shop: Bridge, clerk: str, mariadb: MariaDB) -> None:
    """teleport#6584: a made-up version made tools ask for what is not there."""
    with connect(shop, clerk):
        pass
    with connect(shop, clerk) as connection, mariadb.admin() as direct:
        assert connection.get_server_info() == direct.get_server_info()
        assert connection.server_capabilities & (1 << 24), "DEPRECATE_EOF is offered once the server has shown it"


def test_the_stamp_and_the_attributes_of_the_client(shop: Bridge, clerk: str, mariadb: MariaDB) -> None:
    with MySQLTalk(shop.ports["shop"]) as talk:
        forged = b"".join(bytes((len(one),)) + one for one in (b"_idbridge_session", b"forged", b"program_name", b"me"))
        talk.start_tls(shop.authority.ca)
        talk.introduce(attributes=forged)
        assert talk.hear() == b"\x01\x04"
        talk.say(clerk.encode() + b"\0")
        assert talk.hear()[0] == 0
        (thread,) = (
            row[0] for row in mariadb.ask("select id from information_schema.processlist where user = 'svc_reader'")
        )
        attributes = mariadb.attributes(int(thread))
        assert attributes["_idbridge_session"].startswith("ib:ses_")
        assert attributes["program_name"] == "me"


@pytest.mark.parametrize("size", [0, 1, 500, 2000, 4000, 8000, 16_000, 20_000])
def test_what_is_no_token_is_refused_at_any_size(shop: Bridge, size: int) -> None:
    """pgbouncer#1520 in MySQL's clothes."""
    code, _, event = refused(shop, "x" * size)
    assert code == 1045
    assert event["type"] == "session.refused"


def test_a_token_split_at_every_byte(shop: Bridge, clerk: str) -> None:
    with MySQLTalk(shop.ports["shop"]) as talk:
        talk.start_tls(shop.authority.ca)
        talk.introduce()
        assert talk.hear() == b"\x01\x04"
        for byte in talk.packet(clerk.encode() + b"\0"):
            talk.send(bytes((byte,)))
        assert talk.hear()[0] == 0


def test_a_client_hello_in_one_segment_with_the_request_for_tls(shop: Bridge) -> None:
    """warpgate#1421: lost now and then; here in one write, many times over."""
    for _ in range(100):
        with MySQLTalk(shop.ports["shop"]) as talk:
            talk.start_tls(shop.authority.ca)
            talk.introduce()
            assert talk.hear() == b"\x01\x04"


def test_no_token_is_asked_for_in_plaintext(shop: Bridge) -> None:
    with MySQLTalk(shop.ports["shop"]) as talk:
        talk.introduce()
        code, sqlstate, text = error(talk.hear())
        assert (code, sqlstate) == (3159, "HY000")
        assert "TLS" in text
        assert talk.closed()


@pytest.mark.parametrize(
    ("plugin", "asked"),
    [
        ("mysql_native_password", b"\xfecaching_sha2_password\0"),
        ("mysql_clear_password", b"\xfemysql_clear_password\0"),
        ("authentication_openid_connect_client", b"\xfeauthentication_openid_connect_client\0"),
    ],
)
def test_the_other_carriers(shop: Bridge, clerk: str, plugin: str, asked: bytes) -> None:
    with MySQLTalk(shop.ports["shop"], flags=FLAGS & ~(1 << 21)) as talk:
        talk.start_tls(shop.authority.ca)
        named = b"".join(bytes((len(one),)) + one for one in (b"_client_name", b"test"))
        talk.introduce(plugin=plugin, attributes=named)
        assert talk.hear().startswith(asked)
        token = clerk.encode()
        if plugin == "mysql_native_password":
            talk.say(b"s" * 32)
            assert talk.hear() == b"\x01\x04"
            talk.say(token + b"\0")
        elif plugin == "mysql_clear_password":
            talk.say(token + b"\0")
        else:
            talk.say(b"\x01\xfc" + len(token).to_bytes(2, "little") + token)
        assert talk.hear()[0] == 0


def test_a_wrong_static_password_is_for_ops(shop: Bridge, clerk: str) -> None:
    code, text, _ = refused(shop, clerk, system="wrong")
    assert code == 2003
    assert "svc_wrong" not in text
    reference = REFERENCE.search(text)
    assert reference is not None
    events = shop.session_events(reference[1], closed=True)
    assert "Access denied for user 'svc_wrong'" in str(events)
    again, _, _ = refused(shop, clerk, system="wrong")
    assert again == 2003


def test_a_database_that_is_not_there(shop: Bridge, manager: str, clerk: str) -> None:
    code, text, _ = refused(shop, clerk, database="nowhere")
    assert code == 1044
    assert "svc_reader" not in text


def test_emoji_of_a_client_that_wants_collation_255(shop: Bridge, manager: str, mariadb: MariaDB) -> None:
    """proxysql#4841, #5807: MariaDB takes 255 for latin1; 305 in one byte is 49."""
    for collation in (255, 305):
        with MySQLTalk(shop.ports["shop"], collation=collation) as talk:
            assert talk.log_in(manager, shop.authority.ca)[0] == 0
            assert talk.command(3, "insert into words (word) values ('\U0001f600 é')".encode())[0] == 0
        (row,) = mariadb.ask("select hex(word) from app.words order by id desc limit 1")
        assert row[0] == "F09F988020C3A9"


def test_changing_the_user_is_refused_and_the_session_lives(shop: Bridge, clerk: str) -> None:
    """proxysql#4618: identity changes with a new connection only."""
    with MySQLTalk(shop.ports["shop"]) as talk:
        assert talk.log_in(clerk, shop.authority.ca)[0] == 0
        code, sqlstate, _ = error(talk.command(0x11, b"svc_writer\0\0app\0\x2d\0mysql_native_password\0"))
        assert (code, sqlstate) == (1047, "08S01")
        assert talk.command(0x0E)[0] == 0


def test_the_doctor(shop: Bridge) -> None:
    """SHOW GRANTS of each account, read honestly."""
    narrow = shop.cli("doctor", "narrow", keep=True)
    assert "read-only guaranteed" in narrow
    views = shop.cli("doctor", "ed25519", status=1)
    assert "or hide it: app.counting, app.noting" in views, "without SHOW VIEW both definitions are hidden"
    guarded = shop.cli("doctor", "guarded", status=1)
    assert "or hide it: app.noting" in guarded
    assert "read-only is not guaranteed" in guarded
    assert "ALL PRIVILEGES on `app`.*" in guarded


def test_reconcile_finds_a_login_past_the_bridge(shop: Bridge, mariadb: MariaDB) -> None:
    """One and the same account; only what came through the bridge is ours."""
    with connect(shop, shop.token("clerk-2"), "ed25519") as through:
        theirs = ask(through, "select connection_id()")[0][0]
        password = mariadb.passwords["svc_ed25519"]
        past = pymysql.connect(host="127.0.0.1", port=mariadb.port, user="svc_ed25519", password=password)
        with past:
            found = {row["backend"]: row for row in shop.call("reconcile", system="ed25519", account="svc_ed25519")}
            assert (found[theirs]["state"], found[theirs]["agent"]) == ("matched", "clerk-2")
            assert found[past.thread_id()]["state"] == "same-host"

"""Quotas with a real PostgreSQL and a real host: what clients hear, and that a restart forgets nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import psycopg
import pytest
from rig.bridge import Bridge
from rig.mariadb import MariaDB, shop_document, shop_environment

MakeBridge = Callable[..., Bridge]


def row(bridge: Bridge, measure: str, agent: str = "reader-1") -> dict[str, Any]:
    found = bridge.cli_json("quota", "show", "--agent", agent)
    return next(one for one in found if one["measure"] == measure)


def stored(bridge: Bridge, measure: str) -> int:
    """What a restart would find."""
    with closing(sqlite3.connect(bridge.state / "registry.db")) as database:
        asked = database.execute("SELECT max(used) FROM quota_counter WHERE measure = ?", (measure,))
        return int(asked.fetchone()[0] or 0)


def said(connection: psycopg.Connection[Any], sql: str) -> str:
    """The answer, or why there is none."""
    try:
        return str(connection.execute(sql.encode()).fetchall())
    except psycopg.errors.TooManyConnections as refused:
        return str(refused)


def many(asked: Any) -> None:
    for _ in range(100):
        asked.execute("select 1")


@pytest.fixture
def limited(make_bridge: MakeBridge) -> Bridge:
    quotas = {
        "calm": {"agents": ["reader-1"], "systems": ["warehouse"], "operations_per_minute": 600, "burst": 20},
        "rows": {"agents": ["reader-1"], "rows_per_day": 1000},
        "few": {"roles": ["writer"], "per": ["role"], "sessions": 1},
    }
    bridge = make_bridge("limited", quotas=quotas, start=False)
    bridge.document["systems"]["warehouse"]["price"] = {"session": 1, "operation": 0.25}
    bridge.write()
    bridge.start()
    bridge.agent("reader-1", "reader", cost_centre="4711")
    bridge.agent("writer-1", "writer", cost_centre="0815")
    return bridge


def test_psql_hears_which_quota_and_when_and_a_restart_forgets_nothing(limited: Bridge) -> None:
    with limited.connect(limited.token("reader-1")) as connection:
        with pytest.raises(psycopg.Error) as caught:
            many(connection)
        assert caught.value.sqlstate == "53300"
        assert "the quota calm is used up: 600 operations a minute" in str(caught.value)
        assert "try again in 1 s" in str(caught.value)
        asked = partial(said, connection)
        Bridge.wait(lambda: "(2000,)" in asked("select generate_series(1, 2000)"), 5, "answered again")
        Bridge.wait(lambda: "the quota rows is used up: 1000 rows a day" in asked("select 1"), 5, "used up")
    used = row(limited, "rows-per-day")
    assert (int(used["used"]) > 2000, used["reached"], used["running"]) == (True, True, "refuse")
    assert limited.stop() == 0
    assert int(row(limited, "rows-per-day")["used"]) == int(used["used"])  # asked without a daemon
    limited.start()
    with pytest.raises(psycopg.OperationalError, match="the quota rows is used up"):
        limited.connect(limited.token("reader-1"))
    (refused,) = limited.events(type="session.refused")
    assert (refused["reason"], refused["detail"]["code"]) == ("quota", "quota-rows-per-day")
    costs = limited.cli_json("quota", "costs", "--by", "cost_centre")
    (mine,) = [one for one in costs if one["cost_centre"] == "4711"]
    assert (mine["sessions"], float(mine["cost"])) == (1, 1 + 0.25 * mine["operations"])


def test_a_killed_bridge_has_forgotten_a_second_at_most(limited: Bridge) -> None:
    with limited.connect(limited.token("reader-1")) as connection:
        connection.execute("select generate_series(1, 1500)").fetchall()
        limited.wait(lambda: int(row(limited, "rows-per-day")["used"]) >= 1500, 5, "counted")
        limited.wait(lambda: stored(limited, "rows-per-day") >= 1500, 5, "stored")
        limited.kill()
    limited.start()
    assert int(row(limited, "rows-per-day")["used"]) >= 1500


def test_sessions_at_once_of_a_role(limited: Bridge) -> None:
    with limited.connect(limited.token("writer-1")):
        with pytest.raises(psycopg.OperationalError, match="the quota few is used up: 1 sessions open at the same"):
            limited.connect(limited.token("writer-1"))
        used = next(one for one in limited.cli_json("quota", "show") if one["of"] == "role=writer")
        assert (used["used"], used["reached"], used["again"]) == ("1", True, None)
    Bridge.wait(lambda: not limited.cli_json("quota", "show", "--reached", "--quota", "few"), 5, "free")
    limited.connect(limited.token("writer-1")).close()


def test_a_reload_limits_sessions_that_live_and_cuts(limited: Bridge) -> None:
    with limited.connect(limited.token("reader-1")) as connection:
        connection.execute("select generate_series(1, 50)").fetchall()
        limited.document["quotas"]["rows"].update(rows_per_day=10, running="cut")
        limited.write()
        limited.cli("reload")

        def is_cut() -> bool:
            try:
                connection.execute("select 1")
            except psycopg.OperationalError:
                return connection.closed
            except psycopg.Error:
                return False  # refused, and cut within the second
            return False

        Bridge.wait(is_cut, 5, "cut")
    Bridge.wait(lambda: limited.events(type="session.close"), 5, "closed")
    assert limited.events(type="session.close")[-1]["reason"] == "quota"


def test_mysql_hears_it_too(place: Any, authority: Any, mariadb: MariaDB) -> None:
    import pymysql

    document = shop_document(mariadb)
    name = next(iter(document["systems"]))
    document["quotas"] = {"calm": {"roles": ["reader"], "operations_per_minute": 600, "burst": 10}}
    bridge = Bridge(place, authority, "limited-shop", document, shop_environment(mariadb))
    bridge.start()
    try:
        bridge.agent("clerk-1", "reader")
        connection = pymysql.connect(
            host="127.0.0.1", port=bridge.ports[name], user="agent", password=bridge.token("clerk-1"),
            ssl_ca=str(authority.ca), ssl_verify_cert=True,
        )  # fmt: skip
        with connection, connection.cursor() as cursor, pytest.raises(pymysql.Error) as caught:
            many(cursor)
        assert caught.value.args[0] == 1226
        assert "the quota calm is used up" in caught.value.args[1]
    finally:
        assert bridge.stop() == 0

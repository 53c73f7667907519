"""Sessions of the static account past the bridge, on a real PostgreSQL: found, told, and never one of ours."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from rig.bridge import Bridge
from rig.postgres import Server

from bridge.api.failure import CommandFailed


def rows(bridge: Bridge) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bridge.call("reconcile", system="warehouse", account="svc_reader")
    return found


def test_a_login_past_the_bridge_is_found(make_bridge: Any, postgres: Server) -> None:
    bridge: Bridge = make_bridge("reconciling")
    with bridge.connect(bridge.token("reader-1")) as through:
        session = bridge.session_of(through)
        theirs = through.info.backend_pid
        matched = [row for row in rows(bridge) if row["session"] == session]
        assert [(row["state"], row["agent"]) for row in matched] == [("matched", "reader-1")]
        password = postgres.passwords["svc_reader"]
        with psycopg.connect(
            host="127.0.0.1", port=postgres.port, user="svc_reader", password=password, dbname="app",
            application_name=f"ib:{session}",
        ) as past:  # fmt: skip
            pid = past.info.backend_pid
            found = {row["backend"]: row["state"] for row in rows(bridge)}
            assert found[pid] == "same-host", "the forged name must not make it ours"
            assert found[theirs] == "matched"
        alarms = bridge.events(type="alarm", system="warehouse")
        assert [alarm["reason"] for alarm in alarms] == ["bypass"]
        assert f"connection {pid} from 127.0.0.1" in alarms[0]["detail"]["text"]
    bridge.wait(lambda: all(row["backend"] != pid for row in rows(bridge)), 5, "gone")


@pytest.mark.parametrize("system", ["dead", "wrong"])
def test_a_system_that_cannot_be_asked_says_so(make_bridge: Any, system: str) -> None:
    bridge: Bridge = make_bridge(f"reconciling-{system}", only=(system,))
    account = "svc_reader" if system == "dead" else "svc_wrong"
    with pytest.raises(CommandFailed, match=account):
        bridge.call("reconcile", system=system, account=account)

"""A credential drill with real clients: one that fetches a new token, one that does not."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from rig.bridge import Bridge

MakeBridge = Callable[..., Bridge]


def test_who_cannot_refresh_is_found(make_bridge: MakeBridge) -> None:
    bridge = make_bridge("drill")
    for id in ("quick", "slow", "absent"):
        bridge.agent(id, "reader")
    tokens = {id: bridge.token(id) for id in ("quick", "slow")}
    live = {id: bridge.connect(token) for id, token in tokens.items()}
    answer = bridge.cli_json("drill", "start", "quick", "slow", "absent", "--for", "1h", "--life", "5s")
    assert (answer["live_sessions"], answer["agents"]) == (2, ["absent", "quick", "slow"])

    def is_cut(id: str) -> bool:
        try:
            live[id].execute("select 1")
        except psycopg.Error:
            return True
        return False

    for id in live:
        Bridge.wait(lambda id=id: is_cut(id), 15, "cut")  # type: ignore[misc]
    with pytest.raises(psycopg.OperationalError, match="older than a credential drill"):
        bridge.connect(tokens["slow"])

    def comes_back() -> bool:
        try:
            bridge.connect(bridge.token("quick")).close()
        except psycopg.OperationalError:  # older than the drill lets it be once more, where the machine is slow
            return False
        return True

    Bridge.wait(comes_back, 30, "back")
    Bridge.wait(lambda: len(bridge.events(type="session.close")) >= 3, 15, "written")
    rows = {row["agent"]: row for row in bridge.cli_json("drill", "report", status=1)}
    assert {agent: row["verdict"] for agent, row in rows.items()} == {
        "quick": "refreshed", "slow": "failed", "absent": "not seen",
    }  # fmt: skip
    assert (rows["slow"]["expired"], rows["slow"]["refused"]) == (1, 1)
    assert len(bridge.cli_json("drill", "stop")["agents"]) == 3
    bridge.connect(tokens["slow"]).close()  # good again, as long as it says itself
    begun = bridge.events(type="drill")[0]
    assert (begun["detail"]["life"], begun["actor"]["kind"]) == (5, "person")
    assert "no active agent nobody" in bridge.cli("drill", "start", "nobody", status=1)
    assert "a drill is for 1 to" in bridge.cli("drill", "start", status=1)

"""diff, simulate and suggest with what real clients did at a real PostgreSQL."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rig.bridge import Bridge

MakeBridge = Callable[..., Bridge]


def write(bridge: Bridge, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """The bridge's own document, changed, beside it."""
    document = copy.deepcopy(bridge.document)
    change(document)
    path = bridge.folder / name
    path.write_text(json.dumps(document))
    return path


def attempt(connection: psycopg.Connection[Any]) -> None:
    """A statement that the grants let through, and the server refuses."""
    with pytest.raises(psycopg.Error, match="permission denied"):
        connection.execute("create temp table t (a int)")


def test_the_past_decides_about_a_new_file(make_bridge: MakeBridge) -> None:
    bridge = make_bridge("compared", only=("warehouse", "observed"))
    with bridge.connect(bridge.token("reader-1")) as connection:
        for _ in range(3):
            connection.execute("select 1")
        with pytest.raises(psycopg.Error):
            connection.execute("create table never (a int)")
    with bridge.connect(bridge.token("writer-1")) as connection:
        attempt(connection)
    with bridge.connect(bridge.token("reader-1"), "observed") as connection:
        attempt(connection)
    with pytest.raises(psycopg.OperationalError, match="no grant lets this agent in"):
        bridge.connect(bridge.token("reader-1"), user="svc_writer")
    Bridge.wait(lambda: len(bridge.events(type="session.close")) >= 3, 10, "closed")

    def narrower(document: dict[str, Any]) -> None:
        document["systems"]["observed"]["mode"] = "enforce"
        by_id = {grant["id"]: grant for grant in document["grants"]}
        by_id["reads"]["actions"] = ["admin"]

    new = write(bridge, "new.yaml", narrower)
    answer = bridge.cli_json("simulate", str(new), "--since", "1h", status=1)
    refused = {(row["agent"], row["system"], row["action"]): row for row in answer["newly_refused"]}
    assert refused["reader-1", "warehouse", "read"]["count"] >= 3
    assert refused["reader-1", "warehouse", "read"]["grants"] == ["reads"]
    assert ("reader-1", "observed", "admin") in refused or ("reader-1", "observed", "write") in refused
    assert not any(agent == "writer-1" for agent, system, _ in refused if system == "warehouse")
    allowed = {(row["agent"], row["system"], row["action"]) for row in answer["newly_allowed"]}
    assert ("reader-1", "warehouse", "admin") in allowed
    assert bridge.events(type="log.read")[-1]["detail"]["query"] == "log.export simulate"
    same = bridge.cli_json("simulate", str(write(bridge, "same.yaml", lambda document: None)), "--agent", "writer-1")
    assert (same["newly_refused"], same["newly_allowed"]) == ([], [])
    assert same["sessions"] >= 1

    ready = bridge.cli_json("readiness", "observed", status=1)
    assert (ready["mode"], {row["agent"] for row in ready["would_refuse"]}) == ("observe", {"reader-1"})
    assert ready["would_refuse"][0]["grants"] == ["reads-observed"]
    assert "it can be enforced" in bridge.cli("readiness", "warehouse", "--since", "1h")
    assert "no system nowhere" in bridge.cli("readiness", "nowhere", status=1)

    told = bridge.cli_json("diff", str(bridge.config), str(new), status=1)
    rows = {(row["agent"], row["change"], row["system"], row["account"]): row for row in told["access"]}
    assert rows["reader-1", "gains", "warehouse", "svc_reader"]["actions"] == ["admin"]
    assert rows["reader-1", "loses", "warehouse", "svc_reader"]["actions"] == ["read"]
    assert rows["reader-1", "loses", "observed", "svc_writer"]["actions"] == ["admin", "write"]
    assert [one["key"] for one in told["settings"]] == ["systems.observed.mode"]
    assert "nobody gains or loses anything" in bridge.cli("diff", str(bridge.config), str(bridge.config))

    grants = bridge.cli_json("suggest", "reader-1")
    least = write(bridge, "least.yaml", lambda document: document.update(grants=grants))
    covered = bridge.cli_json("simulate", str(least), "--agent", "reader-1")
    assert covered["newly_refused"] == []
    assert all(grant["targets"] == {"database": ["app"]} for grant in grants)
    assert 'system: "warehouse"' in bridge.cli("suggest", "--role", "reader")
    bridge.cli("suggest", status=2)
    assert "not a known key" in bridge.cli(
        "simulate", str(write(bridge, "bad.yaml", lambda d: d.update(x=1))), status=1
    )

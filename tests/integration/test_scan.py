"""``idbridge scan`` with the secrets of a real configuration."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from rig.bridge import Bridge
from rig.postgres import Server

MakeBridge = Callable[..., Bridge]


def test_scan_finds_and_never_prints(make_bridge: MakeBridge, postgres: Server) -> None:
    bridge = make_bridge("scanning")
    accounts = bridge.document["systems"]["warehouse"]["accounts"]
    accounts["svc_reader"]["sunset"] = "2020-01-01"
    accounts["svc_writer"]["secret"] = "env:NOT_SET_HERE"
    bridge.write()
    password = postgres.passwords["svc_reader"]
    code = bridge.folder / "code"
    code.mkdir()
    job = code / "job.py"
    job.write_text(f"\nDSN = 'postgresql://svc:{quote(password, safe='')}@db/app'\n")
    try:
        said = bridge.cli("scan", str(code), status=1)
        answer = bridge.cli_json("scan", str(code), status=1)
    finally:
        job.unlink()  # the test that looks for secrets in everything that a run leaves would find it
    assert password not in said
    assert [(row["account"], row["line"]) for row in answer["findings"]] == [("warehouse/svc_reader", 2)]
    reader = next(row for row in answer["accounts"] if row["account"] == "warehouse/svc_reader")
    assert (reader["places"], reader["sunset"]) == (1, "2020-01-01")
    assert reader["days_left"] < 0
    assert [row["account"] for row in answer["not_looked_for"]] == ["warehouse/svc_writer"]
    intent, outcome = bridge.events(type="secret.scan")[-2:]
    assert (intent["detail"]["path"], outcome["detail"]["counts"]) == (str(code), {"warehouse/svc_reader": "1"})
    assert outcome["corr"]["request"] == intent["id"]
    assert "no static secret was found" in bridge.cli("scan", str(bridge.config))
    assert "no such file" in bridge.cli("scan", str(code / "gone"), status=1)

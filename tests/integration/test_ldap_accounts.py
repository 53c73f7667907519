"""``idbridge doctor``, ``account discover`` and ``reconcile`` on real directories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.directory import Directory, client, document, environment, grant, system
from rig.ds389 import DS389
from rig.place import Place
from rig.slapd import Slapd

from bridge.api.failure import CommandFailed

LISTED = "the directory lists its sessions to this account (idbridge reconcile)"
ALL = ("read", "write", "admin")


def bridge_before(directory: Directory, place: Place, authority: Authority, name: str) -> Bridge:
    base = f"ou=people,{directory.suffix}"
    grants = [
        grant("reader", "directory", "svc_reader", "read"),
        grant("writer", "directory", "svc_writer", *ALL),
        grant("reader", "overpowered", "svc_writer", "read", bases=[base, f"ou=nowhere,{directory.suffix}"]),
    ]
    systems = {
        "directory": system(directory, "svc_reader", "svc_writer"),
        "overpowered": system(directory, "svc_writer"),
        "trusting": system(directory, "svc_reader"),
    }
    systems["trusting"]["upstream"] = {**systems["trusting"]["upstream"], "tls": "require"}
    del systems["trusting"]["upstream"]["ca"]
    return Bridge(place, authority, name, document(systems, grants), environment(directory))


@pytest.fixture(scope="module", params=["slapd", "ds389", "samba"])
def directory(request: pytest.FixtureRequest) -> Directory:
    found: Directory = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def bridge(directory: Directory, place: Place, authority: Authority) -> Iterator[Bridge]:
    running = bridge_before(directory, place, authority, f"accounts-{directory.folder.name}")
    try:
        running.start()
        yield running
    finally:
        assert running.stop() == 0


def doctor(bridge: Bridge, name: str, account: str) -> dict[str, tuple[str, str]]:
    """Level and detail by title."""
    rows = bridge.call("doctor", system=name, account=account)
    return {row["title"]: (row["level"], row["detail"]) for row in rows}


def test_doctor_finds_no_right_to_write_where_there_is_none(bridge: Bridge, directory: Directory) -> None:
    found = doctor(bridge, "directory", "svc_reader")
    assert found["the connection to the legacy system is encrypted"][0] == "ok"
    makes = {"slapd": "OpenLDAP", "ds389": "389", "samba": "Samba"}
    assert makes[directory.folder.name] in found["the directory is"][1]
    assert found["the directory shows its schema"][0] == "ok"
    assert found["the static account can log in"] == ("ok", directory.dn("svc_reader"))
    assert found["the directory's certificate is verified"][0] == "ok"
    assert "no right to write was found" in bridge.cli("doctor", "directory", "--account", "svc_reader")
    assert directory.suffix.lower() in found["the account can read"][1].lower()
    assert found["no right to write was found"][0] == "ok"
    assert not [title for title, (level, _) in found.items() if level == "problem"], found


def test_doctor_names_what_an_account_for_readers_can_change(bridge: Bridge, directory: Directory) -> None:
    found = doctor(bridge, "overpowered", "svc_writer")
    level, detail = found["read-only is not guaranteed"]
    assert level == "problem"
    assert "ou=people" in detail.lower()
    assert found["bases are not there for the account"] == ("problem", f"ou=nowhere,{directory.suffix.lower()}")
    with directory.login(directory.dn("svc_writer"), directory.passwords["svc_writer"]) as connection:
        connection.search(f"ou=people,{directory.suffix}", "(description=*)", dereference_aliases="NEVER")
        assert not connection.entries, "the question itself changes nothing"


def test_doctor_says_when_writing_is_granted(bridge: Bridge) -> None:
    found = doctor(bridge, "directory", "svc_writer")
    assert found["the account can write, and grants let agents write as it"][0] == "ok"


def test_doctor_warns_of_a_certificate_that_nobody_checks(bridge: Bridge) -> None:
    found = doctor(bridge, "trusting", "svc_reader")
    assert found["the directory's certificate is not verified (upstream.tls)"][0] == "warning"


def test_accounts_of_programs_are_discovered(bridge: Bridge, directory: Directory) -> None:
    rows = bridge.call("account.discover", system="directory", account="svc_reader")
    by_name = {row["account"]: row for row in rows}
    assert set(directory.passwords) <= set(by_name)
    assert not [name for name in by_name if name.startswith("user")], "people are none"
    assert by_name["svc_reader"]["user"].lower() == directory.dn("svc_reader").lower()
    assert by_name["svc_reader"]["description"] == "a static account"
    assert by_name["svc_reader"]["why"]
    states = {name: by_name[name]["state"] for name in ("svc_locked", "svc_disabled") if name in by_name}
    assert states in ({"svc_locked": "locked"}, {"svc_disabled": "disabled"}, {})
    assert "svc_reader" in bridge.cli("account", "discover", "directory", "--account", "svc_reader")
    assert bridge.cli_json("account", "discover", "directory") == rows, "with the first of its accounts"


def test_a_refused_login_says_why(slapd: Slapd, place: Place, authority: Authority) -> None:
    systems = {"directory": system(slapd, "svc_locked", "svc_expired")}
    grants = [grant("reader", "directory", "svc_locked", "read")]
    running = Bridge(place, authority, "accounts-refused", document(systems, grants), environment(slapd))
    running.start()
    try:
        for account, cause in (("svc_locked", "account locked"), ("svc_expired", "expired")):
            (title,) = doctor(running, "directory", account).items()
            assert title[1][0] == "problem"
            assert cause in title[1][1]
            with pytest.raises(CommandFailed, match=cause):
                running.call("account.discover", system="directory", account=account)
    finally:
        assert running.stop() == 0


# -- sessions past the bridge ------------------------------------------------------------------------------------------


def states(bridge: Bridge) -> dict[int, dict[str, Any]]:
    """Findings by the client's port."""
    rows = bridge.call("reconcile", system="directory", account="svc_reader")
    return {row["port"]: row for row in rows}


def test_a_session_past_the_bridge_is_found_on_openldap(slapd: Slapd, place: Place, authority: Authority) -> None:
    running = bridge_before(slapd, place, authority, "accounts-reconciling")
    running.start()
    try:
        running.agent("reader-1", "reader")
        token = running.token("reader-1")
        with (
            client(running.ports["directory"], authority.ca, "agent", token),
            slapd.login(slapd.dn("svc_reader"), slapd.passwords["svc_reader"]) as past,
        ):
            port = past.socket.getsockname()[1]
            found = states(running)
            assert {(row["state"], row["agent"]) for row in found.values()} == {
                ("same-host", ""), ("matched", "reader-1"),
            }  # fmt: skip
            assert found[port]["state"] == "same-host"
            assert found[port]["backend"] > 0
            assert found[port]["started"] > 0
        alarms = running.events(type="alarm", system="directory")
        assert [alarm["reason"] for alarm in alarms] == ["bypass"]
        running.wait(lambda: port not in states(running), 5, "gone")
    finally:
        assert running.stop() == 0


def test_the_stats_log_tells_where_the_monitor_is_hidden(slapd: Slapd, place: Place, authority: Authority) -> None:
    """``svc_writer`` may not read cn=Monitor."""
    systems = {"directory": system(slapd, "svc_writer", stats_log=str(slapd.log))}
    grants = [grant("writer", "directory", "svc_writer", *ALL)]
    running = Bridge(place, authority, "accounts-logged", document(systems, grants), environment(slapd))
    running.start()
    try:
        running.agent("writer-1", "writer")
        token = running.token("writer-1")
        with (
            client(running.ports["directory"], authority.ca, "agent", token),
            slapd.login(slapd.dn("svc_writer"), slapd.passwords["svc_writer"]) as past,
        ):
            rows = {row["port"]: row for row in running.call("reconcile", system="directory", account="svc_writer")}
            assert rows.pop(past.socket.getsockname()[1])["state"] == "same-host"
            assert [(row["state"], row["agent"]) for row in rows.values()] == [("matched", "writer-1")]
    finally:
        assert running.stop() == 0


def test_a_session_past_the_bridge_is_found_on_389_directory_server(
    ds389: DS389, place: Place, authority: Authority
) -> None:
    """It tells no ports: address and time must do, and the count is right."""
    ds389.show_sessions("svc_writer")
    running = bridge_before(ds389, place, authority, "accounts-reconciling-389")
    running.start()

    def found() -> list[tuple[str, str]]:
        rows = running.call("reconcile", system="directory", account="svc_writer")
        assert all(row["backend"] > 0 and row["started"] > 0 for row in rows)
        return sorted((row["state"], row["agent"]) for row in rows)

    try:
        assert doctor(running, "directory", "svc_writer")[LISTED][0] == "ok"
        running.agent("writer-1", "writer")
        token = running.token("writer-1")
        with client(running.ports["directory"], authority.ca, "agent", token):
            assert found() == [("matched", "writer-1")]
            with (
                client(running.ports["directory"], authority.ca, "agent", token),
                ds389.login(ds389.dn("svc_writer"), ds389.passwords["svc_writer"]),
            ):
                assert found() == [("matched", "writer-1"), ("matched", "writer-1"), ("same-host", "")]
            running.wait(lambda: found() == [("matched", "writer-1")], 15, "gone")
    finally:
        assert running.stop() == 0


def test_a_directory_that_lists_no_sessions_says_so(
    ds389: Directory, samba: Directory, place: Place, authority: Authority
) -> None:
    for directory in (ds389, samba):
        running = bridge_before(directory, place, authority, f"accounts-unlisted-{directory.folder.name}")
        running.start()
        try:
            with pytest.raises(CommandFailed, match="does not list its sessions"):
                states(running)
        finally:
            assert running.stop() == 0

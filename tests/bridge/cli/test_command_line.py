"""The command line: what each command asks of the bridge, and how it tells the answer or the failure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from bridge.admission.usage import BY
from bridge.api.failure import CommandFailed
from bridge.api.reports.requirements import FRAMEWORKS
from bridge.cli import main
from bridge.moments import seconds, unix_ms


class Bridge:
    """Answers commands with what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}

    def call(self, config: Path, name: str, parameters: dict[str, Any]) -> Any:
        self.asked.append((name, dict(parameters)))
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Bridge:
    bridge = Bridge()
    monkeypatch.setattr("bridge.daemon.calling.call", bridge.call)
    return bridge


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    return lambda *arguments, stdin=None: CliRunner().invoke(main, arguments, input=stdin)


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from _commands(one, (*path, name))
        else:
            yield (*path, name), one


COMMANDS = dict(_commands(main))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does_and_gives_an_example(path: tuple[str, ...], run: Run) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert COMMANDS[path].help
    assert f"idbridge {' '.join(path)}" in result.stdout.partition("Example:")[2]
    assert "--json" in result.stdout
    assert "--config" in result.stdout


AGENT = {
    "id": "deploy-7", "state": "active", "expires": 1_800_000_000, "sessions_ended": 0, "roles": ["writer"],
    "owner": {"id": "payments"}, "environment": "production", "purpose": "deploys",
}  # fmt: skip
CREATE = (
    "agent", "create", "deploy-7", "--owner", "payments", "--purpose", "deploys", "--role", "writer",
    "--environment", "production",
)  # fmt: skip


def test_creating_an_agent_gives_its_identities_as_claims(bridge: Bridge, run: Run) -> None:
    bridge.answers["agent.create"] = AGENT
    assert run(*CREATE, "--bind", "corp:sub=a:b=c,client_id=x").exit_code == 0
    name, parameters = bridge.asked[0]
    assert (name, parameters["roles"]) == ("agent.create", ["writer"])
    assert parameters["bindings"] == [{"issuer": "corp", "claims": {"sub": "a:b=c", "client_id": "x"}}]


@pytest.mark.parametrize("text", ["corp", "corp:", ":sub=a", "corp:sub=a,client_id", "corp:sub=", "corp:sub=a,sub=b"])
def test_a_binding_that_says_less_than_was_meant_is_refused(bridge: Bridge, run: Run, text: str) -> None:
    assert run(*CREATE, "--bind", text).exit_code == 2
    assert bridge.asked == []


def test_a_private_key_goes_no_further_and_is_not_shown(bridge: Bridge, run: Run, tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    key.write_text("-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n")
    result = run(*CREATE, "--public-key", str(key))
    assert result.exit_code == 2
    assert "private key" in result.stderr
    assert "MC4CAQAw" not in result.output
    assert bridge.asked == []


def test_a_token_stands_alone_on_standard_output(bridge: Bridge, run: Run) -> None:
    bridge.answers["token.issue"] = {"token": "a.b.c", "expires": 1}
    result = run("token", "deploy-7", "--ttl", "5m")
    assert result.stdout == "a.b.c\n"
    assert bridge.asked == [("token.issue", {"agent": "deploy-7", "ttl": 300})]


def test_a_refusal_is_one_line_on_standard_error(bridge: Bridge, run: Run) -> None:
    bridge.answers["token.issue"] = CommandFailed("no agent x", status=404, field="agent")
    result = run("token", "x")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "idbridge: no agent x\n")


def test_a_refusal_as_json_names_the_parameter(bridge: Bridge, run: Run) -> None:
    bridge.answers["token.issue"] = CommandFailed("no agent x", status=404, field="agent")
    result = run("token", "x", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"error": "no agent x", "field": "agent"}


def test_a_defect_keeps_its_traceback(bridge: Bridge, run: Run) -> None:
    bridge.answers["token.issue"] = KeyError("a defect")
    assert isinstance(run("token", "x").exception, KeyError)


def test_an_answer_as_json_is_what_the_bridge_said(bridge: Bridge, run: Run) -> None:
    bridge.answers["agent.list"] = [AGENT]
    assert json.loads(run("agent", "list", "--json").stdout) == [AGENT]


def test_long_ids_are_not_cut_in_a_list(bridge: Bridge, run: Run) -> None:
    bridge.answers["agent.list"] = [{**AGENT, "id": "a" * 63, "purpose": "p" * 300}]
    result = run("agent", "list")
    assert "a" * 63 in result.stdout
    assert "p" * 300 in result.stdout


def test_a_secret_comes_from_standard_input_without_its_line_end(bridge: Bridge, run: Run) -> None:
    bridge.answers["secret.set"] = {"name": "db", "revision": 1}
    result = run("secret", "set", "db", stdin="s3cret \n")
    assert bridge.asked == [("secret.set", {"name": "db", "value": "s3cret "})]
    assert "s3cret" not in result.output


@pytest.mark.parametrize("stdin", ["", "\n", "x" * 70_000])
def test_no_secret_or_far_too_much_of_it_is_refused(bridge: Bridge, run: Run, stdin: str) -> None:
    assert run("secret", "set", "db", stdin=stdin).exit_code == 1
    assert bridge.asked == []


def test_an_owner_leaves_only_after_yes(bridge: Bridge, run: Run) -> None:
    bridge.answers["owner.leave"] = {"owner": "payments", "agents": ["deploy-7"], "sessions_ended": 2}
    result = run("owner", "leave", "payments")
    assert result.exit_code == 0
    assert "--yes" in result.stdout
    assert [parameters["dry_run"] for _, parameters in bridge.asked] == [True]
    assert run("owner", "leave", "payments", "--yes").exit_code == 0
    assert [parameters["dry_run"] for _, parameters in bridge.asked] == [True, True, False]


def _explanation(**decision: Any) -> dict[str, Any]:
    usual = {
        "allowed": True, "would": "allow", "mode": "enforce", "account": "svc", "actions": ["read"], "rules": ["g1"],
        "reason": "grant g1 allows it",
    }  # fmt: skip
    basis = {"at": "2026-11-25T14:00:00.000Z", "source": "live", "policy": "sha256:0123456789abcdef"}
    return {"agent": "a", "system": "s", "agent_state": "active", "decision": {**usual, **decision}, "grants": [],
            "basis": basis}  # fmt: skip


ASK = ("explain", "--agent", "a", "--system", "s")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (_explanation(), 0),
        (_explanation(allowed=False, would="deny"), 1),
        ({**_explanation(), "agent_state": "suspended"}, 1),
    ],
)
def test_explain_ends_with_what_the_decision_is(bridge: Bridge, run: Run, answer: Any, status: int) -> None:
    bridge.answers["policy.explain"] = answer
    assert run(*ASK).exit_code == status
    assert run(*ASK, "--json").exit_code == status


def test_a_target_is_a_name_and_a_value(bridge: Bridge, run: Run) -> None:
    bridge.answers["policy.explain"] = _explanation()
    assert run(*ASK, "--target", "database").exit_code == 2
    assert bridge.asked == []
    run(*ASK, "--target", "database=app")
    assert bridge.asked[0][1]["target"] == {"database": "app"}


def test_who_can_wants_a_system_or_a_label(bridge: Bridge, run: Run) -> None:
    assert run("who-can").exit_code == 2
    assert bridge.asked == []


def test_an_answer_about_the_past_says_from_what_it_was_given(bridge: Bridge, run: Run) -> None:
    row = {"agent": "a", "owner": "o", "system": "s", "account": "svc", "actions": ["read"], "grants": ["g"]}
    basis = {"at": "2026-11-01T00:00:00.000Z", "source": "log", "policy": "sha256:0123456789abcdef",
             "policy_event": 2,
             "policy_since": "2026-10-01T00:00:00.000Z", "registry_changes": 7,
             "log": LOG}  # fmt: skip
    bridge.answers["policy.who_can"] = {"count": 1, "access": [row], "basis": basis}
    result = run("who-can", "--label", "pii", "--at", "2026-11-01T00:00:00Z")
    assert bridge.asked[0][1] == {"label": "pii", "at": 1_793_491_200}
    assert "svc" in result.stdout
    assert "by the policy sha256:0123456789ab (event 2 of 2026-10-01T00:00:00.000Z) and 7 registry" in result.stderr
    assert "from a log of 90 events" in result.stderr


def _report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    basis = {"at": "2026-11-25T14:00:00.000Z", "source": "live", "policy": "sha256:01"}
    return {"title": "Access review", "bridge": "b_1", "since": "2026-08-27T14:00:00.000Z", "basis": basis, "log": LOG,
            "until": "2026-11-25T14:00:00.000Z", "count": len(rows), "rows": rows}  # fmt: skip


def test_a_report_is_markdown_csv_or_json(bridge: Bridge, run: Run, tmp_path: Path) -> None:
    row = {"agent": "a|<b>", "system": "=cmd()", "actions": ["read", "write"], "last_used": 1_795_600_000_000,
           "last_read": 0, "agent_expires": 1_795_600_000_000, "sessions": 0, "owner": "x\x1b[2J"}  # fmt: skip
    bridge.answers["report.access"] = _report([row])
    text = run("report", "access", "--since", "2026-08-27T14:00:00Z").stdout
    assert bridge.asked[0][1] == {"since": 1_787_839_200_000}
    assert "- bridge: b\\_1\n- period: 2026-08-27T14:00:00.000Z to" in text
    assert "root cm9vdA==" in text
    assert "| a\\|&lt;b> | x\\\\x1b\\[2J |" in text
    assert "| read, write |" in text
    assert "| 2026-11-25T09:46:40Z | never |" in text
    (line,) = csv.DictReader(io.StringIO(run("report", "access", "--format", "csv").stdout))
    assert (line["agent"], line["system"], line["actions"]) == ("a|<b>", "'=cmd()", "read, write")
    assert (line["last_used"], line["last_read"], line["sessions"]) == ("2026-11-25T09:46:40Z", "never", "0")
    assert json.loads(run("report", "access", "--json").stdout)["rows"] == [row]
    run("report", "access", "--format", "csv", "--output", str(tmp_path / "r.csv"))
    assert (tmp_path / "r.csv").read_text().startswith("agent,owner,")


def test_what_is_not_covered_says_so(bridge: Bridge, run: Run) -> None:
    row = {"number": "10.6.1", "requirement": "Clocks", "topic": "C12", "status": "not covered", "figure": "",
           "value": "", "count": None, "exceptions": None, "query": ""}  # fmt: skip
    bridge.answers["report.framework"] = _report([row])
    assert "| 10.6.1 | Clocks | not covered |  |  |  |" in run("report", "framework", "pci").stdout
    assert run("report", "framework", "iso").exit_code == 2


def test_a_logged_statement_cannot_steer_the_terminal(bridge: Bridge, run: Run) -> None:
    event = {
        "ts": "2026-11-25T14:00:00.000Z", "sentence": "ran \x1b[2J",
        "action": {"text": "select '\x1b]0;x\x07\u202e'\n"},
    }  # fmt: skip
    bridge.answers["log.list"] = _answer([event])
    result = run("log", "list", "--details")
    assert not set(result.stdout) & {"\x1b", "\x07", "\u202e"}
    assert "\\x1b[2J" in result.stdout
    assert json.loads(run("log", "list", "--json").stdout)["events"] == [event]


LOG = {"first": 1, "last": 90, "root": "cm9vdA==", "checkpoint": "o\n80\n", "checkpoint_size": 80}


def _answer(events: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    log = LOG
    return {"query": "", "count": len(events), "more": False, "first": 3, "last": 7, "log": log, "events": events,
            **changed}  # fmt: skip


def test_a_query_may_stand_in_one_argument_or_several_and_before_options(bridge: Bridge, run: Run) -> None:
    bridge.answers["log.list"] = _answer([])
    for arguments in (["agent:a -outcome:denied"], ["agent:a", "-outcome:denied"], ["-outcome:denied", "agent:a"]):
        run("log", "list", *arguments, "--limit", "3")
        name, asked = bridge.asked.pop()
        assert (name, set(asked["query"].split()), asked["limit"]) == ("log.list", {"agent:a", "-outcome:denied"}, 3)


def test_an_answer_says_what_it_was_given_from(bridge: Bridge, run: Run) -> None:
    bridge.answers["log.list"] = _answer([{"ts": "2026-11-25T14:00:00.000Z", "sentence": "s"}], more=True)
    said = run("log", "list").stderr
    assert said == (
        "1 event, sequence numbers 3 to 7; there are more (--limit); from a log of 90 events (root cm9vdA==,"
        " checkpoint of 80)\n"
    )
    bridge.answers["log.list"] = _answer([], log={**LOG, "damaged": "hashes lost"})
    assert run("log", "list").stderr == "no events; from a log of 90 events whose root is not known: hashes lost\n"


def test_doctor_ends_with_1_on_a_problem(bridge: Bridge, run: Run) -> None:
    row = {"account": "svc", "host": "", "level": "problem", "title": "it may write", "detail": ""}
    bridge.answers["doctor"] = [row]
    assert run("doctor", "s").exit_code == 1
    bridge.answers["doctor"] = [{**row, "level": "warning"}]
    assert run("doctor", "s").exit_code == 0


def test_doctor_names_the_host_of_a_fleet(bridge: Bridge, run: Run) -> None:
    bridge.answers["doctor"] = [{"account": "svc", "host": "web-1", "level": "ok", "title": "it is", "detail": ""}]
    assert run("doctor", "fleet", "--host", "web-1").stdout == "svc@web-1: ok: it is\n"
    assert bridge.asked[-1][1]["host"] == "web-1"


def test_check_prints_where_each_problem_is(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text("bridge: {name: prod-1, stat: x}\n")
    result = run("check", "-c", str(file))
    assert result.exit_code == 1
    assert f"{file}:1:" in result.stdout
    assert json.loads(run("check", "-c", str(file), "--json").stdout)["ok"] is False


NOW = 1_800_000_000.0


@pytest.mark.parametrize(("text", "expected"), [("15m", 900), ("2h", 7200), ("90d", 7_776_000), ("30", 30)])
def test_durations(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-1m", "1y", "1.5h", "1 h", "١m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW * 1000),
        ("15m", (NOW - 900) * 1000),
        ("2026-11-25T14:40:07.123Z", 1795617607123),
        ("2026-11-25T15:40:07+01:00", 1795617607000),
        ("2026-11-25 14:40:07.123 UTC", 1795617607123),
        ("1795617607123", 1795617607123),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert unix_ms(text, NOW) == expected


def test_until_a_date_includes_its_day() -> None:
    assert unix_ms("2026-11-25", end=True) == unix_ms("2026-11-26") - 1


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "25.11.2026", "14 o'clock"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        unix_ms(text)


KEY = {"type": "ssh-ed25519", "fingerprint": "SHA256:x", "line": "h ssh-ed25519 x", "state": "new"}


def test_host_keys_are_shown_and_only_pinned_on_request(bridge: Bridge, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("other ssh-ed25519 y\n")
    bridge.answers["ssh.trust"] = [{**KEY, "file": str(file)}, {**KEY, "file": str(file), "state": "pinned"}]
    assert "SHA256:x" in run("ssh", "trust", "fleet", "--host", "h").stdout
    assert file.read_text() == "other ssh-ed25519 y\n"
    assert run("ssh", "trust", "fleet", "--host", "h", "--pin").exit_code == 0
    assert file.read_text() == "other ssh-ed25519 y\nh ssh-ed25519 x\n"
    assert bridge.asked[0] == ("ssh.trust", {"system": "fleet", "host": "h"})


@pytest.mark.parametrize("row", [{"state": "changed", "file": "f"}, {"state": "new", "file": ""}])
def test_a_changed_key_is_never_pinned_over_and_a_place_is_needed(
    bridge: Bridge, run: Run, row: dict[str, str]
) -> None:
    bridge.answers["ssh.trust"] = [{**KEY, **row}]
    assert run("ssh", "trust", "fleet", "--pin").exit_code == 1
    assert run("ssh", "trust", "fleet").exit_code == 0


@pytest.mark.parametrize(("state", "status"), [("matched", 0), ("stale", 0), ("foreign", 1), ("same-host", 1)])
def test_reconcile_ends_with_1_when_somebody_came_past(bridge: Bridge, run: Run, state: str, status: int) -> None:
    row = {"account": "svc", "state": state, "agent": "", "session": "", "address": "192.0.2.9", "port": 5,
           "backend": 7, "started": 1_800_000_000, "name": ""}  # fmt: skip
    bridge.answers["reconcile"] = [row]
    assert run("reconcile", "s").exit_code == status
    assert json.loads(run("reconcile", "s", "--json").stdout) == [row]


@pytest.mark.parametrize(
    ("group", "command", "parameter", "known"),
    [("report", "framework", "name", tuple(FRAMEWORKS)), ("quota", "costs", "by", BY)],
)
def test_choices_that_are_written_out_to_start_fast_are_those_of_the_bridge(
    group: str, command: str, parameter: str, known: tuple[str, ...]
) -> None:
    described = main.to_info_dict(click.Context(main))["commands"][group]["commands"][command]
    found = next(one for one in described["params"] if one["name"] == parameter)
    assert tuple(found["type"]["choices"]) == known

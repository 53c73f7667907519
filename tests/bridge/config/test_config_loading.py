"""What a configuration file may say, and exactly what is answered when it says something else."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from bridge.config import ConfigErrors, admin_socket, difference, load, schema
from bridge.config.building import NAMED, SECTIONS, SINGLE
from bridge.config.reading import MAX_BYTES, parse

CONFIG = Path(__file__).parents[3] / "config"
NOW = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC).timestamp()


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    depth: int = Field(default=1, le=3)


class Plain:
    """As much of an adapter as the configuration looks at."""

    name = "postgres"
    default_port = 5432
    Options = Options
    targets = frozenset({"database"})
    operation_targets = frozenset()
    encrypts = False


ADAPTERS: Any = {"postgres": Plain}
GOOD = """\
bridge: {name: b1, state: /s}
tls: {certificate: c, key: k}
owners:
  team: {kind: team, contact: a@b}
roles: {reader: {}}
systems:
  pg:
    protocol: postgres
    listen: 127.0.0.1:15432
    upstream: {host: db}
    accounts: {svc: {secret: "env:A"}}
grants:
  - {id: g, roles: [reader], system: pg, account: svc, actions: [read]}
"""


def write(folder: Path, text: str | bytes) -> Path:
    for name in ("c", "k"):
        (folder / name).touch()
    path = folder / "f.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lines(folder: Path, text: str | bytes) -> list[str]:
    """All findings about the text, without the file name."""
    path = write(folder, text)
    try:
        found = load(path, ADAPTERS, now=NOW).warnings
    except ConfigErrors as error:
        found = (*error.problems, *error.warnings)
    return [str(problem).removeprefix(f"{path}:") for problem in found]


def test_a_good_file_has_every_default_filled_in(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD), ADAPTERS, now=NOW)
    system = config.systems["pg"]
    assert (system.upstream.port, system.mode, system.upstream.tls) == (5432, "enforce", "verify-full")
    assert config.tls is not None
    assert config.tls.key == tmp_path / "k"
    assert str(config.admin_socket) == "/s/admin.sock"
    assert list(config.issuers) == ["builtin"]
    assert config.warnings == ()
    with pytest.raises(TypeError):
        config.systems["x"] = system  # type: ignore[index]


EDITS = [
    ("name: b1", "nam: b1", "1:10: bridge.nam: is not a known key (did you mean \"name\"?), expected one of "
     "accept_bridge_audience, drain, mode, name, state"),
    ('"env:A"', "hunter2", "11:30: systems.pg.accounts.svc.secret: is no reference; a secret itself must not stand in "
     "this file, expected a reference: env:NAME, file:/path, store:NAME or vault:NAME/PATH#FIELD"),
    ('{secret: "env:A"}', "{}", "11:16: systems.pg.accounts.svc.secret: is missing, expected a reference: env:NAME, "
     "file:/path, store:NAME or vault:NAME/PATH#FIELD"),
    ('secret: "env:A"', 'password: hunter2', "11:22: systems.pg.accounts.svc.password: is not a known key, expected "
     "a secret by reference: accounts.<name>.secret: env:NAME, file:/path, store:NAME or vault:NAME/PATH#FIELD"),
    ("roles: {reader: {}}", "roles: {reader: {}, reader: {}}", "5:21: roles.reader: appears twice, first on line 5, "
     "expected each key once"),
    ("system: pg", "system: pq", '13:38: grants[0].system: no system "pq", expected pg'),
    ("account: svc", "account: svd", '13:51: grants[0].account: no account of system pg is called "svd" '
     '(did you mean "svc"?), expected svc'),
    ("roles: [reader]", "roles: [reder]", '13:21: grants[0].roles[0]: no role "reder" (did you mean "reader"?), '
     "expected reader"),
    ("roles: [reader]", "owners: [tean]", '13:22: grants[0].owners[0]: no owner "tean" (did you mean "team"?), '
     "expected team"),
    ("roles: [reader], ", "", '13:5: grants[0]: names nobody, expected agents, roles, owners or cost_centres; '
     'agents: ["*"] for every agent'),
    ("actions: [read]", "actions: [reed]", "13:66: grants[0].actions[0]: is not one of the known words, expected read, "
     "write or admin"),
    ("actions: [read]", "actions: [read], targets: {tabel: [x]}", "13:83: grants[0].targets.tabel: system pg "
     "(postgres) cannot be narrowed by tabel, expected database"),
    ("actions: [read]", "actions: [read], databases: [1]", "13:85: grants[0].databases[0]: is not text, expected text; "
     "a number, date or word like true stands in quotes"),
    ("actions: [read]", "actions: [read], expires: 2026-01-01", "13:82: warning: grants[0].expires: the grant has "
     "expired, expected a date in the future"),
    ("actions: [read]", "actions: [read], sources: [10.0.0.1/8]", "13:83: grants[0].sources[0]: has bits set outside "
     "its mask, expected 10.0.0.0/8"),
    ("127.0.0.1:15432", "localhost:1", "9:13: systems.pg.listen: is not an address to listen on, expected an IP "
     "address and a port: 127.0.0.1:15432, [::1]:15432"),
    ("protocol: postgres", "protocol: postgers", '8:15: systems.pg.protocol: no adapter speaks it (did you mean '
     '"postgres"?), expected postgres'),
    ("    listen", "    options: {depth: 9}\n    listen", "9:22: systems.pg.options.depth: is out of range, expected "
     "at most 3"),
    ("state: /s", "state: /s, drain: 9x", '1:38: bridge.drain: is not a duration, expected a number with ms, s, m, h, '
     'd or w ("15m"), or whole seconds'),
    ("tls:", "admin: {metrics: 192.0.2.1:9}\ntls:", "2:18: admin.metrics: is not a loopback address, expected "
     "127.0.0.1:PORT or [::1]:PORT"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), EDITS)
def test_each_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = lines(tmp_path, GOOD.replace(old, new, 1))
    assert expected in found
    assert "hunter2" not in "".join(found)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("b1", "B 1").replace("kind: team", "kind: tribe").replace("system: pg", "system: px")
    found = lines(tmp_path, text)
    assert [line.split(": ")[1] for line in found if "warning" not in line] == [
        "bridge.name", "owners.team.kind", "grants[0].system",
    ]  # fmt: skip


def test_one_address_for_two_listeners_is_an_error(tmp_path: Path) -> None:
    second = "  p2: {protocol: postgres, listen: 0.0.0.0:15432, upstream: {host: d}, accounts: {a: {secret: env:B}}}\n"
    found = lines(tmp_path, GOOD.replace("grants:", second + "grants:"))
    assert "12:36: systems.p2.listen: system pg listens there already (line 9), expected an address of its own" in found
    assert "12:3: warning: systems.p2: no grant leads to it, so every agent is refused, expected a grant" in found


@pytest.mark.parametrize(
    ("second", "overlaps"),
    [
        ("{sub: a}", True),
        ("{sub: b}", False),
        ("{sub: a, client_id: x}", True),
        ("{client_id: x}", True),
        ("{sub: b, client_id: x}", False),
    ],
)
def test_a_token_can_be_one_agent_only(tmp_path: Path, second: str, overlaps: bool) -> None:
    agent = "  {}: {{owner: team, purpose: p, expires: 2027-01-01, bindings: [{{issuer: corp, claims: {}}}]}}\n"
    text = GOOD + (
        "issuers:\n  corp: {profile: oidc, issuer: 'https://i', keys: {discovery: true}}\nagents:\n"
        + agent.format("a1", "{sub: a}")
        + agent.format("a2", second)
    )
    found = [line for line in lines(tmp_path, text) if "can match" in line]
    assert bool(found) is overlaps
    if overlaps:
        assert found[0].startswith('18:65: agents.a2.bindings[0]: a token can match this and agent "a1"')


BAD = [
    (b"\xff\xfe\x00", "1:1: is not text, expected UTF-8"),
    (b"bridge:\n\tname: x", "2:1: a tab cannot indent, expected spaces"),
    (b"a\x00b", "1:2: holds the control character U+0000, expected printable text"),
    (b"bridge: !!python/object:os.system {}", "1:9: bridge: a YAML tag, expected plain YAML without tags; text that "
     'starts with "!" in quotes'),
    (b"[" * 100, "is nested too deeply, expected at most 24 levels"),
    (b"bridge: *hunter2", "1:9: bridge: refers to an anchor that is not defined before, expected an anchor, or the "
     'text in quotes ("*…")'),
    (b"bridge: {name: b}\n---\nx: 1", "2:1: a second document starts here, expected one document"),
    (b"x" * (MAX_BYTES + 1), "1:1: is too large, expected at most 1024 KiB"),
    (b"x" * 10_000_000, "1:1: is too large, expected at most 1024 KiB"),
    (b'a: "\\U99999999"', "is not YAML from about here on, expected YAML 1.2"),
    (b"", "1:1: bridge: is missing, expected the section with the bridge's name"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), BAD)
def test_what_is_no_configuration_is_refused(tmp_path: Path, data: bytes, expected: str) -> None:
    found = lines(tmp_path, data)
    assert any(expected in line for line in found), found
    assert "hunter2" not in "".join(found)


def test_aliases_cannot_explode(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    assert any("holds too many values" in line for line in lines(tmp_path, bomb))


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"none\.yaml:1:1: cannot be read: No such file or directory, expected a"):
        load(tmp_path / "none.yaml", ADAPTERS)
    with pytest.raises(ConfigErrors, match="cannot be read: Is a directory"):
        load(tmp_path, ADAPTERS)


def test_a_change_is_told_by_key_with_before_and_after(tmp_path: Path) -> None:
    old = load(write(tmp_path, GOOD), ADAPTERS, now=NOW)
    same = load(write(tmp_path, "# a comment\n" + GOOD), ADAPTERS, now=NOW)
    assert (difference(old, same), old.digest == same.digest) == ([], True)
    new = load(write(tmp_path, GOOD.replace("[read]", "[read, write]")), ADAPTERS, now=NOW)
    assert difference(old, new) == [{"key": "grants.g.actions", "before": ["read"], "after": ["read", "write"]}]
    assert new.digest != old.digest


def keys_in(shape: Any) -> set[str]:
    """Every key of every model in a JSON Schema."""
    if isinstance(shape, list):
        return set().union(*map(keys_in, shape)) if shape else set()
    if not isinstance(shape, dict):
        return set()
    own = set(shape["properties"]) if isinstance(shape.get("properties"), dict) else set()
    return own.union(*map(keys_in, shape.values()))


VAULT = """\
vaults:
  corp:
    address: https://vault.example
    auth: {AUTH}
"""


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("method: token, token: file:t", []),
        ("method: approle, role_id: r, secret_id: env:S", []),
        ("method: kubernetes, role: r, jwt_file: c", []),
        (
            "method: approle, role_id: r",
            ["vaults.corp.auth.secret_id: is missing, expected method approle needs"],
        ),
        ("method: token", ["vaults.corp.auth.token: is missing, expected method token needs token"]),
        ("method: token, token: env:A, role: r", ["vaults.corp.auth.role: does not belong to method token"]),
        ("method: token, token: hunter2", ["vaults.corp.auth.token: is no reference; a secret itself must not stand"]),
        ("method: token, token: vault:corp/x", ["vaults.corp.auth.token: is no reference"]),
        ("method: password, token: env:A", ["vaults.corp.auth.method: "]),
    ],
)
def test_a_vault_has_what_its_login_needs_and_nothing_else(tmp_path: Path, auth: str, expected: list[str]) -> None:
    found = lines(tmp_path, GOOD + VAULT.replace("AUTH", auth))
    assert len(found) == len(expected), found
    assert all(words in line for words, line in zip(expected, found, strict=True)), found


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("vault:corp/warehouse/reader#password", ""),
        ("vault:corp/warehouse/reader", ""),
        ("vault:other/x", 'svc.secret: no vault "other", expected corp'),
        ("vault:corp", "svc.secret: names nothing that a vault can hold"),
        ("vault:corp/../sys/raw", "svc.secret: names nothing that a vault can hold"),
        ("vault:corp/a?version=1", "svc.secret: names nothing that a vault can hold"),
    ],
)
def test_a_reference_names_a_vault_that_is_declared(tmp_path: Path, reference: str, expected: str) -> None:
    text = GOOD.replace("env:A", reference) + VAULT.replace("AUTH", "method: token, token: env:T")
    found = lines(tmp_path, text)
    assert [expected in line for line in found] == ([True] if expected else [])


@pytest.mark.parametrize("name", ["bridge.example.yaml", "README.md"])
def test_every_key_is_explained(name: str) -> None:
    text = (CONFIG / name).read_text()
    keys = set(SECTIONS).union(*(keys_in(m.model_json_schema()) for m in (*SINGLE.values(), *NAMED.values())))
    keys |= keys_in(schema(ADAPTERS)["$defs"]["grants"])
    form = r"(?<![\w]){}:" if name.endswith("yaml") else r"(`(\w+\.)*{0}`|## {0}\n)"
    assert sorted(key for key in keys if not re.search(form.format(key), text)) == []


def test_the_example_loads_without_a_problem(tmp_path: Path) -> None:
    text = (CONFIG / "bridge.example.yaml").read_text()
    for name in (
        "bridge.crt",
        "bridge.key",
        "agents-ca.crt",
        "corp-ca.crt",
        "mesh.jwks",
        "db-ca.crt",
        "ssh-ca.pub",
        "ssh-revoked",
        "vault-ca.crt",
        "service-account-token",
        "desk-ca.crt",
        "mail-ca.crt",
        "siem-ca.crt",
        "siem-client.crt",
        "siem-client.key",
    ):
        (tmp_path / name).touch()
    assert lines(tmp_path, text) == []


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60).map(str.encode), st.binary(max_size=40)))
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    try:
        parse(data, "f")
    except ConfigErrors:
        return
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigErrors):
        load(path, ADAPTERS, now=NOW)


JUNK = st.sampled_from(["~", "1", "x", "[]", "{}", "[x]", "{a: b}", "true", "1.5", "''", "[[x]]", "{name: {x: y}}"])


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), JUNK)
def test_no_value_anywhere_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, at: int, junk: str) -> None:
    places = list(re.finditer(r": (\S[^\n]*)", (CONFIG / "bridge.example.yaml").read_text()))
    text = (CONFIG / "bridge.example.yaml").read_text()
    place = places[(at * 7) % len(places)]
    path = tmp_path_factory.getbasetemp() / "junk.yaml"
    path.write_text(text[: place.start(1)] + junk + text[place.end(1) :])
    try:
        assert load(path, ADAPTERS, now=NOW).digest.startswith("sha256:")
    except ConfigErrors as error:
        assert error.problems  # noqa: PT017


def test_the_admin_socket_is_found_in_a_file_that_is_wrong_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "bridge.yaml"
    path.write_text("bridge: {name: a, state: here}\nsystems: {warehouse: {listens: oops}}\n")
    assert admin_socket(path) == tmp_path / "here/admin.sock"
    path.write_text("bridge: {name: a, state: /there}\nadmin: {socket: other.sock}\n")
    assert admin_socket(path) == Path("/there/other.sock")
    path.write_text("bridge: {state: [")
    assert admin_socket(path) is None
    assert admin_socket(tmp_path / "missing.yaml") is None


class Spelling(Plain):
    """An adapter whose facts can be written in several ways."""

    @staticmethod
    def names(fact: str, value: str) -> tuple[str, ...]:
        if value == "bad":
            raise ValueError("a name")
        return (value.lower(),)


def test_a_target_that_the_protocol_cannot_read_is_an_error(tmp_path: Path) -> None:
    text = GOOD.replace("actions: [read]", "actions: [read], databases: [Good, bad]")
    adapters: Any = {"postgres": Spelling}
    with pytest.raises(ConfigErrors) as caught:
        load(write(tmp_path, text), adapters, now=NOW)
    assert "grants[0].databases[1]: is no database, expected a name" in str(caught.value.problems[0])


ASK = GOOD.replace("    accounts:", "    requests: {REQUESTS}\n    accounts:")


@pytest.mark.parametrize(
    ("requests", "more", "expected"),
    [
        ("{}", "", "nobody may approve what is asked for of svc"),
        ("{}", "requests: {approvers: [lead]}", ""),
        ("{approvers: ['user:ops']}", "", ""),
        ("{approvers: ['user:']}", "", "approvers"),
        ("{approvers: [lead], accounts: [other]}", "", 'no account "other"'),
        ("{approvers: [lead], tell: [desk]}", "", 'no channel "desk"'),
        ("{approvers: [lead], longest: 31d}", "", "is out of range"),
        ("{approvers: [lead], actions: []}", "", "actions"),
        ("{approvers: [lead]}", "requests: {listen: 127.0.0.1:15432}", "system pg listens there already"),
    ],
)
def test_what_may_be_asked_for_has_somebody_to_approve_it(
    tmp_path: Path, requests: str, more: str, expected: str
) -> None:
    found = lines(tmp_path, ASK.replace("{REQUESTS}", requests) + more)
    assert [expected in line for line in found] == ([True] if expected else [])


def test_a_token_is_never_asked_for_in_plaintext_from_elsewhere(tmp_path: Path) -> None:
    plain = GOOD.replace("tls: {certificate: c, key: k}\n", "")
    for address, refused in (("127.0.0.1:1", False), ("[::1]:1", False), ("10.0.0.1:1", True), ("0.0.0.0:1", True)):
        found = lines(tmp_path, plain + f"requests: {{listen: '{address}'}}")
        assert any("would take tokens in plaintext" in line for line in found) is refused

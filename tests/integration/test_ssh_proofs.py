"""How agents prove themselves to a running bridge with OpenSSH's own client, and which host they then reach.

Certificates, registered keys, tokens bound to a key, a fleet, ``ssh -J``, ``idbridge ssh trust`` and the doctor.
"""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig.bridge import Bridge
from rig.certificates import Authority
from rig.place import Place
from rig.ssh_clients import TIMEOUT, hosts_document, hosts_environment
from rig.sshd import Account, Sshd, run

from adapters.ssh.fields import Fields
from adapters.ssh.public_keys import offered
from bridge.identity.issuer import BuiltinIssuer

pytestmark = pytest.mark.integration

AGENT = "robot-1"


class Keys:
    """What the agent has: a key that is registered, another one with a certificate, and a stranger's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("registered", "certified", "stranger", "authority"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))

        (folder / "revoked").write_text("serial: 600-700\n")

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def public(self, name: str) -> str:
        return (self.folder / f"{name}.pub").read_text()

    def certify(self, *options: str, id: str = AGENT, validity: str = "-1m:+5m", serial: int = 1) -> None:
        signing = ("ssh-keygen", "-q", "-s", self.file("authority"), "-I", id, "-n", "robots", "-z", str(serial))
        run(*signing, "-V", validity, *options, self.file("certified.pub"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("proofs") / "keys")


@pytest.fixture(scope="module")
def bridge(
    place: Place, authority: Authority, account: Account, modern: Sshd, old: Sshd, keys: Keys
) -> Iterator[Bridge]:
    running = Bridge(place, authority, "proofs", document(account, modern, old, keys), hosts_environment(account))
    try:
        running.start()
        bindings = [{"issuer": "robots", "claims": {"sub": AGENT}}]
        running.agent(AGENT, "operator", bindings=bindings, public_keys=[keys.public("registered")])
        yield running
    finally:
        assert running.stop() == 0


def document(account: Account, modern: Sshd, old: Sshd, keys: Keys) -> dict[str, Any]:
    whole = hosts_document(account, modern, old)
    one = whole["systems"]["hosts"]
    both = modern.known_hosts.with_name("fleet.known_hosts")
    pinned = modern.known_hosts.read_text()
    both.write_text(pinned + pinned.replace("[127.0.0.1]", "[localhost]"))
    fleet = {**one, "upstream": {"hosts": ["localhost", "127.0.0.*"], "port": modern.port, "tls": "disable"},
             "options": {"known_hosts": str(both), "banner": "Agents only."}}  # fmt: skip
    alone = {**one, "options": {"known_hosts": str(modern.known_hosts), "public_key_alone": True}}
    whole["systems"] = {"fleet": fleet, "alone": alone, "hosts": one}
    every = ["read", "write", "admin"]
    whole["grants"] = [
        {"id": f"to-{name}", "roles": ["operator"], "system": name, "account": "svc", "actions": every, "default": True}
        for name in ("fleet", "alone", "hosts")
    ]
    whole["grants"].append({"id": "not-there", "effect": "deny", "roles": ["operator"], "system": "fleet",
                            "account": "svc", "targets": {"host": ["127.0.0.9"]}})  # fmt: skip
    whole["issuers"] = {
        "builtin": {"profile": "builtin"},
        "robots": {
            "profile": "ssh-certificate",
            "keys": {"ssh_file": keys.file("authority.pub")},
            "revoked": keys.file("revoked"),
        },
    }
    return whole


def ssh(
    bridge: Bridge, system: str, *command: str, user: str = "agent", key: str = "", token: str = "",
    options: tuple[str, ...] = (), to: str = "127.0.0.1",
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """With exactly these proofs; whether the host key is right is asked elsewhere."""
    proofs = ("-i", key, "-o", "IdentitiesOnly=yes") if key else ("-o", "PubkeyAuthentication=no")
    methods = () if token else ("-o", "BatchMode=yes")
    known = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "NumberOfPasswordPrompts=1")
    port = () if "-J" in options else ("-p", str(bridge.ports[system]))
    done = subprocess.run(
        [*(("sshpass", "-e") if token else ()), "ssh", "-F", "none", *known, *proofs, *methods, *options, *port,
         f"{user}@{to}", *command],
        capture_output=True, timeout=TIMEOUT, check=False, env={**os.environ, "SSHPASS": token},
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    bridge.place.keep("ssh", done.stdout + done.stderr)
    return done


def credential(bridge: Bridge) -> dict[str, Any]:
    """Of the newest session."""
    found: dict[str, Any] = bridge.events(type="session.open")[-1]["credential"]
    return found


# -- certificates


def test_a_certificate(bridge: Bridge, keys: Keys) -> None:
    keys.certify(serial=42)
    done = ssh(bridge, "hosts", "echo in", key=keys.file("certified"))
    assert done.stdout == b"in\n", done.stderr
    told = bridge.events(type="session.open")[-1]
    assert told["credential"]["issuer"] == "robots"
    assert told["credential"]["serial"] == "42"
    authority = subprocess.run(["ssh-keygen", "-l", "-f", keys.file("authority.pub")], capture_output=True, check=True,
                               timeout=20)  # fmt: skip
    assert told["credential"]["kid"] == authority.stdout.split()[1].decode()
    assert told["agent"]["id"] == AGENT, "which is the certificate's key id as well"


def test_a_certificate_forces_its_command(bridge: Bridge, keys: Keys) -> None:
    keys.certify("-O", "force-command=echo forced")
    done = ssh(bridge, "hosts", "echo asked", key=keys.file("certified"))
    assert done.stdout == b"forced\n", done.stderr


def test_a_certificate_without_permit_pty_gets_none(bridge: Bridge, keys: Keys) -> None:
    keys.certify("-O", "clear")
    done = ssh(bridge, "hosts", "true", key=keys.file("certified"), options=("-tt",))
    assert b"PTY allocation request failed" in done.stderr


def test_a_certificate_on_the_revocation_list(bridge: Bridge, keys: Keys) -> None:
    keys.certify(serial=666)
    done = ssh(bridge, "hosts", "echo in", key=keys.file("certified"))
    assert (done.stdout, done.returncode) == (b"", 255)
    assert "serial 666" in bridge.events(type="session.refused")[-1]["detail"]["text"]
    keys.certify()


@pytest.mark.parametrize(
    ("options", "validity"),
    [
        ((), "-10m:-5m"),
        ((), "-1m:+5d"),
        (("-O", "source-address=192.0.2.0/24"), "-1m:+5m"),
        (("-O", "critical:x@y=z"), "-1m:+5m"),
    ],
    ids=["expired", "too-long", "from-elsewhere", "unknown-option"],
)
def test_certificates_that_are_refused(bridge: Bridge, keys: Keys, options: tuple[str, ...], validity: str) -> None:
    keys.certify(*options, validity=validity)
    done = ssh(bridge, "hosts", "echo in", key=keys.file("certified"))
    assert done.returncode == 255
    assert b"reference" in done.stderr
    keys.certify()


# -- keys


def test_a_registered_key_where_it_is_enough(bridge: Bridge, keys: Keys) -> None:
    done = ssh(bridge, "alone", "echo in", key=keys.file("registered"))
    assert done.stdout == b"in\n", done.stderr


def test_a_key_is_not_enough_elsewhere(bridge: Bridge, keys: Keys) -> None:
    done = ssh(bridge, "hosts", "echo in", key=keys.file("registered"))
    assert done.returncode == 255


def test_a_strangers_key_is_refused(bridge: Bridge, keys: Keys) -> None:
    done = ssh(bridge, "alone", "echo in", key=keys.file("stranger"))
    assert (done.returncode, done.stdout) == (255, b"")


@pytest.mark.parametrize(("key", "good"), [("registered", True), ("stranger", False), ("", False)])
def test_a_token_that_is_bound_to_a_key_is_good_with_it_only(bridge: Bridge, keys: Keys, key: str, good: bool) -> None:
    token = bound_token(bridge, keys.public("registered"))
    done = ssh(bridge, "hosts", "echo in", key=keys.file(key) if key else "", token=token)
    assert done.stdout == (b"in\n" if good else b""), done.stderr


def test_a_token_after_a_strangers_key(bridge: Bridge, keys: Keys) -> None:
    """A client with keys of its own is not in the way of its token."""
    done = ssh(bridge, "hosts", "echo in", key=keys.file("stranger"), token=bridge.token(AGENT))
    assert done.stdout == b"in\n", done.stderr


def bound_token(bridge: Bridge, public: str) -> str:
    blob = base64.b64decode(public.split()[1])
    key = offered(Fields(blob).name(), blob)
    assert key is not None
    issuer = BuiltinIssuer.load_or_create(bridge.state / "issuer.key", bridge.name)
    token = issuer.mint(
        AGENT, audiences=[f"bridge:{bridge.name}/hosts"], ttl=600, now=time.time(), confirmation=key.thumbprint()
    )
    return bridge.place.token(token)


def test_a_token_that_openssh_cuts_is_named(bridge: Bridge) -> None:
    done = ssh(bridge, "hosts", "true", token="x" * 3000)
    assert done.returncode != 0
    assert b"1,023 bytes" in done.stderr


# -- fleets


@pytest.mark.parametrize(("user", "host"), [("svc+localhost", "localhost"), ("agent+127.0.0.1", "127.0.0.1")])
def test_a_host_of_a_fleet(bridge: Bridge, user: str, host: str) -> None:
    done = ssh(bridge, "fleet", "echo in", user=user, token=bridge.token(AGENT))
    assert done.stdout == b"in\n", done.stderr
    assert b"Agents only." in done.stderr
    assert host in str(bridge.events(type="session.open")[-1])


@pytest.mark.parametrize("user", ["svc", "svc+127.0.0.9", "svc+elsewhere.example.org", "svc+", "other+localhost"])
def test_hosts_that_are_not_reached(bridge: Bridge, user: str) -> None:
    done = ssh(bridge, "fleet", "echo in", user=user, token=bridge.token(AGENT))
    assert (done.stdout, done.returncode != 0) == (b"", True)
    assert b"reference" in done.stderr


# -- ssh -J


@pytest.fixture
def jump(bridge: Bridge, keys: Keys) -> Path:
    """A configuration of ssh that trusts the bridge's host authority, and nothing else, for the hosts behind it."""
    token = bridge.token(AGENT)
    done = ssh(bridge, "fleet", "true", user="svc+localhost", token=token)  # the bridge has made its keys by now
    assert done.returncode == 0, done.stderr
    (authority,) = bridge.state.rglob("fleet/ssh_host_ca_ed25519_key.pub")
    known = keys.folder / "known"
    known.write_text(f"@cert-authority localhost,127.0.0.1 {authority.read_text()}")
    config = keys.folder / "config"
    config.write_text(
        f"Host bridge\n HostName 127.0.0.1\n Port {bridge.ports['fleet']}\n User jump\n StrictHostKeyChecking no\n"
        f" UserKnownHostsFile /dev/null\nHost localhost\n UserKnownHostsFile {known}\n StrictHostKeyChecking yes\n"
        "Host *\n PubkeyAuthentication no\n NumberOfPasswordPrompts 1\n LogLevel ERROR\n"
    )
    return config


def jumped(bridge: Bridge, config: Path, *command: str, user: str = "svc", stdin: bytes = b"") -> Any:
    return subprocess.run(
        ["sshpass", "-e", "ssh", "-F", str(config), "-J", "bridge", f"{user}@localhost", *command], input=stdin,
        capture_output=True, timeout=TIMEOUT, check=False, env={**os.environ, "SSHPASS": bridge.token(AGENT)},
    )  # fmt: skip


def test_jump_asks_once_and_shows_the_hosts_certificate(bridge: Bridge, jump: Path) -> None:
    done = jumped(bridge, jump, "cat; exit 5", stdin=b"through two")
    assert (done.stdout, done.returncode) == (b"through two", 5), done.stderr


def test_jump_is_over_with_its_session(bridge: Bridge, jump: Path) -> None:
    """teleport#3784; each inner connection has a record of its own, with its end."""
    began = time.monotonic()
    done = jumped(bridge, jump, "true")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 5
    session = bridge.events(type="session.open")[-1]["corr"]["session"]
    bridge.wait(lambda: any(one["corr"]["session"] == session for one in bridge.events(type="session.close")), 5, "end")


def test_a_cut_within_a_jump_leaves_the_others_alone(bridge: Bridge, jump: Path, tmp_path: Path) -> None:
    """Two hosts' connections in one outer connection: an operator ends one of them."""
    shared = tmp_path / "config"
    shared.write_text(f"Host bridge\n ControlMaster auto\n ControlPath {tmp_path}/%h\n ControlPersist 60\n"
                      + jump.read_text())  # fmt: skip
    before = {row["session"] for row in bridge.call("session.list")}

    def begin() -> tuple[subprocess.Popen[bytes], str]:
        running = subprocess.Popen(
            ["sshpass", "-e", "ssh", "-F", str(shared), "-J", "bridge", "svc@localhost",
             "echo in; read line; echo $line"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "SSHPASS": bridge.token(AGENT)},
        )  # fmt: skip
        assert running.stdout is not None
        assert running.stdout.readline() == b"in\n"
        (new,) = {row["session"] for row in bridge.call("session.list")} - before
        before.add(new)
        return running, new

    (first, ended), (second, _) = begin(), begin()
    try:
        bridge.cli("session", "end", ended)
        _, said = first.communicate(timeout=TIMEOUT)
        assert b"an operator ended the session" in said
        out, said = second.communicate(b"still here\n", timeout=TIMEOUT)
        assert (out, second.returncode) == (b"still here\n", 0), said
    finally:
        subprocess.run(["ssh", "-F", str(shared), "-O", "exit", "bridge"], capture_output=True, timeout=20, check=False)
    (closed,) = [one for one in bridge.events(type="session.close") if one["corr"]["session"] == ended]
    assert closed["reason"] == "session-stopped"


def test_jump_to_an_account_that_is_not_granted(bridge: Bridge, jump: Path) -> None:
    done = jumped(bridge, jump, "true", user="other")
    assert done.returncode == 255


def test_who_only_jumps_has_no_session(bridge: Bridge) -> None:
    before = len(bridge.events(type="session.open"))
    done = ssh(bridge, "fleet", "echo in", user="jump", token=bridge.token(AGENT))
    assert (done.stdout, done.returncode) == (b"", 255)
    assert len(bridge.events(type="session.open")) == before


# -- for those who run it


def test_trust_shows_every_key_and_what_is_pinned(bridge: Bridge, modern: Sshd) -> None:
    rows = bridge.cli_json("ssh", "trust", "hosts")
    assert {row["type"] for row in rows} == {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"}
    assert {row["type"]: row["state"] for row in rows if row["state"] != "pinned"} == {}


def test_the_doctor_says_what_the_account_can_do(bridge: Bridge) -> None:
    said = bridge.cli("doctor", "hosts")
    assert "the account is an ordinary one" in said
    assert "the host sees the bridge's own port" in said
    assert "LC_BRIDGE_SID" in said


def test_the_doctor_looks_at_one_host_of_a_fleet(bridge: Bridge) -> None:
    """It must be named, as one that the fleet has; the log says which it was."""
    rows = bridge.cli_json("doctor", "fleet", "--host", "LocalHost")
    assert {(row["account"], row["host"]) for row in rows} == {("svc", "localhost")}
    assert any("the host sees the bridge's own port" in row["title"] for row in rows), rows
    assert bridge.events(type="account.check")[-1]["legacy"]["target"] == {"host": "localhost"}
    assert "name a host of the fleet" in bridge.cli("doctor", "fleet", status=1)
    assert "name a host of the fleet" in bridge.cli("doctor", "fleet", "--host", "elsewhere", status=1)
    assert "no fleet" in bridge.cli("doctor", "hosts", "--host", "localhost", status=1)


def test_reconcile_looks_at_one_host_of_a_fleet(bridge: Bridge, account: Account, modern: Sshd) -> None:
    """What agents do on another host of the fleet is no part of it."""
    assert "name a host of the fleet" in bridge.cli("reconcile", "fleet", status=1)
    options = ("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
               "PubkeyAuthentication=no")  # fmt: skip
    through = subprocess.Popen(
        ["sshpass", "-e", "ssh", *options, "-p", str(bridge.ports["fleet"]), "svc+localhost@127.0.0.1", "sleep 60"],
        env={**os.environ, "SSHPASS": bridge.token(AGENT)}, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def states(host: str) -> set[tuple[str, str]]:
        found = bridge.call("reconcile", system="fleet", account="svc", host=host)
        return {(row["host"], row["state"]) for row in found}

    try:
        bridge.wait(lambda: ("localhost", "matched") in states("localhost"), 15, "found")
        # the same machine by its other name: there the bridge has no session that it could be
        assert states("127.0.0.1") == {("127.0.0.1", "same-host")}
        alarm = bridge.events(type="alarm")[-1]
        assert (alarm["reason"], alarm["legacy"]["target"]) == ("bypass", {"host": "127.0.0.1"})
    finally:
        through.terminate()
        through.wait(10)


def test_a_login_past_the_bridge_is_found(bridge: Bridge, account: Account, modern: Sshd) -> None:
    options = ("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
               "PubkeyAuthentication=no")  # fmt: skip
    through = subprocess.Popen(
        ["sshpass", "-e", "ssh", *options, "-p", str(bridge.ports["hosts"]), "agent@127.0.0.1", "sleep 60"],
        env={**os.environ, "SSHPASS": bridge.token(AGENT)}, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    past = subprocess.Popen(
        ["sshpass", "-e", "ssh", *options, "-p", str(modern.port), f"{account.name}@127.0.0.1", "sleep 60"],
        env={**os.environ, "SSHPASS": account.password}, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def states() -> list[str]:
        found = bridge.call("reconcile", system="hosts", account="svc")
        return sorted(row["state"] for row in found)

    try:
        bridge.wait(lambda: states() == ["matched", "same-host"], 15, "both connections")
    finally:
        for process in (past, through):
            process.terminate()
            process.wait(10)
    bridge.wait(lambda: "same-host" not in states(), 15, "gone")

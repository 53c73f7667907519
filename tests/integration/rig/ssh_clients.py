"""Ordinary SSH clients in front of the bridge, and the bridge's configuration for the hosts behind it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from rig.bridge import Bridge
from rig.sshd import Account, Sshd

TIMEOUT = 60.0
STRICT = ("-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "NumberOfPasswordPrompts=1")
NO_KEY = ("-o", "PubkeyAuthentication=no")


class Client:
    """One agent with its token, at one system. The bridge's host key is pinned before anything is said to it.

    ``identity`` is the private key file of an agent that proves itself by it, or by the certificate beside it.
    """

    def __init__(self, bridge: Bridge, agent: str, system: str = "hosts", identity: Path | None = None) -> None:
        self.bridge = bridge
        self.system = system
        self.port = str(bridge.ports[system])
        self.token = bridge.token(agent)
        self.known_hosts = bridge.folder / f"known_hosts-{system}"
        if not self.known_hosts.exists():
            scanned = subprocess.run(["ssh-keyscan", "-p", self.port, "127.0.0.1"], capture_output=True, check=True,
                                     timeout=20)  # fmt: skip
            self.known_hosts.write_bytes(scanned.stdout)
        keys = ("-o", "IdentitiesOnly=yes", "-i", str(identity)) if identity else NO_KEY
        self.options = (*STRICT, *keys, "-o", f"UserKnownHostsFile={self.known_hosts}")
        self.environment = {**os.environ, "SSHPASS": self.token}

    @property
    def transport(self) -> str:
        """For programs that start ssh themselves."""
        return " ".join(("sshpass", "-e", "ssh", *self.options, "-p", self.port))

    def run(self, *command: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Whatever a program says is kept for the search for secrets."""
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT, check=False,
                              env={**self.environment, **environment})  # fmt: skip
        self.bridge.place.keep(Path(command[0]).name, done.stdout[:100_000] + done.stderr)
        return done

    def ssh(
        self, *command: str, user: str = "agent", stdin: bytes = b"", options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        return self.run("sshpass", "-e", "ssh", *self.options, *options, "-p", self.port, f"{user}@127.0.0.1", *command,
                        stdin=stdin)  # fmt: skip

    def start(self, *command: str, options: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sshpass", "-e", "ssh", *self.options, *options, "-p", self.port, "agent@127.0.0.1", *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment,
        )  # fmt: skip

    def sftp(self, batch: str) -> subprocess.CompletedProcess[bytes]:
        file = self.bridge.folder / "batch"
        file.write_text(batch)
        return self.run("sshpass", "-e", "sftp", *self.options, "-o", "BatchMode=no", "-P", self.port, "-b", str(file),
                        "agent@127.0.0.1")  # fmt: skip

    def session(self) -> str:
        """The newest of this system."""
        opened = self.bridge.events(type="session.open", system=self.system)
        found: str = opened[-1]["corr"]["session"]
        return found


def resident(gate: Bridge) -> int:
    """Bytes of memory of the bridge."""
    assert gate.process is not None
    status = Path(f"/proc/{gate.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def hosts_document(account: Account, modern: Sshd, legacy: Sshd) -> dict[str, Any]:
    """Systems by name; a role ``operator`` may do everything, ``reader`` reads."""
    moved = modern.known_hosts.with_name("moved.known_hosts")
    moved.write_text(f"[127.0.0.1]:{modern.port} {legacy.public_keys[0]}\n")  # another host's key
    pinned = {"known_hosts": str(modern.known_hosts)}
    systems = {
        "hosts": _system(account, modern, **pinned, read_commands=["cat *", "id"]),
        "password": _system(account, modern, "PW_SSH", **pinned),
        "forwarding": _system(account, modern, **pinned, forwarding=True),
        "exec": _system(account, modern, **pinned, exec_only=True),
        "commands": _system(account, modern, **pinned),
        "legacy": _system(account, legacy, "KEY_RSA", known_hosts=str(legacy.known_hosts), level="legacy"),
        "compat": _system(account, legacy, "KEY_RSA", known_hosts=str(legacy.known_hosts), level="compat"),
        "moved": _system(account, modern, known_hosts=str(moved)),
        "unpinned": _system(account, modern),
        "wrong": _system(account, modern, "PW_WRONG", **pinned),
        "recorded": _system(account, modern, **pinned, recording="required"),
        "enrolled": _system(account, modern, known_hosts=str(modern.known_hosts.with_name("enrolled.known_hosts"))),
        "watched": _system(account, modern, **pinned, keepalive=2, keepalive_unanswered=4),
        "brief": {**_system(account, modern, **pinned), "max_session": "3s"},
    }
    every = ["read", "write", "admin"]
    grants = [
        _grant(f"operates-{name}", "operator", name, every) for name in systems if name != "commands"
    ] + [
        _grant("reads-hosts", "reader", "hosts", ["read"]),
        _grant("some-commands", "operator", "commands", every, targets={"command": ["echo *", "git *"]}),
        {"id": "never-these", "effect": "deny", "roles": ["operator"], "system": "hosts", "account": "svc",
         "targets": {"command": ["shutdown*"]}},
    ]  # fmt: skip
    return {
        "bridge": {"drain": "0s"},
        "owners": {"payments": {"kind": "team", "contact": "ops@example.org", "on_call": "https://oncall.example.org"}},
        "roles": {"operator": {"description": "operates"}, "reader": {"description": "reads"}},
        "systems": systems,
        "grants": grants,
    }


def hosts_environment(account: Account) -> dict[str, str]:
    return {
        "KEY_SSH": account.key, "KEY_PASSPHRASE": account.passphrase, "KEY_RSA": account.rsa_key,
        "PW_SSH": account.password, "PW_WRONG": account.passphrase[::-1],
    }  # fmt: skip


def _system(account: Account, host: Sshd, secret: str = "KEY_SSH", **options: Any) -> dict[str, Any]:
    static: dict[str, Any] = {"secret": f"env:{secret}", "user": account.name}
    if secret == "KEY_SSH":
        static["passphrase"] = "env:KEY_PASSPHRASE"
    return {
        "protocol": "ssh",
        "upstream": {"host": "127.0.0.1", "port": host.port, "tls": "disable"},
        "options": options,
        "accounts": {"svc": static},
    }


def _grant(id: str, role: str, system: str, actions: list[str], **more: Any) -> dict[str, Any]:
    return {"id": id, "roles": [role], "system": system, "account": "svc", "actions": actions, "default": True, **more}

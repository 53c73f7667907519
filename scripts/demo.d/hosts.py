"""A legacy host for the tour: a real sshd on loopback that takes one key, which only the bridge has."""

from __future__ import annotations

import getpass
import subprocess
import time
from pathlib import Path

SSHD = "/usr/sbin/sshd"
START_LIMIT = 20.0

SYSTEM = """\
  hosts:
    protocol: ssh
    listen: 127.0.0.1:{bridge_port}
    upstream: {{host: 127.0.0.1, port: {port}}}
    labels: [production]
    accounts:
      svc_deploy: {{user: {user}, secret: "store:hosts/svc_deploy"}}
    options: {{known_hosts: "{root}/known_hosts"}}
"""

GRANTS = """\
  - {id: look-at-hosts, roles: [reader], system: hosts, account: svc_deploy, actions: [read], default: true}
  - {id: change-hosts, roles: [writer], system: hosts, account: svc_deploy, actions: [read, write], default: true}
"""

SETTINGS = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
LogLevel VERBOSE
"""


class Host:
    """``folder`` is made; ``known_hosts`` of the bridge is written to ``root``."""

    def __init__(self, root: Path, port: int, bridge_port: int) -> None:
        self.root = root
        self.folder = root / "host"
        self.port = port
        self.bridge_port = bridge_port
        self.user = getpass.getuser()

    def system(self) -> str:
        return SYSTEM.format(bridge_port=self.bridge_port, port=self.port, user=self.user, root=self.root)

    def start(self) -> None:
        self.folder.mkdir()
        for name in ("host_key", "account_key"):
            path = str(self.folder / name)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=20)
        public = (self.folder / "account_key.pub").read_text()
        (self.folder / "authorized_keys").write_text(public)
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        (self.root / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        settings = self.folder / "sshd_config"
        settings.write_text(SETTINGS.format(port=self.port, folder=self.folder))
        if self.user == "root":
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where Debian's sshd wants to be locked in
        subprocess.run([SSHD, "-f", str(settings), "-E", str(self.folder / "log")], check=True, timeout=20)
        deadline = time.monotonic() + START_LIMIT
        while not (self.folder / "sshd.pid").exists():
            if time.monotonic() > deadline:
                raise RuntimeError("sshd did not start:\n" + (self.folder / "log").read_text())
            time.sleep(0.05)

    @property
    def account_key(self) -> str:
        return (self.folder / "account_key").read_text()

    def close(self) -> None:
        pid = self.folder / "sshd.pid"
        if pid.exists():
            subprocess.run(["kill", pid.read_text().strip()], check=False, timeout=5)

"""Real sshd processes on loopback, and a system user that they let in while the tests run.

What only the host may know (its private keys) lies outside the folder that is searched for secrets at the end; its log
lies inside. A password needs a system user of our own, so these tests need root.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rig.place import Place, free_port

SSHD = "/usr/sbin/sshd"
START = 10.0

SETTINGS = """\
ListenAddress 127.0.0.1
UsePAM no
StrictModes no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin no
AcceptEnv LANG LC_*
MaxSessions 30
LogLevel VERBOSE
Subsystem sftp /usr/lib/openssh/sftp-server
"""

LEGACY = """\
KexAlgorithms diffie-hellman-group1-sha1
Ciphers 3des-cbc
MACs hmac-sha1
HostKeyAlgorithms ssh-rsa
PubkeyAcceptedAlgorithms ssh-rsa
"""
"""What a host of before 2010 offers."""


def available() -> bool:
    return os.getuid() == 0 and Path(SSHD).exists() and shutil.which("useradd") is not None


class Account:
    """A system user with a password, and two keys that sshd knows: ed25519 with a passphrase, and RSA."""

    def __init__(self, place: Place) -> None:
        self.name = f"idbridge-ssh-{free_port()}"
        self.folder = Path(tempfile.mkdtemp(prefix="idbridge-ssh-"))
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        self.password = place.new_secret("ssh password")
        self.passphrase = place.new_secret("ssh passphrase")
        key = Ed25519PrivateKey.generate()
        place.secrets["ssh key"] = key.private_bytes_raw()
        self.key = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.BestAvailableEncryption(self.passphrase.encode()),
        ).decode()
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        rsa = self.folder / "rsa"
        run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM", "-f", str(rsa))
        self.rsa_key = rsa.read_text()
        self.authorized_keys = self.folder / "authorized_keys"
        self.authorized_keys.write_bytes(public + b"\n" + rsa.with_suffix(".pub").read_bytes())

    def create(self) -> None:
        run("useradd", "--create-home", "--home-dir", str(self.home), "--shell", "/bin/bash", self.name)
        run("chpasswd", stdin=f"{self.name}:{self.password}\n")

    def remove(self) -> None:
        subprocess.run(["userdel", "--force", self.name], capture_output=True, timeout=30, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Sshd:
    """``settings`` come before the common ones, and so win (sshd_config(5)). A kind may name bits: ``ecdsa:521``."""

    def __init__(self, place: Place, account: Account, name: str, settings: str = "", kinds: str = "ed25519") -> None:
        self.port = free_port()
        self.log = place.folder / f"{name}.log"
        self._folder = account.folder / name
        self._folder.mkdir()
        self._keys = [self._folder / f"host_{kind}" for kind in kinds.split()]
        for one, path in zip(kinds.split(), self._keys, strict=True):
            kind, _, bits = one.partition(":")
            run("ssh-keygen", "-q", "-t", kind, *(["-b", bits] if bits else []), "-N", "", "-f", str(path))
        self._config = self._folder / "sshd_config"
        self._config.write_text(
            f"{settings}Port {self.port}\n{SETTINGS}AuthorizedKeysFile {account.authorized_keys}\n"
            f"PidFile {self._folder}/pid\n" + "".join(f"HostKey {path}\n" for path in self._keys)
        )
        self.known_hosts = place.folder / f"{name}.known_hosts"
        self.known_hosts.write_text("".join(f"[127.0.0.1]:{self.port} {line}\n" for line in self.public_keys))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def public_keys(self) -> list[str]:
        """``type base64`` of each."""
        return [" ".join(path.with_suffix(".pub").read_text().split()[:2]) for path in self._keys]

    def start(self) -> None:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where Debian's sshd wants to be locked in
        with self.log.open("ab") as out:
            self._process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self._config)], stdin=subprocess.DEVNULL,
                                             stdout=out, stderr=subprocess.STDOUT)  # fmt: skip
        end = time.monotonic() + START
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < end, "sshd does not start"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def certify(self, authority: Path) -> None:
        """From now on the first key is shown with a certificate of this authority (a private key file)."""
        key = self._keys[0]
        run("ssh-keygen", "-q", "-h", "-s", str(authority), "-I", "host", "-n", "127.0.0.1", f"{key}.pub")
        with self._config.open("a") as file:
            file.write(f"HostCertificate {key}-cert.pub\n")
        self.stop()
        self.start()

    def logins(self) -> int:
        """How often it let somebody in."""
        return len(re.findall("Accepted (?:publickey|password) for", self.log.read_text()))

    def attempts(self) -> int:
        """How often somebody tried to prove who he is."""
        return self.logins() + len(re.findall("Failed (?:publickey|password) for", self.log.read_text()))


def run(*command: str, stdin: str = "") -> None:
    subprocess.run(command, input=stdin.encode(), check=True, capture_output=True, timeout=60)

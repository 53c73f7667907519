"""The keys by which agents know the bridge. Files are read and made in a thread, once per system."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.conch.ssh.keys import BadKeyError, EncryptedKeyError, Key

OWN = "ssh_host_ed25519_key"
SMALLEST_RSA = 2048
_ALGORITHMS = {"ssh-rsa": (b"rsa-sha2-512", b"rsa-sha2-256")}
_TAKEN = {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"}


class HostKeyUnusable(Exception):
    """A host key file cannot be used; the text says which and why."""


class HostKeys:
    """``algorithms`` in the order they are offered; ``keys`` as Conch finds them, by the format of the key."""

    def __init__(self, keys: list[Key]) -> None:
        self.keys: dict[bytes, Key] = {}
        self.algorithms: list[bytes] = []
        for key in keys:
            kind = key.sshType()  # type: ignore[no-untyped-call]
            if kind in self.keys:
                raise HostKeyUnusable(f"two host keys are {kind.decode()}")
            self.keys[kind] = key
            self.algorithms += _ALGORITHMS.get(kind.decode(), (kind,))

    def __repr__(self) -> str:
        return f"HostKeys({b' '.join(self.keys).decode()})"


def in_thread_host_keys(files: tuple[str, ...], folder: str) -> HostKeys:
    """Those of ``files``, or the bridge's own in ``folder``, made when it is not there."""
    return HostKeys([_read(Path(file)) for file in files] or [_own(Path(folder) / OWN)])


def _own(file: Path) -> Key:
    if not file.exists():
        text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        made = file.with_suffix(".new")
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as writing:
            writing.write(text)
            writing.flush()
            os.fsync(handle)
        made.replace(file)
    return _read(file)


def _read(file: Path) -> Key:
    try:
        key: Key = Key.fromString(file.read_bytes())  # type: ignore[no-untyped-call]
        kind = key.sshType().decode()  # type: ignore[no-untyped-call]
    except OSError as error:
        raise HostKeyUnusable(f"host key {file.name}: {error.strerror}") from None
    except EncryptedKeyError:
        raise HostKeyUnusable(f"host key {file.name}: it has a passphrase") from None
    except (BadKeyError, ValueError, TypeError):
        raise HostKeyUnusable(f"host key {file.name}: not a private key") from None
    if key.isPublic() or kind not in _TAKEN:  # type: ignore[no-untyped-call]
        raise HostKeyUnusable(f"host key {file.name}: not a private ed25519, ECDSA or RSA key")
    if kind == "ssh-rsa" and key.size() < SMALLEST_RSA:  # type: ignore[no-untyped-call]
        raise HostKeyUnusable(f"host key {file.name}: shorter than {SMALLEST_RSA} bits")
    return key

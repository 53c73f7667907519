"""The keys by which agents know the bridge. Files are read and made in a thread, once per system."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_private_key,
)
from twisted.conch.ssh.keys import EncryptedKeyError, Key

OWN = "ssh_host_ed25519_key"
AUTHORITY = "ssh_host_ca_ed25519_key"
"""Signs the certificates under which inner connections of ``ssh -J`` show themselves; its public half is beside it."""

CERTIFIED = b"ssh-ed25519-cert-v01@openssh.com"
VALID = 24 * 3600  # seconds; a certificate is looked at once, at the beginning of a connection
EARLIER = 3600  # seconds by which a client's clock may be behind
SMALLEST_RSA = 2048
_ALGORITHMS = {"ssh-rsa": (b"rsa-sha2-512", b"rsa-sha2-256")}
_TAKEN = {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"}


class HostKeyUnusable(Exception):
    """A host key file cannot be used; the text says which and why."""


class HostKeys:
    """``algorithms`` in the order they are offered; ``keys`` as Conch finds them, by the format of the key."""

    def __init__(self, keys: list[Key], authority: Ed25519PrivateKey) -> None:
        self.keys: dict[bytes, Key | Certified] = {}
        self._all = keys
        self._authority = authority
        self.algorithms: list[bytes] = []
        for key in keys:
            kind = key.sshType()  # type: ignore[no-untyped-call]
            if kind in self.keys:
                raise HostKeyUnusable(f"two host keys are {kind.decode()}")
            self.keys[kind] = key
            self.algorithms += _ALGORITHMS.get(kind.decode(), (kind,))

    def for_host(self, name: str, now: float) -> HostKeys:
        """The same, and before them a key that is certified to be ``name``'s. ``now`` is Unix time."""
        found = HostKeys(self._all, self._authority)
        found.keys[CERTIFIED] = Certified(self._authority, name, now)
        found.algorithms.insert(0, CERTIFIED)
        return found

    def __repr__(self) -> str:
        return f"HostKeys({b' '.join(self.keys).decode()})"


class Certified:
    """A host key with its certificate (PROTOCOL.certkeys), as Conch wants a key: made for one host, kept nowhere."""

    def __init__(self, authority: Ed25519PrivateKey, name: str, now: float) -> None:
        key = Ed25519PrivateKey.generate()
        builder = SSHCertificateBuilder().public_key(key.public_key()).type(SSHCertificateType.HOST)
        builder = builder.serial(0).key_id(b"identity-bridge").valid_principals([name.encode()])
        builder = builder.valid_after(int(now) - EARLIER).valid_before(int(now) + VALID)
        text = builder.sign(authority).public_bytes()
        self._key = Key(key)  # type: ignore[no-untyped-call]
        self._blob = base64.b64decode(text.split()[1])

    def public(self) -> Certified:
        return self

    def blob(self) -> bytes:
        return self._blob

    def sign(self, data: bytes, signatureType: bytes) -> bytes:
        """Signed as by the key alone: the certificate's name is that of the key's format, not of a signature."""
        signature: bytes = self._key.sign(data, b"ssh-ed25519")
        return signature


def in_thread_host_keys(files: tuple[str, ...], folder: str) -> HostKeys:
    """Those of ``files``, or the bridge's own in ``folder``, made when it is not there."""
    place = Path(folder)
    authority = load_ssh_private_key(_made(place / AUTHORITY).read_bytes(), None)
    assert isinstance(authority, Ed25519PrivateKey)
    return HostKeys([_read(Path(file)) for file in files] or [_read(_made(place / OWN))], authority)


def _made(file: Path) -> Path:
    """The private key's file, made with its public half when it is not there."""
    if not file.exists():
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        file.with_suffix(".pub").write_bytes(public + b"\n")
        made = file.with_suffix(".new")
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as writing:
            writing.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
            writing.flush()
            os.fsync(handle)
        made.replace(file)
    return file


def _read(file: Path) -> Key:
    try:
        key: Key = Key.fromString(file.read_bytes())  # type: ignore[no-untyped-call]
        kind = key.sshType().decode()  # type: ignore[no-untyped-call]
    except OSError as error:
        raise HostKeyUnusable(f"host key {file.name}: {error.strerror}") from None
    except EncryptedKeyError:
        raise HostKeyUnusable(f"host key {file.name}: it has a passphrase") from None
    except Exception:  # conch's parsers fail in many ways on what is no key
        raise HostKeyUnusable(f"host key {file.name}: not a private key") from None
    if key.isPublic() or kind not in _TAKEN:  # type: ignore[no-untyped-call]
        raise HostKeyUnusable(f"host key {file.name}: not a private ed25519, ECDSA or RSA key")
    if kind == "ssh-rsa" and key.size() < SMALLEST_RSA:  # type: ignore[no-untyped-call]
        raise HostKeyUnusable(f"host key {file.name}: shorter than {SMALLEST_RSA} bits")
    return key

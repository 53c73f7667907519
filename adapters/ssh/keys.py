"""A key of the static account beside its old one in ``~/.ssh/authorized_keys``, and one that is taken out again.

The line of the old key is the model: the new one is given the same options (``from=``, ``restrict`` …) and comment. The
file is written anew and renamed, so that whatever happens it is the one or the other.
"""

from __future__ import annotations

import shlex

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from paramiko.ecdsakey import ECDSAKey
from paramiko.pkey import PKey
from paramiko.rsakey import RSAKey

from adapters.ssh.upstream import KEY_BEGINS, in_thread_key
from bridge.adapter import BridgeError, Login, NotTaken, Secret

SMALLEST_RSA = 3072
DONE = "idbridge: done"

_BEGIN = 'umask 077; f="$HOME/.ssh/authorized_keys"; t="$f.idbridge"; '
_END = (
    '"$f" >"$t"; r=$?; if [ $r = 0 ]; then mv "$t" "$f" || exit 5; else rm -f "$t"; [ $r = 1 ] && exit 4; exit 5; fi; '
    f'echo "{DONE}"'
)
_ADD = (
    _BEGIN + '[ -f "$f" ] || exit 4; [ -L "$f" ] && exit 3; cp -p "$f" "$t" || exit 5; '
    "awk -v o='OLD' -v n='NEW' '{ print } !/^[ \\t]*#/ && (i = index($0, o)) "
    "{ print substr($0, 1, i - 1) n substr($0, i + length(o)); found = 1 } END { exit !found }' " + _END
)
_WITHDRAW = (
    _BEGIN + f'[ -f "$f" ] || {{ echo "{DONE}"; exit 0; }}; [ -L "$f" ] && exit 3; cp -p "$f" "$t" || exit 5; '
    "awk -v o='OLD' '/^[ \\t]*#/ || !index($0, o)' " + _END
)
_CAUSES = {
    3: "~/.ssh/authorized_keys is a symbolic link",
    4: "the account's key is not in ~/.ssh/authorized_keys; where sshd has its keys from elsewhere, or the key from an"
    " authority, the bridge cannot change it",
    5: "~/.ssh/authorized_keys cannot be written",
}


def is_key(secret: Secret) -> bool:
    return secret.reveal().startswith(KEY_BEGINS)


def in_thread_public(login: Login) -> str:
    """``type base64`` of the login's private key. Raises LoginRefused."""
    return _public(in_thread_key(login))


def in_thread_successor(login: Login) -> Secret:
    """A new one of the same kind, which the host knows then, under the same passphrase. Raises LoginRefused."""
    passphrase = login.passphrase.reveal()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    made = _made_like(in_thread_key(login))
    return Secret(made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption))


def adding(old: str, new: str) -> str:
    """The command that puts ``new`` beside ``old`` (each ``type base64``)."""
    return f"sh -c {shlex.quote(_ADD.replace('OLD', old).replace('NEW', new))}"


def withdrawing(old: str) -> str:
    return f"sh -c {shlex.quote(_WITHDRAW.replace('OLD', old))}"


def judge(status: int, text: str) -> None:
    """What became of such a command. Raises NotTaken, or BridgeError where that is not clear."""
    if status == 0 and text.endswith(DONE):
        return
    if status in _CAUSES:
        raise NotTaken(_CAUSES[status])
    if status < 0:
        raise BridgeError("the host ended the command without an exit status")
    raise NotTaken(f"the host does not run the command that changes the key (exit status {status})")


def _public(key: PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def _made_like(key: PKey) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if isinstance(key, RSAKey):
        return rsa.generate_private_key(65537, max(SMALLEST_RSA, key.get_bits()))
    if isinstance(key, ECDSAKey):
        return ec.generate_private_key(key.ecdsa_curve.curve_class())
    return ed25519.Ed25519PrivateKey.generate()

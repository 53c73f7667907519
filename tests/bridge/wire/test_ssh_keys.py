"""Keys of SSH in wire form."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.ssh_keys import load_identity, wire_form

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIAfEUV7EkibuljsbHDiNTm597rzUhN7cJ9Ij5Se7J+HD"
"""Made with ssh-keygen 9.2, which gives the fingerprint below."""


def test_a_key_is_read_and_written() -> None:
    blob = base64.b64decode(KEY)
    key = load_identity(blob)
    assert isinstance(key, Ed25519PublicKey)
    assert wire_form(key) == blob


@pytest.mark.parametrize("blob", [b"", b"\0\0\0\x0bssh-ed25519", b"\0\0\0\3a b" + bytes(9)])
def test_what_is_no_key_is_a_value_error(blob: bytes) -> None:
    with pytest.raises(ValueError):
        load_identity(blob)


@given(st.binary(max_size=200), st.sampled_from([b"ssh-ed25519", b"ssh-rsa", b"ecdsa-sha2-nistp256", b"x"]))
def test_nothing_else_is_ever_raised(rest: bytes, kind: bytes) -> None:
    try:
        load_identity(len(kind).to_bytes(4, "big") + kind + rest)
    except ValueError:
        return

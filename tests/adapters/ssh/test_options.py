"""Options, refusals, user names and host keys: what stands in the README, and what is taken."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import example, given
from hypothesis import strategies as st

import adapters.ssh
from adapters.ssh.entrance import methods
from adapters.ssh.host_keys import OWN, HostKeyUnusable, in_thread_host_keys
from adapters.ssh.options import Options
from adapters.ssh.refusals import RULES, spoken
from adapters.ssh.users import Wish, read_wish
from bridge.adapter import PeerFault, Reason, Refused

README = (Path(adapters.ssh.__file__).parent / "README.md").read_text()


def test_every_option_is_documented_and_described() -> None:
    for name, field in Options.model_fields.items():
        row = next((line for line in README.splitlines() if line.startswith(f"| `{name}` ")), "")
        assert row, f"{name} is not documented"
        assert field.description
        stated = row.split("|")[2].strip()
        if isinstance(field.default, tuple):
            assert all(one in stated for one in field.default or ("none",))
        else:
            assert stated == _shown(field.default)


def _shown(default: object) -> str:
    if default == "":
        return "none"
    return f'`"{default}"`' if isinstance(default, str) else f"`{str(default).lower()}`"


def test_every_reason_has_a_rule_and_every_code_is_documented() -> None:
    assert set(RULES) == set(Reason)
    for rule in RULES.values():
        assert f"| {rule.code} |" in README


def test_what_is_said_is_one_line_without_control_characters() -> None:
    refused = Refused(Reason.NOT_GRANTED, "no\x1b[2J\nway", reference="ref_1")
    text = spoken(refused)
    assert text.isprintable()
    assert "ref_1" in text
    assert text.endswith(f"{RULES[Reason.NOT_GRANTED].hint} [reason=not-granted reference=ref_1]")


@pytest.mark.parametrize(
    ("chosen", "alone", "expected"),
    [
        (("token", "certificate", "key"), False, (True, True, False, True)),
        (("token", "certificate", "key"), True, (True, True, True, False)),
        (("certificate",), False, (False, True, False, False)),
        (("token",), True, (True, False, False, False)),
    ],
)
def test_methods_follow_from_the_options(
    chosen: tuple[str, ...], alone: bool, expected: tuple[bool, bool, bool, bool]
) -> None:
    found = methods(Options.model_validate({"methods": chosen, "public_key_alone": alone}), inherited=False)
    assert (found.token, found.certificate, found.key, found.key_with_token) == expected


# -- user names


@pytest.mark.parametrize(
    ("user", "wish"),
    [
        ("agent", Wish(None, "")),
        ("svc_web", Wish("svc_web", "")),
        ("svc_web+Web-3.example.org", Wish("svc_web", "web-3.example.org")),
        ("svc_web@web-3.example.org", Wish("svc_web", "web-3.example.org")),
        ("agent+10.1.2.3", Wish(None, "10.1.2.3")),
        ("svc@corp+web-3", Wish("svc@corp", "web-3")),
        ("svc+fd00::1", Wish("svc", "fd00::1")),
    ],
)
def test_user_names_of_a_fleet(user: str, wish: Wish) -> None:
    assert read_wish(user, fleet=True) == wish


def test_where_there_is_one_host_the_name_is_the_account() -> None:
    assert read_wish("svc@corp.example", fleet=False) == Wish("svc@corp.example", "")


@pytest.mark.parametrize(
    "user",
    ["", "+web", "@web", "svc+", "svc+-oProxyCommand=x", "svc+a b", "svc\n", "a" * 65, "svc+" + "a" * 254, "x%y"],
)
def test_what_is_no_user_name(user: str) -> None:
    with pytest.raises(PeerFault):
        read_wish(user, fleet=True)


@given(st.text(max_size=400), st.booleans())
def test_any_text_is_a_wish_or_a_fault(user: str, fleet: bool) -> None:
    try:
        wish = read_wish(user, fleet=fleet)
    except PeerFault:
        return
    assert wish.host == wish.host.lower()
    assert (wish.account or "agent").isprintable() or not user.isascii()


# -- host keys


def test_a_host_key_is_made_once_and_kept_to_the_owner(tmp_path: Path) -> None:
    first = in_thread_host_keys((), str(tmp_path))
    again = in_thread_host_keys((), str(tmp_path))
    assert [key.blob() for key in first.keys.values()] == [key.blob() for key in again.keys.values()]
    assert first.algorithms == [b"ssh-ed25519"]
    assert os.stat(tmp_path / OWN).st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(first)


def test_host_keys_of_every_kind(tmp_path: Path) -> None:
    made = {"rsa": rsa.generate_private_key(65537, 2048), "ec": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate()}  # fmt: skip
    files = []
    for name, key in made.items():
        (tmp_path / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        files.append(str(tmp_path / name))
    found = in_thread_host_keys(tuple(files), str(tmp_path))
    assert found.algorithms == [b"rsa-sha2-512", b"rsa-sha2-256", b"ecdsa-sha2-nistp256", b"ssh-ed25519"]
    with pytest.raises(HostKeyUnusable, match="two host keys"):
        in_thread_host_keys((files[0], files[0]), str(tmp_path))


@given(st.binary(max_size=40))
@example(b"(x)y")
@example(b"\x057\xea|Co\x1f<\xe3\xa7s\xc5\x8b\xc4\x94\xbb\xad\xbf<%\xb3\xe7M\xf2\xda\x1c\x9d\xdc\x16Rk")
def test_any_other_file_is_no_host_key(text: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "key").write_bytes(text)
        with pytest.raises(HostKeyUnusable, match="host key key: not a private"):
            in_thread_host_keys((str(Path(folder) / "key"),), folder)


@pytest.mark.parametrize("kind", ["missing", "junk", "public", "passphrase", "short"])
def test_a_host_key_that_cannot_be_used_is_named(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "key"
    key = ed25519.Ed25519PrivateKey.generate()
    short = rsa.generate_private_key(65537, 1024)
    text = {
        "junk": b"junk",
        "public": key.public_key().public_bytes_raw(),
        "passphrase": key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(b"x")),
        "short": short.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
    }.get(kind)
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(HostKeyUnusable, match="host key key: "):
        in_thread_host_keys((str(file),), str(tmp_path))

"""The built-in issuer's key file and tokens."""

from __future__ import annotations

import os
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridge.identity.issuer import BuiltinIssuer
from bridge.identity.jwt import JWTVerifier
from bridge.identity.key_sets import FixedKeys
from bridge.identity.verifier import CredentialRejected, Delegation, VerifiedCredential
from bridge.storage import KeyRefused

NOW = 1_800_000_000
SYSTEM = "bridge:prod/ledger"


@pytest.fixture
def issuer(tmp_path: Path) -> BuiltinIssuer:
    return BuiltinIssuer.load_or_create(tmp_path / "issuer.pem", "prod")


def verify(issuer: BuiltinIssuer, token: str, now: float = NOW) -> VerifiedCredential:
    on = JWTVerifier(
        [issuer.settings()],
        {"builtin": FixedKeys(issuer.key_set())},
        bridge_audience="bridge:prod",
        is_agent=lambda name, claims: False,
    )
    coroutine: Coroutine[Any, Any, VerifiedCredential]
    coroutine = on.verify(token.encode(), audiences=frozenset({SYSTEM}), now=now)
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return cast(VerifiedCredential, end.value.value)


def test_a_minted_token_is_verified_and_short(issuer: BuiltinIssuer) -> None:
    token = issuer.mint("deploy-7", audiences=[SYSTEM], ttl=300, now=NOW + 0.7, jti="j-1")
    found = verify(issuer, token, NOW + 1)
    assert (found.issuer, found.profile, found.iss, found.subject) == (
        "builtin",
        "builtin",
        "idbridge:prod",
        "deploy-7",
    )
    assert (found.jti, found.kid, found.expires_at) == ("j-1", issuer.kid, NOW + 300)
    assert len(token) < 700


def test_the_bridge_audience_and_several_audiences(issuer: BuiltinIssuer) -> None:
    for audiences in (["bridge:prod"], ["bridge:prod/other", SYSTEM]):
        assert verify(issuer, issuer.mint("a", audiences=audiences, ttl=60, now=NOW)).audience == audiences[-1]


def test_our_own_clock_needs_no_leeway(issuer: BuiltinIssuer) -> None:
    token = issuer.mint("a", audiences=[SYSTEM], ttl=60, now=NOW)
    with pytest.raises(CredentialRejected) as caught:
        verify(issuer, token, NOW + 60)
    assert caught.value.expired


def test_a_delegated_token(issuer: BuiltinIssuer) -> None:
    given = Delegation("delegated", "alice", "", ((issuer.iss, "planner"),))
    token = issuer.mint("deploy-7", audiences=[SYSTEM], ttl=60, now=NOW, delegation=given)
    found = verify(issuer, token)
    assert (found.subject, found.claims["sub"]) == ("deploy-7", "deploy-7")
    assert found.delegation == Delegation("delegated", "alice", issuer.iss, ((issuer.iss, "planner"),))


@pytest.mark.parametrize(
    "wrong",
    [
        {"agent_id": "Not An Id"}, {"audiences": []}, {"audiences": [""]}, {"ttl": 0}, {"ttl": 901},
        {"audiences": ["x" * 200] * 3}, {"delegation": Delegation("delegated", "alice", "https://other")},
        {"delegation": Delegation("delegated", "")},
    ],
)  # fmt: skip
def test_tokens_that_are_not_minted(issuer: BuiltinIssuer, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        issuer.mint(**{"agent_id": "a", "audiences": [SYSTEM], "ttl": 60, "now": NOW, **wrong})


def test_the_key_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "issuer.pem"
    first, second = BuiltinIssuer.load_or_create(path, "prod"), BuiltinIssuer.load_or_create(path, "prod")
    assert first.kid == second.kid
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["issuer.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_wider_rights_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "issuer.pem"
    BuiltinIssuer.load_or_create(path, "prod")
    path.chmod(mode)
    with pytest.raises(KeyRefused, match="0600"):
        BuiltinIssuer.load_or_create(path, "prod")


def test_files_that_are_no_ed25519_key(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"canary", pem):
        path = tmp_path / "k"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyRefused) as caught:
            BuiltinIssuer.load_or_create(path, "prod")
        assert "canary" not in str(caught.value)


def test_links_and_directories_are_refused(tmp_path: Path) -> None:
    BuiltinIssuer.load_or_create(tmp_path / "real", "prod")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "directory", "pipe"):
        with pytest.raises(KeyRefused):
            BuiltinIssuer.load_or_create(tmp_path / name, "prod")

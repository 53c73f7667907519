"""Last: no secret of the whole run stands in anything that the run left behind (files, databases, logs, outputs)."""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.bridge import Bridge
from rig.place import Place

SHORTEST = 12  # bytes of a needle; shorter ones would be found by chance
HEAD = 8  # bytes of a needle that decide whether it is looked at
TABLES = (
    "pg/data",
    "mariadb/data",
    "slapd/data",
    "slapd-big/data",
    "ds389/db",
    "ds389/nss",
    "samba/private",
    "samba/state",
)


def spellings(secret: bytes) -> set[bytes]:
    """As it is, in base64 at each alignment and in both alphabets, in hex, UTF-16 and percent-encoded."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    found.add(urllib.parse.quote_from_bytes(secret, safe="").encode())
    found.add("".join(f"%{byte:02x}" for byte in secret).encode())
    found |= {b"\0".join(bytes([byte]) for byte in secret)}
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        inner = encoded[(0, 2, 3)[shift] : len(encoded) - 4]  # what neighbours cannot change
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return {one for one in found if len(one) >= SHORTEST}


def key_material(path: Path) -> Iterator[bytes]:
    """The raw secret parts of a key file: its bytes, or what its base64 or hex body says."""
    data = path.read_bytes().strip()
    yield data
    body = b"".join(line for line in data.splitlines() if not line.startswith(b"-----"))
    for text in {body, *re.findall(rb"[A-Za-z0-9_+/-]{40,}={0,2}", data)}:
        try:
            raw = base64.b64decode(text.replace(b"-", b"+").replace(b"_", b"/") + b"==")
        except ValueError:
            continue
        yield raw[-32:]  # PKCS #8 of Ed25519 ends with the seed (RFC 8410, section 7)


def searched(folder: Path, leave_out: set[Path]) -> list[Path]:
    """All files of the run but the key files, and the legacy servers' own tables, which are not the bridge's doing."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    tables = {folder / name for name in TABLES}
    return [path for path in files if path not in leave_out and not tables.intersection(path.parents)]


def findings(folder: Path, needles: dict[bytes, str], leave_out: set[Path]) -> list[str]:
    """Files that hold a needle. There are thousands, so each file is read along once, by the first bytes of needles."""
    by_head: dict[bytes, list[bytes]] = {}
    for needle in needles:
        by_head.setdefault(needle[:HEAD], []).append(needle)
    found = []
    for path in searched(folder, leave_out):
        data = path.read_bytes()
        for at in range(len(data) - HEAD + 1):
            for needle in by_head.get(data[at : at + HEAD], ()):
                if data.startswith(needle, at):
                    found.append(f"{path.relative_to(folder)}: {needles[needle]}")
    return sorted(set(found))


def needles_of(secrets: dict[str, bytes]) -> dict[bytes, str]:
    return {spelled: name for name, secret in secrets.items() for spelled in spellings(secret)}


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_the_search_finds_what_is_planted(tmp_path: Path, shift: int) -> None:
    """A search that cannot fail proves nothing."""
    secret = b"canary-Zx9?/&=value"
    needles = needles_of({"canary": secret})
    for number, text in enumerate(
        (
            b"... " + secret + b" ...",
            base64.b64encode(b"x" * shift + secret + b"tail"),
            base64.urlsafe_b64encode(b"?" * shift + secret + b"??"),
            secret.hex().encode(),
            secret.decode().encode("utf-16"),
            urllib.parse.quote(secret.decode(), safe="").encode(),
        )
    ):
        file = tmp_path / f"file-{number}"
        file.write_bytes(b"before" + text + b"after")
        assert findings(tmp_path, needles, set()) == [f"{file.name}: canary"], number
        assert findings(tmp_path, needles, {file}) == []
        file.unlink()
    (tmp_path / "clean").write_bytes(b"nothing")
    assert findings(tmp_path, needles, set()) == []


def test_no_secret_is_left_anywhere(place: Place, bridge: Bridge) -> None:
    """Static passwords, all tokens and their signatures, the issuer's key and the store's."""
    secrets = dict(place.secrets)
    for path in place.secret_files:
        if path.exists():
            for number, material in enumerate(key_material(path)):
                if len(material) >= SHORTEST:
                    secrets[f"{path.parent.name}/{path.name} {number}"] = material
    assert len(secrets) > 10
    names = {path.name for path in searched(place.folder, place.secret_files)}
    assert {"translation.db", "translation.db-wal", "registry.db", "daemon.log", "postgres.log"} <= names
    place.keep("planted", "canary-planted-" + "in-this-run")
    planted = findings(
        place.folder, {**needles_of(secrets), b"canary-planted-in-this-run": "planted"}, place.secret_files
    )
    assert len(planted) == 1, planted
    assert planted[0].endswith(": planted")

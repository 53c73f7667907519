"""A secret is found in every form in which people write it down, in files and in what git remembers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from bridge.accounts.forms import SHORTEST, forms
from bridge.accounts.scanning import CannotScan, Found, Tally, Wanted, scan

SECRET = b"p@ss/w'rd &42!"
QUOTED = b'a"b\\c-secret'


def found(data: bytes, secret: bytes = SECRET) -> set[str]:
    return {name for needle, name in forms(secret).items() if needle in data}


@pytest.mark.parametrize(
    ("text", "form", "secret"),
    [
        (b"password = " + SECRET, "plain", SECRET),
        (f"postgresql://svc:{quote(SECRET, safe='')}@db/app".encode(), "URL-encoded", SECRET),
        (f"postgresql://svc:{quote(SECRET, safe='').lower()}@db/app".encode(), "URL-encoded", SECRET),
        (json.dumps({"pw": QUOTED.decode()}).encode(), "in JSON", QUOTED),
        (b"alter role svc password 'p@ss/w''rd &42!'", "quoted", SECRET),
        (b"<pw>p@ss/w'rd &amp;42!</pw>", "in XML", SECRET),
        (SECRET.decode().encode("utf-16-le"), "UTF-16", SECRET),
        (SECRET.hex().encode(), "hexadecimal", SECRET),
    ],
)
def test_each_form_is_found(text: bytes, form: str, secret: bytes) -> None:
    assert form in found(text, secret)


@given(st.binary(min_size=8, max_size=40), st.binary(max_size=20), st.binary(max_size=20), st.booleans())
def test_base64_is_found_wherever_the_secret_begins(secret: bytes, before: bytes, after: bytes, url: bool) -> None:
    if secret.lstrip().startswith(b"-----BEGIN "):
        return
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    assert any(needle in encode(before + secret + after) for needle in forms(secret))


def test_a_short_secret_is_not_looked_for() -> None:
    assert forms(b"x" * (SHORTEST - 1)) == {}


def test_a_private_key_is_found_however_it_is_wrapped() -> None:
    mine, other = (
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        for _ in range(2)
    )
    assert found(json.dumps({"key": mine.decode()}).encode(), mine) == {"private key"}
    assert found(other, mine) == set()


def git(folder: Path, *arguments: str) -> None:
    environment = {"GIT_AUTHOR_NAME": "Anna", "GIT_AUTHOR_EMAIL": "anna@corp.example", "GIT_COMMITTER_NAME": "x",
                   "GIT_COMMITTER_EMAIL": "x@x", "HOME": str(folder), "PATH": os.environ["PATH"]}  # fmt: skip
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, env=environment)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def scanned(root: Path, tally: Tally | None = None, *, history: bool = True) -> list[Found]:
    return list(scan(root, [Wanted("pg/svc", forms(SECRET))], tally or Tally(), history=history))


def test_files_name_line_and_owner_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "deploy.sh").write_bytes(b"#!/bin/sh\nexport PW=" + SECRET + b"\n# " + SECRET + b"\n")
    (tmp_path / "a" / "binary").write_bytes(b"\0\0" + SECRET)
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a" / "deploy.sh")
    os.mkfifo(tmp_path / "fifo")
    tally = Tally()
    rows = scanned(tmp_path, tally)
    assert [(Path(row.path).name, row.line, row.form) for row in rows] == [
        ("binary", 0, "plain"), ("deploy.sh", 2, "plain"), ("deploy.sh", 3, "plain"),
    ]  # fmt: skip
    assert all(row.hint for row in rows)
    assert (tally.files, tally.unreadable) == (2, 0)
    assert SECRET.decode() not in repr(rows)


def test_what_git_remembers_is_found_with_the_author_who_brought_it(repository: Path) -> None:
    (repository / "settings.py").write_bytes(b"PW = '" + base64.b64encode(b"svc:" + SECRET) + b"'\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "settings")
    (repository / "settings.py").write_text("PW = os.environ['PW']\n")
    git(repository, "commit", "-qam", "no more")
    (repository / "sub").mkdir()
    (row,) = scanned(repository / "sub")
    assert (row.form, row.line, row.hint) == ("base64", 1, "Anna <anna@corp.example>")
    assert row.path.endswith(": settings.py")
    assert len(row.commit) == 40
    assert scanned(repository, history=False) == []


def test_a_file_of_a_repository_names_its_last_author(repository: Path) -> None:
    (repository / "x.env").write_bytes(SECRET)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "x")
    (row,) = scanned(repository, history=False)
    assert (row.hint, row.when[:2]) == ("Anna <anna@corp.example>", "20")


def test_a_repository_cannot_make_the_scan_run_anything(repository: Path, tmp_path: Path) -> None:
    evil, mark = tmp_path / "evil", tmp_path / "mark"
    evil.write_text(f"#!/bin/sh\ntouch {mark}\n")
    evil.chmod(0o755)
    (repository / "x").write_bytes(SECRET)
    (repository / ".gitattributes").write_text("* diff=evil\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "x")
    for key in ("core.fsmonitor", "diff.evil.textconv", "diff.evil.command", "core.pager"):
        git(repository, "config", key, str(evil))
    mark.unlink(missing_ok=True)
    assert len(scanned(repository)) == 2
    assert not mark.exists()


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CannotScan, match="no such file or directory"):
        scanned(tmp_path / "gone")

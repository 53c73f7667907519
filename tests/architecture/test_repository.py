"""What may not stand in a file of the repository, and what must."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = {"pyproject.toml", "requirements.lock", "README.md", "LICENSE", "CHANGELOG.md"}
FOLDERS = {"bridge", "adapters", "config", "tests", "scripts"}
EMPTY_WORDS = {"handler", "manager", "engine", "processor", "utils", "helpers", "common"}
BINARY = {".png", ".bin", ".jks", ".der"}

# Joined here, so that this file does not name what it looks for.
REGISTRIES = re.compile(
    "|".join(
        re.escape(".".join(host))
        for host in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("npmjs", "com"),
            ("yarnpkg", "com"),
            ("crates", "io"),
            ("docker", "io"),
            ("proxy", "golang", "org"),
            ("deb", "debian", "org"),
            ("maven", "org"),
        )
    )
)
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
MACHINE = re.compile(
    "(?<![A-Za-z0-9_.])/(" + "|".join(("wo" + "rk", "ro" + "ot", "tm" + "p", "ho" + "me")) + r")/[a-z]"
)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def occurrences(pattern: re.Pattern[str]) -> list[str]:
    """``file:line: text`` of every match in a tracked text file."""
    found = []
    for path in tracked():
        if path.suffix in BINARY:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found


def adapters() -> list[str]:
    return sorted(path.parent.name for path in ROOT.glob("adapters/*/adapter.py"))


def test_the_top_level_holds_nothing_else() -> None:
    tops = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {top for top in tops if not top.startswith(".")} <= TOP | FOLDERS


def test_no_file_names_a_package_registry() -> None:
    assert occurrences(REGISTRIES) == []


def test_no_file_says_that_it_is_unfinished() -> None:
    assert occurrences(UNFINISHED) == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    assert occurrences(MACHINE) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    words = {
        str(path.relative_to(ROOT)): EMPTY_WORDS & set(re.split(r"[_.\-]", path.name) + list(path.parent.parts))
        for path in tracked()
        if path.suffix == ".py"
    }
    assert {name: empty for name, empty in words.items() if empty} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix == ".py"
        and path.relative_to(ROOT).parts[0] in ("bridge", "adapters")
        and (text := path.read_text().lstrip())
        and not text.startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_the_node_lock_leaves_the_registry_to_the_user() -> None:
    lock = json.loads((ROOT / "tests/integration/node/package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in entry and entry["integrity"] for entry in packages.values())


def test_every_locked_python_package_has_a_hash() -> None:
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    assert [line.split()[0] for line in lines if "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("name", adapters())
def test_an_adapter_is_documented_and_tested(name: str) -> None:
    assert (ROOT / "adapters" / name / "README.md").is_file()
    assert name in (ROOT / "adapters" / "README.md").read_text()
    assert any((ROOT / "tests" / "adapters" / name).glob("test_*.py"))


@pytest.mark.parametrize("name", adapters())
def test_every_option_of_an_adapter_is_in_its_readme(name: str) -> None:
    module = __import__(f"adapters.{name}.options", fromlist=["Options"])
    text = (ROOT / "adapters" / name / "README.md").read_text()
    assert [option for option in module.Options.model_fields if f"`{option}`" not in text] == []


@pytest.mark.parametrize("script", ["setup", "test", "check", "bench", "demo"])
def test_every_duty_has_one_script(script: str) -> None:
    assert (ROOT / "scripts" / script).stat().st_mode & 0o111

"""Who may import whom: the contracts of pyproject.toml, and what the pure modules keep away from."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REACHES_OUT = {"twisted", "socket", "sqlalchemy", "ssl", "asyncio", "threading", "subprocess", "treq"}
PURE_OF_AN_ADAPTER = (
    "codec",
    "framing",
    "login",
    "operations",
    "refusals",
    "startup",
    "lexer",
    "statements",
    "options",
)


def pure_modules() -> list[Path]:
    found = [*ROOT.glob("bridge/policy/**/*.py"), *ROOT.glob("bridge/wire/**/*.py")]
    found += [path for name in PURE_OF_AN_ADAPTER for path in ROOT.glob(f"adapters/*/{name}.py")]
    return sorted(found)


def imported(path: Path) -> Iterator[str]:
    """The top-level name of every import, wherever in the module it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_there_are_pure_modules_to_look_at() -> None:
    names = {str(path.relative_to(ROOT)) for path in pure_modules()}
    assert {"bridge/policy/decider.py", "bridge/wire/reader.py", "adapters/postgres/codec.py"} <= names


@pytest.mark.parametrize("path", pure_modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_module_does_not_reach_out(path: Path) -> None:
    assert not set(imported(path)) & REACHES_OUT


def takes_the_reactor(path: Path) -> bool:
    """Whether the module imports the global reactor itself (``twisted.internet.reactor``)."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "twisted.internet"
        and any(alias.name == "reactor" for alias in node.names)
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_only_the_composition_root_imports_the_reactor() -> None:
    modules = [path for folder in ("bridge", "adapters") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in modules if takes_the_reactor(path)}
    assert found
    assert all(name.startswith("bridge/daemon/") for name in found), found


def test_a_command_to_a_running_bridge_loads_neither_the_database_nor_the_reactor() -> None:
    """Most commands only need the socket, and people wait for them."""
    program = "import sys, bridge.cli, bridge.daemon.calling; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"sqlalchemy", "twisted", "paramiko", "ldap3"}

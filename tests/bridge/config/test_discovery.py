"""Adapters are found by looking, never by name; a broken one is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bridge.discovery import BrokenAdapter, find_adapters

GOOD = """
from pydantic import BaseModel
class Options(BaseModel): pass
class ADAPTER:
    name = "{name}"; default_port = 1; Options = Options; targets = operation_targets = frozenset(); encrypts = False
    async def serve(self, client, door): ...
    async def examine(self, admission): ...
    def start(self, deferring): ...
    def stop(self): ...
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """An empty package with a name of its own, so that no import cache of another test is seen."""
    folder = tmp_path / f"found_{abs(hash(request.node.name))}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def add(package: Path, folder: str, source: str | None) -> None:
    (package / folder).mkdir()
    (package / folder / "__init__.py").touch()
    if source is not None:
        (package / folder / "adapter.py").write_text(source)


def test_each_sub_package_with_an_adapter_is_found(package: Path) -> None:
    add(package, "one", GOOD.format(name="first"))
    add(package, "two", GOOD.format(name="second"))
    add(package, "unfinished", None)
    assert sorted(find_adapters(package.name)) == ["first", "second"]


def test_no_package_means_no_adapter() -> None:
    assert find_adapters("no_such_package_anywhere") == {}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_library", "bad: cannot be loaded: ModuleNotFoundError: No module named 'no_such_library'"),
        ("ADAPTERS = 1", "bad: cannot be loaded: AttributeError"),
        ("def (", "bad: cannot be loaded: SyntaxError"),
        ("ADAPTER = 1", "bad: is not a class"),
        ("class ADAPTER: name = 'x'", "bad: its default_port is not a int"),
        (GOOD.format(name="x").replace("def stop", "def halt"), "bad: has no method stop"),
    ],
)
def test_a_broken_adapter_is_named(package: Path, source: str, message: str) -> None:
    add(package, "bad", source)
    with pytest.raises(BrokenAdapter) as caught:
        find_adapters(package.name)
    assert f"{package.name}.{message}" in str(caught.value)


def test_two_adapters_of_one_protocol_are_refused(package: Path) -> None:
    add(package, "one", GOOD.format(name="same"))
    add(package, "two", GOOD.format(name="same"))
    with pytest.raises(BrokenAdapter, match="already speaks 'same'"):
        find_adapters(package.name)


def test_an_entry_point_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_party_adapter.py").write_text(GOOD.format(name="third"))
    (tmp_path / "third_party-1.0.dist-info").mkdir()
    (tmp_path / "third_party-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\n")
    (tmp_path / "third_party-1.0.dist-info" / "entry_points.txt").write_text(
        "[test.adapters]\nthird = third_party_adapter:ADAPTER\ngone = third_party_gone:ADAPTER\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BrokenAdapter, match=r"entry point gone = third_party_gone:ADAPTER of third-party: cannot be"):
        find_adapters("no_such_package_anywhere", "test.adapters")
    (tmp_path / "third_party_gone.py").write_text("from third_party_adapter import ADAPTER\n")
    assert list(find_adapters("no_such_package_anywhere", "test.adapters")) == ["third"]
    sys.modules.pop("third_party_adapter", None)

"""A real log without a daemon, asked by the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge.cli import main
from bridge.storage import open_engine
from bridge.translation import Event, IndexKeys, facts, in_thread_append

Run = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def run(tmp_path: Path, state: Path) -> Run:
    config = tmp_path / "bridge.yaml"
    config.write_text(f"bridge: {{name: prod-1, state: {state}}}\n")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["log", *map(str, arguments), "-c", str(config)])

    assert run("list").exit_code == 0
    return run


@pytest.fixture
def events(state: Path, run: Run) -> Iterator[Any]:
    """Twelve events of a session."""
    engine = open_engine(state / "translation.db", kind="translation")
    event = Event(
        "alarm",
        outcome="failure",
        reason="x",
        sections={"corr": facts.section(session="ses_1"), "detail": facts.detail_section(text='ä "q" € 𝄞')},
        index=IndexKeys(session="ses_1"),
    )
    in_thread_append(engine, "prod-1", [event] * 12)
    assert run("list").exit_code == 0  # signs what there is
    yield engine
    engine.dispose()


@pytest.fixture
def key(run: Run) -> str:
    return run("key").stdout.strip()

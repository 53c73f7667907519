"""A log on real SQLite, its reader, and a session that writes to it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import pytest_twisted
from sqlalchemy import Engine
from twisted.internet import reactor  # noqa: TID251 - tests own the process

from bridge.storage import open_engine, upgrade
from bridge.translation import IndexKeys, LogReader, SessionFacts, SQLLog, facts
from bridge.translation.appender import OwnAppender


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "translation.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = open_engine(path, kind="translation")
    upgrade(engine, "translation")
    yield engine
    engine.dispose()


@pytest.fixture
def reader(engine: Engine) -> LogReader:
    return LogReader(engine)


@pytest.fixture
def log(path: Path, engine: Engine) -> Iterator[SQLLog]:
    own = open_engine(path, kind="translation")
    log = SQLLog(OwnAppender(own), reactor, "test-log", node="n1", version="0.0", first_retry=0.05, last_retry=0.1)
    pytest_twisted.blockon(log.start())
    yield log
    if log.unavailable != "the log was stopped":
        pytest_twisted.blockon(log.stop())
    own.dispose()


@pytest.fixture
def session_facts() -> SessionFacts:
    index = IndexKeys("ses_1", "deploy-7", "payments", "warehouse", "svc_reader", labels=("pii",))
    return SessionFacts(
        index,
        {
            "agent": facts.agent_section(id="deploy-7", name="Deploy 7", owner="payments"),
            "delegation": facts.delegation_section(),
            "legacy": facts.legacy_section(system="warehouse", account="svc_reader", labels=("pii",)),
            "transport": facts.transport_section(protocol="postgresql", source="10.0.0.1:5"),
        },
    )


@pytest.fixture(scope="session")
def checker() -> ModuleType:
    """The verifier that needs no bridge."""
    script = Path(__file__).parents[3] / "scripts" / "verify_log.py"
    spec = importlib.util.spec_from_file_location("verify_log", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""For all tests. The janitor: a test that leaves an unhandled error or a dirty reactor fails; pytest-twisted alone
passes it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
import pytest_twisted
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection
from twisted.internet import (
    reactor,  # noqa: TID251  # tests own the process
    task,
)
from twisted.logger import LogEvent, globalLogPublisher

from bridge.storage import schema

settings.register_profile("slow machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slow machine")

SETTLING = 2.0  # seconds in which sockets that were closed may still say goodbye
STEP = 0.01


class _Unhandled:
    """Hears the failures that Twisted only logs: unhandled errors in Deferreds, exceptions in reactor callbacks."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self.failures.append(f"{event.get('log_format') or ''} {failure.getTraceback()}")


@pytest.fixture(scope="session", autouse=True)
def quick_schemas() -> Iterator[Callable[[Connection, schema.Kind], None]]:
    """A new database gets the statements that the migrations made of the first one, which alembic takes 20 ms for.

    Gives what makes them by migrations."""
    kept: dict[str, list[str]] = {}
    migrate, own = schema._migrate, schema.MIGRATIONS

    def migrate_quickly(connection: Connection, kind: schema.Kind) -> None:
        tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
        if tables or own != schema.MIGRATIONS:
            migrate(connection, kind)
            return
        if kind not in kept:
            migrate(connection, kind)
            made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
            kept[kind] = [*(row[0] for row in made), f"INSERT INTO alembic_version VALUES ('{schema.head(kind)}')"]
            return
        for statement in kept[kind]:
            connection.exec_driver_sql(statement)

    schema._migrate = migrate_quickly
    yield migrate
    schema._migrate = migrate


@pytest.fixture(scope="session")
def woken_reactor() -> None:
    """The reactor's first turn installs its wakers (SIGCHLD), which would look like something left behind."""
    pytest_twisted.blockon(task.deferLater(reactor, 0, lambda: None))


@pytest.fixture
def expected_failures() -> list[type[BaseException]]:
    """A test that makes Twisted log a failure on purpose appends its type here."""
    return []


@pytest.fixture(autouse=True)
def janitor(woken_reactor: None, expected_failures: list[type[BaseException]]) -> Iterator[None]:
    before = _busy()
    heard = _Unhandled()
    globalLogPublisher.addObserver(heard)
    try:
        yield
        gc.collect(0)  # a Deferred in a cycle tells its unhandled error only when it is collected
        left = _left_after_settling(before)
    finally:
        globalLogPublisher.removeObserver(heard)
    expected = tuple(kind.__name__ for kind in expected_failures)
    surprises = [text for text in heard.failures if not any(name in text for name in expected)]
    assert not surprises, "unhandled error:\n" + "\n".join(surprises)
    assert not left, f"left behind in the reactor: {left}"


def _busy() -> set[object]:
    return {*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()}


def _left_after_settling(before: set[object]) -> list[str]:
    waited = 0.0
    while (left := _busy() - before) and waited < SETTLING:
        pytest_twisted.blockon(task.deferLater(reactor, STEP, lambda: None))
        waited += STEP
    return sorted(map(str, left))

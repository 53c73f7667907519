"""A change of a static secret that is cut off at each of its steps, with the real store and a played legacy system."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 - tests own the process
from twisted.internet.defer import Deferred

from bridge.accounts.vaults import SecretReference, Store
from bridge.adapter import BridgeError, NotTaken, Reason, Refused, Secret, TimedOut
from bridge.admission.system import StaticAccount
from bridge.daemon.changing import CURRENT, NEXT, CannotRotate, Exchange, Kept, NoneLetsIn, new_password
from bridge.storage import StorageError, ThreadPool, open_engine
from bridge.testing.stage import READER, WRITER, Stage

NAME = "orders/svc"
OLD = Secret("the old one")
OLD_KEY = Secret("-----BEGIN OLD KEY-----")


class Legacy:
    """Knows which secrets let in. ``fault``: what the next ``rotate`` does. ``lets_in`` False: no login is answered."""

    def __init__(self, secret: Secret) -> None:
        self.valid = [secret.reveal()]
        self.failures = 0
        self.fault = ""
        self.answers = True

    async def rotate(self, admission: Any, system: Any, new: Secret) -> None:
        await self.log_in(admission, system)
        if self.fault == "no":
            raise NotTaken("too young")
        if self.fault == "cut before":
            raise TimedOut("no answer")
        if self.fault != "lies":
            self._put(new)
        if self.fault == "then silent":
            self.answers = False
        if self.fault == "cut after":
            raise TimedOut("no answer")

    def _put(self, new: Secret) -> None:
        self.valid = [new.reveal()]

    async def log_in(self, admission: Any, system: Any) -> None:
        if not self.answers:
            raise Refused(Reason.UPSTREAM_UNAVAILABLE, "unavailable", code="upstream-unreachable", detail="no answer")
        if admission.login.secret.reveal() not in self.valid:
            self.failures += 1
            raise await admission.login_refused("wrong")


class KeyLegacy(Legacy):
    """The new key comes beside the old one, which is withdrawn later."""

    @staticmethod
    def is_key(secret: Secret) -> bool:
        return secret.reveal().startswith(b"-----BEGIN")

    async def successor(self, login: Any) -> Secret:
        return Secret(f"-----BEGIN NEW KEY-----{next(_NUMBERS)}")

    def _put(self, new: Secret) -> None:
        self.valid.append(new.reveal())

    async def withdraw(self, admission: Any, system: Any, key: Secret) -> None:
        await self.log_in(admission, system)
        assert admission.login.secret != key
        self.valid = [one for one in self.valid if one != key.reveal()]


class Failing(Store):
    """Fails at the write of this number, counted from 1, and at none before or after."""

    fails_at = 0
    writes = 0

    def _write(self) -> None:
        self.writes += 1
        if self.writes == self.fails_at:
            raise StorageError("the disk is full")

    def in_thread_set(self, name: str, value: Secret) -> Any:
        self._write()
        return super().in_thread_set(name, value)

    def in_thread_delete(self, name: str) -> Any:
        self._write()
        return super().in_thread_delete(name)


_NUMBERS = itertools.count()


class Bench:
    def __init__(self, stage: Stage, legacy: Legacy) -> None:
        self.legacy = legacy
        self._engine = open_engine(stage.folder / "registry.db", kind="registry")
        self.store = Failing(self._engine, stage.folder / "store.key", lambda: stage.time)
        self._pool = ThreadPool("store", 1, reactor)
        secret = Secret(legacy.valid[0])
        self.store.in_thread_set(NAME, secret)
        self.store.writes = 0
        adapter: Any = legacy
        self.exchange = Exchange(stage.core, stage.system, READER, adapter, Kept(self.store, self._pool, NAME))

    @property
    def held(self) -> dict[str, bytes]:
        """By what stands behind the name in the store."""
        return {
            one.name.removeprefix(NAME): self.store.in_thread_read(one.name).reveal()
            for one in self.store.in_thread_list()
        }

    def close(self) -> None:
        self._pool.stop()
        self._engine.dispose()


MakeBench = Callable[[Legacy], Bench]


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    accounts = {name: StaticAccount(name, name, SecretReference("store", NAME)) for name in (READER, WRITER)}
    stage: Stage = pytest_twisted.blockon(Deferred.fromCoroutine(Stage.open(tmp_path, reactor, accounts=accounts)))
    made: list[Bench] = []

    def make(legacy: Legacy) -> Bench:
        made.append(Bench(stage, legacy))
        return made[-1]

    yield make
    for one in made:
        one.close()
    pytest_twisted.blockon(Deferred.fromCoroutine(stage.close()))


def finished(bench: Bench) -> None:
    """One secret, in the store and on the legacy system."""
    assert list(bench.held) == [""]
    assert bench.legacy.valid == [bench.held[""]]


@pytest.mark.parametrize("legacy", [Legacy(OLD), KeyLegacy(OLD_KEY)], ids=["password", "key"])
@pytest_twisted.ensureDeferred
async def test_a_new_secret(make_bench: MakeBench, legacy: Legacy) -> None:
    before = legacy.valid[0]
    bench = make_bench(legacy)
    assert await bench.exchange.settle() == ""
    await bench.exchange.make()
    finished(bench)
    assert (bench.held[""] != before, legacy.failures) == (True, 0)


@pytest.mark.parametrize("fault", ["", "cut before", "cut after", "no"])
@pytest.mark.parametrize("make_legacy", [lambda: Legacy(OLD), lambda: KeyLegacy(OLD_KEY)], ids=["password", "key"])
@pytest.mark.parametrize("step", range(1, 6))
@pytest_twisted.ensureDeferred
async def test_cut_off_at_each_write_to_the_store(
    make_bench: MakeBench, make_legacy: Callable[[], Legacy], step: int, fault: str
) -> None:
    """Nothing is lost at any of them, and settling what is left costs one login that fails at most."""
    legacy = make_legacy()
    bench = make_bench(legacy)
    bench.store.fails_at, legacy.fault = step, fault
    try:
        await bench.exchange.make()
    except (StorageError, CannotRotate):
        assert set(legacy.valid) <= set(bench.held.values())  # what lets in is known, all of it
    legacy.failures, legacy.fault, bench.store.fails_at = 0, "", 0
    await bench.exchange.settle()
    finished(bench)
    assert legacy.failures <= 1
    await bench.exchange.make()
    finished(bench)


@pytest_twisted.ensureDeferred
async def test_a_clear_no_costs_no_failed_login(make_bench: MakeBench) -> None:
    legacy = Legacy(OLD)
    legacy.fault = "no"
    bench = make_bench(legacy)
    with pytest.raises(CannotRotate, match="did not take it: too young; the old one counts"):
        await bench.exchange.make()
    assert (bench.held, legacy.failures) == ({"": OLD.reveal()}, 0)


@pytest_twisted.ensureDeferred
async def test_where_both_let_in_for_a_while_the_new_one_counts(make_bench: MakeBench) -> None:
    """Active Directory accepts the password before for an hour."""

    class Lenient(Legacy):
        def _put(self, new: Secret) -> None:
            self.valid = [new.reveal(), OLD.reveal()]

    legacy = Lenient(OLD)
    legacy.fault = "cut after"
    bench = make_bench(legacy)
    await bench.exchange.make()
    assert bench.held == {"": legacy.valid[0]}


@pytest_twisted.ensureDeferred
async def test_a_yes_that_no_login_can_prove_counts(make_bench: MakeBench) -> None:
    legacy = Legacy(OLD)
    legacy.fault = "then silent"
    bench = make_bench(legacy)
    with pytest.raises(CannotRotate, match="no login could prove it: no answer"):
        await bench.exchange.make()
    assert bench.held[""] == legacy.valid[0]
    legacy.answers = True
    assert await bench.exchange.settle() == ""
    finished(bench)


@pytest_twisted.ensureDeferred
async def test_a_yes_that_was_none_loses_nothing(make_bench: MakeBench) -> None:
    """Or a yes of one server of several that has not told the others yet."""
    legacy = Legacy(OLD)
    legacy.fault = "lies"
    bench = make_bench(legacy)
    with pytest.raises(CannotRotate, match="still lets in the old one alone; both are kept"):
        await bench.exchange.make()
    new = bench.held[".next"]
    assert bench.held == {"": OLD.reveal(), ".next": new}
    legacy.valid = [new]  # now they all know
    assert await bench.exchange.settle() == NEXT
    finished(bench)


@pytest_twisted.ensureDeferred
async def test_when_the_system_cannot_be_asked_both_are_kept(make_bench: MakeBench) -> None:
    legacy = Legacy(OLD)
    bench = make_bench(legacy)
    bench.store.in_thread_set(NAME + ".next", Secret("new"))
    legacy.answers = False
    with pytest.raises(Refused):
        await bench.exchange.settle()
    assert set(bench.held) == {"", ".next"}
    legacy.answers = True
    assert await bench.exchange.settle() == CURRENT


@pytest_twisted.ensureDeferred
async def test_where_none_lets_in_two_logins_are_all_that_is_tried(make_bench: MakeBench) -> None:
    legacy = Legacy(OLD)
    bench = make_bench(legacy)
    bench.store.in_thread_set(NAME + ".next", Secret("new"))
    legacy.valid = [b"another"]
    with pytest.raises(NoneLetsIn, match="both are kept"):
        await bench.exchange.settle()
    assert (set(bench.held), legacy.failures) == ({"", ".next"}, 2)


@pytest_twisted.ensureDeferred
async def test_a_key_that_cannot_be_withdrawn_is_told_and_withdrawn_later(make_bench: MakeBench) -> None:
    class Stubborn(KeyLegacy):
        stubborn = True

        async def withdraw(self, admission: Any, system: Any, key: Secret) -> None:
            if self.stubborn:
                raise BridgeError("read-only file system")
            await super().withdraw(admission, system, key)

    legacy = Stubborn(OLD_KEY)
    bench = make_bench(legacy)
    with pytest.raises(CannotRotate, match="the new one counts, but the one before still lets in: read-only"):
        await bench.exchange.make()
    assert (set(bench.held), bench.held[".previous"]) == ({"", ".previous"}, OLD_KEY.reveal())
    legacy.stubborn = False
    await bench.exchange.settle()
    finished(bench)


@pytest_twisted.ensureDeferred
async def test_a_key_that_was_refused_need_not_be_withdrawn(make_bench: MakeBench) -> None:
    """Where the account has no shell, it could not be."""

    class Shellless(KeyLegacy):
        async def withdraw(self, admission: Any, system: Any, key: Secret) -> None:
            raise BridgeError("no shell")

    legacy = Shellless(OLD_KEY)
    legacy.fault = "no"
    bench = make_bench(legacy)
    with pytest.raises(CannotRotate, match="did not take it: too young"):
        await bench.exchange.make()
    assert bench.held == {"": OLD_KEY.reveal()}


def test_a_password_has_some_of_each_kind() -> None:
    for _ in range(50):
        text = new_password().reveal_text()
        assert len(text) == 32
        assert any(c.isupper() for c in text)
        assert any(c.islower() for c in text)
        assert any(c.isdigit() for c in text)
        assert set(text) & set("-_.~")

"""Tokens that are refused although they are genuine."""

import pytest

from bridge.identity.deny_list import KEPT_AFTER_END, DenyList
from bridge.identity.registry import Registry
from bridge.storage import open_engine, upgrade


class Time:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def opened(tmp_path, time):
    engines = []

    def open_():
        engines.append(open_engine(tmp_path / "registry.db", kind="registry"))
        upgrade(engines[-1], "registry")
        return DenyList(engines[-1], now=time), Registry(engines[-1], time)

    yield open_
    for engine in engines:
        engine.dispose()


def test_a_token_is_denied_by_issuer_and_id_together(opened):
    deny_list, _ = opened()
    deny_list.in_thread_add("https://idp", "t1", 1_000_900, "leaked", "ops")
    assert deny_list.denies("https://idp", "t1")
    assert not deny_list.denies("https://idp", "t2")
    assert not deny_list.denies("https://other", "t1")


def test_a_denial_outlives_the_process(opened):
    opened()[0].in_thread_add("https://idp", "t1", 1_000_900, "leaked", "ops")
    again, _ = opened()
    assert not again.denies("https://idp", "t1")
    again.in_thread_load()
    assert again.denies("https://idp", "t1")


def test_another_process_sees_by_the_counter_that_there_is_something_new(opened):
    (deny_list, _), (_, registry) = opened(), opened()
    before = registry.in_thread_version()
    deny_list.in_thread_add("https://idp", "t1", 1_000_900, "leaked", "ops")
    assert registry.in_thread_version() != before


def test_a_denial_lasts_beyond_the_leeway_that_lets_an_ended_token_in(opened, time):
    deny_list, _ = opened()
    deny_list.in_thread_add("https://idp", "t1", 1_000_900, "leaked", "ops")
    time.now = 1_000_960
    deny_list.in_thread_add("https://idp", "t2", 1_009_000, "leaked", "ops")
    deny_list.in_thread_load()
    assert deny_list.denies("https://idp", "t1")


def test_a_denial_ends_when_its_token_cannot_come_again(opened, time):
    deny_list, _ = opened()
    deny_list.in_thread_add("https://idp", "t1", 1_000_900, "leaked", "ops")
    time.now = 1_000_900 + KEPT_AFTER_END + 1
    deny_list.in_thread_load()
    assert not deny_list.denies("https://idp", "t1")
    assert len(deny_list) == 0


def test_denied_twice_the_later_end_holds(opened, time):
    deny_list, _ = opened()
    deny_list.in_thread_add("https://idp", "t1", 1_005_000, "leaked", "ops")
    deny_list.in_thread_add("https://idp", "t1", 1_000_100, "again", "ops")
    time.now = 1_004_000
    deny_list.in_thread_load()
    assert deny_list.denies("https://idp", "t1")

"""A refused static password is not tried again until a pause has passed, or an operator says so."""

from bridge.accounts.breaker import LAST_PAUSE, TRIAL, CircuitBreaker
from bridge.adapter import Secret

OLD, NEW = Secret("old-canary"), Secret("new-canary")


def wait(breaker, now, account="reader", system="warehouse"):
    return breaker.refusal(system, account, now)


def test_one_refusal_stops_all_tries_of_that_account_alone():
    breaker = CircuitBreaker()
    assert wait(breaker, 0) == 0
    breaker.refused("warehouse", "reader", OLD, 0)
    assert wait(breaker, 1) == 29
    assert wait(breaker, 1, account="writer") == 0
    assert wait(breaker, 1, system="ledger") == 0


def test_after_the_pause_one_caller_alone_may_try():
    """A crowd that comes back at once would lock the account after all."""
    breaker = CircuitBreaker()
    breaker.refused("warehouse", "reader", OLD, 0)
    assert [wait(breaker, 30) for _ in range(3)] == [0, TRIAL, TRIAL]
    breaker.succeeded("warehouse", "reader")
    assert [wait(breaker, 31) for _ in range(3)] == [0, 0, 0]


def test_a_try_that_never_ends_frees_its_place():
    breaker = CircuitBreaker()
    breaker.refused("warehouse", "reader", OLD, 0)
    assert wait(breaker, 30) == 0
    assert wait(breaker, 30 + TRIAL) == 0


def test_the_pause_doubles_up_to_a_quarter_of_an_hour():
    breaker, now, pauses = CircuitBreaker(), 0.0, []
    for _ in range(7):
        assert wait(breaker, now) == 0
        breaker.refused("warehouse", "reader", OLD, now)
        pauses.append(wait(breaker, now))
        now += pauses[-1]
    assert pauses == [30, 60, 120, 240, 480, LAST_PAUSE, LAST_PAUSE]


def test_a_second_secret_refused_while_open_starts_anew():
    breaker = CircuitBreaker()
    breaker.refused("warehouse", "reader", OLD, 0)
    breaker.refused("warehouse", "reader", OLD, 30)
    breaker.refused("warehouse", "reader", NEW, 90)
    assert wait(breaker, 90) == 30


def test_an_operator_closes_it_and_hears_whether_it_was_open():
    breaker = CircuitBreaker()
    breaker.refused("warehouse", "reader", OLD, 0)
    assert breaker.open_circuits(10) == {("warehouse", "reader"): 20}
    assert breaker.reset("warehouse", "reader")
    assert not breaker.reset("warehouse", "reader")
    assert (wait(breaker, 10), breaker.open_circuits(10)) == (0, {})


def test_the_secret_is_not_kept():
    breaker = CircuitBreaker()
    breaker.refused("warehouse", "reader", OLD, 0)
    assert "canary" not in repr(vars(breaker))

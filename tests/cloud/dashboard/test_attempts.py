"""Wrong tokens: each doubles the wait of the address that it came from."""

from datetime import timedelta

import pytest

from cloud.dashboard.attempts import FORGET_AFTER, WAIT_MAX_S, Attempts
from tests.support.clock import ManualClock


def test_each_failure_doubles_the_wait_up_to_the_bound(clock: ManualClock) -> None:
    attempts = Attempts(clock=clock)
    waits = []
    for number in range(1, 10):
        assert attempts.failed("192.0.2.1") == number
        waits.append(attempts.wait_s("192.0.2.1"))
    assert waits == [1, 2, 4, 8, 16, 32, WAIT_MAX_S, WAIT_MAX_S, WAIT_MAX_S]


def test_the_wait_runs_out_and_a_right_token_forgets_it(clock: ManualClock) -> None:
    attempts = Attempts(clock=clock)
    for _ in range(3):
        attempts.failed("192.0.2.1")
    clock.advance(seconds=3.5)
    assert attempts.wait_s("192.0.2.1") == 1
    clock.advance(seconds=0.5)
    assert attempts.wait_s("192.0.2.1") == 0
    attempts.succeeded("192.0.2.1")
    attempts.failed("192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == 1


def test_failures_are_forgotten_after_a_while(clock: ManualClock) -> None:
    attempts = Attempts(clock=clock)
    assert [attempts.failed("192.0.2.1") for _ in range(3)] == [1, 2, 3]
    clock.advance(FORGET_AFTER + timedelta(seconds=1))
    assert attempts.failed("192.0.2.1") == 1


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),  # one customer's network
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("testclient", "another", False),
    ],
)
def test_nobody_waits_for_another_addresses_mistakes(
    clock: ManualClock, one: str, other: str, is_same: bool
) -> None:
    attempts = Attempts(clock=clock)
    attempts.failed(one)
    assert (attempts.wait_s(other) > 0) is is_same


def test_one_address_more_than_the_bound_forgets_who_failed_longest_ago(clock: ManualClock) -> None:
    attempts = Attempts(clock=clock, addresses_max=2)
    for address in ("a", "b", "a", "c"):
        attempts.failed(address)
    assert {address: attempts.wait_s(address) for address in "abc"} == {"a": 2, "b": 0, "c": 1}

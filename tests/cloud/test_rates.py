"""Token buckets: bursts, refilling, and a table that does not grow."""

from cloud.rates import Rate, Rates

RATE = Rate(per_s=2, burst=3)


def test_a_burst_is_let_through_and_one_more_waits() -> None:
    rates = Rates(RATE)
    assert [rates.take("a", 0.0) for _ in range(4)] == [0, 0, 0, 1]
    assert rates.take("b", 0.0) == 0


def test_a_bucket_refills_with_time_and_not_beyond_its_burst() -> None:
    rates = Rates(RATE)
    for _ in range(3):
        rates.take("a", 0.0)
    assert [rates.take("a", 0.5), rates.take("a", 0.5)] == [0, 1]
    assert [rates.take("a", 1_000.0) for _ in range(4)] == [0, 0, 0, 1]


def test_asking_again_and_again_does_not_postpone_the_end_of_the_wait() -> None:
    rates = Rates(Rate(per_s=0.1, burst=1))
    rates.take("a", 0.0)
    assert [rates.take("a", float(second)) for second in range(1, 11)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    rates = Rates(RATE)
    assert [rates.take("a", 100.0) for _ in range(3)] == [0, 0, 0]
    assert rates.take("a", 0.0) == 1


def test_what_was_given_back_can_be_taken_again_but_no_more() -> None:
    rates = Rates(RATE)
    for _ in range(3):
        rates.take("a", 0.0)
    rates.give_back("a")
    rates.give_back("nobody")
    assert [rates.take("a", 0.0), rates.take("a", 0.0)] == [0, 1]


def test_the_table_keeps_those_that_were_used_last() -> None:
    rates = Rates(Rate(per_s=0.001, burst=1), entries_max=3)
    for key in ("a", "b", "c", "a", "d"):
        rates.take(key, 0.0)
    assert len(rates) == 3
    for number in range(10_000):
        rates.take(f"attacker {number}", 0.0)
    assert len(rates) == 3

"""The wait before connecting again."""

from datetime import timedelta

import pytest

from shared.backoff import BASE_S, CAP_S, STABLE_AFTER_S, Backoff


def waits(backoff: Backoff, count: int, *, random: float) -> tuple[Backoff, list[float]]:
    found = []
    for _ in range(count):
        backoff, wait_s = backoff.failed(random)
        found.append(wait_s)
    return backoff, found


def test_bound_doubles_from_one_second_to_three_hundred() -> None:
    _, found = waits(Backoff(), 11, random=1.0)
    assert found == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert (BASE_S, CAP_S) == (1.0, 300.0)


def test_wait_is_drawn_from_the_whole_range() -> None:
    """Full jitter: a fleet that lost its broker at once comes back spread out."""
    for random in (0.0, 0.25, 0.999):
        _, found = waits(Backoff(), 4, random=random)
        assert found == [random * bound for bound in (1, 2, 4, 8)]


@pytest.mark.parametrize(
    ("lasted_s", "next_bound_s"), [(STABLE_AFTER_S, 1.0), (STABLE_AFTER_S - 0.001, 32.0)]
)
def test_only_a_stable_link_starts_the_bound_again(lasted_s: float, next_bound_s: float) -> None:
    """A broker that accepts and then cuts at once is not hammered."""
    backoff, _ = waits(Backoff(), 5, random=1.0)
    _, (bound_s,) = waits(backoff.linked(lasted_s), 1, random=1.0)
    assert bound_s == next_bound_s


def test_years_of_failures_do_not_overflow() -> None:
    years = Backoff(failures=int(timedelta(days=3_650).total_seconds()))
    assert years.failed(1.0)[1] == CAP_S

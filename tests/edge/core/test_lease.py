"""How long a device has gone without its hub: the more cautious of two clocks, and neither trick makes it shorter."""

from datetime import UTC, datetime, timedelta

from edge.core.lease import Lease
from edge.core.retention import CLOCK_SETTLE_S

HEARD = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400.0


def held(used_s: float = 0.0, now: datetime = HEARD) -> Lease:
    return Lease.since(HEARD, used_s=used_s, now=now, monotonic_s=0.0)


def test_a_clock_that_is_set_back_gives_nothing_back() -> None:
    lease = held().look(HEARD + timedelta(days=2), 2 * DAY_S)
    set_back = HEARD - timedelta(days=365)
    assert lease.offline_s(set_back, 2 * DAY_S) == 2 * DAY_S
    assert lease.offline_s(set_back + timedelta(days=1), 3 * DAY_S) == 3 * DAY_S


def test_time_that_the_board_was_switched_off_counts_by_the_wall_clock() -> None:
    now = HEARD + timedelta(days=5)
    assert held(used_s=60.0, now=now).offline_s(now, 0.0) == 5 * DAY_S


def test_time_that_it_ran_is_kept_over_restarts() -> None:
    now = HEARD - timedelta(days=10)
    assert held(used_s=3 * DAY_S, now=now).offline_s(now, 60.0) == 3 * DAY_S + 60


def test_a_clock_that_was_far_ahead_for_a_moment_uses_nothing_up() -> None:
    ahead = HEARD + timedelta(days=9_000)
    lease = held(now=ahead).look(ahead + timedelta(minutes=1), 60.0)
    assert lease.offline_s(ahead, 60.0) >= 9_000 * DAY_S, "as long as it says so, it is believed"
    assert lease.look(HEARD + timedelta(minutes=2), 120.0).used_s == 120.0


def test_what_an_even_clock_says_is_kept() -> None:
    later = HEARD + timedelta(days=5)
    lease = held(now=later).look(later + timedelta(seconds=CLOCK_SETTLE_S), CLOCK_SETTLE_S)
    assert lease.offline_s(HEARD, CLOCK_SETTLE_S) == 5 * DAY_S + CLOCK_SETTLE_S


def test_the_hub_begins_it_anew_whatever_the_clock_says_then() -> None:
    ahead = HEARD + timedelta(days=9_000)
    lease = held(used_s=DAY_S).renewed(ahead, 100.0)
    assert lease.offline_s(HEARD, 100.0) == 0.0
    assert lease.offline_s(HEARD, 160.0) == 60.0, "heard in a future that never comes, it still runs out"

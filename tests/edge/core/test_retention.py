"""What may go, what must go first, and when there is no room for new work: at each limit and one past it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from edge.core.retention import (
    CLOCK_SETTLE_S,
    CLOCK_TOLERANCE_S,
    SLACK_DIVISOR,
    ClockWatch,
    RetentionLimits,
    is_journal_full,
    next_step,
)
from edge.ports import (
    ForgetEpisodes,
    LaneUsage,
    RetentionStep,
    SettleEnded,
    ShrinkFile,
    StoreUsage,
    TrimLane,
)
from shared.ids import Lane
from tests.support.clock import START

DAY = timedelta(days=1)
LIMITS = RetentionLimits(
    journal_bytes=1_600,
    reserve_bytes=100,
    history_bytes=400,
    history_age=30 * DAY,
    episodes=5,
    metrics_bytes=320,
    metrics_age=90 * DAY,
)
JOURNAL = LaneUsage(
    key=1,
    name=Lane.JOURNAL,
    tail=1,
    head=100,
    acked=0,
    stored_bytes=1_000,
    waiting_bytes=1_000,
    shed=0,
    oldest_at=START,
)
METRICS = replace(JOURNAL, key=2, name=Lane.METRICS, stored_bytes=0, waiting_bytes=0)
NO_METRICS = replace(METRICS, tail=101)
ORDERS = replace(JOURNAL, key=3, name=Lane.ORDERS, head=10, stored_bytes=100, waiting_bytes=0)
NOTHING = StoreUsage(
    lanes=(JOURNAL, NO_METRICS, ORDERS),
    journal_bytes=1_000,
    metrics_bytes=0,
    file_bytes=1_500,
    free_bytes=100,
    ended=0,
    deferred=0,
    episodes=0,
)


def store(*lanes: LaneUsage, **changes: int) -> StoreUsage:
    given = {lane.name: lane for lane in lanes}
    return replace(NOTHING, lanes=tuple(given.get(lane.name, lane) for lane in NOTHING.lanes), **changes)


def decide(
    usage: StoreUsage, *, later: timedelta = timedelta(0), is_full: bool = False, is_clock_steady: bool = True
) -> RetentionStep | None:
    return next_step(usage, LIMITS, START + later, is_full=is_full, is_clock_steady=is_clock_steady)


# --- the journal ---


def test_within_all_limits_nothing_goes() -> None:
    assert decide(store()) is None


def test_what_is_not_acknowledged_never_goes_however_old_and_however_much() -> None:
    nothing_acked = store(replace(ORDERS, tail=11), journal_bytes=10_000_000)
    assert decide(nothing_acked, later=10_000 * DAY, is_full=True) is None
    assert decide(nothing_acked, later=10_000 * DAY) is None


def test_acknowledged_records_go_when_they_are_older_than_the_limit_and_not_before() -> None:
    usage = store(replace(JOURNAL, acked=60), replace(ORDERS, tail=11))
    assert decide(usage, later=30 * DAY) is None
    late = 30 * DAY + timedelta(milliseconds=1)
    assert decide(usage, later=late) == TrimLane(
        1, Lane.JOURNAL, upto=60, before=START + timedelta(milliseconds=1)
    )
    assert decide(store(replace(JOURNAL, acked=60, tail=61), replace(ORDERS, tail=11)), later=late) is None


def test_orders_are_trimmed_by_the_same_limits_up_to_their_head() -> None:
    assert decide(store(), later=31 * DAY) == TrimLane(3, Lane.ORDERS, upto=10, before=START + DAY)


def test_acknowledged_history_goes_beyond_its_bytes_oldest_first() -> None:
    at_limit = store(replace(JOURNAL, acked=60, waiting_bytes=700))
    assert decide(at_limit) is None  # 300 of the journal, 100 of the orders
    past = store(
        replace(JOURNAL, acked=60, waiting_bytes=699), replace(ORDERS, oldest_at=START + timedelta(seconds=1))
    )
    assert decide(past) == TrimLane(1, Lane.JOURNAL, upto=60, free_bytes=1)
    older_orders = store(
        replace(JOURNAL, acked=60, waiting_bytes=699, oldest_at=START + timedelta(seconds=1)), ORDERS
    )
    assert decide(older_orders) == TrimLane(3, Lane.ORDERS, upto=10, free_bytes=1)


def test_at_the_limit_the_journal_gives_up_all_that_is_acknowledged() -> None:
    usage = store(replace(JOURNAL, acked=60), replace(ORDERS, tail=11), journal_bytes=1_650)
    assert decide(usage) == TrimLane(1, Lane.JOURNAL, upto=60, free_bytes=50, is_pressed=True)
    assert decide(replace(usage, journal_bytes=1_599)) is None


@pytest.mark.parametrize(
    ("left", "step"),
    [
        ({"ended": 1}, SettleEnded(is_pressed=True)),
        ({"deferred": 1}, SettleEnded(is_pressed=True)),
        ({"episodes": 1}, ForgetEpisodes(1)),
    ],
)
def test_at_the_limit_ended_work_goes_when_no_acknowledged_record_is_left(
    left: dict[str, int], step: RetentionStep
) -> None:
    assert decide(store(replace(ORDERS, tail=11), journal_bytes=1_600, **left)) == step
    # The same when what the hub has takes more than it may.
    beyond_history = store(
        replace(JOURNAL, waiting_bytes=0), replace(ORDERS, tail=11), journal_bytes=1_500, **left
    )
    assert decide(beyond_history) in (step, SettleEnded())


def test_the_journal_is_full_at_its_limit_and_until_a_sixteenth_of_it_is_free() -> None:
    assert LIMITS.journal_bytes // SLACK_DIVISOR == 100
    assert not is_journal_full(store(journal_bytes=1_599), LIMITS, was_full=False)
    assert is_journal_full(store(journal_bytes=1_600), LIMITS, was_full=False)
    assert is_journal_full(store(journal_bytes=1_500), LIMITS, was_full=True)
    assert not is_journal_full(store(journal_bytes=1_499), LIMITS, was_full=True)


def test_a_full_journal_makes_room_until_it_is_no_longer_full() -> None:
    acked = store(replace(JOURNAL, acked=60), replace(ORDERS, tail=11), journal_bytes=1_500)
    assert decide(acked) is None
    assert decide(acked, is_full=True) == TrimLane(1, Lane.JOURNAL, upto=60, free_bytes=1, is_pressed=True)
    assert decide(replace(acked, journal_bytes=1_499), is_full=True) is None


# --- what is left of work whose records are trimmed ---


def test_ended_nodes_are_settled_and_episodes_beyond_their_number_go() -> None:
    assert decide(store(ended=1)) == SettleEnded()
    assert decide(store(deferred=7)) is None
    assert decide(store(episodes=5)) is None
    assert decide(store(episodes=7)) == ForgetEpisodes(2)


# --- telemetry ---


def test_metrics_go_beyond_their_bytes_acknowledged_or_not_and_a_little_more_at_a_time() -> None:
    assert decide(store(METRICS, metrics_bytes=320)) is None
    assert decide(store(METRICS, metrics_bytes=321)) == TrimLane(2, Lane.METRICS, upto=100, free_bytes=21)


def test_metrics_go_beyond_their_age_acknowledged_or_not() -> None:
    usage = store(METRICS, replace(JOURNAL, tail=101), replace(ORDERS, tail=11))
    assert decide(usage, later=90 * DAY) is None
    assert decide(usage, later=91 * DAY) == TrimLane(2, Lane.METRICS, upto=100, before=START + DAY)


def test_an_empty_metrics_lane_is_left_alone_whatever_is_reckoned() -> None:
    assert decide(store(NO_METRICS, metrics_bytes=321)) is None


# --- a clock that cannot be trusted ---


def test_nothing_goes_for_its_age_while_the_clock_is_not_steady_but_bytes_still_count() -> None:
    usage = store(replace(JOURNAL, acked=60))
    assert decide(usage, later=10_000 * DAY, is_clock_steady=False) is None
    old = store(METRICS, replace(JOURNAL, acked=60))
    assert isinstance(decide(old, later=10_000 * DAY), TrimLane)
    assert decide(old, later=10_000 * DAY, is_clock_steady=False) is None
    assert decide(replace(usage, ended=1), later=10_000 * DAY, is_clock_steady=False) is None
    over = store(METRICS, replace(JOURNAL, acked=60), metrics_bytes=400)
    assert isinstance(decide(over, later=10_000 * DAY, is_clock_steady=False), TrimLane)


def test_a_clock_is_steady_after_an_hour_without_a_jump() -> None:
    watch = ClockWatch(START, 0.0)
    assert not watch.is_steady
    later = watch.look(START + timedelta(seconds=CLOCK_SETTLE_S - 1), CLOCK_SETTLE_S - 1)
    assert not later.is_steady
    assert later.look(later.at + timedelta(seconds=1), CLOCK_SETTLE_S).is_steady


@pytest.mark.parametrize("jump_s", [CLOCK_TOLERANCE_S + 1, -CLOCK_TOLERANCE_S - 1, 1e9, -1e9])
def test_a_clock_that_jumps_is_watched_anew(jump_s: float) -> None:
    steady = ClockWatch(START, 0.0, even_s=CLOCK_SETTLE_S)
    assert not steady.look(START + timedelta(seconds=10 + jump_s), 10.0).is_steady
    corrected = steady.look(START + timedelta(seconds=10 + CLOCK_TOLERANCE_S), 10.0)
    assert corrected.is_steady


# --- the file ---


def test_the_file_is_given_back_only_beyond_all_limits() -> None:
    most = 1_600 + 100 + 320
    slack = most // SLACK_DIVISOR
    assert decide(store(file_bytes=most + slack, free_bytes=500)) is None
    assert decide(store(file_bytes=most + slack + 7, free_bytes=500)) == ShrinkFile(7)
    assert decide(store(file_bytes=most + slack + 7, free_bytes=3)) == ShrinkFile(3)
    assert decide(store(file_bytes=most + slack + 7, free_bytes=0)) is None

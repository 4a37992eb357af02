"""When to renew, by which way, and how rarely after failures: the pure decision."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.renewal import (
    DUE_AT,
    LATE_AT,
    PAUSE_CAP_S,
    SPREAD,
    Attempts,
    Plan,
    Stage,
    Way,
    blame_a_clock,
    blame_clock,
    decide,
    stage,
)
from edge.core.validity import Validity

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = timedelta(days=60)
OWN = Validity(BEGIN, BEGIN + LIFE)
AUTHORITY = Validity(BEGIN - timedelta(days=100), BEGIN + timedelta(days=3_650))


def at(part: float) -> datetime:
    return BEGIN + LIFE * part


def planned(now: datetime, attempts: Attempts = Attempts(), **changes: object) -> Plan:  # noqa: B008 - frozen
    told = {"is_linked": True, "is_refused": False, "share": 0.0, "monotonic_s": 0.0, **changes}
    return decide(OWN, attempts, now=now, **told)  # type: ignore[arg-type]  # a test's short hand


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (BEGIN - timedelta(seconds=1), Stage.AHEAD),
        (BEGIN, Stage.FRESH),
        (at(DUE_AT) - timedelta(seconds=1), Stage.FRESH),
        (at(DUE_AT) + timedelta(seconds=1), Stage.DUE),
        (at(LATE_AT) + timedelta(seconds=1), Stage.LATE),
        (at(1) - timedelta(seconds=1), Stage.LATE),
        (at(1), Stage.ENDED),
    ],
)
def test_a_certificate_is_due_at_two_thirds_of_its_life(now: datetime, expected: Stage) -> None:
    """P25"""
    assert stage(OWN, now=now, share=0.0) is expected


def test_each_device_renews_at_a_moment_of_its_own() -> None:
    """P25"""
    between = at(DUE_AT + SPREAD / 2)
    assert stage(OWN, now=between, share=0.0) is Stage.DUE
    assert stage(OWN, now=between, share=1.0) is Stage.FRESH


@pytest.mark.parametrize(
    ("part", "is_linked", "is_refused", "way"),
    [
        (0.5, True, False, None),
        (0.5, False, False, None),
        (0.5, False, True, Way.HTTPS),
        (0.7, True, False, Way.LINK),
        (0.7, False, False, None),
        (0.9, True, False, Way.LINK),
        (0.9, False, False, Way.HTTPS),
        (1.5, False, False, Way.HTTPS),
        (1.5, True, False, Way.LINK),
        (-1.0, False, True, None),
    ],
)
def test_the_way_is_the_link_while_it_is_up_and_https_when_it_cannot_be(
    part: float, is_linked: bool, is_refused: bool, way: Way | None
) -> None:
    """P25"""
    assert planned(at(part), is_linked=is_linked, is_refused=is_refused).way is way


def test_after_a_failure_nothing_is_tried_before_its_time() -> None:
    failed = Attempts().failed(OWN, monotonic_s=1_000.0, random=0.5)
    assert planned(at(0.9), failed, monotonic_s=1_000.0).way is None
    assert planned(at(0.9), failed, monotonic_s=failed.not_before_s).way is Way.LINK


def test_failures_are_followed_by_ever_longer_pauses_up_to_a_bound() -> None:
    attempts, pauses = Attempts(), []
    for _ in range(40):
        attempts = attempts.failed(OWN, monotonic_s=0.0, random=1.0)
        pauses.append(attempts.not_before_s)
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[3] < pauses[-1] == PAUSE_CAP_S


def test_a_hub_that_is_only_away_is_asked_as_often_as_before() -> None:
    attempts = Attempts()
    for _ in range(20):
        attempts = attempts.failed(OWN, monotonic_s=0.0, random=1.0, is_transient=True)
    assert attempts.not_before_s == Attempts().failed(OWN, monotonic_s=0.0, random=1.0).not_before_s


def test_what_the_hub_asks_to_wait_is_waited() -> None:
    asked = Attempts().failed(OWN, monotonic_s=10.0, random=0.0, is_transient=True, retry_after_s=5_000)
    assert asked.not_before_s == 5_010.0
    endless = Attempts().failed(OWN, monotonic_s=0.0, random=0.0, retry_after_s=10**9)
    assert endless.not_before_s == PAUSE_CAP_S


def test_a_new_certificate_that_is_due_at_once_makes_no_loop() -> None:
    fresh = Attempts(7, 0.0).succeeded(OWN, monotonic_s=50.0)
    assert fresh.failures == 0
    assert planned(at(0.9), fresh, monotonic_s=51.0).way is None


@given(
    now=st.timedeltas(timedelta(days=-20_000), timedelta(days=30_000)).map(lambda off: BEGIN + off),
    failures=st.integers(0, 10_000),
    is_linked=st.booleans(),
    is_refused=st.booleans(),
    share=st.floats(0, 1),
)
def test_at_any_time_the_device_looks_again_soon_and_never_renews_what_is_not_due(
    now: datetime, failures: int, is_linked: bool, is_refused: bool, share: float
) -> None:
    plan = planned(now, Attempts(failures), is_linked=is_linked, is_refused=is_refused, share=share)
    assert 0 <= plan.look_again_s <= 30
    if now < BEGIN or (now < at(DUE_AT) and not is_refused):
        assert plan.way is None


@pytest.mark.parametrize(
    ("year", "words"),
    [(1970, "1970-01-01"), (2010, "2010-01-01"), (2090, "2090-01-01")],
)
def test_a_clock_that_is_decades_off_is_told_with_both_dates(year: int, words: str) -> None:
    sentence = blame_clock(datetime(year, 1, 1, tzinfo=UTC), own=OWN, authority=AUTHORITY)
    assert sentence is not None
    assert sentence.startswith(f"The clock says {words}")
    assert "the hub's authority" in sentence
    assert "timedatectl" in sentence


def test_a_certificate_of_ours_that_begins_later_is_held_against_the_clock() -> None:
    sentence = blame_clock(BEGIN - timedelta(days=1), own=OWN, authority=AUTHORITY)
    assert sentence is not None
    assert "this device's certificate begins 2026-01-01" in sentence


def test_a_certificate_that_has_ended_is_not_held_against_the_clock() -> None:
    assert blame_clock(at(2), own=OWN, authority=AUTHORITY) is None


def test_it_is_said_of_the_hubs_certificate_what_of_it_is_known() -> None:
    later = Validity(at(2), at(3))
    assert "the hub's certificate begins" in blame_a_clock(at(1), later)
    assert "the hub's certificate ended" in blame_a_clock(at(4), later)
    assert "not valid" in blame_a_clock(at(1), None)

"""The tests' clocks keep their promises."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from shared.clock import Clock
from tests.support.clock import START, ManualClock, OffsetClock, set_offset


def test_clock_stands_still_until_it_is_advanced() -> None:
    manual = ManualClock()
    clock: Clock = manual
    assert clock.now() == clock.now() == START
    manual.advance(seconds=1.5)
    manual.advance(timedelta(days=1))
    assert clock.now() == START + timedelta(days=1, seconds=1.5)


def test_clock_goes_back_only_when_it_is_set() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="forwards"):
        clock.advance(seconds=-1)
    earlier = datetime(1970, 1, 1, tzinfo=UTC)
    clock.set(earlier)
    assert clock.now() == earlier


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - the case
ELSEWHERE = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize("wrong", [NAIVE, ELSEWHERE])
def test_clock_refuses_times_that_are_not_utc(wrong: datetime) -> None:
    with pytest.raises(ValueError, match="UTC"):
        ManualClock(wrong)
    with pytest.raises(ValueError, match="UTC"):
        ManualClock().set(wrong)


def test_a_wrong_clock_is_off_by_what_its_file_says_now(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock: Clock = OffsetClock(file)
    begun = datetime.now(tz=UTC)
    assert clock.now() >= begun
    set_offset(file, 86_400.5)
    assert clock.now() >= begun + timedelta(days=1)
    set_offset(file, -3_600)
    assert clock.now() < begun

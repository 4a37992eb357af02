"""Wire times are whole milliseconds; every one that a record may carry is a time we can show."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import MAX_MS, from_ms, to_ms


@given(st.integers(0, MAX_MS))
def test_every_wire_time_reads_back(at_ms: int) -> None:
    assert to_ms(from_ms(at_ms)) == at_ms
    assert from_ms(at_ms).utcoffset() == timedelta(0)


def test_a_wire_time_is_rounded_down_in_any_zone() -> None:
    instant = datetime(2026, 1, 1, 12, 0, 0, 1_999, tzinfo=UTC)
    assert to_ms(instant) == 1_767_268_800_001
    assert to_ms(instant.astimezone(timezone(timedelta(hours=-9)))) == 1_767_268_800_001

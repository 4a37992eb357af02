"""Signed-in browsers: a random id each, for a time, and not without number."""

from datetime import timedelta

from cloud.dashboard.sessions import Sessions
from tests.support.clock import ManualClock

HOUR = timedelta(hours=1)


def test_a_session_is_found_by_its_id_and_by_no_other(clock: ManualClock) -> None:
    sessions = Sessions(clock=clock, lifetime=HOUR)
    one, other = sessions.begin(), sessions.begin()
    assert one != other
    assert len(one) >= 43  # 256 bits
    found = sessions.find(one)
    assert found is not None
    assert found is not sessions.find(other)
    for wrong in ("", one[:-1], f"{one}x", "\udcff"):
        assert sessions.find(wrong) is None


def test_a_session_ends_with_its_time_and_says_so(clock: ManualClock) -> None:
    sessions = Sessions(clock=clock, lifetime=HOUR)
    session_id = sessions.begin()
    session = sessions.find(session_id)
    clock.advance(HOUR - timedelta(seconds=1))
    assert sessions.find(session_id) is session
    clock.advance(seconds=1)
    assert sessions.find(session_id) is None
    assert session is not None
    assert session.ended.is_set()


def test_signing_out_ends_that_session_alone(clock: ManualClock) -> None:
    sessions = Sessions(clock=clock, lifetime=HOUR)
    leaving, staying = sessions.begin(), sessions.begin()
    session = sessions.find(leaving)
    sessions.end(leaving)
    sessions.end("nobody's")
    assert session is not None
    assert session.ended.is_set()
    assert sessions.find(leaving) is None
    assert sessions.find(staying) is not None


def test_one_browser_more_than_the_bound_ends_the_oldest_session(clock: ManualClock) -> None:
    sessions = Sessions(clock=clock, lifetime=HOUR, sessions_max=3)
    ids = [sessions.begin() for _ in range(3)]
    assert all(sessions.find(each) for each in ids)
    oldest = sessions.find(ids[0])
    newest = sessions.begin()
    assert oldest is not None
    assert oldest.ended.is_set()
    assert [sessions.find(each) is not None for each in (*ids, newest)] == [False, True, True, True]

"""Presence derived from four facts, and the same by the database."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlmodel import col, select

from cloud.db import Database
from cloud.devices.presence import (
    DEAF_AFTER,
    Hearing,
    PresenceLimits,
    PresenceState,
    horizons,
    listen,
    presence,
)
from cloud.devices.presence_sql import is_connected, presence_of
from cloud.devices.tables import Device
from tests.support.clock import START

LIMITS = PresenceLimits()
NOW = START + timedelta(days=30)
S = timedelta(seconds=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Known:
    """The facts of one device; enrolled long ago and there, unless said otherwise."""

    enrolled_at: datetime = START
    broker_online: bool = True
    died_at: datetime | None = None
    last_hello_at: datetime | None = None
    last_ack_at: datetime | None = None
    last_record_at: datetime | None = None


THERE = Known(last_hello_at=NOW - 30 * S)


def state(facts: Known, now: datetime = NOW, hearing: Hearing | None = None) -> str:
    return presence(facts, horizons(now, hearing, LIMITS)).value


# ---------------------------------------------------------------- the four states


def test_connected_device_with_a_recent_sign_of_life_is_online() -> None:
    assert state(THERE) == "online"
    assert state(Known(last_ack_at=NOW)) == "online"
    assert state(Known(last_hello_at=NOW - 9 * DAY, last_record_at=NOW - 299 * S)) == "online"


def test_connected_device_that_is_silent_is_stale() -> None:
    assert state(Known(last_hello_at=NOW - 299 * S)) == "online"
    assert state(Known(last_hello_at=NOW - 300 * S)) == "stale"


def test_connected_device_that_never_said_anything_is_stale() -> None:
    assert state(Known(enrolled_at=NOW - S)) == "stale"


def test_device_whose_session_ended_is_offline_however_recently_it_spoke() -> None:
    assert state(replace(THERE, broker_online=False)) == "offline"


def test_device_that_is_silent_for_long_is_lost_whatever_the_broker_says() -> None:
    for is_open in (True, False):
        facts = Known(broker_online=is_open, last_record_at=NOW - 7 * DAY + S)
        assert state(facts) == ("stale" if is_open else "offline")
        assert state(replace(facts, last_record_at=NOW - 7 * DAY)) == "lost"


def test_device_that_was_never_seen_is_lost_when_it_was_enrolled_long_ago() -> None:
    facts = Known(broker_online=False, enrolled_at=NOW - 7 * DAY + S)
    assert state(facts) == "offline"
    assert state(replace(facts, enrolled_at=NOW - 7 * DAY)) == "lost"


def test_death_is_believed_after_the_grace() -> None:
    assert state(replace(THERE, died_at=NOW - 4 * S)) == "online"
    assert state(replace(THERE, died_at=NOW - 5 * S)) == "offline"
    assert state(Known(last_hello_at=NOW - DAY, died_at=NOW - 4 * S)) == "stale"


# ---------------------------------------------------------------- a hub that does not listen


def hearing(*, since: timedelta, gone: timedelta | None = None, heard: timedelta = 0 * S) -> Hearing:
    """Times before `NOW`."""
    return Hearing(since=NOW - since, gone_at=None if gone is None else NOW - gone, heard_at=NOW - heard)


def test_hub_that_was_down_makes_nobody_stale_or_lost() -> None:
    """Ten days, and it is back since a minute: silence from before and since counts, that in between does not."""
    back = hearing(since=60 * S, gone=10 * DAY)
    last_words = NOW - 10 * DAY - 100 * S
    assert state(Known(last_hello_at=last_words), hearing=back) == "online"
    assert state(Known(last_hello_at=last_words - 140 * S), hearing=back) == "stale"
    assert state(Known(last_hello_at=last_words, broker_online=False), hearing=back) == "offline"
    assert state(Known(last_hello_at=last_words - 7 * DAY), hearing=back) == "lost"


def test_silence_counts_again_once_the_hub_has_listened_long_enough() -> None:
    facts = Known(last_hello_at=NOW - DAY)
    assert state(facts, hearing=hearing(since=299 * S, gone=DAY)) == "online"
    assert state(facts, hearing=hearing(since=300 * S, gone=DAY)) == "stale"


def test_death_that_was_told_just_before_the_hub_went_down_is_doubted_on() -> None:
    facts = replace(THERE, died_at=NOW - DAY - 3 * S, last_hello_at=NOW - DAY - 10 * S)
    assert state(facts, hearing=hearing(since=1 * S, gone=DAY)) == "online"
    assert state(facts, hearing=hearing(since=2 * S, gone=DAY)) == "offline"


def test_while_the_hub_is_deaf_presence_is_as_of_when_it_went_deaf_and_says_so() -> None:
    deaf = hearing(since=9 * DAY, heard=8 * DAY)
    compared = horizons(NOW, deaf, LIMITS)
    assert (compared.as_of, compared.is_deaf) == (NOW - 8 * DAY, True)
    assert state(Known(last_hello_at=NOW - 8 * DAY - 299 * S), hearing=deaf) == "online"
    assert state(Known(last_hello_at=NOW - 8 * DAY - 300 * S), hearing=deaf) == "stale"
    # What came in since, before the hub had noted that it listens again, counts.
    assert state(Known(last_hello_at=NOW), hearing=deaf) == "online"


def test_short_pause_is_no_deafness() -> None:
    compared = horizons(NOW, hearing(since=DAY, heard=DEAF_AFTER), LIMITS)
    assert (compared.as_of, compared.is_deaf) == (NOW, False)


def test_listening_is_remembered() -> None:
    first = listen(None, NOW, LIMITS)
    assert first == hearing(since=0 * S)
    assert listen(first, NOW + 5 * S, LIMITS) == replace(first, heard_at=NOW + 5 * S)


def test_hub_that_comes_back_remembers_since_when_it_was_away() -> None:
    before = hearing(since=DAY)
    assert listen(before, NOW + DAY, LIMITS) == Hearing(since=NOW + DAY, gone_at=NOW, heard_at=NOW + DAY)


def test_hub_that_starts_again_and_again_was_away_all_the_time() -> None:
    """It never listened long enough for every device to be heard."""
    known = hearing(since=DAY)
    now = NOW
    for _ in range(20):
        now += 600 * S
        known = listen(known, now, LIMITS)
        now += 30 * S  # and then it crashes
        known = replace(known, heard_at=now)
    assert known.gone_at == NOW
    assert state(Known(last_hello_at=NOW - 100 * S), now, known) == "online"
    # Once it has stayed up, the next time away begins when it really did.
    known = replace(known, heard_at=now + LIMITS.stale_after)
    assert listen(known, now + DAY, LIMITS).gone_at == now + LIMITS.stale_after


# ---------------------------------------------------------------- clocks that jump


def test_clock_that_is_set_forwards_makes_nobody_stale() -> None:
    """It looks like a day in which nobody listened."""
    jumped = listen(hearing(since=DAY), NOW + DAY, LIMITS)
    assert state(THERE, NOW + DAY, jumped) == "online"
    assert state(THERE, NOW + DAY, jumped) == state(THERE)


def test_clock_that_is_set_back_makes_nobody_stale_and_nobody_online_for_ever() -> None:
    back = listen(hearing(since=DAY), NOW - DAY, LIMITS)
    assert back == Hearing(since=NOW - DAY, gone_at=NOW - DAY, heard_at=NOW - DAY)
    assert state(THERE, NOW - DAY, back) == "online"
    # The sign of life still lies in the future, but so long ago nothing has come since.
    later = NOW - DAY + LIMITS.stale_after
    assert state(THERE, later, replace(back, heard_at=later)) == "stale"
    assert state(replace(THERE, last_ack_at=later - S), later, replace(back, heard_at=later)) == "online"


def test_clocks_of_the_hubs_machines_may_differ_a_little() -> None:
    ahead = Known(last_hello_at=NOW + 10 * S)
    assert state(ahead, hearing=hearing(since=DAY)) == "online"


# ---------------------------------------------------------------- the database says the same

OFFSETS = st.one_of(
    st.integers(-8 * 86_400, 86_400),
    st.sampled_from([-604_801, -604_800, -604_799, -301, -300, -299, -6, -5, -4, -1, 0, 1, 19, 20, 21]),
)
INSTANTS = OFFSETS.map(lambda seconds: NOW + seconds * S)
FACTS = st.builds(
    Known,
    enrolled_at=INSTANTS,
    broker_online=st.booleans(),
    died_at=st.none() | INSTANTS,
    last_hello_at=st.none() | INSTANTS,
    last_ack_at=st.none() | INSTANTS,
    last_record_at=st.none() | INSTANTS,
)
HEARINGS = st.none() | st.builds(Hearing, since=INSTANTS, gone_at=st.none() | INSTANTS, heard_at=INSTANTS)


def row_of(number: int, facts: Known) -> Device:
    return Device(
        principal=f"acme.device-{number:05}",
        tenant="acme",
        name=f"device-{number:05}",
        signing_kid=number.to_bytes(8, "big"),
        signing_public=bytes(32),
        certificate_sha256="0" * 64,
        certificate_not_after=NOW,
        **{name: getattr(facts, name) for name in Known.__dataclass_fields__},
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleet=st.lists(FACTS, min_size=1, max_size=25), known=HEARINGS)
def test_database_and_program_agree_on_every_device(
    database: Database, fleet: list[Known], known: Hearing | None
) -> None:
    compared = horizons(NOW, known, LIMITS)
    rows = [row_of(number, facts) for number, facts in enumerate(fleet)]
    with database.write() as session:
        session.execute(delete(Device))
        session.add_all(rows)
        session.flush()
        found = session.execute(
            select(presence_of(compared), is_connected(compared)).order_by(col(Device.principal))
        ).all()
    assert [state for state, _ in found] == [presence(facts, compared).value for facts in fleet]
    closed = (PresenceState.OFFLINE, PresenceState.LOST)
    for (_, is_open), facts in zip(found, fleet, strict=True):
        assert bool(is_open) or presence(facts, compared) in closed

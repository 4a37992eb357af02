"""The hub's doctor on the fleet: what waits for an operator, each with the command that shows or mends it."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from cloud.checks import fleet
from cloud.checks.fleet import (
    APPROVAL,
    CERTIFICATES,
    CONDITIONS,
    DEAD_LETTERS,
    FORKS,
    LOST,
    QUARANTINE,
    STRANGERS,
)
from cloud.checks.subject import Subject
from cloud.devices.tables import DeviceStatus
from cloud.ingest.strangers import note_strangers
from cloud.ingest.turn import FORK_REASON
from cloud.journal.tables import DeadLetter, LaneRow
from shared.findings import NAMES_SHOWN, Finding, State
from shared.topics import PROBE_PREFIX
from tests.cloud.checks.devices import add_device
from tests.support.clock import START, ManualClock

FRIDGE, PUMP = "main.fridge", "main.pump"


def found_in(subject: Subject) -> Mapping[str, Finding]:
    return {each.name: each for each in fleet.check(subject)}


def add_lane(subject: Subject, principal: str, *, forked_at: int | None = None, dead: int = 0) -> None:
    assert subject.database is not None
    with subject.database.write() as session:
        lane = LaneRow(
            principal=principal,
            lane="journal",
            epoch=bytes(16),
            head_hash=bytes(32),
            created_at=START,
            forked_at_seq=forked_at,
        )
        session.add(lane)
        session.flush()
        assert lane.id is not None
        for seq in range(1, dead + 1):
            session.add(DeadLetter(lane_id=lane.id, seq=seq, reason="unknown kind", at=START))


def resolve_letters(subject: Subject) -> None:
    assert subject.database is not None
    with subject.database.write() as session:
        session.connection().exec_driver_sql("UPDATE dead_letter SET resolution = 'dismissed'")


def test_a_fleet_that_needs_nobody_is_well(either: Subject) -> None:
    assert either.database is not None
    add_device(either.database, FRIDGE, last_hello_at=START)
    add_lane(either, FRIDGE)
    found = found_in(either)
    assert set(found) == {
        *(FORKS, APPROVAL, QUARANTINE, DEAD_LETTERS, LOST, CERTIFICATES, CONDITIONS, STRANGERS)
    }
    assert {each.state for each in found.values()} == {State.OK}


def test_a_fork_is_told_once_and_not_as_quarantine(either: Subject) -> None:
    assert either.database is not None
    add_device(either.database, FRIDGE, status=DeviceStatus.QUARANTINED.value, status_reason=FORK_REASON)
    add_lane(either, FRIDGE, forked_at=7)
    found = found_in(either)
    assert found[FORKS].state is State.WARN
    assert FRIDGE in found[FORKS].sentence
    assert found[FORKS].command == either.command("device forks")
    assert found[QUARANTINE].state is State.OK


def test_devices_that_wait_for_approval_are_told(either: Subject) -> None:
    assert either.database is not None
    add_device(either.database, PUMP, status=DeviceStatus.PENDING.value)
    found = found_in(either)[APPROVAL]
    assert (found.state, found.command) == (State.WARN, either.command(f"device approve {PUMP}"))


def test_quarantine_for_another_reason_is_told(either: Subject) -> None:
    assert either.database is not None
    add_device(either.database, PUMP, status=DeviceStatus.QUARANTINED.value, status_reason="by hand")
    found = found_in(either)
    assert found[QUARANTINE].state is State.WARN
    assert found[QUARANTINE].command == either.command(f"device show {PUMP}")


def test_dead_letters_are_told_until_they_are_settled(either: Subject) -> None:
    assert either.database is not None
    for principal, dead in ((FRIDGE, 1), (PUMP, 3)):
        add_device(either.database, principal)
        add_lane(either, principal, dead=dead)
    found = found_in(either)[DEAD_LETTERS]
    assert found.state is State.WARN
    assert found.command == either.command(f"device deadletters {PUMP}")  # who has most comes first
    resolve_letters(either)
    assert found_in(either)[DEAD_LETTERS].state is State.OK


def test_a_device_that_was_silent_too_long_is_lost(either: Subject, clock: ManualClock) -> None:
    assert either.database is not None
    add_device(either.database, FRIDGE, last_hello_at=START)
    clock.advance(timedelta(seconds=either.settings.presence_lost_after_s - 1))
    assert found_in(either)[LOST].state is State.OK
    clock.advance(seconds=2)
    found = found_in(either)[LOST]
    assert found.state is State.WARN
    assert FRIDGE in found.sentence
    assert found.command == either.command("device list")


def test_certificates_that_end_are_told(either: Subject, clock: ManualClock) -> None:
    assert either.database is not None
    add_device(either.database, FRIDGE, certificate_not_after=START + timedelta(days=14))
    assert found_in(either)[CERTIFICATES].state is State.OK
    clock.advance(seconds=1)
    assert found_in(either)[CERTIFICATES].state is State.WARN


def test_what_devices_say_is_wrong_with_them_is_told(either: Subject) -> None:
    assert either.database is not None
    add_device(either.database, FRIDGE, conditions={"journal_full": 1})
    add_device(either.database, PUMP, conditions={})
    found = found_in(either)[CONDITIONS]
    assert found.state is State.WARN
    assert FRIDGE in found.sentence
    assert PUMP not in found.sentence


def test_who_speaks_and_is_not_known_is_told_until_it_is_enrolled_anew(either: Subject) -> None:
    assert either.database is not None
    with either.database.write() as session:
        note_strangers(session, {"acme.pump": 3, f"main.{PROBE_PREFIX}1": 1}, START)
    found = found_in(either)[STRANGERS]
    assert found.state is State.WARN
    assert found.sentence.startswith("acme.pump speak")
    assert found.command == either.command("token create --device pump --tenant acme")
    add_device(either.database, "acme.pump")
    assert found_in(either)[STRANGERS].state is State.OK


def test_revoked_devices_need_nobody(either: Subject, clock: ManualClock) -> None:
    assert either.database is not None
    add_device(
        either.database,
        FRIDGE,
        status=DeviceStatus.REVOKED.value,
        conditions={"disk_full": 1},
        certificate_not_after=START,
    )
    clock.advance(timedelta(days=400))
    assert {each.state for each in found_in(either).values()} == {State.OK}


@pytest.mark.parametrize(("count", "rest"), [(NAMES_SHOWN, ""), (NAMES_SHOWN + 2, " and 2 more")])
def test_many_names_are_counted(count: int, rest: str) -> None:
    names = [f"main.d{number}" for number in range(count)]
    found = fleet.judge("lost", names, "are lost", well="", command="")
    assert found.sentence == f"{', '.join(names[:NAMES_SHOWN])}{rest} are lost."

"""How a release goes out: wave by wave, watched, and stopped by itself."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from cloud.caller import HUB_ITSELF
from cloud.db import Database
from cloud.governance import repository, service
from cloud.governance.tables import DevicePolicy, PolicyActionTally, PolicyRelease, PolicyTally
from cloud.journal.repository import lanes_of
from cloud.journal.service import close_orders
from cloud.journal.tables import CloseReason, LaneRow, RecordRow
from shared.clock import to_ms
from shared.errors import ConflictError, RefusedError
from shared.ids import Lane
from shared.policy.bundle import make, pack
from shared.policy.contracts import Audience, Package
from shared.records import PolicyDecided
from tests.support.clock import ManualClock
from tests.support.device import ScriptedDevice, signer_from, task_id_from
from tests.support.ingest import IngestHub, device_row
from tests.support.rules import ALL, SIGNER

TENANT = "acme"
FLEET = 10


def bundle(version: int, **changes: object) -> bytes:
    return pack(make(Package.model_validate({"name": "p", "version": version, **changes}), {"all": ALL}))


@pytest.fixture
def fleet(database: Database) -> list[str]:
    names = [f"{TENANT}.dev-{number}" for number in range(FLEET)]
    with database.write() as session:
        for name in names:
            session.add(device_row(ScriptedDevice(name, hub=SIGNER, key=signer_from(name))))
    return names


def publish(
    database: Database,
    clock: ManualClock,
    version: int,
    *,
    sealed: bytes | None = None,
    waves: Sequence[int] = (20, 100),
    soak_s: int = 60,
) -> str:
    release_id = task_id_from(f"release {version}")
    with database.write() as session:
        service.publish(
            session,
            HUB_ITSELF,
            release_id=release_id,
            tenant=TENANT,
            signer=SIGNER,
            now=clock.now(),
            sealed=bundle(version) if sealed is None else sealed,
            waves=waves,
            soak_s=soak_s,
        )
    return release_id


def advance(database: Database, clock: ManualClock, release_id: str) -> set[str]:
    with database.write() as session:
        release = repository.lock_release(session, release_id)
        assert release is not None
        return service.advance(session, release, now=clock.now())


def run_it(database: Database, names: set[str], version: int, *, decided: int = 0, denied: int = 0) -> None:
    """The devices say that they go by it, and how often it said no."""
    with database.write() as session:
        for name in names:
            session.get_one(DevicePolicy, name).version = version
            session.merge(PolicyTally(principal=name, version=version, decided=decided, denied=denied))


def state_of(database: Database, release_id: str) -> tuple[str, int, str]:
    with database.read() as session:
        release = session.get_one(PolicyRelease, release_id)
        return release.state, release.wave, release.reason


def test_a_wave_is_ordered_once_watched_and_followed_by_the_rest(
    database: Database, clock: ManualClock, fleet: list[str]
) -> None:
    release = publish(database, clock, 1)
    first = advance(database, clock, release)
    assert len(first) == 2
    assert advance(database, clock, release) == set()
    run_it(database, first, 1)
    clock.advance(seconds=59)
    assert advance(database, clock, release) == set()
    clock.advance(seconds=2)
    rest = advance(database, clock, release)
    assert first | rest == set(fleet)
    run_it(database, rest, 1)
    clock.advance(seconds=61)
    assert advance(database, clock, release) == set()
    assert state_of(database, release) == ("active", 1, "")


def test_who_comes_later_gets_what_is_active(
    database: Database, clock: ManualClock, fleet: list[str]
) -> None:
    release = publish(database, clock, 1, waves=[100], soak_s=0)
    run_it(database, advance(database, clock, release), 1)
    advance(database, clock, release)
    late = f"{TENANT}.late"
    with database.write() as session:
        session.add(device_row(ScriptedDevice(late, hub=SIGNER, key=signer_from(late))))
    assert advance(database, clock, release) == {late}
    with database.write() as session:
        service.store_lost(session, fleet[0], clock.now())
    assert advance(database, clock, release) == {fleet[0]}


@pytest.mark.parametrize(
    ("denied", "is_stopped"), [(3, False), (30, True)], ids=["as before", "much more than before"]
)
def test_a_release_stops_when_denials_jump(
    database: Database, clock: ManualClock, fleet: list[str], denied: int, is_stopped: bool
) -> None:
    before = publish(database, clock, 1, waves=[100], soak_s=0)
    run_it(database, advance(database, clock, before), 1, decided=100, denied=5)
    release = publish(database, clock, 2)
    first = advance(database, clock, release)
    run_it(database, first, 2, decided=50, denied=denied)
    clock.advance(timedelta(hours=1))
    rest = advance(database, clock, release)
    state, _, reason = state_of(database, release)
    if is_stopped:
        assert (state, reason, rest) == ("stopped", "denials jumped from 5% to 60% of decisions", set())
    else:
        assert (state, len(rest)) == ("rolling", FLEET - len(first))


@pytest.mark.parametrize(
    ("decided", "before", "is_stopped"), [(20, 20, True), (19, 20, False), (20, 19, False)]
)
def test_denials_of_one_action_that_is_seldom_asked_for_stop_a_release(
    database: Database, clock: ManualClock, fleet: list[str], decided: int, before: int, is_stopped: bool
) -> None:
    """Of thousands of readings nobody would see that no refund is allowed any more; below 20 a share says nothing."""
    first = publish(database, clock, 1, waves=[100], soak_s=0)
    run_it(database, advance(database, clock, first), 1, decided=1_000)
    release = publish(database, clock, 2, waves=(10, 100))
    (one,) = advance(database, clock, release)
    run_it(database, {one}, 2, decided=1_000, denied=20)
    with database.write() as session:
        for version, count, denied in ((1, before, 0), (2, decided, decided)):
            session.add(
                PolicyActionTally(
                    principal=one, version=version, action="refund", decided=count, denied=denied
                )
            )
            # What a device without rules was refused, nobody had a rule for.
            session.add(
                PolicyActionTally(principal=one, version=0, action=f"x{version}", decided=90, denied=0)
            )
            session.add(
                PolicyActionTally(principal=one, version=2, action=f"x{version}", decided=90, denied=90)
            )
    clock.advance(timedelta(hours=1))
    advance(database, clock, release)
    state, _, reason = state_of(database, release)
    expected = ("stopped", "denials of refund jumped from 0% to 100%") if is_stopped else ("rolling", "")
    assert (state, reason) == expected


async def test_what_devices_ask_by_themselves_is_counted_apart_and_people_s_no_is_none(
    database: Database, clock: ManualClock
) -> None:
    said: list[tuple[str, Any, str]] = [
        ("refund", "deny", "limit"), ("refund", "deny", "stopped"), ("refund", "deny", "approval_late"),
        ("refund", "deny", "approval_refused"), ("memory.write", "deny", "no_rule"), ("memory.read", "allow", "all"),
        ("message.person", "allow", "all"),
    ]  # fmt: skip
    at_ms = to_ms(clock.now())
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(f"{TENANT}.dev-1")
        await device.link()
        await device.append(
            *(
                PolicyDecided(at_ms=at_ms, action=action, decision=decision, rules=(rule,), version=3)
                for action, decision, rule in said
            )
        )
    with database.read() as session:
        assert repository.tally(session, [device.script.principal], [3]) == (5, 1)
        found = repository.tally_by_action(session, [device.script.principal], 3)
    assert {action: (each.decided, each.denied) for action, each in found.items()} == {
        "refund": (4, 1), "memory.write": (1, 1), "memory.read": (1, 0), "message.person": (1, 0),
    }  # fmt: skip


def test_a_few_decisions_say_nothing(database: Database, clock: ManualClock, fleet: list[str]) -> None:
    release = publish(database, clock, 1)
    run_it(database, advance(database, clock, release), 1, decided=5, denied=5)
    clock.advance(timedelta(hours=1))
    advance(database, clock, release)
    assert state_of(database, release)[0] == "rolling"


def test_what_is_not_newer_or_for_others_is_not_published(
    database: Database, clock: ManualClock, fleet: list[str]
) -> None:
    publish(database, clock, 2)
    with pytest.raises(ConflictError, match="not newer than 2"):
        publish(database, clock, 2, sealed=bundle(2))
    with pytest.raises(RefusedError, match="another tenant"):
        publish(database, clock, 3, sealed=bundle(3, audience=Audience(tenant="others")))
    for waves in ([50], [100, 50], [50, 50, 100]):
        with pytest.raises(RefusedError, match="Waves are rising"):
            publish(database, clock, 4, waves=waves)


def test_a_newer_release_takes_the_place_of_one_that_is_under_way(
    database: Database, clock: ManualClock, fleet: list[str]
) -> None:
    first = publish(database, clock, 1)
    publish(database, clock, 2)
    assert state_of(database, first)[0] == "superseded"


# --- stops ---


def orders_of(database: Database, principal: str) -> list[str]:
    with database.read() as session:
        rows = session.exec(
            select(RecordRow.kind)
            .join(LaneRow, col(LaneRow.id) == col(RecordRow.lane_id))
            .where(LaneRow.principal == principal, LaneRow.lane == Lane.ORDERS.value)
            .order_by(col(RecordRow.seq))
        )
        return list(rows)


def stop(database: Database, clock: ManualClock, principals: Sequence[str], *, is_stopped: bool) -> set[str]:
    with database.write() as session:
        return service.stop(session, HUB_ITSELF, principals, is_stopped=is_stopped, now=clock.now())


def test_a_whole_fleet_is_stopped_each_device_once(
    database: Database, clock: ManualClock, fleet: list[str]
) -> None:
    assert stop(database, clock, fleet[:1], is_stopped=True) == {fleet[0]}
    assert stop(database, clock, fleet, is_stopped=True) == set(fleet), (
        "nobody has said yet that it has heard"
    )
    assert stop(database, clock, fleet, is_stopped=False) == set(fleet)
    assert orders_of(database, fleet[0]) == ["halt.ordered"] * 3
    assert {tuple(orders_of(database, each)) for each in fleet[1:]} == {("halt.ordered",) * 2}


def test_a_stop_of_a_device_that_nobody_knows_stops_none(
    database: Database, clock: ManualClock, fleet: list[str]
) -> None:
    with pytest.raises(RefusedError, match="no device"):
        stop(database, clock, [*fleet, f"{TENANT}.nobody"], is_stopped=True)
    assert orders_of(database, fleet[0]) == []


def test_a_closed_log_gets_no_orders_and_a_new_one_begins(
    database: Database, clock: ManualClock, fleet: list[str]
) -> None:
    stop(database, clock, fleet[:2], is_stopped=True)
    with database.write() as session:
        close_orders(session, fleet[0], CloseReason.STORE_LOST, clock.now())
    stop(database, clock, fleet[:2], is_stopped=False)
    with database.read() as session:
        lanes = [row for row in lanes_of(session, fleet[0]) if row.lane == Lane.ORDERS]
        assert [(row.head_seq, row.closed_at is None) for row in lanes] == [(1, False), (1, True)]

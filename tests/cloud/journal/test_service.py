"""The logs as the slices use them: appending orders, content, showing, verifying."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from cloud.db import Database
from cloud.journal import repository
from cloud.journal.service import append_order, close_orders, read_blob, store_blob, tail, verify
from cloud.journal.tables import CloseReason, LaneRow
from shared.errors import RefusedError
from shared.ids import Lane
from shared.log import first_break, start
from shared.records import DeviceStarted, Poison, TaskCancelled
from shared.topics import Channel
from tests.support.clock import START, ManualClock
from tests.support.device import ScriptedDevice, signer_from, task_id_from
from tests.support.ingest import HUB_SIGNER, IngestHub, blob_of, device_row, started
from tests.support.waiting import eventually

NAME = "acme.fridge-1"


def cancel(number: int) -> TaskCancelled:
    return TaskCancelled(at_ms=number, task=task_id_from("a"), node=0, reason="operator")


def enrol(database: Database) -> None:
    with database.write() as session:
        session.add(device_row(ScriptedDevice(NAME, hub=HUB_SIGNER)))


def test_orders_are_chained_from_the_start_of_their_lane(database: Database) -> None:
    """P2, P3."""
    enrol(database)
    content = blob_of("why")
    with database.write() as session:
        first = append_order(session, principal=NAME, records=[(cancel(1), (content,))], now=START)
        more = append_order(
            session, principal=NAME, records=[(cancel(2), ()), (cancel(3), (content,))], now=START
        )
    assert (first, more) == ([1], [2, 3])
    with database.read() as session:
        (lane,) = session.exec(select(LaneRow)).all()
        entries = repository.read_entries(session, lane, after=0, limit=10)
        assert read_blob(session, content.ref().hash) == content
    assert (lane.lane, len(lane.epoch), lane.head_seq) == ("orders", 16, 3)
    assert first_break(start(repository.lane_id(lane)), entries) is None
    assert lane.head_hash == entries[-1].hash
    assert [report.problem for report in verify(database, NAME)] == [None]


def test_orders_that_were_rolled_back_leave_no_gap(database: Database) -> None:
    """P1: sequences are contiguous, whatever becomes of a request."""
    enrol(database)
    with database.write() as session:
        append_order(session, principal=NAME, records=[(cancel(1), ())], now=START)
    with pytest.raises(RefusedError), database.write() as session:
        _append_and_fail(session)
    with database.write() as session:
        assert append_order(session, principal=NAME, records=[(cancel(3), ())], now=START) == [2]
    assert [report.problem for report in verify(database, NAME)] == [None]


def _append_and_fail(session: Session) -> None:
    append_order(session, principal=NAME, records=[(cancel(2), ())], now=START)
    append_order(session, principal="acme.ghost", records=[(cancel(2), ())], now=START)


@pytest.mark.slow
def test_an_order_is_not_appended_to_a_log_that_is_closed_meanwhile(database: Database) -> None:
    """Behind the close nobody would ever send it."""
    enrol(database)
    with database.write() as session:
        append_order(session, principal=NAME, records=[(cancel(1), ())], now=START)

    def order() -> list[int]:
        with database.write() as session:
            return append_order(session, principal=NAME, records=[(cancel(2), ())], now=START)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            close_orders(session, NAME, CloseReason.BRANCHED, START)
            ordered = pool.submit(order)
            asyncio.run(eventually(lambda: is_waiting(session, ordered)))
        assert ordered.result(timeout=30) == [1]
    with database.read() as session:
        closed, anew = repository.lanes_of(session, NAME)
    assert (closed.closed_at, closed.head_seq) == (START, 1)
    assert (anew.closed_at, anew.head_seq) == (None, 1)


def is_waiting(session: Session, other: "Future[list[int]]") -> bool:
    """Whether another transaction waits for this one; on SQLite, which does not tell, whether it has begun."""
    if session.get_bind().dialect.name == "sqlite":
        return other.running()
    return bool(session.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


def test_order_for_a_device_that_is_not_there_is_refused(database: Database) -> None:
    with pytest.raises(RefusedError, match=r"no device acme\.ghost"), database.write() as session:
        append_order(session, principal="acme.ghost", records=[(cancel(1), ())], now=START)


def test_content_is_stored_once_and_what_is_not_there_is_none(database: Database) -> None:
    """P4."""
    content = blob_of("the same")
    with database.write() as session:
        assert store_blob(session, NAME, content) == content.ref()
        assert store_blob(session, "acme.other", content) == content.ref()
        assert read_blob(session, content.ref().hash) == content
        assert read_blob(session, bytes(32)) is None


async def filled(database: Database, clock: ManualClock, count: int) -> ScriptedDevice:
    """A journal of `count` records in batches of 400, and two orders."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        with database.write() as session:
            append_order(session, principal=NAME, records=[(cancel(1), ()), (cancel(2), ())], now=START)
        await device.link()
        for begin in range(0, count, 400):
            await device.append(*(started(at) for at in range(begin, min(count, begin + 400))))
        await device.hears(Channel.DOWN_ORDERS)
    return device.script


async def test_tail_shows_records_after_a_sequence_with_their_dead_letters(
    database: Database, clock: ManualClock
) -> None:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        device.script.journal.append(started(1))
        device.script.journal.append_bytes(b"poison")
        device.script.journal.append(started(3))
        await device.send(device.script.journal)
    with database.read() as session:
        first, second = tail(session, NAME, Lane.JOURNAL, after=0, limit=2)
        (third,) = tail(session, NAME, Lane.JOURNAL, after=2, limit=2)
        assert tail(session, NAME, Lane.METRICS, after=0, limit=2) == []
        assert tail(session, NAME, Lane.JOURNAL, after=3, limit=2) == []
    assert isinstance(first.record, DeviceStarted)
    assert (first.seq, first.kind, first.dead_letter) == (1, "device.started", None)
    assert isinstance(second.record, Poison)
    assert (second.kind, second.dead_letter) == ("?", "not well-formed CBOR")
    assert (third.seq, third.hash) == (3, device.script.journal.head.hash)


@pytest.mark.slow
async def test_sound_logs_verify_in_whole_against_the_devices_seals(
    database: Database, clock: ManualClock
) -> None:
    """P9: more than one chunk, several seals, and the hub's own lane without any."""
    await filled(database, clock, 2_100)
    reports = {report.lane: report for report in verify(database, NAME)}
    journal, orders = reports["journal"], reports["orders"]
    assert (journal.problem, journal.records, journal.seals, journal.sealed_upto) == (None, 2_100, 6, 2_100)
    assert (orders.problem, orders.records, orders.seals) == (None, 2, 0)


TAMPERING = {
    "a record altered": ("UPDATE record SET data = :junk WHERE seq = 450 AND lane_id = :lane", 450),
    "a hash altered": ("UPDATE record SET hash = :junk WHERE seq = 450 AND lane_id = :lane", 450),
    "a record removed": ("DELETE FROM record WHERE seq = 450 AND lane_id = :lane", 450),
    "the end cut off": ("DELETE FROM record WHERE seq > 450 AND lane_id = :lane", 451),
    "a seal altered": ("UPDATE seal SET seal = :junk WHERE seq = 400 AND lane_id = :lane", 400),
    "the last seal removed": ("DELETE FROM seal WHERE seq = 500 AND lane_id = :lane", 401),
    "the head put back": ("UPDATE lane SET head_seq = 499 WHERE id = :lane", 500),
}


@pytest.mark.parametrize(("statement", "broken_at"), TAMPERING.values(), ids=TAMPERING)
async def test_tampering_is_found_and_placed(
    database: Database, clock: ManualClock, statement: str, broken_at: int
) -> None:
    """P2, P9: whoever has the database can change rows, but not the device's word about them."""
    await filled(database, clock, 500)
    with database.read() as session:
        lane = session.exec(select(LaneRow.id).where(LaneRow.lane == "journal")).one()
    values: dict[str, object] = {"lane": lane}
    if ":junk" in statement:
        values["junk"] = bytes(64)
    with database.write() as session:
        session.connection().execute(text(statement), values)
    (report,) = [report for report in verify(database, NAME) if report.lane == "journal"]
    assert report.problem is not None
    assert report.broken_at == broken_at


async def test_log_that_was_rewritten_with_a_sound_chain_is_still_found(
    database: Database, clock: ManualClock
) -> None:
    """P9: the chain alone could be recomputed by an intruder; the seals cannot."""
    script = await filled(database, clock, 3)
    forged = ScriptedDevice(NAME, hub=HUB_SIGNER, key=signer_from("intruder"))
    for at in (0, 1, 99):
        forged.journal.append(started(at))
    assert forged.journal.lane == script.journal.lane
    with database.write() as session:
        lane = session.exec(select(LaneRow).where(LaneRow.lane == "journal")).one()
        lane.head_hash = forged.journal.head.hash
        last = forged.journal.entries[-1]
        session.connection().execute(
            text("UPDATE record SET data = :data, hash = :hash WHERE seq = 3 AND lane_id = :lane"),
            {"data": last.record, "hash": last.hash, "lane": lane.id},
        )
    (report,) = [report for report in verify(database, NAME) if report.lane == "journal"]
    assert (report.problem, report.broken_at) == ("the seal is not the device's", 3)

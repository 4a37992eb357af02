"""Orders on their way to a device: sent in its session, repeated until committed, never twice (rules P12 to P14)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlmodel import col, select

from cloud.db import Database
from cloud.devices.tables import DeviceStatus
from cloud.ingest.orders import SEND_MAX_RECORDS
from cloud.ingest.pipeline import Pipeline
from cloud.journal.service import append_order
from cloud.journal.tables import CloseReason, LaneRow
from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.records import TaskOffered, parse_record
from shared.replication import MAX_RESENDS, PROBE_AFTER, RESEND_AFTER
from shared.tasks.limits import Limits
from shared.topics import Channel
from tests.support.clock import ManualClock
from tests.support.device import ScriptedLog, bytes_from, task_id_from
from tests.support.ingest import (
    HUB_SIGNER,
    HUB_TRUST,
    QUICK,
    SALT_OF,
    IngestHub,
    RemoteDevice,
    blob_of,
    started,
)

NAME = "acme.fridge-1"
GOAL = blob_of("Is the fridge cold?")


def offer(number: int) -> TaskOffered:
    return TaskOffered(
        at_ms=number,
        task=task_id_from(f"task {number}"),
        node=0,
        attempt=1,
        goal=GOAL.ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=9_999,
    )


def append(database: Database, clock: ManualClock, *numbers: int) -> list[int]:
    with database.write() as session:
        return append_order(
            session,
            principal=NAME,
            records=[(offer(number), (GOAL,)) for number in numbers],
            now=clock.now(),
        )


def lane_of(database: Database) -> LaneRow:
    with database.read() as session:
        query = select(LaneRow).where(LaneRow.lane == "orders").order_by(col(LaneRow.id).desc())
        row = session.exec(query).first()
        assert row is not None
        return row


async def until(hub: IngestHub, condition: Callable[[], bool]) -> None:
    """For what the worker does by itself, on its poll; with a limit."""
    async with asyncio.timeout(10):
        while not condition():
            await hub.settle()


def acknowledge(device: RemoteDevice) -> None:
    device.say(Channel.DOWN_ORDERS_ACK, device.script.ack())


async def test_order_reaches_a_linked_device_with_the_content_that_it_names(
    database: Database, clock: ManualClock
) -> None:
    """P14, P4."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        append(database, clock, 1)
        hub.worker.wake(NAME)
        batch = await device.hears_orders()
        assert [parse_record(data) for data in batch.records] == [offer(1)]
        assert batch.blobs == (GOAL,)
        acknowledge(device)
        await hub.settle()
        assert (lane_of(database).acked, lane_of(database).phase) == (1, "idle")
        assert hub.device(NAME).last_ack_at == clock.now()


async def test_orders_wait_for_a_device_that_is_away_and_follow_its_hello(
    database: Database, clock: ManualClock
) -> None:
    """P17: also when the device itself has nothing to say in the new session."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        assert append(database, clock, 1, 2) == [1, 2]
        answer = await device.link()
        assert [(head.lane, head.head) for head in answer.heads] == [("orders", 2)]
        batch = await device.hears_orders()
        assert (batch.first_seq, len(batch.records)) == (1, 2)
        # Content that two of them name rides once.
        assert batch.blobs == (GOAL,)


async def linked(hub: IngestHub) -> RemoteDevice:
    """A device that has taken one order and waits for more."""
    device = hub.enrol(NAME)
    append(hub.database, hub.clock, 1)
    await device.link()
    await device.hears_orders()
    acknowledge(device)
    await hub.settle()
    return device


async def test_first_order_ever_reaches_a_device_that_is_linked_already(
    database: Database, clock: ManualClock
) -> None:
    """P14: found by the poll; the log was begun after the hello, so the device has nothing of it."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        append(database, clock, 1)
        assert (await device.hears_orders()).first_seq == 1


async def test_wake_sends_what_was_appended(database: Database, clock: ManualClock) -> None:
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        append(database, clock, 2, 3)
        hub.worker.wake(NAME)
        assert (await device.hears_orders()).first_seq == 2
        assert device.script.orders is not None
        assert device.script.orders.head.seq == 3


async def test_poll_finds_what_another_process_appended(database: Database, clock: ManualClock) -> None:
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        append(database, clock, 2)
        assert (await device.hears_orders()).first_seq == 2


async def test_unanswered_batch_is_sent_again_and_taken_once(database: Database, clock: ManualClock) -> None:
    """P14: the first was lost on its way, or its acknowledgement was."""
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        append(database, clock, 2)
        hub.worker.wake(NAME)
        first = await device.hears_orders()
        clock.advance(RESEND_AFTER)
        again = await device.hears_orders()
        assert again.records == first.records
        assert device.script.orders is not None
        assert device.script.orders.head.seq == 2
        acknowledge(device)
        await hub.settle()
        clock.advance(RESEND_AFTER)
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)


async def test_nobody_is_late_while_the_hub_has_not_heard_what_arrived(
    database: Database, clock: ManualClock
) -> None:
    """P14: else a hub that falls behind sends everything again, has the more to do, and gives its devices up."""
    async with IngestHub(database, clock) as hub:
        await linked(hub)
    append(database, clock, 1)  # after its end, so that this worker does not send it
    pipeline = Pipeline(database=database, signer=HUB_SIGNER, trust=HUB_TRUST, salt_of=SALT_OF, clock=clock)
    sent_at = clock.now()
    assert pipeline.push([NAME]).counts["orders.sent"] == 1
    clock.advance(RESEND_AFTER * 2)
    assert pipeline.push_due(heard_until=sent_at).counts["orders.sent"] == 0
    assert pipeline.push([NAME], heard_until=sent_at).counts["orders.sent"] == 0
    assert pipeline.push_due(heard_until=clock.now()).counts["orders.sent"] == 1


async def test_device_that_never_answers_is_left_alone_until_its_next_hello(
    database: Database, clock: ManualClock
) -> None:
    """P14: after three repeats."""
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        append(database, clock, 2)
        for _ in range(1 + MAX_RESENDS):
            await device.hears_orders()
            clock.advance(RESEND_AFTER)
        await until(hub, lambda: lane_of(database).phase == "unlinked")
        clock.advance(seconds=3_600)
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)
        # It had taken the order, and only its acknowledgements were lost.
        await device.link()
        await hub.settle()
        assert (lane_of(database).phase, lane_of(database).acked) == ("idle", 2)


async def test_device_without_credit_is_offered_one_order_after_a_while(
    database: Database, clock: ManualClock
) -> None:
    """P14."""
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        device.say(Channel.DOWN_ORDERS_ACK, device.script.ack(credit=0))
        await hub.settle()
        append(database, clock, 2, 3)
        await until(hub, lambda: lane_of(database).phase == "no_credit")
        assert device.heard_nothing(Channel.DOWN_ORDERS)
        clock.advance(PROBE_AFTER)
        assert len((await device.hears_orders()).records) == 1


async def test_orders_that_another_process_tells_of_are_sent_without_waiting_for_the_poll(
    database: Database, clock: ManualClock
) -> None:
    async with IngestHub(database, clock, limits=replace(QUICK, poll_s=3_600.0)) as hub:
        device = await linked(hub)
        append(database, clock, 2)
        hub.worker.hear({NAME, "acme.nobody"})
        assert (await device.hears_orders()).first_seq == 2


async def test_being_told_all_the_time_does_not_keep_the_worker_from_looking_for_itself(
    database: Database, clock: ManualClock
) -> None:
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)

        async def tell() -> None:
            while True:
                hub.worker.wake("acme.nobody")
                await asyncio.sleep(0)

        telling = asyncio.create_task(tell())
        try:
            append(database, clock, 2)  # and nobody says so
            assert (await device.hears_orders()).first_seq == 2
        finally:
            telling.cancel()


async def test_nothing_is_sent_to_a_device_that_left_the_broker(
    database: Database, clock: ManualClock
) -> None:
    """P18."""
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        device.say(Channel.STATE, device.script.state(online=False))
        await hub.settle()
        await device.hears(Channel.DOWN_ORDERS)  # it is asked whether that is true
        assert await hub.believe_deaths() == 1
        append(database, clock, 2)
        hub.worker.wake(NAME)
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)
        assert lane_of(database).phase == "unlinked"


async def test_hub_that_is_restarted_in_the_middle_goes_on_where_it_was(
    database: Database, clock: ManualClock
) -> None:
    """P14: the sender's state is in the database."""
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        append(database, clock, 2)
        await device.hears(Channel.DOWN_ORDERS)  # and forgets it
    async with IngestHub(database, clock, broker=hub.broker) as again:
        append(database, clock, 3)
        again.worker.wake(NAME)
        await again.settle()
        # One batch is in flight; it is not sent again before its time, and nothing overtakes it.
        assert device.heard_nothing(Channel.DOWN_ORDERS)
        clock.advance(RESEND_AFTER)
        batch = await device.hears_orders()
        assert (batch.first_seq, len(batch.records)) == (2, 2)


async def test_many_orders_go_in_several_batches_one_after_the_other(
    database: Database, clock: ManualClock
) -> None:
    """P14: one in flight; each acknowledgement brings the next."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        append(database, clock, *range(1, SEND_MAX_RECORDS + 2))
        await device.link()
        assert len((await device.hears_orders()).records) == SEND_MAX_RECORDS
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)
        acknowledge(device)
        assert len((await device.hears_orders()).records) == 1


async def test_content_that_does_not_fit_together_is_cut_into_messages(
    database: Database, clock: ManualClock
) -> None:
    """P7, P9: three goals of 50,000 bytes that cannot be compressed."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        with database.write() as session:
            for number in range(3):
                noise = b"".join(bytes_from(f"{number} {part}", 32) for part in range(1_563))[:50_000]
                blob = Blob(salt=bytes(16), content=noise)
                record = offer(number).model_copy(update={"goal": blob.ref()})
                append_order(session, principal=NAME, records=[(record, (blob,))], now=clock.now())
        await device.link()
        first = await device.hears_orders()
        acknowledge(device)
        second = await device.hears_orders()
        assert [len(first.records), len(second.records)] == [2, 1]
        assert [len(first.blobs), len(second.blobs)] == [2, 1]


@pytest.mark.slow
async def test_two_workers_do_not_send_the_same_batch(database: Database, clock: ManualClock) -> None:
    """P14: one batch in flight a lane, whoever sends it."""
    async with (
        IngestHub(database, clock) as hub,
        IngestHub(database, clock, broker=hub.broker) as other,
    ):
        device = await linked(hub)
        for number in range(2, 12):
            append(database, clock, number)
            hub.worker.wake(NAME)
            other.worker.wake(NAME)
            assert (await device.hears_orders()).first_seq == number
            acknowledge(device)
            await until(hub, lambda: lane_of(database).phase == "idle")
            assert lane_of(database).acked == number
        assert device.heard_nothing(Channel.DOWN_ORDERS)


async def test_device_that_holds_other_orders_gets_what_it_lacks_in_a_new_log(
    database: Database, clock: ManualClock
) -> None:
    """P20: only the hub writes orders, so it was restored from a backup; the device is not to blame."""
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        assert device.script.orders is not None
        epoch = device.script.orders.lane.epoch
        device.script.orders = ScriptedLog(LaneId(NAME, Lane.ORDERS, epoch))
        device.script.orders.append(offer(99))
        acknowledge(device)
        await hub.settle()
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
        assert lane_of(database).close_reason == CloseReason.HUB_RESTORED
        assert append(database, clock, 2) == [1]
        assert lane_of(database).epoch != epoch
        hub.worker.wake(NAME)
        batch = await device.hears_orders()
        assert (batch.first_seq, batch.epoch) == (1, lane_of(database).epoch)


async def test_acknowledgement_of_a_lane_that_the_hub_does_not_write_is_refused(
    database: Database, clock: ManualClock
) -> None:
    async with IngestHub(database, clock) as hub:
        device = await linked(hub)
        device.script.orders = ScriptedLog(LaneId(NAME, Lane.ORDERS, bytes_from("made up")))
        acknowledge(device)
        await hub.settle()
        assert hub.refusals() == {"wrong_lane": 1}
        assert lane_of(database).acked == 1


async def test_replayed_hello_does_not_keep_orders_from_the_device(
    database: Database, clock: ManualClock
) -> None:
    """P17, P20: what it says of the orders is old, so they wait for the device's next own word."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        append(database, clock, 1)
        hello = device.script.hello()
        device.say(Channel.HELLO, hello)
        device.script.open(await device.hears(Channel.HELLO_ACK))
        await device.hears_orders()
        await device.append(started(1))
        acknowledge(device)
        clock.advance(seconds=1)
        device.say(Channel.HELLO, hello)
        await hub.settle()
        assert device.heard_nothing(Channel.DOWN_ORDERS)
        await device.append(started(2))
        # Sent in the session of the replayed hello, which is not for its ears; the repeat goes to the one that it uses.
        await device.hears(Channel.DOWN_ORDERS)
        clock.advance(RESEND_AFTER)
        await device.hears_orders()
        acknowledge(device)
        await hub.settle()
        assert lane_of(database).acked == 1
        append(database, clock, 2)
        hub.worker.wake(NAME)
        await device.hears(Channel.DOWN_ORDERS)
        clock.advance(RESEND_AFTER)
        assert (await device.hears_orders()).first_seq == 2

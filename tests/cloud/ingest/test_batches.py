"""Batches at the hub's door: what is committed and acknowledged, and what an attacker or a sick device gets."""

import pytest
from sqlmodel import col, select

from cloud.db import Database
from cloud.devices.tables import DeviceStatus, Refusal
from cloud.ingest.histories import LANE_EPOCHS_MAX
from cloud.journal.tables import BlobRow, DeadLetter, LaneRow, RecordRow, SealRow
from shared.cbor import encode
from shared.ids import Lane, LaneId
from shared.log import extend
from shared.messages import BATCH_MAX_RECORDS, Batch
from shared.records import RECORD_MAX_BYTES, QuestionAsked, TaskCreated
from shared.replication import seal_input
from shared.tasks.limits import Limits
from shared.topics import Channel
from tests.support.clock import ManualClock
from tests.support.device import ScriptedDevice, ScriptedLog, bytes_from, signer_from, task_id_from
from tests.support.ingest import HUB_SIGNER, IngestHub, blob_of, started

NAME = "acme.fridge-1"
UNKNOWN_KIND = encode({"kind": "from.the.future", "at_ms": 1})


def lane_of(database: Database, lane: Lane = Lane.JOURNAL) -> LaneRow | None:
    with database.read() as session:
        query = select(LaneRow).where(LaneRow.principal == NAME, LaneRow.lane == lane.value)
        return session.exec(query.order_by(col(LaneRow.id).desc())).first()


def records_of(database: Database, lane: LaneRow | None) -> list[RecordRow]:
    assert lane is not None
    with database.read() as session:
        return list(
            session.exec(select(RecordRow).where(RecordRow.lane_id == lane.id).order_by(col(RecordRow.seq)))
        )


async def test_batch_is_stored_bit_for_bit_and_acknowledged_after_the_commit(
    database: Database, clock: ManualClock
) -> None:
    """P14; the seal is kept beside the records (P9)."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        ack = await device.append(*(started(at) for at in range(1, 6)))
    log = device.script.journal
    lane = lane_of(database)
    assert lane is not None
    stored = records_of(database, lane)
    assert (ack.status, ack.upto, ack.hash) == ("ok", 5, log.head.hash)
    assert ack.credit == BATCH_MAX_RECORDS
    assert [(row.seq, row.hash, row.data) for row in stored] == [
        (entry.seq, entry.hash, entry.record) for entry in log.entries
    ]
    assert {(row.kind, row.at_ms) for row in stored} == {("device.started", at) for at in range(1, 6)}
    with database.read() as session:
        (seal,) = session.exec(select(SealRow)).all()
    assert (seal.seq, seal.kid) == (5, device.script.signer.kid)
    assert hub.device(NAME).last_record_at == clock.now()
    assert hub.device(NAME).version == "0.1.0"


async def test_batch_sent_again_is_acknowledged_again_and_stored_once(
    database: Database, clock: ManualClock
) -> None:
    """P12: so a crash between commit and acknowledgement is harmless."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        first = await device.append(started(1), started(2))
        again = await device.send(device.script.journal)
        assert (again.status, again.upto, again.hash) == (first.status, first.upto, first.hash)
        assert hub.worker.counts["duplicate_batches"] == 1
    assert len(records_of(database, lane_of(database))) == 2


async def test_message_delivered_twice_by_the_broker_is_refused_as_replayed_and_counted(
    database: Database, clock: ManualClock
) -> None:
    """P17: the counter of a session admits each message once."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        device.script.journal.append(started(1))
        raw = device.script.batch(device.script.journal)
        await device.send_raw(device.script.journal, raw)
        device.say(Channel.UP_JOURNAL, raw)
        await hub.settle()
        assert hub.refusals() == {"replayed": 1}
        assert device.heard_nothing(Channel.UP_JOURNAL_ACK)
    with database.read() as session:
        (row,) = session.exec(select(Refusal)).all()
    assert (row.principal, row.reason, row.count) == (NAME, "replayed", 1)


async def test_overlapping_batch_adds_only_what_is_new(database: Database, clock: ManualClock) -> None:
    """P12, wherever the batch begins."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        for at in range(1, 8):
            device.script.journal.append(started(at))
        await device.send(device.script.journal, last=4)
        ack = await device.send(device.script.journal, first=3)
    assert (ack.status, ack.upto) == ("ok", 7)
    assert [row.seq for row in records_of(database, lane_of(database))] == list(range(1, 8))


async def test_batch_beyond_the_head_is_answered_with_what_is_held(
    database: Database, clock: ManualClock
) -> None:
    """P12: a gap is named, nothing of it is stored, and the lane goes on from there."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        for at in range(1, 7):
            device.script.journal.append(started(at))
        log = device.script.journal
        unknown = await device.send(log, first=3)
        assert (unknown.status, unknown.upto, unknown.hash) == ("gap", 0, log.hash_at(0))
        assert lane_of(database) is None
        await device.send(log, last=2)
        gap = await device.send(log, first=5)
        assert (gap.status, gap.upto, gap.hash) == ("gap", 2, log.hash_at(2))
        assert (await device.send(log, first=3)).upto == 6


async def test_false_previous_hash_stops_the_lane_and_quarantines_the_device(
    database: Database, clock: ManualClock
) -> None:
    """P13: the batch is sound in itself and contradicts what the hub holds."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1), started(2))
        other = ScriptedLog(device.script.journal.lane)
        for at in (1, 99, 3):
            other.append(started(at))
        ack = await device.send(other, first=3)
        assert (ack.status, ack.upto) == ("fork", 1)
        assert ack.hash == device.script.journal.hash_at(1)
    lane = lane_of(database)
    assert lane is not None
    assert (lane.forked_at_seq, lane.head_seq) == (1, 2)
    row = hub.device(NAME)
    assert (row.status, row.status_reason) == (DeviceStatus.QUARANTINED, "fork")


async def test_other_record_at_a_known_sequence_is_a_fork(database: Database, clock: ManualClock) -> None:
    """P13: a cloned card writes its own history."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1), started(2), started(3))
        clone = ScriptedLog(device.script.journal.lane)
        for at in (1, 2, 77, 4):
            clone.append(started(at))
        assert (await device.send(clone)).status == "fork"
        assert hub.device(NAME).status == DeviceStatus.QUARANTINED
        # From now on nothing of it is looked at, its sound log included.
        device.say(Channel.UP_JOURNAL, device.script.batch(device.script.journal))
        device.say(Channel.HELLO, device.script.hello())
        await hub.settle()
        assert hub.refusals() == {"quarantined": 2}
        assert device.heard_nothing(Channel.HELLO_ACK)
    stored = records_of(database, lane_of(database))
    assert [row.data for row in stored] == [entry.record for entry in device.script.journal.entries]


async def test_forked_lane_stays_stopped_when_the_device_is_let_in_again(
    database: Database, clock: ManualClock
) -> None:
    """P13: only a new epoch, that is a store made anew, goes on."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1))
        clone = ScriptedLog(device.script.journal.lane)
        clone.append(started(2))
        await device.send(clone)
        with database.write() as session:
            row = hub.device(NAME)
            row.status = DeviceStatus.ACTIVE.value
            session.merge(row)
        await device.link()
        assert (await device.send(device.script.journal)).status == "fork"
        device.script.journal = ScriptedLog(LaneId(NAME, Lane.JOURNAL, bytes_from("new store")))
        with database.write() as session:
            row.status = DeviceStatus.ACTIVE.value
            session.merge(row)
        await device.link()
        assert (await device.append(started(5))).status == "ok"
    lane = lane_of(database)
    assert lane is not None
    assert (lane.epoch, lane.forked_at_seq, lane.head_seq) == (bytes_from("new store"), None, 1)


SPOILERS = {
    "a head that the records do not lead to": lambda _: {"head": bytes(32)},
    "a record taken out": lambda batch: {"records": batch.records[1:]},
    "a record altered": lambda batch: {"records": (*batch.records[:-1], encode({"kind": "x"}))},
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
async def test_batch_that_contradicts_itself_is_refused_without_an_answer(
    database: Database, clock: ManualClock, spoil: object
) -> None:
    """P13."""
    assert callable(spoil)
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        for at in range(1, 4):
            device.script.journal.append(started(at))
        batch = device.script.batch_of(device.script.journal)
        device.say(Channel.UP_JOURNAL, device.script.close(batch.model_copy(update=spoil(batch))))
        await hub.settle()
        assert hub.refusals() == {"broken_batch": 1}
        assert device.heard_nothing(Channel.UP_JOURNAL_ACK)
        assert lane_of(database) is None
        assert hub.device(NAME).status == DeviceStatus.ACTIVE
        # The lane is not wedged by it.
        assert (await device.send(device.script.journal)).upto == 3


async def test_batch_with_a_wrong_seal_is_refused(database: Database, clock: ManualClock) -> None:
    """P9: somebody else's seal, and an own one over another position."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        log = device.script.journal
        for at in range(1, 4):
            log.append(started(at))
        batch = device.script.batch_of(log)
        foreign = signer_from("mallory").sign(seal_input(log.lane, log.head))
        moved = device.script.signer.sign(seal_input(log.lane, extend(log.head, b"more")))
        for seal in (foreign, moved):
            device.say(Channel.UP_JOURNAL, device.script.close(batch.model_copy(update={"seal": seal})))
        await hub.settle()
        assert hub.refusals() == {"bad_seal": 2}
        assert lane_of(database) is None
        assert (await device.send(log)).upto == 3


async def test_unknown_kind_is_kept_and_dead_lettered_and_its_lane_goes_on(
    database: Database, clock: ManualClock
) -> None:
    """P11, with each kind of poison."""
    poison = [UNKNOWN_KIND, b"\xff\xff", encode({"kind": "device.stopped"}), bytes(RECORD_MAX_BYTES + 1)]
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        log = device.script.journal
        log.append(started(1))
        for data in poison:
            log.append_bytes(data)
        log.append(started(6, version="0.2.0"))
        assert (await device.send(log)).upto == 6
        assert hub.device(NAME).version == "0.2.0"
        assert (await device.append(started(7))).upto == 7
        assert hub.worker.counts["dead_letters"] == 4
    stored = records_of(database, lane_of(database))
    assert [row.data for row in stored[1:5]] == poison
    assert [row.kind for row in stored] == ["device.started", *["?"] * 4, *["device.started"] * 2]
    with database.read() as session:
        reasons = {row.seq: row.reason for row in session.exec(select(DeadLetter))}
    assert sorted(reasons) == [2, 3, 4, 5]
    assert reasons[2] == "unknown kind"


async def test_record_that_cannot_be_applied_is_dead_lettered_and_the_others_are_applied(
    database: Database, clock: ManualClock
) -> None:
    """P11: here a question about a task that nobody knows, in the middle of sound work."""
    goal = blob_of("Is the fridge cold?")
    orphan = QuestionAsked(at_ms=2, task=task_id_from("nobody's"), node=0, call=1, tool="valve")
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        log = device.script.journal
        log.append(TaskCreated(at_ms=1, task=task_id_from("a"), goal=goal.ref(), limits=Limits()), goal)
        log.append(orphan)
        log.append(TaskCreated(at_ms=3, task=task_id_from("b"), goal=goal.ref(), limits=Limits()))
        log.append(orphan)
        assert (await device.send(log)).upto == 4
        await hub.settle()
        told: set[str] = set().union(*hub.changed)
    assert told == {task_id_from("a"), task_id_from("b")}
    with database.read() as session:
        assert sorted(session.exec(select(DeadLetter.seq)).all()) == [2, 4]


async def test_only_content_that_a_record_of_the_batch_names_is_stored(
    database: Database, clock: ManualClock
) -> None:
    """P4."""
    named, stray = blob_of("named"), blob_of("stray")
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        record = TaskCreated(at_ms=1, task=task_id_from("a"), goal=named.ref(), limits=Limits())
        device.script.journal.append(record, named, stray)
        await device.send(device.script.journal)
        assert hub.worker.counts["blobs_unnamed"] == 1
    with database.read() as session:
        (row,) = session.exec(select(BlobRow)).all()
    assert (row.hash, row.salt, row.content) == (named.ref().hash, named.salt, named.content)


async def test_store_made_anew_begins_a_new_lane_beside_the_old_one(
    database: Database, clock: ManualClock
) -> None:
    """P1: the epoch tells them apart; the hello names the one that the device writes."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        await device.append(started(1), started(2))
        device.script.journal = ScriptedLog(LaneId(NAME, Lane.JOURNAL, bytes_from("new store")))
        assert (await device.append(started(3))).upto == 1
        answer = await device.link()
        (cursor,) = answer.cursors
        assert (cursor.epoch, cursor.upto) == (bytes_from("new store"), 1)
    with database.read() as session:
        assert [row.head_seq for row in session.exec(select(LaneRow).order_by(col(LaneRow.id)))] == [2, 1]


@pytest.mark.slow
async def test_epochs_of_a_lane_are_bounded(database: Database, clock: ManualClock) -> None:
    """P1: a device whose store is made anew again and again is not served without end."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        for number in range(LANE_EPOCHS_MAX):
            device.script.journal = ScriptedLog(LaneId(NAME, Lane.JOURNAL, bytes_from(f"store {number}")))
            assert (await device.append(started(1))).upto == 1
        device.script.journal = ScriptedLog(LaneId(NAME, Lane.JOURNAL, bytes_from("one too many")))
        device.script.journal.append(started(1))
        device.say(Channel.UP_JOURNAL, device.script.batch(device.script.journal))
        await hub.settle()
        row = hub.device(NAME)
        assert (row.status, row.status_reason) == (DeviceStatus.QUARANTINED, "too_many_epochs")


async def test_batch_of_another_lane_than_its_topic_is_refused(
    database: Database, clock: ManualClock
) -> None:
    """P15: also one of the lane that only the hub writes."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        device.script.metrics.append(started(1))
        device.say(Channel.UP_JOURNAL, device.script.batch(device.script.metrics))
        forged = ScriptedLog(LaneId(NAME, Lane.ORDERS, bytes_from("orders")))
        forged.append(started(1))
        device.say(Channel.UP_METRICS, device.script.batch(forged))
        await hub.settle()
        assert hub.refusals() == {"wrong_lane": 2}
    assert lane_of(database) is None
    assert lane_of(database, Lane.ORDERS) is None


async def test_lanes_of_a_device_are_independent(database: Database, clock: ManualClock) -> None:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        device.script.metrics.append(started(1))
        await device.append(started(1), started(2))
        assert (await device.send(device.script.metrics)).upto == 1
    journal, metrics = lane_of(database), lane_of(database, Lane.METRICS)
    assert journal is not None
    assert metrics is not None
    assert (journal.head_seq, metrics.head_seq) == (2, 1)


def flipped(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


async def test_forged_truncated_oversized_and_misaddressed_messages_are_refused_and_counted(
    database: Database, clock: ManualClock
) -> None:
    """P8: each stops at its own rung, and none is answered."""
    async with IngestHub(database, clock) as hub:
        device, thief = hub.enrol(NAME), hub.enrol("acme.thief")
        await device.link()
        await thief.link()
        script = device.script
        script.journal.append(started(1))
        batch = script.batch_of(script.journal)
        stranger = ScriptedDevice(NAME, hub=HUB_SIGNER, key=signer_from("stranger"))
        stranger.session = script.session
        thief.script.session = script.session
        attacks = [
            script.close(batch)[:-9],
            script.close(batch) + bytes(122_881),
            flipped(script.close(batch)),
            stranger.close(batch),
            thief.script.close(batch),
            script.close(batch, audience="acme.thief"),
            script.hello(),
            script.close(batch, id_=bytes(24)),
        ]
        for raw in attacks:
            device.say(Channel.UP_JOURNAL, raw)
        await hub.settle()
        assert hub.refusals() == {
            "malformed": 1,
            "too_large": 1,
            "bad_signature": 1,
            "unknown_key": 1,
            "wrong_sender": 1,
            "wrong_recipient": 1,
            "wrong_type": 1,
            "stale": 1,
        }
        assert device.heard_nothing(Channel.UP_JOURNAL_ACK)
        assert (await device.send(script.journal)).status == "ok"


async def test_revoked_device_and_device_that_was_never_enrolled_are_refused(
    database: Database, clock: ManualClock
) -> None:
    """P8."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        with database.write() as session:
            row = hub.device(NAME)
            row.status = DeviceStatus.REVOKED.value
            session.merge(row)
        device.script.journal.append(started(1))
        device.say(Channel.UP_JOURNAL, device.script.batch(device.script.journal))
        ghost = ScriptedDevice("acme.ghost", hub=HUB_SIGNER)
        hub.broker.publish(ghost.topic(Channel.HELLO), ghost.hello())
        hub.broker.publish("covey/1/d/NOT A NAME/hello", ghost.hello())
        await hub.settle()
        assert hub.refusals() == {"revoked_key": 1, "unknown_device": 1, "unknown_topic": 1}
    with database.read() as session:
        # Names that are not enrolled do not fill the database.
        assert [row.principal for row in session.exec(select(Refusal))] == [NAME]


@pytest.mark.slow
async def test_largest_batch_is_taken_whole(database: Database, clock: ManualClock) -> None:
    """P9: 4,000 records."""
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(NAME)
        await device.link()
        ack = await device.append(*(started(at) for at in range(BATCH_MAX_RECORDS)))
    assert (ack.status, ack.upto) == ("ok", BATCH_MAX_RECORDS)


def test_batch_of_one_more_record_is_no_batch() -> None:
    """P9."""
    script = ScriptedDevice(NAME, hub=HUB_SIGNER)
    for at in range(BATCH_MAX_RECORDS + 1):
        script.journal.append(started(at))
    with pytest.raises(ValueError, match="at most 4000 items"):
        Batch.model_validate(script.batch_of(script.journal).model_dump())

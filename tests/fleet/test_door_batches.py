"""Well-sealed batches that say something impossible, at the real door."""

import hashlib
from collections.abc import Callable

import pytest

from shared.cbor import encode
from shared.log import Head, chain
from shared.messages import Batch
from shared.replication import seal_input
from shared.topics import Channel
from tests.support.device import ScriptedLog
from tests.support.ingest import started
from tests.support.raw_device import SUCCESS, RawDevice
from tests.support.real_hub import RealHub, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MakeDevice = Callable[[], RawDevice]


def with_records(make: MakeDevice, count: int) -> RawDevice:
    """A linked device that has written records and sent none."""
    device = make()
    device.link()
    for number in range(count):
        device.script.journal.append(started(number))
    return device


def rechained(device: RawDevice, log: ScriptedLog, batch: Batch, **changes: object) -> Batch:
    """The batch with these changes, and a head and a seal that follow from them: consistent in itself."""
    changed = batch.model_copy(update=changes)
    head = chain(changed.prev_hash, changed.records)[-1]
    last = Head(changed.first_seq + len(changed.records) - 1, head)
    return changed.model_copy(
        update={"head": head, "seal": device.script.signer.sign(seal_input(log.lane, last))}
    )


def journal_of(hub: RealHub, device: RawDevice) -> dict[str, object]:
    lanes = [lane for lane in hub.device(device.name)["lanes"] if lane["lane"] == "journal"]
    assert len(lanes) <= 1
    return lanes[0] if lanes else {"head_seq": 0}


def test_a_gap_is_answered_with_what_the_hub_has_and_nothing_is_stored(
    real_hub: RealHub, raw_device: MakeDevice
) -> None:
    device = with_records(raw_device, 6)
    assert device.send(device.script.journal, last=2).upto == 2

    ack = device.send(device.script.journal, first=5)

    assert (ack.status, ack.upto, ack.hash) == ("gap", 2, device.script.journal.hash_at(2))
    assert journal_of(real_hub, device)["head_seq"] == 2
    assert device.send(device.script.journal, first=3).upto == 6


def test_a_false_previous_hash_is_refused_and_the_lane_goes_on(
    real_hub: RealHub, raw_device: MakeDevice
) -> None:
    device = with_records(raw_device, 4)
    assert device.send(device.script.journal, last=2).upto == 2
    batch = device.script.batch_of(device.script.journal, first=3)
    false = batch.model_copy(update={"prev_hash": hashlib.sha256(b"false").digest()})

    assert device.say(Channel.UP_JOURNAL, device.script.close(false)) == SUCCESS

    real_hub.wait_refused(device.name, "broken_batch", 1)
    assert journal_of(real_hub, device)["head_seq"] == 2
    assert device.send(device.script.journal, first=3).upto == 4


def test_a_seal_of_somebody_else_is_refused_and_the_lane_goes_on(
    real_hub: RealHub, raw_device: MakeDevice
) -> None:
    device, other = with_records(raw_device, 2), raw_device()
    batch = device.script.batch_of(device.script.journal)
    head = Head(2, batch.head)
    false = batch.model_copy(
        update={"seal": other.script.signer.sign(seal_input(device.script.journal.lane, head))}
    )

    assert device.say(Channel.UP_JOURNAL, device.script.close(false)) == SUCCESS

    real_hub.wait_refused(device.name, "bad_seal", 1)
    assert journal_of(real_hub, device)["head_seq"] == 0
    assert device.send(device.script.journal).upto == 2


def test_a_batch_on_the_topic_of_another_lane_is_refused(real_hub: RealHub, raw_device: MakeDevice) -> None:
    device = with_records(raw_device, 2)
    assert device.say(Channel.UP_METRICS, device.script.batch(device.script.journal)) == SUCCESS
    real_hub.wait_refused(device.name, "wrong_lane", 1)
    assert device.send(device.script.journal).upto == 2


@pytest.mark.parametrize("how", ["other records", "another past"])
def test_a_fork_stops_the_lane_quarantines_the_device_and_is_shown(
    how: str, real_hub: RealHub, raw_device: MakeDevice
) -> None:
    device, honest = with_records(raw_device, 4), with_records(raw_device, 1)
    log = device.script.journal
    assert device.send(log, last=3).upto == 3
    batch = device.script.batch_of(log, first=3)
    if how == "other records":  # a cloned card: the same past, and then something else
        forked = rechained(device, log, batch, records=(b"\xa0", *batch.records[1:]))
    else:  # an old backup: another history before, whole in itself
        forked = rechained(device, log, batch, prev_hash=hashlib.sha256(b"another past").digest())

    ack = device.send_batch(log, forked)

    assert ack.status == "fork"
    view = real_hub.device(device.name)
    assert (view["status"], view["status_reason"]) == ("quarantined", "fork")
    lane = journal_of(real_hub, device)
    assert lane["head_seq"] == 3
    shown = hub_command(real_hub, "device", "show", device.name)
    assert shown.returncode == 0, shown.stderr
    assert "quarantined" in shown.stdout
    assert f"forked at {lane['forked_at_seq']}" in shown.stdout
    # Nothing more is taken from it, also what is true; others do not notice.
    assert device.say(Channel.UP_JOURNAL, device.script.batch(log, first=4)) == SUCCESS
    real_hub.wait_refused(device.name, "quarantined", 1)
    assert journal_of(real_hub, device)["head_seq"] == 3
    assert honest.send(honest.script.journal).upto == 1


def test_an_unknown_kind_is_kept_dead_lettered_and_wedges_nothing(
    real_hub: RealHub, raw_device: MakeDevice
) -> None:
    device = with_records(raw_device, 1)
    log = device.script.journal
    log.append_bytes(encode({"kind": "dream.dreamt", "at_ms": 1, "of": "sheep"}))
    log.append_bytes(b"no CBOR at all")
    log.append(started(9))

    ack = device.send(log)

    assert (ack.status, ack.upto) == ("ok", 4)
    view = real_hub.device(device.name)
    assert view["dead_letter_count"] == 2
    assert {letter["seq"]: letter["reason"] for letter in view["dead_letters"]} == {
        2: "unknown kind",
        3: "not well-formed CBOR",
    }
    assert view["status"] == "active"
    records = real_hub.get(f"/v1/devices/{device.name}/journal")["records"]
    assert [record["seq"] for record in records] == [1, 2, 3, 4]
    assert real_hub.get(f"/v1/devices/{device.name}/verify")["is_sound"] is True
    log.append(started(10))
    assert device.send(log, first=5).upto == 5

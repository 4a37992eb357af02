"""A device that was offline for a week: its backlog waits, the link comes, and the hub has it all. Blocking.

The daemon is linked once, then its link is switched off and it is stopped; a week of records, one a second, is appended
to its journal; it starts again, still without a link, and says itself how much waits. The clock runs from the request
that switches the link on, so that connecting, TLS and the hello count, to the arrival of the last acknowledgement, by
the device's own word.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from shared.records import JournalRecord
from tests.bench.backlog import SYNC_TIMEOUT_S, check_arrived, fill
from tests.bench.records import journal_records
from tests.bench.stack import DeviceProcess, HubProcess
from tests.support.process import ProcessFailedError

RECORDS: Final = 600_000
WEEK_MS: Final = 7 * 24 * 3_600_000
PAUSED: Final = "paused"


def week_records(
    count: int, *, first_seq: int, ends_at_ms: int, rng: random.Random
) -> Iterator[JournalRecord]:
    """`count` records and those that end the last task, spread over the week before `ends_at_ms`, in order."""
    begins_at_ms = ends_at_ms - WEEK_MS
    spacing_ms = WEEK_MS / count
    records = journal_records(count, first_seq=first_seq, at_ms=begins_at_ms, rng=rng)
    for number, record in enumerate(records):
        at_ms = begins_at_ms + int((number + rng.random()) * spacing_ms)
        yield record.model_copy(update={"at_ms": min(at_ms, ends_at_ms)})


def prepare(hub: HubProcess, device: DeviceProcess, count: int, rng: random.Random) -> None:
    """Enrol the device, switch its link off for good, and let a week pass. It does not run afterwards."""
    device.enroll(hub)
    device.start()
    device.wait_linked()
    device.set_link(False)
    device.process.stop()
    ends_at_ms = int(datetime.now(UTC).timestamp() * 1_000)
    first_seq = device.journal().head_seq + 1
    fill(device.store, week_records(count, first_seq=first_seq, ends_at_ms=ends_at_ms, rng=rng))


def drain(hub: HubProcess, device: DeviceProcess, count: int) -> float:
    """Seconds from switching the link on until the hub had acknowledged all of at least `count` records."""
    device.start()
    device.wait_ready()
    before = device.status()
    waiting, state = before["journal"]["waiting"], before["link"]["state"]
    if state != PAUSED or waiting < count or hub.journal_of(device.name).records >= count:
        raise ProcessFailedError(f"{device.name} is {state} and {waiting} records wait; the figure is void")
    begun_at = datetime.now(UTC)
    device.set_link(True)
    device.wait_acknowledged(timeout_s=SYNC_TIMEOUT_S)
    ended_at = datetime.fromisoformat(device.status()["link"]["last_ack_at"])
    device.process.stop()
    if (arrived := check_arrived(hub, device)) < count:
        raise ProcessFailedError(f"the hub holds {arrived} records of {count}; the figure is void")
    return (ended_at - begun_at).total_seconds()

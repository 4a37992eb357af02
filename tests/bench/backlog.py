"""A journal that waits on a device, and its way to the hub: filled beforehand, judged once it has arrived. Blocking."""

import asyncio
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final

from edge.adapters.store_sqlite.database import open_database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.ports import Draft
from shared.records import JournalRecord
from tests.bench.stack import DeviceProcess, HubProcess, LaneCount
from tests.support.process import ProcessFailedError

APPEND_GROUP: Final = 500
SYNC_TIMEOUT_S: Final = 600.0


def fill(store: Path, records: Iterable[JournalRecord]) -> float:
    """Append `records` in groups; records a second, without the time that making them takes."""
    return asyncio.run(_fill(store, records))


def check_arrived(hub: HubProcess, device: DeviceProcess) -> int:
    """How many records of the stopped device's journal the hub holds.

    Raises `ProcessFailedError` unless that is all of them, none twice, with the device's own chain hash at the end,
    and the hub could apply each.
    """
    ours, theirs = device.journal(), hub.journal_of(device.name)
    fault = judged(ours, theirs, hash_there=device.head_at(theirs.head_seq))
    if fault is not None:
        raise ProcessFailedError(
            f"{device.name}: {fault}; the figure is void (ours {ours}, the hub's {theirs})"
        )
    return theirs.records


def judged(ours: LaneCount, theirs: LaneCount, *, hash_there: bytes) -> str | None:
    """What is wrong with the hub's copy, if anything. `hash_there`: the device's chain hash at the hub's head.

    Stopping the device appended one more record, which the hub has or has not yet.
    """
    if hash_there != theirs.head_hash:
        return "the hub's head is another"
    if theirs.records != theirs.head_seq:
        return "the hub does not hold each record once"
    if theirs.dead:
        return "the hub could not apply records"
    if ours.head_seq - theirs.head_seq not in (0, 1):
        return "the hub lacks records"
    return None


async def _fill(store: Path, records: Iterable[JournalRecord]) -> float:
    database = await asyncio.to_thread(open_database, store)
    try:
        journal = SqliteJournal(database)
        count, elapsed_s = 0, 0.0
        waiting = iter(records)
        while drafts := [Draft(record) for record in islice(waiting, APPEND_GROUP)]:
            started = time.perf_counter()
            await journal.append(*drafts, durable=True)
            elapsed_s += time.perf_counter() - started
            count += len(drafts)
        return count / elapsed_s
    finally:
        await asyncio.to_thread(database.close)

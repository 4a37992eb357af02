"""`./run bench sync`: how fast a device's journal gets into the hub, against the plain way in the same run.

Measured is what a device with a backlog does after it comes back: real `covey-edge run` and `covey-hub up` processes, a
real Mosquitto with mutual TLS, every batch sealed, signed, chained, validated, projected onto the hub's tables,
committed at synchronous=FULL and acknowledged with a signature. The clock runs from the moment the device is `linked`
(its hello was answered) to the arrival of the last acknowledgement, by the device's own word in its `/status`. It is
asked once, when its store shows that all is acknowledged, so that asking costs nothing while it matters. Each run
is another device with a journal of its own, filled beforehand through `SqliteJournal.append`; the hub keeps them all.

A figure is void unless the hub holds every record: same count, same head hash, no dead letters. The content that
records name stays on the device here (policy may withhold it), so what is measured is the log.
"""

import asyncio
import os
import random
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final

from rich.progress import Progress

from edge.adapters.store_sqlite.database import open_database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.ports import Draft
from shared.records import JournalRecord, encode_record
from tests.bench import plain
from tests.bench.records import journal_records
from tests.bench.report import Demand, Figure, Outcome, figure
from tests.bench.stack import DeviceProcess, HubProcess, cpu_s
from tests.support.process import ProcessFailedError

RECORDS: Final = 100_000
RUNS: Final = 5
PLAIN_RECORDS: Final = 3_000
APPEND_GROUP: Final = 500
FASTEST_RECORDS_PER_S: Final = 50_000
RATIO: Final = 15
SYNC_TIMEOUT_S: Final = 600.0
START_MS: Final = 1_767_225_600_000
"""2026-01-01: when the first journal of a bench begins."""


def run(directory: Path, open_: ExitStack, records: int, runs: int) -> Outcome:
    rng = random.Random(os.urandom(16))
    with Progress() as progress:
        steps = progress.add_task("starting the hub", total=2 * runs)
        hub = HubProcess(directory, open_)
        devices = []
        append_rates = []
        for number in range(runs):
            progress.update(steps, description=f"filling journal {number + 1} of {runs}")
            device = DeviceProcess(directory, f"bench-{number}", open_)
            device.enroll(hub)
            append_rates.append(asyncio.run(_fill(device.store, records, rng)))
            devices.append(device)
            progress.advance(steps)
        rates: list[float] = []
        plain_rates: list[float] = []
        costs: list[tuple[float, float]] = []
        for number, device in enumerate(devices):
            progress.update(steps, description=f"run {number + 1} of {runs}, the plain way")
            messages = [
                plain.as_json(seq, record) for seq, record in enumerate(_records(PLAIN_RECORDS, rng), start=1)
            ]
            plain_rates.append(
                plain.publish(
                    messages, port=hub.mqtt_port, identity=hub.paths, directory=directory / f"plain-{number}"
                )
            )
            progress.update(steps, description=f"run {number + 1} of {runs}, the log")
            rate, cost = _drain(hub, device)
            rates.append(rate)
            costs.append(cost)
            progress.advance(steps)
    sample = [len(encode_record(record)) for record in _records(5_000, rng)]
    device_us, hub_us = (median(cost[side] for cost in costs) for side in (0, 1))
    return Outcome(
        figures=(
            figure(
                "records_per_s",
                "records/s, linked to acknowledged",
                rates,
                demand=Demand("at least", FASTEST_RECORDS_PER_S),
                digits=0,
            ),
            figure("plain_records_per_s", "records/s, the plain way", plain_rates, digits=0),
            Figure(
                key="ratio",
                says="ratio of the two",
                value=median(rates) / median(plain_rates),
                demand=Demand("at least", RATIO),
                digits=1,
            ),
            figure("append_records_per_s", "records/s appended on the device", append_rates, digits=0),
            Figure(key="bytes_per_record", says="bytes a record", value=sum(sample) / len(sample), digits=0),
            Figure(key="records", says="records a run", value=records, digits=0),
            Figure(key="runs", says="runs", value=runs, digits=0),
        ),
        notes=(
            (
                "every record is at the hub, with the same head hash; processor time a record:"
                f" device {device_us:.1f} us, hub {hub_us:.1f} us"
            ),
        ),
    )


def _records(count: int, rng: random.Random) -> list[JournalRecord]:
    return list(journal_records(count, first_seq=1, at_ms=START_MS + rng.randrange(10**9), rng=rng))


async def _fill(store: Path, count: int, rng: random.Random) -> float:
    """Append some `count` records in groups; records a second, without the time that making them takes."""
    records = _records(count, rng)
    database = await asyncio.to_thread(open_database, store)
    try:
        journal = SqliteJournal(database)
        started = time.perf_counter()
        for begin in range(0, len(records), APPEND_GROUP):
            drafts = [Draft(record) for record in records[begin : begin + APPEND_GROUP]]
            await journal.append(*drafts, durable=True)
        return len(records) / (time.perf_counter() - started)
    finally:
        await asyncio.to_thread(database.close)


def _drain(hub: HubProcess, device: DeviceProcess) -> tuple[float, tuple[float, float]]:
    """Let the device sync: records a second, and processor time a record (microseconds) of device and hub."""
    hub_before = cpu_s(hub.process.pid)
    device.start()
    device.wait_linked()
    device.wait_acknowledged(timeout_s=SYNC_TIMEOUT_S)
    link = device.status()["link"]
    used = cpu_s(device.process.pid), cpu_s(hub.process.pid) - hub_before
    device.process.stop()
    ours, theirs = device.journal(), hub.journal_of(device.name)
    # Stopping appended one more record, which the hub has or has not yet; everything before must be there.
    _check(device.head_at(theirs.head_seq), theirs.head_hash, f"{device.name}: the hub's head is another")
    _check(theirs.records, theirs.head_seq, f"{device.name}: records are missing at the hub")
    _check(theirs.dead, 0, f"{device.name}: the hub could not apply records")
    _check(ours.head_seq - theirs.head_seq in (0, 1), True, f"{device.name}: the hub lacks records")
    elapsed = datetime.fromisoformat(link["last_ack_at"]) - datetime.fromisoformat(link["last_hello_at"])
    count = theirs.head_seq
    return count / elapsed.total_seconds(), (used[0] / count * 1e6, used[1] / count * 1e6)


def _check(found: object, expected: object, complaint: str) -> None:
    if found != expected:
        raise ProcessFailedError(f"{complaint} (found {found!r}, expected {expected!r}); the figure is void")

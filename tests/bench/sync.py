"""`./run bench sync`: how fast a device's journal gets into the hub, against two other ways in the same run.

Measured is what a device with a backlog does after it comes back: real `covey-edge run` and `covey-hub up` processes, a
real Mosquitto with mutual TLS, every batch sealed, signed, chained, validated, projected onto the hub's tables,
committed at synchronous=FULL and acknowledged with a signature. The clock runs from the moment the device is `linked`
(its hello was answered) to the arrival of the last acknowledgement, by the device's own word in its `/status`. It is
asked once, when its store shows that all is acknowledged, so that asking costs nothing while it matters. Each run
is another device with a journal of its own, filled beforehand through `SqliteJournal.append`; the hub keeps them all.
Last comes a device with the backlog of a week (`tests.bench.week`).

Beside it, taking turns with it: the plain way (`tests.bench.plain`), and NATS JetStream from a leaf to a hub with as
many records of the same mix (`tests.bench.jetstream`, which says what it does less).

A figure is void unless the hub holds every record: same count, same head hash, no dead letters. The content that
records name stays on the device here (policy may withhold it), so what is measured is the log.
"""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Final

from rich.progress import Progress

from shared.records import JournalRecord, encode_record
from tests.bench import jetstream, plain, week
from tests.bench.backlog import SYNC_TIMEOUT_S, check_arrived, fill
from tests.bench.records import journal_records
from tests.bench.report import Demand, Figure, Outcome, figure
from tests.bench.stack import DeviceProcess, HubProcess, cpu_s

RECORDS: Final = 100_000
RUNS: Final = 5
PLAIN_RECORDS: Final = 3_000
NATS_SYNCED_RECORDS: Final = 10_000
SAMPLE_RECORDS: Final = 5_000
FASTEST_RECORDS_PER_S: Final = 50_000
RATIO: Final = 15
WEEK_BACKLOG_S: Final = 30
START_MS: Final = 1_767_225_600_000
"""2026-01-01: when the first journal of a bench begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured: `runs` times `records` through our log and as many through NATS."""

    records: int
    runs: int
    plain_records: int = PLAIN_RECORDS
    nats_synced_records: int = NATS_SYNCED_RECORDS
    week_records: int = week.RECORDS


@dataclass(slots=True)
class _Measured:
    """What the runs gave so far: records a second each way, and processor time a record in microseconds."""

    appended: list[float]
    ours: list[float]
    plain: list[float]
    nats: list[float]
    device_us: list[float]
    hub_us: list[float]


def run(directory: Path, open_: ExitStack, records: int, runs: int) -> Outcome:
    return measure(directory, open_, Sizes(records=records, runs=runs))


def measure(directory: Path, open_: ExitStack, sizes: Sizes) -> Outcome:
    rng = random.Random(os.urandom(16))
    got = _Measured([], [], [], [], [], [])
    with Progress() as progress:
        steps = progress.add_task("starting the hub", total=2 * sizes.runs + 2)

        def now(what: str) -> None:
            progress.update(steps, description=what, advance=1)

        hub = HubProcess(directory, open_)
        devices = []
        for number in range(sizes.runs):
            now(f"filling journal {number + 1} of {sizes.runs}")
            device = DeviceProcess(directory, f"bench-{number}", open_)
            device.enroll(hub)
            got.appended.append(fill(device.store, list(_records(sizes.records, rng))))
            devices.append(device)
        for number, device in enumerate(devices):
            now(f"run {number + 1} of {sizes.runs}: the plain way, NATS, the log")
            _run_each_way(hub, device, directory / f"run-{number}", sizes, rng, got)
        now(f"a week: {sizes.week_records:,} records wait on a device without a link")
        away = DeviceProcess(directory, "bench-week", open_)
        week.prepare(hub, away, sizes.week_records, rng)
        now("a week: the link comes")
        week_s = week.drain(hub, away, sizes.week_records)
    synced = jetstream.mirror(
        _payloads(sizes.nats_synced_records, rng),
        identity=hub.paths,
        directory=directory / "nats-synced",
        is_synced=True,
    )
    return _outcome(sizes, got, week_s=week_s, nats_synced=synced, rng=rng)


def _run_each_way(
    hub: HubProcess, device: DeviceProcess, directory: Path, sizes: Sizes, rng: random.Random, got: _Measured
) -> None:
    directory.mkdir()
    messages = [
        plain.as_json(seq, record) for seq, record in enumerate(_records(sizes.plain_records, rng), start=1)
    ]
    got.plain.append(
        plain.publish(messages, port=hub.mqtt_hub_port, identity=hub.paths, directory=directory / "plain")
    )
    got.nats.append(
        jetstream.mirror(_payloads(sizes.records, rng), identity=hub.paths, directory=directory / "nats")
    )
    _drain(hub, device, got)


def _drain(hub: HubProcess, device: DeviceProcess, got: _Measured) -> None:
    """Let the device sync its journal."""
    hub_before = cpu_s(hub.process.pid)
    device.start()
    device.wait_linked()
    device.wait_acknowledged(timeout_s=SYNC_TIMEOUT_S)
    link = device.status()["link"]
    device_s, hub_s = cpu_s(device.process.pid), cpu_s(hub.process.pid) - hub_before
    device.process.stop()
    count = check_arrived(hub, device)
    elapsed = datetime.fromisoformat(link["last_ack_at"]) - datetime.fromisoformat(link["last_hello_at"])
    got.ours.append(count / elapsed.total_seconds())
    got.device_us.append(device_s / count * 1e6)
    got.hub_us.append(hub_s / count * 1e6)


def _records(count: int, rng: random.Random) -> Iterator[JournalRecord]:
    return journal_records(count, first_seq=1, at_ms=START_MS + rng.randrange(10**9), rng=rng)


def _payloads(count: int, rng: random.Random) -> list[bytes]:
    return [encode_record(record) for record in _records(count, rng)]


def _outcome(
    sizes: Sizes, got: _Measured, *, week_s: float, nats_synced: float, rng: random.Random
) -> Outcome:
    ours = median(got.ours)
    sample = _payloads(SAMPLE_RECORDS, rng)
    return Outcome(
        figures=(
            figure(
                "records_per_s",
                "records/s, linked to acknowledged",
                got.ours,
                demand=Demand("at least", FASTEST_RECORDS_PER_S),
                digits=0,
            ),
            figure("plain_records_per_s", "records/s, the plain way", got.plain, digits=0),
            Figure(
                key="ratio",
                says="ratio to the plain way",
                value=ours / median(got.plain),
                demand=Demand("at least", RATIO),
                digits=1,
            ),
            Figure(
                key="week_backlog_s",
                says=f"s for a week's {sizes.week_records:,} records, link on to acknowledged",
                value=week_s,
                demand=Demand("under", WEEK_BACKLOG_S),
                digits=2,
            ),
            figure("nats_records_per_s", "records/s, NATS JetStream leaf to hub", got.nats, digits=0),
            Figure(key="nats_ratio", says="ratio to NATS JetStream", value=ours / median(got.nats), digits=2),
            Figure(
                key="nats_synced_records_per_s",
                says="records/s, NATS, its hub waiting for the disk",
                value=nats_synced,
                digits=0,
            ),
            figure("append_records_per_s", "records/s appended on the device", got.appended, digits=0),
            Figure(
                key="bytes_per_record",
                says="bytes a record",
                value=sum(map(len, sample)) / len(sample),
                digits=0,
            ),
            Figure(key="records", says="records a run", value=sizes.records, digits=0),
            Figure(key="runs", says="runs", value=sizes.runs, digits=0),
        ),
        notes=(
            (
                "every record is at the hub, with the same head hash; processor time a record:"
                f" device {median(got.device_us):.1f} us, hub {median(got.hub_us):.1f} us"
            ),
            (
                "NATS signs, chains, validates and projects nothing and by default waits for no disk;"
                " told to, it waits at each message"
            ),
        ),
    )

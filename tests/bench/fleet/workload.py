"""What simulated devices write: a record now and then while all is well, and a backlog of whole tasks after an outage.

Encoding a record costs a simulated device as much as a real one, and ten thousand of them share one processor: so the
backlog is encoded once, and each device gets it with task ids of its own in place of the first ones.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.records import MetricsWindow, Series, TaskCreated, encode_record
from tests.bench.records import journal_records

SEED: Final = 1
START_MS: Final = 1_767_225_600_000
"""2026-01-01: when every backlog begins."""
ROUTINE_SERIES: Final = (
    ("cpu", "%", 12.0),
    ("memory.used", "MB", 812.0),
    ("temperature", "C", 47.0),
    ("queue.tasks", "", 0.0),
    ("sensor.fridge", "C", 3.5),
)


@dataclass(frozen=True, slots=True)
class _Template:
    records: tuple[bytes, ...]
    tasks: tuple[bytes, ...]


def backlog(principal: str, *, first_seq: int, count: int) -> Sequence[bytes]:
    """At least `count` records, to be appended from `first_seq` on: whole tasks that no other device has."""
    template = _template(first_seq, count)
    own = [
        id_from_random(
            hashlib.sha256(f"{principal} {first_seq} {number}".encode()).digest()[:ID_RANDOM_BYTES]
        )
        for number in range(len(template.tasks))
    ]
    records = list(template.records)
    for task, mine in zip(template.tasks, own, strict=True):
        records = [record.replace(task, mine.encode()) for record in records]
    return records


def routine(at_ms: int) -> bytes:
    """A minute of a device's metrics: the series that changed."""
    series = tuple(
        Series(
            name=name,
            unit=unit,
            count=6,
            min=low,
            max=low + 4.5,
            mean=low + at_ms % 997 / 997,
            last=low + 1.25,
        )
        for name, unit, low in ROUTINE_SERIES
    )
    return encode_record(MetricsWindow(at_ms=at_ms, span_ms=60_000, series=series))


@lru_cache(maxsize=8)
def _template(first_seq: int, count: int) -> _Template:
    rng = random.Random(SEED)
    records = list(journal_records(count, first_seq=first_seq, at_ms=START_MS, rng=rng))
    return _Template(
        records=tuple(encode_record(record) for record in records),
        tasks=tuple(record.task.encode() for record in records if isinstance(record, TaskCreated)),
    )

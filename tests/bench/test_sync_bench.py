"""`./run bench sync`: what voids a figure, what a week holds, and once all of it, tiny, with real processes."""

import json
import random
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from tests.bench import sync
from tests.bench.backlog import judged
from tests.bench.plain import PlainRecord
from tests.bench.report import json_line
from tests.bench.stack import LaneCount
from tests.bench.week import WEEK_MS, week_records

HEAD = bytes(32)
ENDS_AT_MS = 1_790_000_000_000


def test_a_copy_with_every_record_once_and_the_same_head_is_sound() -> None:
    theirs = LaneCount(records=10, head_seq=10, head_hash=HEAD)
    for head_seq in (10, 11):
        assert judged(LaneCount(head_seq, head_seq, b""), theirs, hash_there=HEAD) is None


@pytest.mark.parametrize(
    ("theirs", "fault"),
    [
        (LaneCount(10, 10, b"another"), "head is another"),
        (LaneCount(9, 10, HEAD), "each record once"),
        (LaneCount(11, 10, HEAD), "each record once"),
        (LaneCount(10, 10, HEAD, dead=1), "could not apply"),
        (LaneCount(8, 8, HEAD), "lacks records"),
    ],
)
def test_a_copy_with_a_fault_voids_the_figure(theirs: LaneCount, fault: str) -> None:
    complaint = judged(LaneCount(10, 10, HEAD), theirs, hash_there=HEAD)
    assert complaint is not None
    assert fault in complaint


def test_a_week_holds_as_many_records_as_it_says_in_order_and_within_seven_days() -> None:
    records = list(week_records(2_000, first_seq=4, ends_at_ms=ENDS_AT_MS, rng=random.Random(1)))
    times = [record.at_ms for record in records]
    assert len(records) >= 2_000
    assert times == sorted(times)
    assert times[0] >= ENDS_AT_MS - WEEK_MS
    assert times[-1] <= ENDS_AT_MS
    assert times[-1] - times[0] > 0.99 * WEEK_MS


def test_a_week_s_causes_are_earlier_records_of_its_journal() -> None:
    records = week_records(500, first_seq=4, ends_at_ms=ENDS_AT_MS, rng=random.Random(1))
    for seq, record in enumerate(records, start=4):
        for cause in record.causes:
            assert isinstance(cause, int)
            assert 4 <= cause < seq


@pytest.mark.broker
@pytest.mark.slow
def test_the_whole_bench_runs_and_tells_every_figure(tmp_path: Path) -> None:
    sizes = sync.Sizes(records=400, runs=1, plain_records=50, nats_synced_records=50, week_records=1_200)
    with ExitStack() as open_:
        outcome = sync.measure(tmp_path, open_, sizes)
    told = json.loads(json_line("sync", outcome.figures))
    assert list(told) == [
        "bench", "records_per_s", "plain_records_per_s", "ratio", "week_backlog_s", "nats_records_per_s",
        "nats_ratio", "nats_synced_records_per_s", "append_records_per_s", "bytes_per_record", "records", "runs",
    ]  # fmt: skip
    assert all(value > 0 for key, value in told.items() if key != "bench")


def test_the_plain_way_s_table_is_not_among_the_hub_s() -> None:
    """Tests hold the hub's whole metadata against its migrations."""
    assert PlainRecord.__tablename__ in PlainRecord.metadata.tables
    assert PlainRecord.__tablename__ not in SQLModel.metadata.tables

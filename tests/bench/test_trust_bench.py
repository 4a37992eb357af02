"""`./run bench trust`: what its export is, and once all of it, tiny, with a real hub and broker."""

import json
import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloud.audit.verify import verify
from tests.bench import trust
from tests.bench.audit_file import DEEDS, DEVICES, write_export
from tests.bench.report import json_line


@pytest.mark.slow
def test_the_export_that_is_measured_is_a_sound_one_with_so_many_records(tmp_path: Path) -> None:
    file = tmp_path / "audit.covey"
    assert write_export(tmp_path, file, records=1_003, rng=random.Random(1)) == file.stat().st_size
    with file.open("rb") as opened:
        report = verify(opened)
    assert (report.problem, report.records, report.devices) == (None, 1_003, DEVICES)
    assert (report.checkpoints, report.entries, report.heads) == (DEVICES, DEEDS + 1, 1)


@pytest.mark.broker
@pytest.mark.slow
def test_the_whole_bench_runs_and_tells_every_figure(tmp_path: Path) -> None:
    sizes = trust.Sizes(records=500, runs=1, enrolments=4, messages=20)
    with ExitStack() as open_:
        outcome = trust.measure(tmp_path, open_, sizes)
    told = json.loads(json_line("trust", outcome.figures))
    assert list(told) == [
        "bench", "enrolments_per_s", "gate_checks_per_s", "audit_records_per_s", "revoke_to_cut_s",
        "revoke_request_to_cut_s", "bare_verifications_per_s", "gate_ratio", "plain_records_per_s", "audit_ratio",
        "records", "export_bytes_per_record", "runs",
    ]  # fmt: skip
    assert all(value > 0 for key, value in told.items() if key != "bench")

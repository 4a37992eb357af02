"""Rows that are deleted or altered behind the hub's back are found by an export that is verified, and by the doctor."""

from pathlib import Path

import pytest

from cloud.audit.export import Scope, journal_items
from cloud.checks.audit import check_journals, check_log
from cloud.db import Database
from shared.errors import ProtocolError
from shared.ids import Lane
from tests.cloud.audit.audited import Audited, a_small_hub, items_of, judged, packed, resealed
from tests.support.clock import ManualClock

JOURNAL = "(SELECT id FROM lane WHERE principal = 'acme.fridge-1' AND lane = 'journal')"
TAMPERED = {
    "an entry": "DELETE FROM audit_entry WHERE seq = 4",
    "the last entry": "DELETE FROM audit_entry WHERE seq = 9",
    "what an entry says": "UPDATE audit_entry SET entry = (SELECT entry FROM audit_entry WHERE seq = 1) WHERE seq = 2",
    "a signed head": "DELETE FROM signed_tree_head WHERE size = 5",
    "a head's bytes": "UPDATE signed_tree_head SET head = (SELECT entry FROM audit_entry WHERE seq = 0) WHERE size = 5",
    "a record": f"DELETE FROM record WHERE seq = 5 AND lane_id = {JOURNAL}",
    "the last records": f"DELETE FROM record WHERE seq > 9 AND lane_id = {JOURNAL}",
    "a log": f"DELETE FROM lane WHERE id = {JOURNAL}",
    "the end of a log": f"UPDATE lane SET head_seq = 7, head_hash ="
    f" (SELECT hash FROM record WHERE seq = 7 AND lane_id = {JOURNAL}) WHERE id = {JOURNAL}",
}
"""Found by both."""
BY_EXPORT = {
    "what a record says": f"UPDATE record SET data = (SELECT entry FROM audit_entry WHERE seq = 1) WHERE seq = 5 AND"
    f" lane_id = {JOURNAL}",
    "a device's key": "DELETE FROM device_key WHERE principal = 'acme.fridge-1'",
    "the last seal": f"DELETE FROM seal WHERE seq = 11 AND lane_id = {JOURNAL}",
}
"""By the export alone, and by `journal verify`: the doctor does not read every record."""
BY_DOCTOR = {
    "what is searched by": "UPDATE audit_entry SET actor = 'nobody' WHERE seq = 2",
    "the hash beside an entry": "UPDATE audit_entry SET hash ="
    " (SELECT hash FROM audit_entry WHERE seq = 1) WHERE seq = 2",
}
"""By the doctor alone: these are no part of the evidence."""


@pytest.fixture
def hub(database: Database, clock: ManualClock) -> Audited:
    return a_small_hub(database, clock)


def tamper(hub: Audited, statement: str) -> None:
    """As somebody with a database shell, whom no foreign key stops."""
    with hub.database.engine.connect() as connection:
        if hub.database.is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        connection.exec_driver_sql(statement)
        connection.commit()
        # The connection goes back to the pool.
        if hub.database.is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        else:
            connection.exec_driver_sql("SET session_replication_role = origin")
            connection.commit()


def doctor_says(hub: Audited) -> str | None:
    try:
        check_log(hub.database, hub.keys)
        check_journals(hub.database)
    except ProtocolError as error:
        return str(error)
    return None


def test_what_nobody_touched_is_sound_for_both(hub: Audited) -> None:
    assert judged(hub.export(), kept=hub.head()).problem is None
    assert doctor_says(hub) is None


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED)
def test_tampering_is_found_by_export_and_doctor(hub: Audited, statement: str) -> None:
    tamper(hub, statement)
    assert judged(hub.export()).problem is not None
    assert doctor_says(hub) is not None


@pytest.mark.parametrize("statement", BY_EXPORT.values(), ids=BY_EXPORT)
def test_tampering_with_what_devices_signed_is_found_by_the_export(hub: Audited, statement: str) -> None:
    tamper(hub, statement)
    assert judged(hub.export()).problem is not None


@pytest.mark.parametrize("statement", BY_DOCTOR.values(), ids=BY_DOCTOR)
def test_tampering_with_what_is_searched_is_found_by_the_doctor(hub: Audited, statement: str) -> None:
    tamper(hub, statement)
    assert judged(hub.export()).problem is None
    assert doctor_says(hub) is not None


def test_the_end_of_everything_cut_off_at_once_is_found_by_the_kept_head_alone(hub: Audited) -> None:
    kept = hub.head()
    for statement in (
        "DELETE FROM audit_entry WHERE seq > 4",
        "DELETE FROM signed_tree_head WHERE size > 5",
        "UPDATE audit_head SET size = 5, hash = (SELECT hash FROM audit_entry WHERE seq = 4)",
    ):
        tamper(hub, statement)
    assert judged(hub.export(Scope())).problem is None
    assert doctor_says(hub) is None
    assert "removed from its end" in str(judged(hub.export(Scope()), kept=kept).problem)


# --- what is not tampering -------------------------------------------------------------------------------------------


def test_metrics_that_were_trimmed_are_no_fault(hub: Audited) -> None:
    lane = "(SELECT id FROM lane WHERE lane = 'metrics')"
    hub.records("acme.oven", 3, lane=Lane.METRICS)
    hub.sql(
        f"UPDATE lane SET tail_seq = 6, tail_hash = (SELECT hash FROM record WHERE seq = 5 AND lane_id = {lane})"
        f" WHERE id = {lane}"
    )
    for table in ("record", "seal"):
        hub.sql(f"DELETE FROM {table} WHERE seq <= 5 AND lane_id = {lane}")
    report = judged(hub.export(), kept=hub.head())
    assert (report.problem, report.trimmed) == (None, 1)
    assert doctor_says(hub) is None


def test_metrics_that_are_trimmed_while_they_are_exported_are_no_fault(
    hub: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = "(SELECT id FROM lane WHERE lane = 'metrics')"
    hub.records("acme.oven", 8, lane=Lane.METRICS)
    monkeypatch.setattr("cloud.audit.export.RECORDS_CHUNK", 4)
    items = []
    for item in journal_items(hub.database, None):
        items.append(item)
        if item[0] == "records" and items[-3][0] == "lane" and "metrics" in str(items[-3]) and item[1] == 1:
            hub.sql(
                "UPDATE lane SET tail_seq = 9, tail_hash ="
                f" (SELECT hash FROM record WHERE seq = 8 AND lane_id = {lane}) WHERE id = {lane}"
            )
            for table in ("record", "seal"):
                hub.sql(f"DELETE FROM {table} WHERE seq <= 8 AND lane_id = {lane}")
    head = items_of(hub.export())
    first = next(number for number, item in enumerate(head) if item[0] == "device")
    report = judged(packed(resealed([*head[:first], *items], hub.keys)), kept=hub.head())
    assert sum(item[0] == "lane" for item in items) == 6
    assert report.problem is None


def test_a_gap_that_was_there_is_counted_and_one_put_in_later_is_found(hub: Audited) -> None:
    hub.sql(f"DELETE FROM record WHERE seq BETWEEN 2 AND 5 AND lane_id = {JOURNAL}")
    hub.sql(f"DELETE FROM seal WHERE seq BETWEEN 2 AND 5 AND lane_id = {JOURNAL}")
    assert "missing" in str(judged(hub.export()).problem)
    hub.sql(
        f"INSERT INTO lane_gap (lane_id, first_seq, last_seq, after_hash, reason, at) SELECT {JOURNAL}, 2, 9, hash,"
        f" 'lost', :now FROM record WHERE seq = 9 AND lane_id = {JOURNAL}",
        now=hub.clock.now(),
    )
    hub.sql(f"DELETE FROM record WHERE seq BETWEEN 6 AND 9 AND lane_id = {JOURNAL}")
    hub.sql(f"DELETE FROM seal WHERE seq BETWEEN 6 AND 8 AND lane_id = {JOURNAL}")
    assert "was replaced by a gap" in str(judged(hub.export()).problem)


# --- whose export ----------------------------------------------------------------------------------------------------


def test_a_tenants_export_shows_its_own_and_hashes_of_the_rest(hub: Audited) -> None:
    data = hub.export(Scope(tenant="zeta", with_journals=True))
    report = judged(data, kept=hub.head(), pinned=hub.keys.root_fingerprint)
    assert (report.problem, report.tenant) == (None, "zeta")
    assert (report.entries, report.withheld) == (3, 7)
    assert (report.devices, report.checkpoints) == (1, 1)
    unpacked = b"".join(str(item).encode() for item in items_of(data))
    assert b"acme" not in unpacked
    assert b"keys.rotate" not in unpacked


def test_an_export_of_a_time_shows_that_time_and_hashes_of_the_rest(hub: Audited) -> None:
    whole = judged(hub.export(Scope()))
    assert whole.entries == 10
    begin = hub.clock.now()
    hub.later()
    hub.deed("within")
    hub.later()
    end = hub.clock.now()
    hub.deed("after")
    report = judged(hub.export(Scope(since=begin, until=end)), kept=hub.head())
    assert report.problem is None
    assert (report.entries, report.withheld) == (3, 9)
    assert "only hashes" in " ".join(report.limits)


def test_an_empty_log_is_sound(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    report = judged(Audited(database, clock).export())
    assert (report.problem, report.entries, report.heads) == (None, 0, 0)

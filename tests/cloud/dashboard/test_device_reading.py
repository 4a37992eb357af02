"""One device as its page shows it: the newest of everything, and how much more there is."""

from datetime import timedelta

import pytest

from cloud.dashboard.device_reading import (
    DEAD_LETTERS_SHOWN,
    GAPS_SHOWN,
    LANES_SHOWN,
    RECORDS_SHOWN,
    read_device,
)
from cloud.dashboard.facts import DevicePage, GapFacts
from cloud.db import Database
from cloud.devices.presence import PresenceLimits, horizons
from cloud.devices.tables import Refusal
from cloud.journal.repository import key_of
from cloud.journal.tables import DeadLetter, LaneGap
from cloud.twins.tables import DeviceTwin, TwinLayer
from shared.clock import to_ms
from shared.ids import Lane
from tests.cloud.dashboard.rows import add_device, add_lane, principal_of, started
from tests.support.clock import START

NOW = START


def read(database: Database, name: str = "a") -> DevicePage | None:
    with database.read() as session:
        return read_device(session, principal_of(name), horizons(NOW, None, PresenceLimits()), None)


def page_of(database: Database, name: str = "a") -> DevicePage:
    page = read(database, name)
    assert page is not None
    return page


def test_a_device_that_is_not_there_has_no_page(database: Database) -> None:
    assert read(database) is None


def test_a_new_device_has_a_page_with_nothing_on_it(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW, labels={"site": "berlin", "a": "b"})
    page = page_of(database)
    assert page.labels == (("a", "b"), ("site", "berlin"))
    assert (page.lanes, page.records, page.dead_letters, page.refusals, page.forks) == ((), (), (), (), ())
    assert (page.orders_waiting, page.twin.state, page.twin.lines) == (0, "never", ())


def test_logs_are_shown_newest_first_and_as_many_as_there_is_room_for(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        for number in range(LANES_SHOWN + 2):
            add_lane(session, "a", Lane.JOURNAL, now=NOW + timedelta(seconds=number), epoch=str(number))
    page = page_of(database)
    assert page.lane_count == LANES_SHOWN + 2
    assert len(page.lanes) == LANES_SHOWN
    made = [lane.created_at_ms for lane in page.lanes]
    assert made == sorted(made, reverse=True)


def test_a_log_tells_how_far_each_side_is(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        records = [started(at_ms) for at_ms in (10, 20, 30)]
        add_lane(session, "a", Lane.JOURNAL, now=NOW, records=records, ahead=4, waiting_bytes=99, tail_seq=2)
        add_lane(session, "a", Lane.ORDERS, now=NOW, records=records, acked=1, phase="idle")
    page = page_of(database)
    orders, journal = page.lanes
    assert (journal.tail_seq, journal.head_seq, journal.writer_head, journal.writer_bytes) == (2, 3, 7, 99)
    assert (journal.acked, journal.phase, journal.last_at_ms) == (None, None, 30)
    assert (orders.head_seq, orders.writer_head, orders.writer_bytes, orders.acked) == (3, 3, 0, 1)
    assert page.orders_waiting == 2


def test_gaps_are_counted_and_the_last_ones_shown(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        lane = add_lane(session, "a", Lane.METRICS, now=NOW, head_seq=1_000)
        for number in range(GAPS_SHOWN + 3):
            first = 10 * number + 1
            session.add(
                LaneGap(
                    lane_id=key_of(lane),
                    first_seq=first,
                    last_seq=first + 4,
                    after_hash=bytes(32),
                    reason="shed",
                    at=NOW,
                )
            )
    (shown,) = page_of(database).lanes
    assert (shown.gap_count, len(shown.gaps)) == (GAPS_SHOWN + 3, GAPS_SHOWN)
    last = 10 * (GAPS_SHOWN + 2) + 1
    assert shown.gaps[0] == GapFacts(first_seq=last, last_seq=last + 4, reason="shed", at_ms=to_ms(NOW))


def test_dead_letters_that_wait_for_a_decision_come_first(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        lane = add_lane(session, "a", Lane.JOURNAL, now=NOW)
        for seq in range(1, DEAD_LETTERS_SHOWN + 5):
            at = NOW + timedelta(seconds=seq)
            resolution = "dismissed" if seq % 2 else None
            session.add(
                DeadLetter(
                    lane_id=key_of(lane), seq=seq, reason=f"reason {seq}", at=at, resolution=resolution
                )
            )
    page = page_of(database)
    waiting = (DEAD_LETTERS_SHOWN + 4) // 2
    assert page.dead_letter_count == waiting
    assert len(page.dead_letters) == DEAD_LETTERS_SHOWN
    assert [letter.resolution for letter in page.dead_letters[:waiting]] == [None] * waiting
    assert page.dead_letters[0].seq == DEAD_LETTERS_SHOWN + 4


def test_a_fork_comes_with_what_to_do(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW, status="quarantined", status_reason="fork")
        records = [started(at_ms) for at_ms in (10, 20, 30)]
        add_lane(session, "a", Lane.JOURNAL, now=NOW, records=records, forked_at_seq=1)
    (fork,) = page_of(database).forks
    assert (fork.lane, fork.after_seq, fork.lost_by_device) == ("journal", 1, 2)
    assert fork.command == "covey-hub device resolve main.a"
    assert fork.advice


def test_the_last_records_of_the_newest_journal_come_newest_first(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        add_lane(session, "a", Lane.JOURNAL, now=NOW, records=[started(1)], epoch="old", closed_at=NOW)
        records = [started(1_000 + number) for number in range(RECORDS_SHOWN + 5)]
        lane = add_lane(session, "a", Lane.JOURNAL, now=NOW, records=records, epoch="new")
        session.add(DeadLetter(lane_id=key_of(lane), seq=len(records), reason="no such node", at=NOW))
    records_shown = page_of(database).records
    assert len(records_shown) == RECORDS_SHOWN
    newest = records_shown[0]
    assert (newest.seq, newest.kind, newest.at_ms) == (RECORDS_SHOWN + 5, "device.started", 1_024)
    assert newest.fields == {"version": "0.2.0", "was_clean": True}
    assert (newest.dead_letter, records_shown[1].dead_letter) == ("no such node", None)


@pytest.mark.parametrize("is_known", [False, True])
def test_settings_are_compared_line_by_line(database: Database, is_known: bool) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW, site="berlin")
        for scope, name, document in (
            ("fleet", "", {"log_level": "info", "wait": {"s": 1}}),
            ("site", "berlin", {"wait": {"s": 2}}),
            ("site", "oslo", {"wait": {"s": 3}}),
        ):
            session.add(
                TwinLayer(
                    tenant="main", scope=scope, name=name, revision=1, document=document, updated_at=NOW
                )
            )
        if is_known:
            reported = {"log_level": "info", "wait": {"s": 1}, "other": True}
            session.add(
                DeviceTwin(
                    principal=principal_of("a"), reported_revision=1, reported=reported, reported_at=NOW
                )
            )
    twin = page_of(database).twin
    assert twin.desired_revision == 2
    assert [(line.path, line.desired, line.reported, line.is_met) for line in twin.lines] == [
        ("log_level", "info", "info" if is_known else None, is_known),
        ("wait.s", 2, 1 if is_known else None, False),
    ]
    assert (twin.state, twin.reported_revision) == (("pending", 1) if is_known else ("never", None))


def test_what_the_gate_refused_is_told(database: Database) -> None:
    with database.write() as session:
        add_device(session, "a", now=NOW)
        session.add(Refusal(principal=principal_of("a"), reason="replay", count=4, last_at=NOW))
    (refusal,) = page_of(database).refusals
    assert (refusal.reason, refusal.count, refusal.last_at_ms) == ("replay", 4, to_ms(NOW))

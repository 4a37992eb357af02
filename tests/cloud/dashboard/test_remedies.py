"""What is wrong with a device, in words, with the command that mends it."""

from dataclasses import replace

import pytest

from cloud.dashboard.facts import (
    BrokerSession,
    DevicePage,
    DeviceRow,
    ForkFacts,
    GapFacts,
    LaneFacts,
    TwinFacts,
)
from cloud.dashboard.remedies import CERTIFICATE_WARN_MS, Weight, remedies
from cloud.dashboard.twin_lines import setting_lines

NOW_MS = 1_800_000_000_000

ROW = DeviceRow(
    principal="main.a",
    name="a",
    site=None,
    group=None,
    status="active",
    status_reason=None,
    presence="online",
    broker=BrokerSession.OPEN,
    broker_at_ms=1,
    hello_at_ms=1,
    ack_at_ms=1,
    record_at_ms=1,
    lag_records=0,
    lag_since_ms=None,
    waiting_bytes=0,
    desired_revision=0,
    reported_revision=None,
    settings="never",
    conditions=(),
    forked=(),
)
LANE = LaneFacts(
    lane="journal",
    epoch="0a",
    tail_seq=1,
    head_seq=9,
    writer_head=9,
    writer_bytes=0,
    acked=None,
    phase=None,
    last_at_ms=None,
    created_at_ms=1,
    forked_at_seq=None,
    closed_at_ms=None,
    close_reason=None,
    gap_count=0,
    gaps=(),
)
TWIN = TwinFacts(
    state="in_sync",
    desired_revision=0,
    ordered_revision=None,
    ordered_at_ms=None,
    is_acknowledged=False,
    reported_revision=0,
    reported_at_ms=None,
    lines=(),
)
SOUND = DevicePage(
    row=ROW,
    deaf_since_ms=None,
    version="0.2.0",
    labels=(),
    enrolled_at_ms=1,
    certificate_until_ms=NOW_MS + CERTIFICATE_WARN_MS + 1,
    signing_kid="00",
    orders_waiting=0,
    lane_count=1,
    lanes=(LANE,),
    forks=(),
    dead_letter_count=0,
    dead_letters=(),
    refusals=(),
    twin=TWIN,
    records=(),
)
FORK = ForkFacts(
    lane="journal",
    after_seq=22,
    lost_by_device=8,
    advice="Then resolve.",
    command="covey-hub device resolve main.a",
)


def test_a_sound_device_needs_nothing() -> None:
    assert remedies(SOUND, NOW_MS) == []


def test_a_fork_is_told_with_its_advice_and_the_quarantine_is_not_told_twice() -> None:
    page = replace(SOUND, row=replace(ROW, status="quarantined", status_reason="fork"), forks=(FORK,))
    (fork,) = remedies(page, NOW_MS)
    assert fork.weight is Weight.BAD
    assert fork.title == "The journal log is forked after record 22"
    assert fork.text == "Then resolve. The hub holds 8 records behind that point."
    assert fork.commands == ("covey-hub device forks main.a", "covey-hub device resolve main.a")


@pytest.mark.parametrize(
    ("status", "reason", "commands"),
    [
        ("quarantined", "operator", ("covey-hub device show main.a",)),
        ("quarantined", "clone", ("covey-hub device forks main.a", "covey-hub device resolve main.a")),
        ("revoked", "operator", ("covey-hub token create --device NEW-NAME",)),
    ],
)
def test_a_device_that_is_kept_out_is_told_with_the_reason_and_the_way_in(
    status: str, reason: str, commands: tuple[str, ...]
) -> None:
    (only,) = remedies(replace(SOUND, row=replace(ROW, status=status, status_reason=reason)), NOW_MS)
    assert (only.title, only.commands) == (f"The device is {status} ({reason})", commands)


def test_conditions_say_what_they_mean_and_since_when() -> None:
    page = replace(SOUND, row=replace(ROW, conditions=(("journal_full", 5), ("odd_smell", 6))))
    full, odd = remedies(page, NOW_MS)
    assert (full.title, full.since_ms, full.commands) == ("Condition journal_full", 5, ("covey-edge doctor",))
    assert "refuses new work" in full.text
    assert (odd.title, odd.text) == (
        "Condition odd_smell",
        "The device reports this about itself. Look at it there.",
    )


@pytest.mark.parametrize(("count", "title"), [(1, "1 record was"), (1_500, "1,500 records were")])
def test_dead_letters_come_with_both_ways_to_settle_them(count: int, title: str) -> None:
    (only,) = remedies(replace(SOUND, dead_letter_count=count), NOW_MS)
    assert only.title == f"{title} not understood or not applied"
    assert [command.rpartition(" ")[2] for command in only.commands] == ["main.a", "--retry", "--dismiss"]


def test_only_records_that_nobody_has_any_more_are_lost() -> None:
    gaps = tuple(
        GapFacts(first_seq=first, last_seq=first + 1, reason=reason, at_ms=1)
        for first, reason in ((1, "shed"), (5, "branch"), (9, "lost"))
    )
    assert [each.title for each in remedies(replace(SOUND, lanes=(replace(LANE, gaps=gaps),)), NOW_MS)] == [
        "2 records are lost"
    ]


def test_refused_settings_are_named() -> None:
    lines = tuple(setting_lines({"a": 1, "b": {"c": 2}}, {"a": 1}, {"b.c": "too_big"}))
    (only,) = remedies(replace(SOUND, twin=replace(TWIN, state="refused", lines=lines)), NOW_MS)
    assert only.text == "It runs the others. Correct these: b.c."


@pytest.mark.parametrize(
    ("left_ms", "expected"),
    [(CERTIFICATE_WARN_MS + 1, None), (CERTIFICATE_WARN_MS, Weight.WARN), (0, Weight.WARN), (-1, Weight.BAD)],
)
def test_a_certificate_that_ends_soon_is_told_in_time(left_ms: int, expected: Weight | None) -> None:
    found = remedies(replace(SOUND, certificate_until_ms=NOW_MS + left_ms), NOW_MS)
    assert [each.weight for each in found] == ([] if expected is None else [expected])


def test_the_worst_comes_first() -> None:
    page = replace(
        SOUND, forks=(FORK,), dead_letter_count=1, row=replace(ROW, conditions=(("disk_full", 1),))
    )
    assert [each.weight for each in remedies(page, NOW_MS)] == [Weight.BAD, Weight.WARN, Weight.WARN]

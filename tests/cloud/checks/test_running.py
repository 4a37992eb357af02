"""The hub's doctor on what runs: processes, the lease of the periodic jobs, and whether anybody hears the devices."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from cloud.checks import ingest, leader, process
from cloud.checks.subject import Process, Subject
from cloud.devices.presence import DEAF_AFTER
from cloud.devices.tables import HubHearing
from cloud.leader import Candidate, Lease
from shared.findings import Finding, State
from tests.cloud.checks.conftest import RUNNING, running
from tests.support.clock import START, ManualClock


def only(findings: Iterable[Finding]) -> Finding:
    (found,) = findings
    return found


# --- processes


def test_without_a_process_the_start_is_told(subject: Subject) -> None:
    found = only(process.check(subject))
    assert found.state is State.WARN
    assert found.command == subject.start


def test_processes_that_answer_are_well_and_one_without_https_too(subject: Subject) -> None:
    worker = Process(pid=2, role="ingest", url=None, answered=None)
    found = list(process.check(replace(subject, processes=(RUNNING, worker))))
    assert [each.state for each in found] == [State.OK, State.OK]


def test_a_process_that_does_not_answer_fails(subject: Subject) -> None:
    found = only(process.check(replace(subject, processes=(replace(RUNNING, answered=None),))))
    assert found.state is State.FAIL
    assert found.command == f"kill {RUNNING.pid}"


def test_a_hub_on_another_s_broker_is_started_with_serve(subject: Subject) -> None:
    elsewhere = replace(subject, has_own_broker=False)
    assert elsewhere.start.startswith("covey-hub serve --mqtt-url mqtts://127.0.0.1:8883 --home ")


# --- the lease


def held(subject: Subject, clock: ManualClock, ttl_s: float) -> None:
    assert subject.database is not None
    candidate = Candidate(subject.database, name="leader", holder="all-1", ttl_s=ttl_s, clock=clock)
    assert candidate.hold() == 1


def test_a_lease_that_is_held_is_well(either: Subject, clock: ManualClock) -> None:
    held(either, clock, ttl_s=600)
    found = only(leader.check(running(either)))
    assert found.state is State.OK
    assert "all-1" in found.sentence


def test_a_hub_that_runs_and_that_nobody_leads_fails(either: Subject) -> None:
    assert only(leader.check(running(either))).state is State.FAIL
    assert only(leader.check(either)).state is State.WARN


@pytest.mark.parametrize(("left", "state"), [(timedelta(seconds=1), State.OK), (timedelta(), State.FAIL)])
def test_a_lease_is_judged_at_its_end(left: timedelta, state: State) -> None:
    lease = Lease(name="leader", holder="all-1", expires_at=START + left)
    assert leader.judge([lease], now=START, is_running=True, start="covey-hub up").state is state


# --- ingest


def hears(subject: Subject, clock: ManualClock) -> None:
    assert subject.database is not None
    with subject.database.write() as session:
        session.add(HubHearing(since=clock.now(), heard_at=clock.now()))


def test_a_hub_that_hears_its_devices_is_well_until_it_has_been_silent(
    either: Subject, clock: ManualClock
) -> None:
    hears(either, clock)
    clock.advance(DEAF_AFTER)
    assert only(ingest.check(running(either))).state is State.OK
    clock.advance(seconds=1)
    assert only(ingest.check(running(either))).state is State.FAIL
    assert only(ingest.check(either)).state is State.WARN


def test_a_hub_that_never_heard_anybody_fails_while_it_runs(either: Subject) -> None:
    found = only(ingest.check(running(either)))
    assert found.state is State.FAIL
    assert "yet" in found.sentence

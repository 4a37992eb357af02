"""The broker's revocation list as the database has it, and the sessions that end for it."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from cloud.devices.certificates import RevocationReason, release_certificates, revoke_certificates
from cloud.devices.revocation import Look, RevocationKeeper, RevocationList, SessionCutter
from cloud.devices.tables import DeviceCertificateRow
from cloud.private_files import read_private
from cloud.revocation import PROBE_SERIAL, read_lists
from shared.errors import UnavailableError
from tests.cloud.hub_api import HubApi
from tests.support.waiting import eventually

PRINCIPAL = "main.fridge-1"


@dataclass
class ScriptedTakeover:
    """Ends nothing; fails as often as a test says."""

    failures: int = 0
    cut_: list[str] = field(default_factory=list)
    tries: int = 0

    def cut(self, principal: str) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise UnavailableError("The broker is not there.")
        self.cut_.append(principal)


@pytest.fixture
def fleet(hub: HubApi) -> HubApi:
    hub.device("fridge-1")
    hub.device("fridge-2")
    return hub


def the_list(hub: HubApi, directory: Path) -> RevocationList:
    return RevocationList(
        database=hub.database,
        issuers=lambda: hub.identity.issuers,
        clock=hub.clock,
        path=directory / "revoked.pem",
        lock=directory / "revoked.lock",
    )


def revoke(hub: HubApi, principal: str = PRINCIPAL) -> None:
    with hub.database.write() as session:
        revoke_certificates(session, principal, RevocationReason.HOLD, now=hub.clock.now())


def release(hub: HubApi) -> None:
    with hub.database.write() as session:
        release_certificates(session, PRINCIPAL)


def listed(hub: HubApi, revocations: RevocationList) -> int:
    pem = read_private(revocations.path)
    found = None if pem is None else read_lists(pem, hub.identity.issuers)
    assert found is not None
    return len(found.serials - {PROBE_SERIAL})


def test_the_file_follows_the_database_and_is_written_only_then(fleet: HubApi, tmp_path: Path) -> None:
    revocations = the_list(fleet, tmp_path)
    assert revocations.look() == Look(is_written=True)
    assert revocations.look() == Look(is_written=False)
    revoke(fleet)
    assert revocations.look() == Look(is_written=True, newly=frozenset({PRINCIPAL}))
    assert revocations.look() == Look(is_written=False)
    assert listed(fleet, revocations) == 1
    release(fleet)
    assert revocations.look() == Look(is_written=True)
    assert listed(fleet, revocations) == 0


@pytest.mark.parametrize(
    "content", [None, b"", b"-----BEGIN X509 CRL-----\nMIIB"], ids=["gone", "empty", "cut"]
)
def test_a_file_that_is_missing_or_damaged_is_made_anew(
    content: bytes | None, fleet: HubApi, tmp_path: Path
) -> None:
    revocations = the_list(fleet, tmp_path)
    revoke(fleet)
    revocations.look()
    if content is None:
        revocations.path.unlink()
    else:
        revocations.path.write_bytes(content)
    assert revocations.look().is_written
    assert listed(fleet, revocations) == 1


def test_the_file_is_made_anew_each_day_and_names_nobody_twice(fleet: HubApi, tmp_path: Path) -> None:
    revocations = the_list(fleet, tmp_path)
    revoke(fleet)
    revocations.look()
    fleet.clock.advance(timedelta(days=1, minutes=1))
    assert revocations.look() == Look(is_written=True), "whoever was revoked a day ago is cut no more"


def test_a_certificate_that_ended_long_ago_is_named_no_more(fleet: HubApi, tmp_path: Path) -> None:
    revocations = the_list(fleet, tmp_path)
    revoke(fleet)
    revocations.look()
    fleet.clock.advance(timedelta(days=100))
    revocations.look()
    assert listed(fleet, revocations) == 0


def test_who_was_revoked_stays_listed_when_the_database_is_put_back(fleet: HubApi, tmp_path: Path) -> None:
    revocations = the_list(fleet, tmp_path)
    with fleet.database.write() as session:
        revoke_certificates(session, PRINCIPAL, RevocationReason.UNSPECIFIED, now=fleet.clock.now())
    assert revocations.look().newly == {PRINCIPAL}
    with fleet.database.write() as session:  # as before the revocation
        for row in session.exec(select(DeviceCertificateRow)):
            row.revoked_at, row.reason = None, None
    assert revocations.look() == Look(is_written=False)
    fleet.clock.advance(timedelta(days=1, minutes=1))
    assert revocations.look().is_written
    assert listed(fleet, revocations) == 1
    fleet.clock.advance(timedelta(days=92))
    revocations.look()
    assert listed(fleet, revocations) == 0, "its certificate has ended"


@pytest.mark.slow
def test_of_several_processes_one_writes(fleet: HubApi, tmp_path: Path) -> None:
    processes = [the_list(fleet, tmp_path) for _ in range(4)]
    processes[0].look()
    revoke(fleet)
    barrier = threading.Barrier(len(processes))
    looks: list[Look] = []

    def run(process: RevocationList) -> None:
        barrier.wait(timeout=10)
        looks.append(process.look())

    threads = [threading.Thread(target=run, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(look.is_written for look in looks) == [False, False, False, True]


# --- at work


@asynccontextmanager
async def running(task: Callable[[], Any]) -> Any:
    running_task = asyncio.create_task(task())
    try:
        yield
    finally:
        running_task.cancel()
        await asyncio.wait([running_task], timeout=10)


async def test_the_broker_reads_the_list_before_sessions_end(fleet: HubApi, tmp_path: Path) -> None:
    order: list[str] = []
    takeover = ScriptedTakeover()
    cutter = SessionCutter(takeover)

    async def reload() -> None:
        order.append(f"reload after {len(takeover.cut_)} cuts")

    revocations = the_list(fleet, tmp_path)
    await asyncio.to_thread(revocations.look)
    keeper = RevocationKeeper(revocations, cutter, reload=reload, has_read=True, interval_s=30)
    async with running(keeper.run):
        await asyncio.to_thread(revoke, fleet)
        keeper.wake()
        await eventually(lambda: takeover.cut_ == [PRINCIPAL])
    assert order == ["reload after 0 cuts"]


async def test_what_fails_is_tried_again_with_the_next_look(fleet: HubApi, tmp_path: Path) -> None:
    takeover, failures = ScriptedTakeover(), [UnavailableError("It does not answer.")] * 2

    async def reload() -> None:
        if failures:
            raise failures.pop()

    keeper = RevocationKeeper(
        the_list(fleet, tmp_path), SessionCutter(takeover), reload=reload, has_read=True, interval_s=0.01
    )
    await asyncio.to_thread(revoke, fleet)
    async with running(keeper.run):
        await eventually(lambda: takeover.cut_ == [PRINCIPAL])
    assert failures == []


async def test_a_broker_that_does_not_answer_is_tried_again() -> None:
    takeover = ScriptedTakeover(failures=2)
    cutter = SessionCutter(takeover, retry_s=0.0)
    async with running(cutter.run):
        cutter.cut([PRINCIPAL])
        await eventually(lambda: takeover.cut_ == [PRINCIPAL])
    assert takeover.tries == 3


async def test_who_is_heard_though_revoked_is_cut_again_but_not_all_the_time() -> None:
    takeover, now = ScriptedTakeover(), [100.0]
    cutter = SessionCutter(takeover, again_after_s=5.0, monotonic=lambda: now[0])
    async with running(cutter.run):
        cutter.cut_heard([PRINCIPAL])
        await eventually(lambda: len(takeover.cut_) == 1)
        cutter.cut_heard([PRINCIPAL])
        cutter.cut_heard(["main.fridge-2"])
        await eventually(lambda: takeover.cut_[1:] == ["main.fridge-2"])
        now[0] += 6.0
        cutter.cut_heard([PRINCIPAL])
        await eventually(lambda: len(takeover.cut_) == 3)
